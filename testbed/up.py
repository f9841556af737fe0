"""The whole test bed: machines, Slurm and a simulated Cloudlab; a library, and ``python -m testbed up``."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from testbed.agentconf import write_agent_conf
from testbed.bedfile import BedFile, write_bed_file
from testbed.cloudlab import DEFAULT_SITES, Boot, SimulatedCloudlab, Site
from testbed.instance import Claim
from testbed.machines import Machines
from testbed.registry import Instance
from testbed.release import find_release
from testbed.slurm import SlurmCluster
from testbed.waiting import PATIENCE


class TestBed:
    """A Slurm cluster and a Cloudlab whose machines can join it. Use it as a context manager.

    Attributes, from the start on:
        directory: where all its files are.
        instance: its place on this machine.
        machines: all machines, those of Cloudlab and the permanent node.
        slurm: the cluster.
        cloudlab: slice authority, component managers, journal.
        bedfile: what clients need to know; also in ``directory/testbed.json``.
    """

    __test__ = False

    directory: Path
    instance: Instance
    machines: Machines
    slurm: SlurmCluster
    cloudlab: SimulatedCloudlab
    bedfile: BedFile

    def __init__(
        self,
        directory: Path,
        *,
        speed: float = 60.0,
        sites: Sequence[Site] = DEFAULT_SITES,
        slurm: Path | None = None,
        backup: bool = False,
    ) -> None:
        """Describe a test bed.

        Args:
            directory: for all its files; made if missing. What an earlier run left in it is replaced.
            speed: simulated seconds of Cloudlab per real second.
            sites: Cloudlab's CMs and their machines.
            slurm: directory of another release of Slurm, as ``find_release`` takes it.
            backup: there is a second head node, whose slurmctld takes over.
        """
        self._wanted = directory
        self._speed = speed
        self._sites = tuple(sites)
        self._wanted_slurm = slurm
        self._backup = backup
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; return when Slurm and Cloudlab take requests.

        Raises:
            BedError: a right or a program is missing, the directory cannot serve, a part ends.
            NotInTimeError: a part is not ready in time.
            RoomError: the permanent node does not boot.
            SteeringError: a simulated Cloudlab runs in the directory.
            OSError: a port or a file cannot be had.
        """
        with ExitStack() as parts:
            claim = parts.enter_context(Claim(self._wanted))
            self.instance = claim.instance
            self.directory = Path(self.instance.directory)
            # An agent's memory of machines and host keys that are no more.
            shutil.rmtree(self.directory / "agent", ignore_errors=True)
            # For slurmctld, slurmd, the agent's callback server, the SA and each CM.
            slurmctld, slurmd, callback, *cloudlab = claim.free_ports(4 + len(self._sites))
            log = parts.enter_context(_log_to(self.directory / "testbed.log"))
            release = find_release(self._wanted_slurm)
            self.machines = Machines(self.instance, self.directory / "machines", release)
            parts.callback(self.machines.close)
            self.slurm = SlurmCluster(
                self.directory / "slurm",
                self.instance,
                self.machines,
                (slurmctld, slurmd),
                release,
                backup=self._backup,
            )
            parts.callback(self.slurm.stop)
            self.slurm.start()
            self.cloudlab = SimulatedCloudlab(
                self.directory,
                speed=self._speed,
                sites=self._sites,
                room=self.machines,
                bind=self.instance.address,
                ports=cloudlab,
                callback_url=f"https://{self.instance.address}:{callback}/",
            )
            parts.enter_context(self.cloudlab)
            bedfile = dataclasses.replace(
                self.cloudlab.bed_file(),
                log=log,
                slurm_conf=self.slurm.conf,
                slurm_bin_dir=self.slurm.bin_dir,
            )
            self.bedfile = dataclasses.replace(bedfile, agent_conf=write_agent_conf(bedfile))
            write_bed_file(self.bedfile)
            self._parts = parts.pop_all()

    def stop(self) -> None:
        """End everything and leave nothing but the directory; doing so again is harmless."""
        self._parts.close()

    @property
    def agent_socket(self) -> Path:
        """Where an agent that runs with the test bed's agent.conf takes the administrator's commands."""
        return self.directory / "agent" / "admin.sock"

    def boot(self, client_id: str) -> Boot:
        """Describe the boot of a machine that only the test bed's own SSH key opens, as root."""
        return Boot(
            client_id=client_id,
            host_name=client_id,
            users=(),
            authorized_keys=(self.bedfile.ssh_key.with_suffix(".pub").read_text().strip(),),
            fresh=True,
        )

    def ssh(
        self, node_id: str, command: str, *, user: str = "root", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a machine as a user of Cloudlab would; status 255 is ssh's own failure."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "30",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        return subprocess.run(
            [
                *("ssh", "-F", "none", "-i", str(self.bedfile.ssh_key)),
                *(f"-o{name}={value}" for name, value in options.items()),
                *(f"{user}@{self.machines.address(node_id)}", command),
            ],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
        )


@contextmanager
def _log_to(path: Path) -> Iterator[Path]:
    """Write what the parts of the test bed log to a file."""
    handler = logging.FileHandler(path, mode="w")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    logger = logging.getLogger("testbed")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        handler.close()


_HOW_TO_USE = """\
The test bed is up; all its files are in {directory}.

Slurm {version}, one permanent node:
    export SLURM_CONF={slurm_conf}{path}
    sinfo; sbatch --wrap='sleep 60'

Start the agent, and ask it:
    export ESAGENT_CONFIG={agent_conf}
    esagent run
    esagent status

Be Cloudlab:
    {testbed} machines --dir {directory}
    {testbed} value pc100 0.9 --dir {directory}
    {testbed} revoke pc100 --in 120 --dir {directory}
    {testbed} journal --dir {directory}

Log in to a machine:
    ssh -i {ssh_key} root@ADDRESS

Logs: {log}, {directory}/slurm/*.log, {directory}/machines/*.log
Every call at Cloudlab: {journal}
Ctrl-C or SIGTERM ends it and removes everything but the files."""


def how_to_use(bed: TestBed) -> str:
    """Tell a person what to do with a running test bed."""
    return _HOW_TO_USE.format(
        directory=bed.directory,
        version=bed.slurm.release.version,
        slurm_conf=bed.slurm.conf,
        path="" if bed.slurm.bin_dir is None else f" PATH={bed.slurm.bin_dir}:$PATH",
        agent_conf=bed.bedfile.agent_conf,
        ssh_key=bed.bedfile.ssh_key,
        log=bed.bedfile.log,
        journal=bed.bedfile.journal,
        testbed=shlex.join([sys.executable, "-m", "testbed"]),
    )


def run(directory: Path, *, speed: float, slurm: Path | None) -> None:
    """Start a test bed, say how to use it, and keep it up until SIGTERM or SIGINT.

    Raises as ``TestBed.start``.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    bed = TestBed(directory, speed=speed, slurm=slurm)
    bed.start()
    try:
        print(how_to_use(bed), flush=True)
        ended.wait()
    finally:
        bed.stop()
