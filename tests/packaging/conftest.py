"""Clean Debian machines, layered over one chroot: a package is installed, started and removed on its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from testbed.up import TestBed
from testbed.waiting import wait_for

ROOT = Path(__file__).parents[2]
CHROOT = ROOT / "build" / "chroots" / "bookworm-head"
_UNCOUNTED = frozenset(
    {"proc", "sys", "dev", "run", "tmp", "root", "var/cache", "var/lib/apt", "var/lib/dpkg", "var/log"}
)
_NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--resolv-conf=copy-host")


class Machine:
    """A machine whose disk is a layer of its own over that of others."""

    def __init__(self, directory: Path, *below: Path) -> None:
        self.layer = directory / "layer"
        self.root = directory / "root"
        work = directory / "work"
        for place in (self.layer, self.root, work):
            place.mkdir(parents=True)
        lower = ":".join(map(str, below))
        options = f"lowerdir={lower},upperdir={self.layer},workdir={work}"
        subprocess.run(
            ["mount", "-t", "overlay", "-o", options, "overlay", self.root], check=True, timeout=30
        )
        self._name = f"esagent-{os.getpid()}-{directory.name[-20:].strip('_')}".replace("_", "-")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def close(self) -> None:
        """Switch it off."""
        if self._nspawn is not None:
            if self._leader:
                with suppress(ProcessLookupError):
                    os.kill(self._leader, signal.SIGRTMIN + 4)  # systemd(1): power off
            try:
                self._nspawn.wait(60 if self._leader else 0)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        subprocess.run(["umount", "--lazy", self.root], check=True, timeout=30)

    def boot(self, *options: str) -> None:
        """Start its systemd; it shares our network."""
        log = (self.layer.parent / "console.log").open("wb")
        with log:
            self._nspawn = subprocess.Popen(
                [
                    *_NSPAWN,
                    f"--machine={self._name}",
                    "--boot",
                    "--console=read-only",
                    *options,
                    "-D",
                    self.root,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")

        def leader() -> int:
            """Find the machine's first process; before it, nspawn has others."""
            for pid in children.read_text().split():
                with suppress(FileNotFoundError):
                    if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                        return int(pid)
            return 0

        self._leader = wait_for("systemd starts", leader, timeout=60)

        def is_up() -> bool:
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            return state in {"running", "degraded"}

        wait_for("the machine is up", is_up, timeout=180, interval=0.5)

    def run(
        self, *command: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on it, switched on or off."""
        way: Sequence[str] = (
            *_NSPAWN,
            f"--machine={self._name}",
            "--pipe",
            "-D",
            str(self.root),
        )
        if self._leader:
            way = ("nsenter", "--target", str(self._leader), "--mount", "--uts", "--ipc", "--pid", "--")
        environment = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive")
        done = subprocess.run(
            [*way, *environment, *command],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            input=stdin,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done

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

    def files(self) -> set[str]:
        """List what is on its disk, but for what dpkg, apt and the log keep."""
        found = set()
        for place, directories, names in os.walk(self.root):
            here = Path(place).relative_to(self.root)
            directories[:] = [d for d in directories if str(here / d) not in _UNCOUNTED]
            found.update(str(here / name) for name in (*directories, *names))
        return found


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.exit("tests/packaging makes machines out of chroots: run it as root", returncode=4)


@pytest.fixture
def bed() -> Iterator[TestBed]:
    """Run a test bed where the unit's sandbox can see it: not below /tmp."""
    directory = Path(tempfile.mkdtemp(prefix="esagent-", dir="/srv"))
    try:
        with TestBed(directory, speed=120) as bed:
            yield bed
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def package() -> Path:
    """Return the package that `make deb` has made."""
    (found,) = (ROOT / "build" / "deb").glob("*.deb")
    return found


@pytest.fixture(scope="session")
def older_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same package as if it were an older one."""
    directory = tmp_path_factory.mktemp("older")
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True, timeout=120)
    control = tree / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 0.0~before+"))
    with (tree / "etc/esagent/agent.conf").open("a") as conf:
        conf.write("# of an older release\n")
    older = directory / "older.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, older], check=True, timeout=120, capture_output=True)
    return older


@pytest.fixture(scope="session")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package on a clean machine; return the layer that it is in."""
    machine = Machine(tmp_path_factory.mktemp("installed"), CHROOT)
    try:
        machine.install(package)
    finally:
        machine.close()
    return machine.layer


@pytest.fixture
def machine_on(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Make a machine over these layers, or over the clean chroot alone."""
    with ExitStack() as stack:

        def make(*layers: Path) -> Machine:
            machine = Machine(tmp_path / "machine", *layers, CHROOT)
            stack.callback(machine.close)
            return machine

        yield make
