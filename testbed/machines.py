"""Machines: each a set of namespaces with its own host name, address, processes and sshd.

A machine shares the host's file system, but for ``/run``, ``/var/spool``, ``/var/tmp``, the accounts and the
name service. It has no cgroup tree, so that nothing that a slurmd does reaches the host's. It sees the
bridge's network and nothing else, but for the LANs of its slice. Everything that it runs ends with it.
"""

from __future__ import annotations

import pwd
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.cloudlab.room import Boot, Card, RoomError
from testbed.links import delete_link, ip
from testbed.registry import BedError, Instance
from testbed.release import Release
from testbed.tree import OWN_PROCESSES, PATH, ProcessTree
from testbed.waiting import NotInTimeError

_KEYGEN_TIMEOUT = 20.0
_LAST_BREATH = 2.0
"""Seconds for the end of a machine to be seen, once its first process is gone."""
_FIRST_NUMBER = 2
_LAST_NUMBER = 254
_FAREWELL = Path("spool/slurmd/farewell")

# An empty resolv.conf and a full hosts file: Slurm's daemons would wait ten seconds for a name server that is
# out of reach, and slurmctld asks it about whoever connects.
_NAMES = """
mount --bind {room}/hosts /etc/hosts
if [ -e /etc/resolv.conf ]; then mount --bind {room}/resolv.conf /etc/resolv.conf; fi
"""

# Process 1 of a machine. It has to reap what daemons leave, which `wait` does. The tmpfs over the cgroup tree
# keeps slurmd from the host's, and from the host's systemd.
_INIT = """
set -e
hostname "$1"
mount --bind "$2/passwd" /etc/passwd
mount --bind "$2/shadow" /etc/shadow
mount --bind "$2/spool" /var/spool
for place in /run /sys/fs/cgroup; do mount -t tmpfs -o mode=755 "$1" "$place"; done
mount -t tmpfs -o mode=1777 "$1" /var/tmp
. "$3/boot.sh"
mkdir /run/sshd
/usr/sbin/sshd -D -e -f "$2/sshd_config" &
wait
"""

_SSHD_CONFIG = """\
HostKey {directory}/ssh_host_ed25519_key
AuthorizedKeysFile {directory}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
"""


@contextmanager
def _as_room_error(what: str) -> Iterator[None]:
    try:
        yield
    except (BedError, NotInTimeError, OSError, subprocess.SubprocessError) as error:
        raise RoomError(f"{what}: {error}") from error


