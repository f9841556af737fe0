"""[drain]: what the emptying of nodes obeys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from agent.core.settings import Duration, Section
from agent.slurm.model import Job, SignalTarget

Method = Literal["drain", "requeue-now", "finish"]


class DrainPolicy(Section):
    """Jobs of these partitions or QOS are treated in their own way; the first policy that fits holds."""

    partitions: tuple[str, ...] = Field((), description="partitions whose jobs it is for; empty: all")
    qos: tuple[str, ...] = Field((), description="QOS whose jobs it is for; empty: all")
    method: Method = Field(
        "drain",
        description="drain: as the leads of [drain] say; requeue-now: requeue at the notice, whatever their "
        "time limit; finish: only let them end, never end one",
    )
    requeue_hold: bool | None = Field(
        None, description="whether a requeued job is held; unset: as [drain] says", examples=[False]
    )

    def fits(self, job: Job) -> bool:
        """Tell whether it is for this job."""
        in_partition = not self.partitions or bool(set(self.partitions) & set(job.partitions))
        return in_partition and (not self.qos or job.qos in self.qos)


class DrainSettings(Section):
    """How nodes are emptied before a deadline."""

    tick: Duration = Field(5, gt=0, description="how often draining nodes are looked at")
    checkpoint_signal: str = Field(
        "",
        pattern=r"^[A-Z0-9]*$",
        description="signal that tells a job to save its work, ahead of a requeue, such as USR1; empty: none",
    )
    checkpoint_to: SignalTarget = Field(
        SignalTarget.ALL, description='who gets it: "batch" (the batch script alone), "steps" or "all"'
    )
    checkpoint_lead: Duration = Field(600, ge=0, description="how long before the deadline it is sent")
    requeue_lead: Duration = Field(
        120, ge=0, description="how long before the deadline a job that will not end in time is requeued"
    )
    requeue_hold: bool = Field(False, description="whether a requeued job is held until somebody releases it")
    kill_lead: Duration = Field(
        60, ge=0, description="how long before the deadline a job that may not be requeued is cancelled"
    )
    cleanup_lead: Duration = Field(
        30, ge=0, description="what is kept free before the deadline for the delete commands"
    )
    cleanup_limit: Duration = Field(
        300, gt=0, description="time limit of the delete commands where no deadline is nearer"
    )
    cleanup_fan_out: int = Field(
        32, ge=1, le=1000, description="number of machines on which delete commands run at once"
    )
    release: Literal["reply", "delete"] = Field(
        "reply",
        description="how Cloudlab learns that a revoked machine is empty: by the reply to its next notice, "
        "or at once by our own DeleteNodes",
    )
    fence: bool = Field(
        False,
        description="whether a reservation in Slurm keeps jobs that would not end in time off our nodes, "
        "where their partitions give every job a time limit",
    )
    fence_min: Duration = Field(
        1800,
        ge=0,
        description="with fence, how long before its deadline a revoked node is drained; until then jobs "
        "that end in time still start there",
    )
    policies: tuple[DrainPolicy, ...] = Field((), description="Other ways to treat some jobs.")

    @property
    def saving_time(self) -> float:
        """Seconds between a checkpoint signal and the requeue, where the deadline leaves them."""
        return max(self.checkpoint_lead - self.requeue_lead, 0.0)


def policy_for(job: Job, policies: Iterable[DrainPolicy]) -> DrainPolicy:
    """Return the first policy that fits a job; the plain one where none does."""
    return next((policy for policy in policies if policy.fits(job)), DrainPolicy())
