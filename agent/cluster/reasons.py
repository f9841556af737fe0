"""Every sentence that is written into Slurm, as Reason= of a node or AdminComment of a job, and read back.

The reason marks a drain as ours, carries its deadline, and names the machine that it is meant for: Slurm
keeps it when another one comes under that node name. The comment tells what a job was told already. So a
restarted agent, or one on the other head node, goes on where the last one stopped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from agent.core.model import SliverNode

REASON_PREFIX = "esagent: "
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_FOR = ", sliver "
_NO_MARK = re.compile(r"[^A-Za-z0-9._-]")
_MARK_LENGTH = 40
_DUE = r", due (?P<due>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"
_SLIVERS = rf"(?:{_FOR}(?P<slivers>[A-Za-z0-9._-]+(?: [A-Za-z0-9._-]+)*))?"
_REVOKED = re.compile(rf"revoked by Cloudlab{_DUE}{_SLIVERS}")
_LEASE = re.compile(rf"its lease ends{_DUE}{_SLIVERS}")
_ADMIN = re.compile(
    rf"drained by (?P<who>[^:,]+)(?P<back>, to be given back)?(?:{_DUE})?{_SLIVERS}:(?: (?P<why>.*))?"
)
_SURPLUS = "surplus, to be given back"
_SPARED = "given back for the lease of the others"
_SURPLUS_OR_TAKEN = re.compile(rf"(?:(?P<surplus>{_SURPLUS}|{_SPARED}{_DUE})|taken by Cloudlab){_SLIVERS}")
_GIVE_BACK = ", to be given back"
TAKEN = f"{REASON_PREFIX}taken by Cloudlab"
"""Reason= of a node whose machine Cloudlab took, without the machine that is meant."""
JOINING = f"{REASON_PREFIX}its machine joins"
"""Reason= of a node that is down until its machine has joined."""
KEPT = f"{REASON_PREFIX}no machine behind it"
"""Reason= of a record that stays although its machine is gone."""
FAILED = f"{REASON_PREFIX}no machine for it: "
"""Reason= of a node that Slurm asked for in vain begins so."""
SILENT = f"{REASON_PREFIX}silent for too long, no new jobs"
"""Reason= that a machine writes itself which heard nothing of the agent (``esagent-orphan``)."""
TEARDOWN = "teardown"
"""Words of an administrator's drain that is part of giving everything back."""
CM_TEARDOWN = "teardown of its CM"
"""Words of one that is part of giving everything at one CM back."""
_SLURMS_OWN = " : Not responding"
"""What Slurm adds to a reason when slurmd does not answer."""
_EMPTY_AT = "its machine has to be empty at "
_TOLD = re.compile(
    rf"{REASON_PREFIX}(?:(?P<signal>\w+) at (?P<at>[\d-]+T[\d:]+Z): )?{_EMPTY_AT}(?P<due>[\d-]+T[\d:]+Z)"
)
MOVED = timedelta(seconds=5)
"""A countdown comes in whole seconds and with some delay: a smaller move is the same deadline."""


class Obstacle(StrEnum):
    """Why a requeue does not save a job."""

    OWN = "it may not be requeued"
    """Its user said so, or the site."""
    INTERACTIVE = "as an interactive job it cannot be requeued"
    """Of srun(1) or salloc(1): Slurm has no script to run again."""
    REFUSED = "it was refused a requeue"
    """By Slurm, for a reason that lasts."""


class DrainCause(StrEnum):
    """Why a node is emptied; the order is the order of precedence on one node."""

    TAKEN = "taken"
    """Cloudlab says that it took the machine; the manifest does not tell yet."""
    REVOKED = "revoked"
    LEASE = "lease"
    """Its sliver ends, and nobody renews it."""
    ADMIN = "admin"
    SURPLUS = "surplus"


TAKEN_BACK = frozenset({DrainCause.REVOKED, DrainCause.LEASE})
"""With these Cloudlab takes the machine at the deadline, whoever needs it."""
WILL_BE = frozenset({DrainCause.REVOKED, DrainCause.ADMIN})
"""With these somebody said that the machine is to be empty then; a lease may be renewed after all."""


