"""A real Slurm of its own: munged, slurmctld, slurmrestd and one permanent node, in a private directory.

It shares nothing with another Slurm on the machine: configuration, munge key and socket, state, logs and
ports are its own, and every command is told so by ``SLURM_CONF``.
"""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testbed.accounting import Accounting
from testbed.cloudlab.room import Boot
from testbed.machines import Machines
from testbed.registry import BedError, Instance
from testbed.release import Release
from testbed.slurmconf import slurm_conf
from testbed.slurmrestd import as_root, rest_plugins
from testbed.starting import Logs, wait_until_ready
from testbed.tree import OWN_PROCESSES, PATH, ProcessTree
from testbed.waiting import PATIENCE, wait_for

PERMANENT_NODE = "n1"
BACKUP_HEAD = "head2"
"""The machine of the second slurmctld, where there is one."""
_STOP_TIMEOUT = 60.0

# A munged takes a credential once. A job over several nodes shows the same one to each slurmd, so every
# machine needs its own, like a real one; it is where the cluster's is for the others.
_MUNGED_OF_A_MACHINE = """
munged --force --key-file={directory}/munge.key --socket=/run/munge.socket --pid-file=/run/munged.pid \\
    --seed-file=/run/munged.seed --log-file=/var/spool/munged.log
mount --bind /run/munge.socket {directory}/munge.socket
"""


