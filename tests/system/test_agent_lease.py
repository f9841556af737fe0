"""Leases that end at a site of 2021, which calls nobody, while jobs run there, on a real Slurm."""

from __future__ import annotations

import itertools
import json
import re
import signal
import time
from collections.abc import Iterator

import pytest

from testbed.cloudlab import DEFAULT_SITES
from testbed.up import TestBed
from testbed.waiting import wait_for

OLD, QUIET = DEFAULT_SITES
"""The site of 2016, and the one that calls nobody."""
NINETY_DAYS = 90 * 86400.0
GOES_ON = 'if [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then sleep 600; else sleep 2; fi'
"""Stands for a program that goes on from its checkpoint: long at first, and short once it was requeued."""
FAST = {
    "[request]\n": "[request]\npercent_available_minimum = 0\n",
    'requeue_lead = "25s"': 'requeue_lead = "45s"',
    'kill_lead = "15s"': 'kill_lead = "20s"',
}


_slices = itertools.count(1)


class Quiet:
    """The site of 2021, and what others reserve there."""

    def __init__(self, bed: TestBed) -> None:
        self.bed = bed
        self.began = time.time()
        self._reserved: list[int] = []

    def lend_for(self, seconds: float) -> None:
        """Grant no longer leases from now on."""
        self.bed.cloudlab.rules.lifetime(QUIET.domain, seconds)

    def reserve(self, count: int) -> None:
        """Reserve machines for others from when our lease ends on, and grant leases of any length else."""
        self.lend_for(NINETY_DAYS)
        after, kind = self.left() + 1, QUIET.hardware_type
        made = self.bed.cloudlab.reserving.reserve(
            QUIET.domain, kind, count, after=after, seconds=86400, project="class", force=True
        )
        self._reserved.append(made)

    def cancel(self) -> None:
        """Let the others do without."""
        while self._reserved:
            self.bed.cloudlab.reserving.cancel(QUIET.domain, self._reserved.pop())

    def held(self) -> list[str]:
        """List the machines that are lent there."""
        return sorted(m.name for m in self.bed.cloudlab.machines() if m.slice_urn and m.cm == QUIET.urn)

    def left(self) -> float:
        """Tell in how many seconds its sliver ends."""
        _, ends = self.bed.cloudlab.expiry_moves()[f"CM {QUIET.domain}"]
        return ends.timestamp() - time.time()

    def ended(self) -> list[str]:
        """List how the loans of this test ended there."""
        loans = self.bed.cloudlab.journal.held(authority=QUIET.urn)
        return [loan.cause for loan in loans if loan.start >= self.began]


@pytest.fixture
def quiet(bed: TestBed) -> Iterator[Quiet]:
    """The site of 2021; afterwards nothing is reserved there."""
    quiet = Quiet(bed)
    yield quiet
    quiet.cancel()
    quiet.lend_for(NINETY_DAYS)


@pytest.fixture
def lent(agent, quiet: Quiet) -> tuple[str, int]:
    """A node that the quiet site lends for little more than a minute, and the job on it."""
    text = agent.conf.read_text()
    old, newer = re.findall(r"\n\[\[cloudlab\.cms\]\]\nurn = .*\nurl = .*\n", text)
    agent.conf.write_text(text.replace(newer, "").replace(old, newer + old))
    for before, after in FAST.items():
        agent.change(before, after)
    # What an earlier test left of its sliver ends with its lease.
    agent.change('slice = "elastic"', f'slice = "lease-{next(_slices)}"')
    quiet.lend_for(80)
    agent.start()
    node, job = agent.borrow(GOES_ON, "--cpus-per-task=2", "--time=30")
    assert quiet.held() == [node]
    return node, job


def goes_on(bed: TestBed, job: int) -> bool:
    """Tell whether a job runs, and has never been begun anew."""
    shown = bed.slurm.run("scontrol", "-o", "show", "job", str(job))
    return "JobState=RUNNING" in shown and "Restarts=0" in shown


def drained(bed: TestBed, node: str) -> bool:
    """Tell whether a node takes no jobs, since its lease ends."""
    return "esagent: its lease ends, due" in bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E")


def test_a_renewal_that_is_granted_after_all_leaves_the_job_where_it_is(
    agent, bed: TestBed, quiet: Quiet, lent: tuple[str, int]
) -> None:
    node, job = lent
    quiet.reserve(len(QUIET.machines))
    agent.ask("renew")
    wait_for("it drains", lambda: drained(bed, node))
    assert "no longer (reserved)" in agent.ask("plan").stdout
    assert "others have reserved machines" in agent.ask("status").stdout
    (drain,) = json.loads(agent.ask("drains", "--json").stdout)["drains"]
    assert (drain["node"], drain["cause"]) == (node, "lease")
    quiet.cancel()
    agent.ask("renew")
    wait_for("it serves again", lambda: "DRAIN" not in bed.slurm.node_state(node))
    assert goes_on(bed, job)
    assert quiet.left() > 300


def test_an_agent_that_is_killed_again_and_again_empties_the_machines_before_their_lease_ends(
    agent, bed: TestBed, quiet: Quiet, lent: tuple[str, int]
) -> None:
    node, job = lent
    quiet.reserve(len(QUIET.machines))
    # An agent that is killed while it asks for the job's next machine counts on that for a while.
    agent.ask("pause")
    agent.ask("renew")
    for stage, reached in (
        ("the renewal is refused", lambda: agent.told("Extension refused")),
        ("it drains", lambda: drained(bed, node)),
        ("the job is requeued", lambda: not goes_on(bed, job)),
    ):
        wait_for(stage, reached)
        agent.stop(signal.SIGKILL)
        agent.start()
    wait_for("it is given back", lambda: not quiet.held())
    assert quiet.ended() == ["DeleteSlice"]
    agent.ask("unpause")
    bed.slurm.wait_for_job(job, "COMPLETED")
    assert bed.slurm.job_nodes(job) in OLD.machines


def test_where_one_machine_too_many_is_held_one_goes_and_the_rest_is_renewed(
    agent, bed: TestBed, quiet: Quiet, lent: tuple[str, int]
) -> None:
    node, job = lent
    other = bed.slurm.submit(GOES_ON, "--cpus-per-task=2", "--time=30")
    bed.slurm.wait_for_job(other, "RUNNING")
    jobs = {node: job, bed.slurm.job_nodes(other): other}
    assert sorted(jobs) == quiet.held()
    quiet.reserve(len(QUIET.machines) - 1)
    agent.ask("renew")

    wait_for("the rest is renewed", lambda: quiet.left() > 300)
    (kept,) = quiet.held()
    (gone,) = jobs.keys() - {kept}
    bed.slurm.wait_for_job(jobs[gone], "COMPLETED")
    assert bed.slurm.job_nodes(jobs[gone]) in OLD.machines
    assert goes_on(bed, jobs[kept])
    assert "DRAIN" not in bed.slurm.node_state(kept)
    assert len(quiet.ended()) == 2, "none was asked for there in its place"