@dataclass(frozen=True)
class Drain:
    """A wish that one node be emptied and stay empty."""

    node: str
    """Node name in Slurm."""
    cause: DrainCause
    deadline: datetime | None = None
    who: str = ""
    """The administrator's user name."""
    why: str = ""
    """The administrator's words."""
    give_back: bool = False
    """Once empty, a machine that an administrator drained, or that goes with its lease, is given back."""
    takes_over: bool = False
    """It replaces a drain with somebody else's reason."""
    since: datetime | None = None
    """Not before this time: a fence keeps long jobs off until then. None for at once."""
    seconded: bool = False
    """Somebody else wants the node empty too, so that it is not put off."""

    begun: datetime | None = None
    """When it was first wished, where that tells it from an earlier one of the same node."""
    foreign: bool = False
    """Its machine is not ours, or its CM was not heard yet: its node is emptied, and nothing else is done."""
    slivers: frozenset[str] = frozenset()
    """``marks`` of the machine that it is meant for, in Slurm also of those that were drained with it; none
    where that is not known."""
    unconfirmed: bool = False
    """Cloudlab's notices of it have stopped: it may be withdrawn, and what cannot be undone waits."""

    @property
    def leaves(self) -> bool:
        """The delete commands run once the node is empty."""
        goes = self.cause in {DrainCause.REVOKED, DrainCause.SURPLUS} or self.give_back
        return goes and not self.foreign

    def is_later_than(self, now: datetime) -> bool:
        """Tell whether its time has not come yet."""
        return self.since is not None and self.since > now

    def is_meant_for(self, machine: SliverNode, now: datetime) -> bool:
        """Tell whether it decides over this machine, rather than an earlier one of the same node name.

        Older versions did not write for which. Such a drain holds, but for a deadline that is past, and for
        what is surplus, which is found out anew.
        """
        mine = marks(machine)
        if self.slivers or not mine:
            return mine <= self.slivers
        if self.cause in TAKEN_BACK:
            return self.deadline is None or self.deadline > now
        return self.cause is not DrainCause.SURPLUS

    @property
    def reason(self) -> str:
        """What stands as Reason= in Slurm."""
        # Before an administrator's words, which Slurm may cut.
        return self._write(f"{_FOR}{' '.join(sorted(self.slivers))}" if self.slivers else "")

    @property
    def words(self) -> str:
        """The reason without the machine that it is meant for."""
        return self._write("")

    def _write(self, meant: str) -> str:
        due = f", due {write_time(self.deadline)}" if self.deadline else ""
        match self.cause:
            case DrainCause.REVOKED:
                return f"{REASON_PREFIX}revoked by Cloudlab{due}{meant}"
            case DrainCause.LEASE:
                return f"{REASON_PREFIX}its lease ends{due}{meant}"
            case DrainCause.ADMIN:
                after = _GIVE_BACK if self.give_back else ""
                return f"{REASON_PREFIX}drained by {self.who}{after}{due}{meant}: {self.why}"
            case DrainCause.TAKEN:
                return f"{TAKEN}{meant}"
            case DrainCause.SURPLUS:
                # Only what is in the way of a renewal has a deadline, and jobs are requeued by it.
                return f"{REASON_PREFIX}{_SPARED if due else _SURPLUS}{due}{meant}"


def marks(machine: SliverNode) -> frozenset[str]:
    """Return what a reason says of the machine that it is meant for; nothing where it has no sliver_id."""
    mark = _NO_MARK.sub("", machine.life)[-_MARK_LENGTH:]
    return frozenset({mark} if mark else ())


def taken_from(name: str, machine: SliverNode) -> str:
    """Return the Reason= of a node whose machine Cloudlab took."""
    return Drain(name, DrainCause.TAKEN, slivers=marks(machine)).reason


def is_ours(reason: str) -> bool:
    """Tell whether the agent wrote this Reason=: an administrator's own words may begin like ours."""
    return reason.startswith((JOINING, KEPT, FAILED, SILENT)) or parse_reason("", reason) is not None


