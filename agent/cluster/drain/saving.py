"""Which signal tells a job to save its work, to whom it goes, when, and how long the job then gets. Pure.

A job's own signal (``sbatch --signal``) says that it can save and how long that takes, so it comes before the
one that is set for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.slurm.model import Job, OwnSignal, SignalTarget

AT_THE_NOTICE = float(timedelta(days=3650).total_seconds())
"""Lead of a signal that is sent as soon as the deadline is known."""
_SLURM_IS_EARLY = timedelta(seconds=30)
"""How long before the time that a job asked for Slurm may send its signal (``PERIODIC_TIMEOUT``)."""


@dataclass(frozen=True)
class Saving:
    """How one job is told to save its work."""

    signal: str = ""
    """Such as ``USR1``; "" for nothing."""
    to: SignalTarget = SignalTarget.ALL
    lead: float = 0.0
    """Seconds before the deadline at which it is sent."""
    since: float = 0.0
    """Seconds before the deadline from which on it counts as sent for it: ``lead``, or longer where how the
    job leaves may change, so that none is sent twice."""
    time: float = 0.0
    """Seconds that it gets from then on, where the deadline leaves them."""
    is_own: bool = False
    """The job asked for it."""
    by_slurm: datetime | None = None
    """From when on Slurm sends it by itself, ahead of the job's time limit; None where it does not."""

    def told_by_slurm(self, now: datetime) -> datetime | None:
        """Return when Slurm told the job itself; None where it has not. It is not told twice for one end."""
        if self.by_slurm is None or now < self.by_slurm - _SLURM_IS_EARLY:
            return None
        return min(now, self.by_slurm)


NO_SAVING = Saving()
"""It is told nothing."""


def saving_of(
    job: Job, own: OwnSignal | None, policy: DrainPolicy, settings: DrainSettings, leaves: float | None
) -> Saving:
    """Choose how a job is told: its own signal first, then the policy's, then that of [drain].

    Args:
        job: with the end of its time limit.
        own: what it asked for; None for nothing.
        policy: of its partition or QOS.
        settings: [drain].
        leaves: seconds before the deadline at which it is requeued, cancelled or lost; None for at the
            notice.
    """
    # Of a job without a batch script Slurm signals the steps, or nothing at all.
    steps_alone = job.batch is False
    honours = settings.own_signal if policy.own_signal is None else policy.own_signal
    if own is not None and honours:
        # Without a time Slurm sends the signal only where it preempts the job.
        time = own.lead or settings.saving_time
        sent = job.ends - timedelta(seconds=own.lead) if job.ends is not None and own.lead else None
        return Saving(
            signal=own.signal,
            to=SignalTarget.STEPS if steps_alone else own.to,
            lead=AT_THE_NOTICE if leaves is None else leaves + time,
            since=AT_THE_NOTICE if leaves is None else max(leaves, settings.requeue_lead) + time,
            time=time,
            is_own=True,
            by_slurm=sent,
        )
    signal = settings.checkpoint_signal if policy.checkpoint_signal is None else policy.checkpoint_signal
    if not signal or leaves is None:
        return NO_SAVING
    to = SignalTarget.STEPS if steps_alone else settings.checkpoint_to
    lead = settings.checkpoint_lead
    return Saving(signal, to, lead, lead, settings.saving_time)
