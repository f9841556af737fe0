"""A person follows docs/install.md on a clean machine, word by word, either way, up to the end of it all."""

from __future__ import annotations

import json
import re
import shutil
import socket
import textwrap
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from agent.cli.files import PLACES
from testbed.nspawn import CleanMachine
from testbed.up import TestBed
from testbed.waiting import wait_for
from tests.packaging.conftest import SITE

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "install.md").read_text().partition("\n## Other systems\n")[0]
CLONE = "/root/esagent"
_PIECES = re.compile(
    r'^#+ (?P<heading>[^\n]*)$|^\?\?\? note "(?P<note>[^\n]*)"$'
    r"|^(?P<indent> *)```sh\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
NOT_CLONED = (".git", ".venv", "build", "__pycache__", ".*_cache", ".hypothesis")
SLURM_CONF = """\
ClusterName=site
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=slurm
StateSaveLocation=/var/lib/slurm/slurmctld
ProctrackType=proctrack/linuxproc
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[2]}
NodeName=n1 NodeAddr=127.0.0.1 CPUs=2
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
DbdHost=localhost
DbdPort={ports[2]}
SlurmUser=slurm
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm_acct_db
"""
DATABASE = """
CREATE DATABASE slurm_acct_db;
CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
"""
PACKAGE = frozenset({"Without Debian packages", "With slurmdbd"})
"""What is left out by whoever installs the package, and has no slurmdbd."""
PLAIN = frozenset({"The package", "Without slurmdbd", "Purge the package"})
"""What is left out by whoever does neither."""
DROP_IN = "etc/systemd/system/esagent.service.d/user.conf"


@dataclass(frozen=True)
class Block:
    """Commands that the document has its reader run, in order, and what they stand under."""

    title: str
    commands: tuple[str, ...]


def blocks() -> list[Block]:
    """Find each block of commands, under its heading or in its note."""
    found, heading, note = [], "", ""
    for piece in _PIECES.finditer(DOCUMENT):
        heading, note = piece["heading"] or heading, piece["note"] or note
        if piece["text"]:
            commands = tuple(textwrap.dedent(piece["text"]).splitlines())
            found.append(Block(note if piece["indent"] else heading, commands))
    return found


def commands(leave_out: frozenset[str]) -> list[str]:
    """List the commands of one way through the document; the package itself is made beforehand."""
    way = [c for block in blocks() if block.title not in leave_out for c in block.commands]
    return [command for command in way if command != "make deb"]


def follow(machine: CleanMachine, command: str) -> None:
    """Type a command of the document, as root whose files nobody else may read."""
    machine.run("sh", "-c", f"umask 077\n{command}", directory=CLONE)


def put_in_place(bed: TestBed, etc: Path) -> None:
    """Bring what the reader has: Cloudlab's files, under the document's names, for root alone."""
    files = {
        "cloudlab.pem": bed.bedfile.user_pem,
        "passphrase": bed.bedfile.passphrase_file,
        "cloudlab-ca.pem": bed.bedfile.ca_bundle,
        "callers-ca.pem": bed.bedfile.callback.ca,
    }
    for name, source in files.items():
        shutil.copyfile(source, etc / name)
        (etc / name).chmod(0o600)


def settings(bed: TestBed) -> str:
    """Fill agent.conf in: the test bed's values, and the document's files."""
    conf = bed.bedfile.agent_conf
    assert conf is not None
    text = conf.read_text()
    for ours, documents in {
        bed.bedfile.user_pem: "/etc/esagent/cloudlab.pem",
        bed.bedfile.passphrase_file: "/etc/esagent/passphrase",
        bed.bedfile.ca_bundle: "/etc/esagent/cloudlab-ca.pem",
        bed.bedfile.callback.ca: "/etc/esagent/callers-ca.pem",
        bed.bedfile.callback.cert: "/etc/esagent/callback.pem",
        bed.bedfile.callback.key: "/etc/esagent/callback.key",
        bed.bedfile.ssh_key: "/etc/esagent/id_ed25519",
        conf.parent / "admin.sock": "/run/esagent/admin.sock",
        conf.parent: "/var/lib/esagent",
    }.items():
        text = text.replace(str(ours), documents)
    # The machine has Slurm's commands itself, of the bed's release.
    text = re.sub(r"(?m)^bin_dir = .*\n", "", text)
    keys = 'ssh_keys = ["/etc/esagent/id_ed25519.pub"]'
    return text.replace('slice = "elastic"', f'slice = "elastic"\n{keys}')


def test_each_block_is_on_one_of_the_two_ways() -> None:
    titles = {block.title for block in blocks()}
    assert titles >= PACKAGE | PLAIN
    assert not PACKAGE & PLAIN


def test_the_words_are_enough_with_the_package_and_without_slurmdbd(
    package: Path, machine_on: Callable[..., CleanMachine], bed: TestBed
) -> None:
    machine = machine_on()
    machine.prepare_apt()
    build = machine.root / CLONE.lstrip("/") / "build" / "deb"
    build.mkdir(parents=True)
    shutil.copy(package, build)
    machine.run("sh", "-c", "getent passwd slurm || useradd --system slurm")
    machine.boot(f"--bind={bed.directory}")
    etc = machine.root / "etc/esagent"

    for command in commands(PACKAGE):
        if command.startswith("ssh-keygen"):
            put_in_place(bed, etc)
        if command == "esagent check --offline":
            (etc / "agent.conf").write_text(settings(bed))
            assert faults(machine, "esagent", "--offline") == []
        if command == "esagent check":
            assert faults(machine, "slurm", "--offline") == []
            be_slurm_user_of_the_bed(machine)
        if command.startswith("esagent teardown"):
            blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
            bed.slurm.wait_for_job(blocker, "RUNNING")
            job = bed.slurm.submit("true", "--cpus-per-task=2", "--time=30")
            bed.slurm.wait_for_job(job, "COMPLETED")
        follow(machine, command)
        if command.startswith("esagent teardown"):
            wait_for(
                "all is given back",
                lambda: not any(m.slice_urn for m in bed.cloudlab.machines()),
                timeout=120,
            )

    assert machine.without_owner() == []
    assert not (machine.root / DROP_IN).parent.exists()


def test_the_words_are_enough_without_the_package_and_with_slurmdbd(
    machine_on: Callable[..., CleanMachine], bed: TestBed
) -> None:
    machine = machine_on(chroot=SITE)
    shutil.copytree(ROOT, machine.root / CLONE.lstrip("/"), ignore=shutil.ignore_patterns(*NOT_CLONED))
    machine.run("chmod", "-R", "go-rwx", CLONE)
    machine.trust()
    keep_mariadb_off_the_network(machine.root / "etc")
    machine.boot()
    start_slurm(machine)
    etc = machine.root / "etc/esagent"
    seen = []

    for command in commands(PLAIN):
        if command.startswith("ssh-keygen"):
            put_in_place(bed, etc)
        if command == "esagent check --offline":
            own = f'conf = "{bed.bedfile.slurm_conf}"\n'
            (etc / "agent.conf").write_text(settings(bed).replace(own, ""))
            assert faults(machine, "esagent", "--offline") == []
            assert what_came_along(machine) == PLACES.keys()
        if command.startswith("sacctmgr -i add account"):
            assert "rights in Slurm" in faults(machine, "esagent")
        if command.startswith("esagent teardown"):
            seen.append(machine.run("systemctl", "is-active", "esagent").stdout)
            assert faults(machine, "esagent") == []
        follow(machine, command)
        if command.startswith("sacctmgr -i add user"):
            assert "rights in Slurm" not in faults(machine, "esagent")

    assert seen == ["active\n"]
    assert machine.without_owner() == []
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/esagent/cloudlab.pem").stdout == "root:root 600\n"
    assert machine.run("find", "/usr/local", "-name", "*esagent*", "-o", "-name", "agent.conf*").stdout == ""
    assert machine.run("sh", "-c", "command -v esagent", check=False).returncode != 0


def start_slurm(machine: CleanMachine) -> None:
    """Start a site's Slurm with accounting, set up as the document says."""
    (lines,) = re.findall(r"(?ms)^```ini\n(.*?)^```$", DOCUMENT)
    ports = free_ports(3)
    host = machine.run("hostname").stdout.strip()
    etc = machine.root / "etc/slurm"
    etc.mkdir(exist_ok=True)
    dbd = etc / "slurmdbd.conf"
    dbd.touch(mode=0o600)
    dbd.write_text(SLURMDBD_CONF.format(ports=ports))
    (etc / "slurm.conf").write_text(SLURM_CONF.format(host=host, ports=ports) + lines)
    machine.run("chown", "slurm:", "/etc/slurm/slurmdbd.conf")
    machine.run("mariadb", "--execute", DATABASE)
    machine.run("systemctl", "restart", "slurmdbd")
    clusters = ("sacctmgr", "--noheader", "show", "cluster")
    wait_for("slurmdbd", lambda: machine.run(*clusters, check=False).returncode == 0, interval=0.5)
    machine.run("systemctl", "restart", "slurmctld")
    wait_for("slurmctld", lambda: " UP" in machine.run("scontrol", "ping", check=False).stdout, interval=0.5)
    wait_for("the cluster in the accounts", lambda: "site" in machine.run(*clusters).stdout, interval=0.5)


def keep_mariadb_off_the_network(etc: Path) -> None:
    """Leave it its unix socket; the machine has our network."""
    (etc / "mysql/mariadb.conf.d/99-local.cnf").write_text("[mysqld]\nskip-networking\n")
    (etc / "systemd/system/mariadb.socket").symlink_to("/dev/null")


def free_ports(count: int) -> list[int]:
    """Find TCP ports of this machine that nobody listens on."""
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def be_slurm_user_of_the_bed(machine: CleanMachine) -> None:
    """Run the daemon as root, which is what the test bed's SlurmUser is."""
    drop_in = machine.root / DROP_IN
    drop_in.write_text(drop_in.read_text().replace("slurm", "root"))
    machine.run("chown", "-R", "root", "/etc/esagent")
    machine.run("systemctl", "daemon-reload")


def faults(machine: CleanMachine, user: str, *options: str) -> list[str]:
    """List what keeps the daemon from its work, which its user and root see alike."""

    def seen(*caller: str) -> list[str]:
        looked = machine.run(*caller, "esagent", "check", "--json", *options, check=False)
        return [f["subject"] for f in json.loads(looked.stdout)["findings"] if f["grade"] == "fault"]

    assert seen() == seen("runuser", "-u", user, "--")
    return seen()


def what_came_along(machine: CleanMachine) -> set[str]:
    """Tell what any user finds and may read, where the document has it put too."""
    shared = "/usr/local/share"
    answer = json.loads(machine.run("runuser", "-u", "nobody", "--", "esagent", "files", "--json").stdout)
    found = {record["what"]: record["path"] for record in answer["files"]}
    linked = ("man/man1/esagent.1", "man/man5/agent.conf.5", "bash-completion/completions/esagent")
    for path in (*found.values(), *(f"{shared}/{place}" for place in linked)):
        machine.run("runuser", "-u", "nobody", "--", "test", "-r", path)
    machine.run("runuser", "-u", "nobody", "--", f"{found['slurm-plugin']}/install.sh", "--help")
    return set(found)
