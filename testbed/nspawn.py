"""Clean Debian machines with a systemd of their own, layered over one chroot (``systemd-nspawn``).

What a run makes ends with it, however it ends: the kernel kills its machines when our process is gone, and
its mounts are in a namespace of its own. Its directory is removed by the next run.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.registry import BedError, start_time
from testbed.tree import PATH, children_of
from testbed.waiting import NotInTimeError, wait_for

HOME = Path("/srv/esagent-machines")
"""Holds a directory for each run. It is not below /tmp, /root or /home, which a unit's sandbox may hide."""
_LEFT_BY_NSPAWN = Path("/run/systemd/nspawn/propagate")
_OWN_CAS = Path("/usr/local/share/ca-certificates")
_NEW_MOUNTS = 0x00020000
"""CLONE_NEWNS (unshare(2))."""
_MOUNT_TIMEOUT = 30.0
_BOOT_TIMEOUT = 180.0
_END_TIMEOUT = 60.0
_COMMAND_TIMEOUT = 600.0
# systemd-nspawn does not take its machine along when it is killed; as process 1 of a namespace it does. It is
# killed with unshare(1), and that with us.
_NSPAWN = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--"),
    *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=copy-host"),
    # Else /etc/localtime is a mount, which its own package could not replace.
    "--timezone=off",
)
_UNCOUNTED = frozenset(
    {"proc", "sys", "dev", "run", "tmp", "root", "var/cache", "var/lib/apt", "var/lib/dpkg", "var/log"}
)


@contextmanager
def place_of_run() -> Iterator[Path]:
    """Make a directory for all that this process makes; remove it at the end, and what dead processes left.

    To be entered in the main thread, before others are started: from then on our mounts are our own.

    Raises:
        OSError: not root.
    """
    remove_dead(HOME)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare(2): mounts of our own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, timeout=_MOUNT_TIMEOUT)
    place = HOME / f"{os.getpid()}-{start_time(os.getpid())}"
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        _remove(place)


def remove_dead(home: Path) -> None:
    """Remove the directories of runs whose process has ended, and no other; ``home`` goes with the last."""
    if not home.is_dir():
        return
    for place in home.iterdir():
        pid, _, start = place.name.partition("-")
        if pid.isdecimal() and start.isdecimal() and start_time(int(pid)) != int(start):
            _remove(place)


def _remove(place: Path) -> None:
    for left in _LEFT_BY_NSPAWN.glob(f"esagent-{place.name}-*"):
        with suppress(FileNotFoundError):
            left.rmdir()
    shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):
        place.parent.rmdir()


def add_own_cas(root: Path) -> None:
    """Put the CAs that this site adds to Debian's (``update-ca-certificates(8)``) into a tree."""
    if _OWN_CAS.exists():
        shutil.copytree(_OWN_CAS, root / _OWN_CAS.relative_to("/"), dirs_exist_ok=True)