class Machine:
    """One machine, on or off. Its methods may be called from several threads and raise ``RoomError``."""

    def __init__(
        self,
        name: str,
        number: int,
        instance: Instance,
        room: Path,
        release: Release,
        closing: threading.Event,
        lan: Callable[[str], str],
    ) -> None:
        """Describe a machine; it is off.

        Args:
            name: what it is called on this computer, and its host name.
            number: 2 to 254; its address and its cable derive from it.
            instance: the test bed that it belongs to.
            room: the directory of all machines; it keeps its own files in one below.
            release: which Slurm it has installed.
            closing: set when no machine is to come up any more.
            lan: returns the bridge of a LAN.
        """
        self.name = name
        self.address = instance.address_of(number)
        self._instance = instance
        self._links = [instance.link_of(number)]
        self._number = number
        self._lan = lan
        # The same hardware address at every boot: the host and the other machines remember it.
        self._mac = "02:e5:" + ":".join(f"{int(part):02x}" for part in self.address.split("."))
        self._room = room
        self._release = release
        self._closing = closing
        self._directory = room / name
        self.log = room / f"{name}.log"
        """What it says at its boot, its sshd, and the commands that are run in it."""
        self._tree: ProcessTree | None = None
        self._lock = threading.Lock()

    def power_on(self, boot: Boot) -> None:
        """Boot it, from a clean start if it was on; return when its sshd answers."""
        with self._lock, _as_room_error(f"power on {self.name}"):
            self._end()
            self._write_files(boot)
            tree = self._tree = ProcessTree(
                f"machine {self.name}",
                self._release.inside(
                    ["sh", "-c", _INIT, "init", self.name, str(self._directory), str(self._room)]
                ),
                instance=self._instance,
                log=self.log,
                namespaces=[*OWN_PROCESSES, "--net", "--uts", "--ipc"],
            )
            try:
                self._connect(tree.pid)
                self._plug_in(boot.cards, tree.pid)
            except BedError:
                # It may have ended; then what is wrong is in its log.
                with suppress(NotInTimeError):
                    tree.wait(_LAST_BREATH)
                tree.require_alive()
                raise
            tree.wait_until_ready(self._greets)

    def power_off(self) -> None:
        """End everything in it at once, and unplug it; nothing when it is off."""
        with self._lock, _as_room_error(f"power off {self.name}"):
            self._end()

    def is_on(self) -> bool:
        """Tell whether it runs."""
        tree = self._tree
        return tree is not None and tree.is_alive()

    def run(self, command: str, timeout: float) -> int:
        """Run a shell command in it as root; its output goes to the machine's log.

        Returns:
            Its exit status; 124 when ``timeout`` (seconds) passed and it was killed.
        """
        tree = self._tree
        if tree is None or not tree.is_alive():
            raise RoomError(f"{self.name} is off: it cannot run {command!r}")
        inside = ["timeout", "--kill-after=2", f"{timeout:g}", "sh", "-c", command]
        with _as_room_error(f"run on {self.name}"), self.log.open("ab") as log:
            return subprocess.run(
                [*self._enter(tree), *inside],
                env={"PATH": PATH, "LANG": "C.UTF-8", "HOME": str(self._directory / "home")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                check=False,
                timeout=timeout + 10,
            ).returncode

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs the given one in it; what that starts ends with the machine."""
        tree = self._tree
        if tree is None:
            raise RoomError(f"{self.name} is off: it cannot run {shlex.join(command)}")
        return [*self._enter(tree), *command]

    @staticmethod
    def _enter(tree: ProcessTree) -> list[str]:
        # With its root too: in a chroot, that of the mount namespace is another.
        return ["nsenter", "--target", str(tree.pid), "--all", "--root", "--wd", "--"]

    def _end(self) -> None:
        if self._tree is None:
            return
        self._tree.close()
        self._tree = None
        for link in self._links:
            delete_link(link)
        # Else the host would send to the old hardware address for a while, instead of finding nobody there.
        ip("neighbour", "flush", "to", self.address, "dev", self._instance.bridge)

    def _connect(self, pid: int) -> None:
        ip(
            batch=[
                f"link add name {self._links[0]} type veth peer name eth0 address {self._mac} netns {pid}",
                f"link set dev {self._links[0]} master {self._instance.bridge} up",
            ]
        )
        ip(
            namespace_of=pid,
            batch=[f"address add {self.address}/24 dev eth0", "link set dev lo up", "link set dev eth0 up"],
        )

    def _plug_in(self, cards: Sequence[Card], pid: int) -> None:
        """Give it an interface in each LAN: eth1, eth2 and so on."""
        del self._links[1:]
        for number, card in enumerate(cards, start=1):
            link, inside = self._instance.card_of(self._number, number), f"eth{number}"
            self._links.append(link)
            ip(
                batch=[
                    f"link add name {link} type veth peer name {inside} address {card.mac} netns {pid}",
                    f"link set dev {link} master {self._lan(card.lan)} up",
                ]
            )
            ip(
                namespace_of=pid,
                batch=[f"address add {card.address} dev {inside}", f"link set dev {inside} up"],
            )

    def _greets(self) -> bool:
        if self._closing.is_set():
            raise BedError("the room is closing")
        try:
            with socket.create_connection((self.address, 22), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _write_files(self, boot: Boot) -> None:
        if boot.fresh:
            shutil.rmtree(self._directory, ignore_errors=True)
        home = self._directory / "home"
        for place in (home, self._directory / _FAREWELL.parent):
            place.mkdir(parents=True, exist_ok=True)
        key = self._directory / "ssh_host_ed25519_key"
        if not key.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key)],
                check=True,
                timeout=_KEYGEN_TIMEOUT,
                stdin=subprocess.DEVNULL,
            )
        (self._directory / "authorized_keys").write_text(
            "".join(f"{line}\n" for line in boot.authorized_keys)
        )
        (self._directory / "sshd_config").write_text(_SSHD_CONFIG.format(directory=self._directory))
        passwd, shadow = accounts(pwd.getpwall(), boot.users, home)
        (self._directory / "passwd").write_text(passwd)
        (self._directory / "shadow").touch(mode=0o600)
        (self._directory / "shadow").write_text(shadow)


def accounts(host: Sequence[pwd.struct_passwd], users: Sequence[str], home: Path) -> tuple[str, str]:
    """Make a machine's passwd(5) and shadow(5): the host's accounts, and the given ones with root's rights.

    Nobody has a password. Users of Cloudlab may become root with sudo, which the host may lack: here they are
    root by another name.
    """
    root = ["root", *(user for user in users if user != "root")]
    lines = [f"{name}:x:0:0::{home}:/bin/bash" for name in root]
    lines += [
        f"{entry.pw_name}:x:{entry.pw_uid}:{entry.pw_gid}:{entry.pw_gecos}:{entry.pw_dir}:{entry.pw_shell}"
        for entry in host
        if entry.pw_name not in root
    ]
    passwd = "".join(f"{line}\n" for line in lines)
    return passwd, "".join(f"{line.split(':')[0]}:*:19000:0:99999:7:::\n" for line in lines)


class Machines:
    """All machines of a test bed: the ``MachineRoom`` of the simulated Cloudlab."""

    def __init__(self, instance: Instance, directory: Path, release: Release) -> None:
        """Prepare the room; what an earlier run left in ``directory`` is removed."""
        self._instance = instance
        self._release = release
        self._directory = directory
        self._machines: dict[str, Machine] = {}
        self._lans: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        (directory / "resolv.conf").touch()
        (directory / "hosts").write_text(f"127.0.0.1 localhost\n{instance.address} {socket.gethostname()}\n")
        self._names = _NAMES.format(room=shlex.quote(str(directory)))
        self.run_at_boot("")

    def run_at_boot(self, script: str) -> None:
        """Let every machine that boots from now on run a shell script before it starts its sshd."""
        (self._directory / "boot.sh").write_text(f"{self._names}{script}")

    def knowing_them(self, command: Sequence[str]) -> list[str]:
        """Make a command know the machines' names, and no name server.

        The caller gives it a mount namespace, as unshare(1) does.
        """
        return ["sh", "-c", f'set -e\n{self._names}exec "$0" "$@"', *command]

    def machine(self, name: str) -> Machine:
        """Find a machine by name; a new name is a new machine, switched off.

        Raises:
            RoomError: the subnet is full.
        """
        with self._lock:
            machine = self._machines.get(name)
            if machine is None:
                number = _FIRST_NUMBER + len(self._machines)
                if number > _LAST_NUMBER:
                    raise RoomError(f"no address left for {name} in {self._instance.subnet}")
                machine = self._machines[name] = Machine(
                    name,
                    number,
                    self._instance,
                    self._directory,
                    self._release,
                    self._closing,
                    self.lan,
                )
                # Appended in place: machines that run have this very file mounted.
                with (self._directory / "hosts").open("a") as hosts:
                    hosts.write(f"{machine.address} {name}\n")
            return machine

    def lan(self, urn: str) -> str:
        """Return the bridge of a LAN, which is there from the first time that it is asked for."""
        with self._lock:
            if urn not in self._lans:
                bridge = self._instance.lan_of(len(self._lans) + 1)
                ip(batch=[f"link add name {bridge} type bridge", f"link set dev {bridge} up"])
                self._lans[urn] = bridge
            return self._lans[urn]

    def address(self, name: str) -> str:
        """Return the machine's IPv4 address, the same whenever it is on."""
        return self.machine(name).address

    def power_on(self, name: str, boot: Boot) -> None:
        """Boot a machine; return when its sshd answers."""
        self.machine(name).power_on(boot)

    def power_off(self, name: str) -> None:
        """End everything in a machine at once."""
        self.machine(name).power_off()

    def run(self, name: str, command: str, timeout: float) -> int:
        """Run a shell command in a machine as root; return its exit status."""
        return self.machine(name).run(command, timeout)

    def last_words(self, name: str) -> str:
        """Return what is in its ``/var/spool/slurmd/farewell``, also while it is off; "" if nothing."""
        try:
            return (self._directory / name / _FAREWELL).read_text()
        except FileNotFoundError:
            return ""

    def close(self) -> None:
        """Switch every machine off for good; calls that are under way end."""
        self._closing.set()
        with self._lock:
            machines = list(self._machines.values())
        for machine in machines:
            machine.power_off()
        for bridge in self._lans.values():
            delete_link(bridge)
