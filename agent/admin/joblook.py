"""The jobs that matter to the agent, each with what will become of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from agent.admin.answers import JobRecord, write_time
from agent.cluster.drain.jobs import Outlook
from agent.cluster.grow.demand import JobVerdict
from agent.slurm.model import Job, Snapshot


def job_records(
    snapshot: Snapshot, ours: Collection[str], outlooks: Iterable[Outlook], verdicts: Iterable[JobVerdict]
) -> tuple[JobRecord, ...]:
    """Tell the jobs on our machines, by id, then those that wait, in the order of the verdicts.

    Args:
        snapshot: what Slurm says.
        ours: node names of our machines.
        outlooks: what will become of the jobs on draining nodes.
        verdicts: what each pending job means for growth.
    """
    fates = {outlook.job.id: _fate(outlook) for outlook in outlooks}
    mine = frozenset(ours)
    on_ours = [job for job in snapshot.jobs if job.holds_nodes and job.nodes & mine]
    pending = {job.id: job for job in snapshot.jobs if job.state == "PENDING"}
    running = [_record(job, mine, fates.get(job.id, "")) for job in sorted(on_ours, key=lambda job: job.id)]
    waiting = [_record(pending[v.job], mine, v.why) for v in verdicts if v.job in pending]
    return (*running, *waiting)


def _record(job: Job, ours: frozenset[str], outlook: str) -> JobRecord:
    return JobRecord(
        job=job.id,
        user=job.user,
        state=job.state,
        nodes=tuple(sorted(job.nodes & ours)),
        ends=job.ends,
        outlook=outlook,
    )


def _fate(outlook: Outlook) -> str:
    return f"{outlook.fate.value} at {write_time(outlook.at)}" if outlook.at else outlook.fate.value