class SlurmCluster:
    """The cluster; off until ``start``.

    Attributes:
        conf: path of slurm.conf.
        environment: what a Slurm command needs to find this cluster, and no other.
        bin_dir: directory of Slurm's commands in this cluster's release; None when it is the machine's own.
        rest_socket: path of slurmrestd's unix socket; it acts as root for root.
        release: which Slurm it is.
    """

    def __init__(
        self,
        directory: Path,
        instance: Instance,
        machines: Machines,
        ports: tuple[int, int],
        release: Release,
        *,
        backup: bool = False,
        accounting: tuple[int, int] | None = None,
    ) -> None:
        """Describe a cluster.

        Args:
            directory: for all its files; ``start`` empties it.
            instance: the test bed that it belongs to.
            machines: where the permanent node is.
            ports: TCP ports for slurmctld, and for slurmd on every machine.
            release: which Slurm; the machines have to be of the same.
            backup: a second slurmctld waits on the machine ``BACKUP_HEAD``.
            accounting: TCP ports for slurmdbd and its database; None for no accounting.
        """
        self.directory = directory
        self.conf = directory / "slurm.conf"
        self.rest_socket = directory / "slurmrestd.socket"
        self.environment: Mapping[str, str] = {"SLURM_CONF": str(self.conf)}
        self.bin_dir = None if release.is_own else directory / "bin"
        self.release = release
        self._instance = instance
        self._machines = machines
        self._ports = ports
        self._backup = backup
        munge = directory / "munge.socket"
        self._accounting = Accounting(directory, instance, accounting, munge) if accounting else None
        self._munged: ProcessTree | None = None
        self._slurmctld: ProcessTree | None = None
        self._slurmrestd: ProcessTree | None = None

    def start(self) -> None:
        """Start everything; return when the permanent node is idle and slurmrestd listens.

        Raises:
            BedError: a program ends; its last error, and the log that holds it, are in the message.
            NotInTimeError: a part is not ready in time; likewise.
            RoomError: the permanent node does not boot.
        """
        self._write_files()
        self._munged = self._daemon(
            "munged",
            "--foreground",
            # The directory may be below one that others cannot enter, which munged takes for a mistake.
            "--force",
            f"--key-file={self.directory}/munge.key",
            f"--socket={self.directory}/munge.socket",
            f"--pid-file={self.directory}/munged.pid",
            f"--seed-file={self.directory}/munged.seed",
        )
        self._munged.wait_until_ready((self.directory / "munge.socket").exists)
        self._machines.run_at_boot(_MUNGED_OF_A_MACHINE.format(directory=shlex.quote(str(self.directory))))
        if self._accounting is not None:
            self._accounting.start(self.environment)
        self.start_slurmctld()
        if self._backup:
            self._start_backup()
        self._slurmrestd = self._daemon(
            "slurmrestd",
            *("-a", "rest_auth/local"),
            *rest_plugins(self.release),
            f"unix:{self.rest_socket}",
            through=as_root(self.release),
            # It turns clients away whose process it cannot see; it starts no processes of its own.
            namespaces=("--mount",),
        )
        self.start_permanent_node()
        self._slurmrestd.wait_until_ready(self._rest_answers)

    def stop(self) -> None:
        """End everything at once; the directory stays, with the logs. Doing so again is harmless."""
        self._machines.power_off(PERMANENT_NODE)
        if self._backup:
            self._machines.power_off(BACKUP_HEAD)
        for tree in (self._slurmrestd, self._slurmctld, self._munged):
            if tree is not None:
                tree.close()
        self._slurmrestd = self._slurmctld = self._munged = None
        if self._accounting is not None:
            self._accounting.stop()

    def start_slurmctld(self) -> None:
        """Start slurmctld with the state that it saved; return when it answers."""
        own_log = self.directory / "slurmctld.log"
        self._slurmctld = self._daemon("slurmctld", "-D", own_log=own_log)
        self._slurmctld.wait_until_ready(self._answers)

    def stop_slurmctld(self) -> None:
        """End slurmctld in an orderly way: it saves its state. Nothing when it is off.

        Raises:
            NotInTimeError: it does not end.
        """
        if self._slurmctld is not None:
            self._slurmctld.send(signal.SIGCONT)
            self._slurmctld.send(signal.SIGTERM)
            self._slurmctld.wait(_STOP_TIMEOUT)
            self._slurmctld.close()
            self._slurmctld = None

    def restart_slurmctld(self) -> None:
        """Stop slurmctld in an orderly way and start it again; return when it answers."""
        self.stop_slurmctld()
        self.start_slurmctld()

    def kill_slurmctld(self) -> None:
        """End slurmctld at once, as when its machine fails: it saves nothing, and tells nobody."""
        if self._slurmctld is not None:
            self._slurmctld.close()
            self._slurmctld = None

    def hang_slurmctld(self) -> None:
        """Stop slurmctld in its tracks (SIGSTOP): it accepts connections and never answers."""
        if self._slurmctld is not None:
            self._slurmctld.send(signal.SIGSTOP)

    def resume_slurmctld(self) -> None:
        """Let a slurmctld that was made to hang go on (SIGCONT)."""
        if self._slurmctld is not None:
            self._slurmctld.send(signal.SIGCONT)

    def start_permanent_node(self) -> None:
        """Boot the permanent node afresh, with its slurmd; return when it is idle."""
        boot = Boot(
            client_id=PERMANENT_NODE, host_name=PERMANENT_NODE, users=(), authorized_keys=(), fresh=False
        )
        self._machines.power_on(PERMANENT_NODE, boot)
        log = self.directory / f"slurmd-{PERMANENT_NODE}.log"
        self._start_on(PERMANENT_NODE, f"slurmd -N {PERMANENT_NODE}", log, self._is_permanent_node_idle)

    def _is_permanent_node_idle(self) -> bool:
        return self.node_state(PERMANENT_NODE) == frozenset({"IDLE"})

    def _start_backup(self) -> None:
        """Boot the second head node, with its slurmctld; return when it waits to take over."""
        boot = Boot(client_id=BACKUP_HEAD, host_name=BACKUP_HEAD, users=(), authorized_keys=(), fresh=True)
        self._machines.power_on(BACKUP_HEAD, boot)
        # Of the two that share the settings, one alone may write this log.
        log = self.directory / f"slurmctld-{BACKUP_HEAD}.log"
        self._start_on(
            BACKUP_HEAD,
            f"slurmctld -L {log}",
            log,
            lambda: self.run("scontrol", "ping").count(" is UP") == 2,
        )

    def _start_on(self, node: str, daemon: str, own_log: Path, is_ready: Callable[[], bool]) -> None:
        """Start one of Slurm's daemons on a machine that is on; return when it is ready."""
        logs = Logs(own_log, self._machines.machine(node).log)
        program = daemon.partition(" ")[0]
        name = f"{program} on {node}"
        status = self._machines.run(node, f"SLURM_CONF={self.conf} {daemon}", timeout=PATIENCE)
        if status != 0:
            raise BedError(f"{name} ended with status {status}; {logs.last_words()}")

        def look() -> bool:
            # A newer slurmd goes to the background before it looks at what it needs.
            if self._machines.run(node, f"pgrep -x {program} >/dev/null", timeout=PATIENCE) != 0:
                raise BedError(f"{name} ended; {logs.last_words()}")
            return is_ready()

        wait_until_ready(name, None, logs, look)

    def run(self, *command: str, timeout: float = PATIENCE) -> str:
        """Run a Slurm command against this cluster and return what it prints.

        Raises:
            BedError: it failed; its own words are in the message, or why slurmctld has ended.
            subprocess.TimeoutExpired: it did not end in ``timeout`` seconds.
        """
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            cwd=self.directory,
            env={"PATH": self._path, "LANG": "C.UTF-8", **self.environment},
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=timeout,
        )
        if done.returncode != 0:
            if self._slurmctld is not None:
                self._slurmctld.require_alive()
            words = (done.stderr or done.stdout).strip()
            raise BedError(f"{' '.join(command)}: status {done.returncode}: {words}")
        return done.stdout

    def submit(self, script: str, *options: str) -> int:
        """Submit a batch job and return its id.

        Args:
            script: shell commands; the job's output goes to ``job-ID.out`` in the cluster's directory.
            options: of sbatch(1), such as ``--time=5``.
        """
        output = f"--output={self.directory}/job-%j.out"
        return int(self.run("sbatch", "--parsable", output, *options, f"--wrap={script}"))

    def job_state(self, job: int) -> str:
        """Return a job's state as scontrol(1) shows it, such as ``RUNNING``."""
        return _field(self.run("scontrol", "-o", "show", "job", str(job)), "JobState")

    def job_nodes(self, job: int) -> str:
        """Return the node list of a job, such as ``n1``; "(null)" before it has started."""
        return _field(self.run("scontrol", "-o", "show", "job", str(job)), "NodeList")

    def wait_for_job(self, job: int, *states: str, timeout: float = PATIENCE) -> str:
        """Wait until a job is in one of the states, and return it.

        Raises:
            NotInTimeError: it is in none of them by then.
        """

        def look() -> str:
            state = self.job_state(job)
            return state if state in states else ""

        return wait_for(f"job {job} {' or '.join(states)}", look, timeout=timeout)

    def wait_until_idle(self, timeout: float = PATIENCE) -> None:
        """Wait until no job is pending, running or completing."""
        wait_for("an empty queue", lambda: not self.run("squeue", "-h").strip(), timeout=timeout)

    def nodes(self) -> dict[str, frozenset[str]]:
        """Return every node's state as scontrol(1) shows it: ``{"n1": {"IDLE", "DRAIN"}}``."""
        listing = self.run("scontrol", "-o", "show", "nodes").splitlines()
        nodes = [line for line in listing if line.startswith("NodeName=")]
        return {_field(line, "NodeName"): frozenset(_field(line, "State").split("+")) for line in nodes}

    def node_state(self, name: str) -> frozenset[str]:
        """Return a node's state and flags; empty when there is no such node."""
        return self.nodes().get(name, frozenset())

    def wait_for_node(self, name: str, *states: str, timeout: float = PATIENCE) -> frozenset[str]:
        """Wait until a node's state holds all of the given words, and return it."""

        def look() -> frozenset[str]:
            state = self.node_state(name)
            return state if state.issuperset(states) else frozenset()

        return wait_for(f"node {name} {' '.join(states)}", look, timeout=timeout)

    def wait_until_usable(self, timeout: float = PATIENCE) -> None:
        """Wait until every node is idle and answers: after a drain, Slurm wants to hear of it before."""
        wait_for(
            "all nodes idle",
            lambda: all(state - {"DYNAMIC_NORM"} == {"IDLE"} for state in self.nodes().values()),
            timeout=timeout,
        )

    @property
    def _path(self) -> str:
        return PATH if self.bin_dir is None else f"{self.bin_dir}:{PATH}"

    def _daemon(
        self,
        program: str,
        *arguments: str,
        own_log: Path | None = None,
        through: Sequence[str] = (),
        namespaces: Sequence[str] = OWN_PROCESSES,
    ) -> ProcessTree:
        return ProcessTree(
            program,
            self.release.inside(self._machines.knowing_them([*through, program, *arguments])),
            instance=self._instance,
            log=self.directory / f"{program}.out",
            own_log=own_log,
            environment=self.environment,
            namespaces=namespaces,
        )

    def _answers(self) -> bool:
        try:
            return " is UP" in self.run("scontrol", "ping")
        except (BedError, subprocess.TimeoutExpired):
            return False

    def _rest_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            return connection.connect_ex(str(self.rest_socket)) == 0

    def _write_files(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "state").mkdir(parents=True)
        key = self.directory / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(64))
        self.conf.write_text(
            slurm_conf(
                self.directory,
                head=(socket.gethostname().partition(".")[0], self._instance.address),
                ports=self._ports,
                node=(PERMANENT_NODE, self._machines.address(PERMANENT_NODE)),
                backup=(BACKUP_HEAD, self._machines.address(BACKUP_HEAD)) if self._backup else None,
            )
            + (self._accounting.slurm_conf if self._accounting else "")
        )
        # The machines have no cgroup tree, and nothing here uses one; slurmd looks for one all the same.
        plugin = "cgroup/v1" if self.release.number < (23, 11) else "disabled"
        (self.directory / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
        if self.bin_dir is not None:
            self.release.write_commands(self.bin_dir)


def _field(record: str, name: str) -> str:
    """Find a field in a line of ``scontrol -o``."""
    found = re.search(rf"(?:^|\s){name}=(\S+)", record)
    if found is None:
        raise BedError(f"scontrol shows no {name}: {record[:200]!r}")
    return found[1]