class CleanMachine:
    """A machine whose disk is a layer of its own over that of others; off until ``boot``.

    Attributes:
        root: its disk.
        layer: what it has changed on it.
    """

    def __init__(self, place: Path, name: str, *below: Path) -> None:
        """Make the disk.

        Args:
            place: the directory of this run.
            name: at most 20 characters, different for each machine of a run.
            below: the layers under its own, the upper ones first.
        """
        directory = place / name
        self.layer = directory / "layer"
        self.root = directory / "root"
        work = directory / "work"
        for made in (self.layer, self.root, work):
            made.mkdir(parents=True)
        lower = ":".join(map(str, below))
        options = f"lowerdir={lower},upperdir={self.layer},workdir={work}"
        subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", self.root],
            check=True,
            timeout=_MOUNT_TIMEOUT,
        )
        self._console = directory / "console.log"
        self._way = (*_NSPAWN, f"--machine=esagent-{place.name}-{name}", "-D", str(self.root))
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def close(self) -> None:
        """Switch it off, and take its disk away."""
        if self._nspawn is not None:
            if self._leader:
                with suppress(ProcessLookupError):
                    os.kill(self._leader, signal.SIGRTMIN + 4)  # systemd(1): power off
            try:
                self._nspawn.wait(_END_TIMEOUT if self._leader else 0)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        subprocess.run(["umount", "--lazy", self.root], check=True, timeout=_MOUNT_TIMEOUT)

    @property
    def pids(self) -> tuple[int, int]:
        """Process ids of its systemd-nspawn, and of its systemd as we see it; 0 while it is off."""
        return self._nspawn.pid if self._nspawn else 0, self._leader

    def boot(self, *options: str) -> None:
        """Start its systemd; return when its units are up. Unless told by ``options``, it shares our network.

        Raises:
            NotInTimeError: it does not come up; the end of its console is in the message.
        """
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [*self._way, "--boot", "--console=read-only", *options],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            self._leader = wait_for("its systemd", self._find_leader, timeout=_BOOT_TIMEOUT)
            wait_for("its units", self._is_up, timeout=_BOOT_TIMEOUT, interval=0.5)
        except NotInTimeError as error:
            said = self._console.read_text(errors="replace")[-2000:]
            raise NotInTimeError(f"{self.root} does not boot: {error}; its console: {said}") from error

    def _find_leader(self) -> int:
        """Find the machine's first process; before it, nspawn has others."""
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise BedError(f"systemd-nspawn ended: {self._console.read_text(errors='replace')[-2000:]}")
        for supervisor in children_of(self._nspawn.pid):
            for pid in children_of(supervisor):
                with suppress(FileNotFoundError):
                    if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                        return pid
        return 0

    def _is_up(self) -> bool:
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in {"running", "degraded"}

    def run(
        self, *command: str, check: bool = True, directory: str = "/"
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it as root, switched on or off.

        Args:
            command: program and arguments.
            check: a status other than 0 is an error.
            directory: where on the machine.

        Raises:
            BedError: it ends with another status, and ``check`` is set.
        """
        way: Sequence[str] = (*self._way, "--pipe")
        if self._leader:
            way = ("nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--")
        environment = ("env", "-i", f"--chdir={directory}", f"PATH={PATH}", "DEBIAN_FRONTEND=noninteractive")
        done = subprocess.run(
            [*way, *environment, *command],
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise BedError(f"{command}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def trust(self) -> None:
        """Let it reach what this machine reaches, with the CAs that this site adds."""
        add_own_cas(self.root)
        self.run("update-ca-certificates")

    def prepare_apt(self) -> None:
        """Let apt work without a question, and know what there is."""
        (self.root / "etc/apt/apt.conf.d/90test").write_text(
            'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false"; APT::Sandbox::User "root";'
            ' Dpkg::Options:: "--force-confold"; quiet "2";'
        )
        if not any((self.root / "var/lib/apt/lists").glob("*Packages*")):
            self.run("apt-get", "update")

    def install(self, package: Path) -> None:
        """Have apt install a package of ours, with what it depends on."""
        self.prepare_apt()
        shutil.copy(package, self.root / "root" / "esagent.deb")
        self.run("apt-get", "install", "/root/esagent.deb")

    def without_owner(self) -> list[str]:
        """List what on its disk belongs to the number of no user or group: whoever comes next may get it."""
        lost = ("(", "-nouser", "-o", "-nogroup", ")")
        return self.run("find", "/", "-xdev", *lost).stdout.splitlines()

    def files(self) -> set[str]:
        """List what is on its disk, but for what dpkg, apt and the log keep."""
        found: set[str] = set()
        for place, directories, names in os.walk(self.root):
            here = Path(place).relative_to(self.root)
            directories[:] = [d for d in directories if str(here / d) not in _UNCOUNTED]
            found.update(str(here / name) for name in (*directories, *names))
        return found
