"""Jobs that end just as they are requeued: between the look at them and the requeue, on a real slurmctld."""

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import pytest

from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.rest.api import Deed
from agent.slurm.rest.backend import RestBackend
from agent.slurm.rest.transport import Reply, RestTransport, Sent
from agent.slurm.settings import SlurmSettings
from testbed.emptying import CountedCommands
from testbed.up import TestBed
from testbed.waiting import wait_for

pytestmark = pytest.mark.usefixtures("nodes_as_found")
NODES = ("pc900", "pc901")
KINDS = {
    "plain": ["--ntasks=1"],
    "array": ["--array=1-2", "--ntasks=1"],
    "heterogeneous": ["--ntasks=1", f"--nodelist={NODES[0]}", ":", "--ntasks=1", f"--nodelist={NODES[1]}"],
}


class LateTransport(RestTransport):
    """Has something happen right before a requeue is sent."""

    happens: Callable[[], object] = staticmethod(lambda: None)

    def call(self, method: str, path: str, **sent: Unpack[Sent]) -> Reply:
        if path.endswith("/requeue"):
            self.happens()
        return super().call(method, path, **sent)


class Jobs:
    """Jobs that run until they are let go."""

    def __init__(self, bed: TestBed, kind: str) -> None:
        self.bed = bed
        self.go = bed.slurm.directory / "go"
        self.go.unlink(missing_ok=True)
        script = f"while [ ! -e {self.go} ]; do sleep 0.1; done"
        output = f"--output={bed.slurm.directory}/late-%j.out"
        told = bed.slurm.run("sbatch", "--parsable", output, *KINDS[kind], f"--wrap={script}")
        self.number = told.strip()
        wait_for("all of them run", lambda: set(self.states("JobState")) == {"RUNNING"})
        self.ids = [f"{self.number}_1", f"{self.number}_2"] if kind == "array" else [self.number]

    def states(self, field: str) -> list[str]:
        record = self.bed.slurm.run("scontrol", "-o", "show", "job", self.number)
        return [word.partition("=")[2] for word in record.split() if word.startswith(f"{field}=")]

    def end(self) -> None:
        """Let them go, and wait until slurmctld knows that they are over."""
        self.go.touch()
        wait_for("their end", lambda: set(self.states("JobState")) == {"COMPLETED"})


def late_commands(bed: TestBed, jobs: Jobs, directory: Path) -> CliBackend:
    """Make a way in whose scontrol comes to a requeue when the jobs are over."""
    commands = CountedCommands(directory)
    script = directory / "scontrol"
    first, rest = script.read_text().split("\n", 1)
    waiting = (
        f"case $1 in requeue*) touch {jobs.go}; "
        f"while squeue -h -j {jobs.number} -o %T | grep -q .; do sleep 0.1; done;; esac"
    )
    script.write_text(f"{first}\n{waiting}\n{rest}")
    return CliBackend(SlurmSettings(conf=bed.slurm.conf, bin_dir=commands.directory), SystemClock())


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_ends_before_its_requeue_is_left_as_it_ended(
    bed: TestBed, tmp_path: Path, kind: str, hold: bool
) -> None:
    jobs = Jobs(bed, kind)
    refused = late_commands(bed, jobs, tmp_path).requeue_all(jobs.ids, hold=hold)
    assert sorted(refused) == jobs.ids
    for error in refused.values():
        assert "it ended by itself before" in str(error)
    assert set(jobs.states("JobState")) == {"COMPLETED"}
    assert set(jobs.states("Restarts")) == {"0"}


@pytest.mark.parametrize("kind", KINDS)
def test_so_it_is_through_slurmrestd(bed: TestBed, kind: str) -> None:
    settings = SlurmSettings(conf=bed.slurm.conf, rest_url=f"unix:{bed.slurm.rest_socket}")
    transport = LateTransport(settings)
    slurm = RestBackend(settings, SystemClock(), transport=transport)
    if any(str(Deed.REQUEUE) in told for told in slurm.shortcomings()):
        pytest.skip("slurmrestd of this release cannot requeue: Slurm's commands do it")
    jobs = Jobs(bed, kind)
    transport.happens = jobs.end
    refused = slurm.requeue_all(jobs.ids)
    assert sorted(refused) == jobs.ids
    assert set(jobs.states("JobState")) == {"COMPLETED"}
    assert set(jobs.states("Restarts")) == {"0"}