def parse_reason(node: str, reason: str) -> Drain | None:
    """Read back a reason that the agent wrote; None for anybody else's words."""
    if not reason.startswith(REASON_PREFIX):
        return None
    text = reason.removesuffix(_SLURMS_OWN).removeprefix(REASON_PREFIX)
    if match := _REVOKED.fullmatch(text):
        return Drain(node, DrainCause.REVOKED, read_time(match["due"]), slivers=_slivers(match))
    if match := _LEASE.fullmatch(text):
        return Drain(node, DrainCause.LEASE, read_time(match["due"]), slivers=_slivers(match))
    if match := _ADMIN.fullmatch(text):
        due = read_time(match["due"]) if match["due"] else None
        who, why, back = match["who"], match["why"] or "", bool(match["back"])
        return Drain(node, DrainCause.ADMIN, due, who, why, back, slivers=_slivers(match))
    if match := _SURPLUS_OR_TAKEN.fullmatch(text):
        cause = DrainCause.SURPLUS if match["surplus"] else DrainCause.TAKEN
        due = read_time(match["due"]) if match["due"] else None
        return Drain(node, cause, due, slivers=_slivers(match))
    return None


def _slivers(match: re.Match[str]) -> frozenset[str]:
    return frozenset((match["slivers"] or "").split())


def write_time(time: datetime) -> str:
    """Write a time as it stands in what the agent leaves in Slurm."""
    return time.strftime(_TIME)


def read_time(text: str) -> datetime:
    """Read what ``write_time`` wrote."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def is_same_time(one: datetime, other: datetime) -> bool:
    """Tell whether two times come of one deadline."""
    return abs(one - other) <= MOVED


def must_be_empty(deadline: datetime) -> str:
    """Say what a deadline means for a job; ``told_before`` reads it back."""
    return f"{_EMPTY_AT}{write_time(deadline)}"


def prospect(cancelled: datetime | None, obstacle: Obstacle = Obstacle.OWN) -> str:
    """Say what becomes of a job that a requeue does not save: when it is cancelled, None for not at all."""
    if cancelled is None:
        return "it is left to end, and is lost if it still runs then"
    return f"{obstacle} and is cancelled at {cancelled:%H:%M:%S} UTC if it still runs then"


def why_requeued(deadline: datetime, *, is_suspended: bool = False) -> str:
    """Say why a job goes back into the queue, and what one waits for that was suspended.

    ``scontrol suspend`` takes its priority, so that it is held after the requeue (JobHeldAdmin).
    """
    why = f"{must_be_empty(deadline)} and it would not end before"
    held = "; it was suspended, so that it waits until somebody says `scontrol release`"
    return why + held if is_suspended else why


def why_cancelled(deadline: datetime, obstacle: Obstacle = Obstacle.OWN) -> str:
    """Say why a job is ended."""
    return f"{must_be_empty(deadline)}, it would not end before, and {obstacle}"


def warn_comment(reason: str) -> str:
    """Return the AdminComment of a job whose user is told early; ``told_before`` reads it back."""
    return f"{REASON_PREFIX}{reason}"


def signal_comment(signal: str, at: datetime, reason: str) -> str:
    """Return the AdminComment of a job that was told to save its work; ``told_before`` reads it back."""
    return f"{REASON_PREFIX}{signal} at {write_time(at)}: {reason}"


def requeue_comment(reason: str) -> str:
    """Return the AdminComment of a job that was requeued."""
    return f"requeued by esagent: {reason}"


def cancel_comment(reason: str) -> str:
    """Return the AdminComment of a job that is cancelled."""
    return f"cancelled by esagent: {reason}"


def signal_told(words: str) -> str:
    """Read from our words in an AdminComment which checkpoint signal a job had; "" for none."""
    match = _TOLD.match(words)
    return (match["signal"] or "") if match else ""


def told_before(words: str, now: datetime) -> tuple[bool, datetime | None]:
    """Read from our words in an AdminComment what an earlier run of the agent told a job.

    Returns:
        Whether its user was warned of a deadline still to come, and when it had its checkpoint signal.
    """
    match = _TOLD.match(words)
    if match is None:
        return False, None
    return read_time(match["due"]) > now, read_time(match["at"]) if match["at"] else None
