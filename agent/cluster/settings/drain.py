"""[drain]: what the emptying of nodes obeys."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from agent.core.settings import Duration, Section, format_duration
from agent.slurm.model import Job, SignalTarget

Method = Literal["drain", "requeue-now", "finish"]
SIGNAL = r"^[A-Z0-9]*$"


class DrainPolicy(Section):
    """Jobs of these partitions or QOS are treated in their own way; the first policy that fits holds."""

    partitions: tuple[str, ...] = Field((), description="partitions whose jobs it is for; empty: all")
    qos: tuple[str, ...] = Field((), description="QOS whose jobs it is for; empty: all")
    method: Method = Field(
        "drain",
        description="drain: as the leads of [drain] say; requeue-now: requeue at the notice, whatever their "
        "time limit (what cannot be requeued, such as an interactive job, as drain); finish: only let them "
        "end, never end one",
    )
    requeue_hold: bool | None = Field(
        None, description="whether a requeued job is held; unset: as [drain] says", examples=[False]
    )
    checkpoint_signal: str | None = Field(
        None,
        pattern=SIGNAL,
        description="signal that tells a job to save its work; unset: as [drain] says",
        examples=["USR1"],
    )
    own_signal: bool | None = Field(
        None,
        description="whether the signal that a job asked for itself comes first; unset: as [drain] says",
        examples=[False],
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
        pattern=SIGNAL,
        description="signal that tells a job to save its work, ahead of a requeue, such as USR1, which ends "
        "a job that does not know it, or URG, which does not; empty: none",
    )
    own_signal: bool = Field(
        True,
        description="whether a job that asked for a signal itself (sbatch --signal) gets that one, so long "
        "before it is requeued or cancelled as it asked for, in place of checkpoint_signal",
    )
    checkpoint_to: SignalTarget = Field(
        SignalTarget.ALL,
        description='who gets it: "batch" (the batch script alone), "steps" or "all"; of an interactive job '
        "always the steps",
    )
    checkpoint_lead: Duration = Field(600, ge=0, description="how long before the deadline it is sent")
    requeue_lead: Duration = Field(
        120, ge=0, description="how long before the deadline a job that will not end in time is requeued"
    )
    requeue_hold: bool = Field(False, description="whether a requeued job is held until somebody releases it")
    kill_lead: Duration = Field(
        45,
        ge=0,
        description="how long before the deadline a job is cancelled that may not be requeued, or cannot: an "
        "interactive one (srun, salloc), or one that Slurm refuses to requeue",
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
    foresight: Literal["limits", "history"] = Field(
        "limits",
        description="what tells that a job without a checkpoint will not end in time, so that it starts over "
        "at once where it has run shorter than the time left and there is a place for it: its time limit, or "
        "how long earlier jobs of its user and name ran; a job of which that tells nothing is left to try",
    )
    release: Literal["reply", "delete"] = Field(
        "reply",
        description="how Cloudlab learns that a revoked machine is empty: by the reply to its next notice "
        "(by our own DeleteNodes where that comes too late), or at once by our own DeleteNodes",
    )
    notice_interval: Duration = Field(
        60, gt=0, description="how often Cloudlab repeats the notice of a revocation"
    )
    foreign: bool = Field(
        False,
        description="whether the node of a machine that is not the agent's is drained in Slurm, and its jobs"
        " seen to, when Cloudlab takes the machine; nothing is run there in any case",
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

    @model_validator(mode="after")
    def _leads_are_in_order(self) -> Self:
        leads = [("requeue_lead", self.requeue_lead), ("kill_lead", self.kill_lead)]
        leads.append(("cleanup_lead", self.cleanup_lead))
        if self.signals:
            leads.insert(0, ("checkpoint_lead", self.checkpoint_lead))
        for (earlier, long), (later, short) in pairwise(leads):
            if long < short:
                raise ValueError(
                    f"{earlier} is {format_duration(long)} and {later} {format_duration(short)}: "
                    f"expected {earlier} to be at least {later}"
                )
        return self

    @property
    def signals(self) -> bool:
        """Whether some jobs are told to save their work."""
        return bool(self.checkpoint_signal) or any(policy.checkpoint_signal for policy in self.policies)

    @property
    def saving_time(self) -> float:
        """Seconds between a checkpoint signal and the requeue, where the deadline leaves them."""
        return max(self.checkpoint_lead - self.requeue_lead, 0.0)


def policy_for(job: Job, policies: Iterable[DrainPolicy]) -> DrainPolicy:
    """Return the first policy that fits a job; the plain one where none does."""
    return next((policy for policy in policies if policy.fits(job)), DrainPolicy())
