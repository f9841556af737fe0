"""Every kind of event, once: its meaning and data, what can have led to it, whether a person must act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from agent.core.letters import all_storable, storable


@dataclass(frozen=True)
class OfCm:
    """It is about something at one CM."""

    cm: str
    """URN."""


@dataclass(frozen=True)
class Fate:
    """What became of a new machine."""

    cm: str
    """URN."""
    booted: bool
    """Whether it was ready once."""


@dataclass(frozen=True)
class Failures:
    """New machines that failed one after the other."""

    failures: int
    reason: str = ""
    """Which was the last one, and why it failed."""


@dataclass(frozen=True)
class Release:
    """How long a revoked machine took to become free."""

    margin_seconds: float
    """Left until the deadline; below 0 after it."""
    drain_seconds: float | None
    """Since the first notice; None where nobody remembers it."""

    @property
    def is_late(self) -> bool:
        """The deadline had passed."""
        return self.margin_seconds < 0


@dataclass(frozen=True)
class Joined:
    """How long a machine took to join."""

    join_seconds: float
    """From the first try until it was at work in Slurm."""


@dataclass(frozen=True)
class JoinLog:
    """What a machine printed while it was to join."""

    log: str


@dataclass(frozen=True)
class OfJob:
    """It is about a job on a node that is emptied."""

    job: str
    """Its id."""
    drain_cause: str
    """Why the node is emptied: a value of ``DrainCause``."""


@dataclass(frozen=True)
class JobLost(OfJob):
    """Work of a job was thrown away."""

    lost_cpu_seconds: float
    """Run time since its start, times its CPUs."""


@dataclass(frozen=True)
class OfJobs:
    """It is done for jobs."""

    jobs: str
    """Ids of the oldest of them, with blanks between them."""
    more: int
    """How many others there are."""


@dataclass(frozen=True)
class OfEstimate:
    """It is about a job that should start somewhere, and does not."""

    job: str
    """Its id; for a task, that of its array."""
    where: str
    """Hardware type, "" where only one is borrowed; or the name of one node."""
    reason: str
    """What Slurm says of it (``squeue %r``)."""


@dataclass(frozen=True)
class Request:
    """Who asked the local API for an act."""

    uid: int
    gid: int
    call: str
    """Last part of the path, such as ``drain``."""
    outcome: str
    """``done``, or why not."""


EventData = (
    OfCm | OfJobs | OfEstimate | Fate | Failures | Release | Joined | JoinLog | OfJob | JobLost | Request
)


class EventKind(StrEnum):
    """What an event tells, in one word. The words are public: in the local API, the ledger, metrics, logs.

    Attributes:
        meaning: what it tells, for docs/events.md.
        data: type of its data; None where it has none.
    """

    meaning: str
    data: type[EventData] | None

    def __new__(cls, word: str, meaning: str, data: type[EventData] | None = None) -> Self:
        """Make a member of its word and what is known of it."""
        kind = str.__new__(cls, word)
        kind._value_, kind.meaning, kind.data = word, meaning, data
        return kind

    # Machines: asked for, come, gone.
    CREATE = "create", "machines are asked for at a CM that holds nothing for us", OfJobs
    ADD = "add", "more machines are asked for at a CM", OfJobs
    INSUFFICIENT = (
        "insufficient",
        "a CM does not give so many machines of a type: fewer are asked for, or none for a while",
    )
    HINDERED = (
        "hindered",
        "a CM refuses something until a person acts: account, quota, image, what it never has; or no longer",
        OfCm,
    )
    VOID = "void", "a call whose reply was lost never happened", OfCm
    ARRIVED = "arrived", "a machine that was asked for is in the manifest", OfCm
    ADOPTED = "adopted", "a machine that is ours, and was not asked for just now, is in the manifest", OfCm
    FOREIGN = "foreign", "machines of the slice that are not ours were first seen: they are left alone", OfCm
    UNWELCOME = (
        "unwelcome",
        "a machine that was asked for is one that `[request] never` names: it stays held, and is left alone",
        OfCm,
    )
    READY = "ready", "a machine has booted", Fate
    FAILED = "failed", "a machine is of no use, and is given back", Fate
    MISSING = (
        "missing",
        "a machine of ours is not in the manifest, or not reserved to us: the next look decides",
        OfCm,
    )
    GONE = "gone", "a machine is no longer ours", OfCm
    KEPT = "kept", "a machine was said to be taken, but the manifest has it"
    DELETE = "delete", "machines, or a sliver without any, were given back"
    TERMINATING = "terminating", "the sliver at a CM is being deleted, maybe by somebody else", OfCm

    RENAMED = (
        "renamed",
        "agent.conf has another URN for a CM: what is held there is kept under that one",
        OfCm,
    )
    RETIRED = (
        "retired",
        "something is held, or was asked for, at a CM that is not in agent.conf; or that is over",
        OfCm,
    )

    LEFT_BEHIND = (
        "left_behind",
        "something is held, or was asked for, in another slice than the one in agent.conf",
        OfCm,
    )

    # Growth.
    GROWTH_STOPPED = (
        "growth_stopped",
        "no machines are asked for, since new ones failed one after the other",
        Failures,
    )
    PROBE = "probe", "one machine is asked for while growth is stopped"
    PROBE_FAILED = "probe_failed", "the probe failed: growth stays stopped", Failures
    GROWTH_RESUMED = "growth_resumed", "machines are asked for again"

    # The lease.
    SLICE = "slice", "the slice was made"
    SLICE_GONE = "slice-gone", "the SA has our slice no more: nothing is asked of any CM before it has one"
    ORPHANED = "orphaned", "a CM holds a sliver whose slice is gone at the SA: it cannot be renewed", OfCm
    OVERRUN = (
        "overrun",
        "a lease ended and its CM does not answer: its machines are not counted on; or it answers again",
        OfCm,
    )
    RENEW = "renew", "the slice, or a sliver, was renewed; or somebody asked, and it lasts long enough"
    LEASE = "lease", "the slice, or a sliver, was not renewed"
    LEASE_ENDS = "lease-ends", "the slice, or a sliver, ends soon, and nobody renews it"
    BLOCKED = "blocked", "a sliver is not renewed with a machine, promised to others or of a short type", OfCm

    # Joining.
    JOINING = "joining", "a try to join a machine begins"
    JOIN_STEP = "join-step", "a part of joining is done"
    JOIN_ERROR = "join-error", "a try to join failed; there may be another"
    JOIN_FAILED = "join-failed", "joining is given up", JoinLog
    JOIN = "join", "a machine is at work in Slurm", Joined

    # Why a node is emptied, and why no longer.
    REVOKE = "revoke", "Cloudlab announced that it takes a machine, or its lease ends"
    FOREIGN_REVOKE = (
        "foreign-revoke",
        "Cloudlab announced that it takes a machine of the slice that is not ours",
        OfCm,
    )
    WITHDRAWN = "withdrawn", "a revocation is over, or a lease renewed after all, and the machine still ours"
    ADMIN = "admin", "an administrator's word is taken, or what it asked for is done"
    SURPLUS = "surplus", "nobody needs a machine: it is given back when it is empty"
    MISJUDGED = (
        "misjudged",
        "a job does not start on unused machines on which it should: none is kept or borrowed for such jobs",
        OfEstimate,
    )
    KEEP = "keep", "a surplus machine is needed after all"
    ADOPT = "adopt", "a draining node is taken over as an earlier run left it"

    # Emptying.
    FENCE = "fence", "no job starts on a node that would run beyond its deadline"
    DRAIN = "drain", "a node is drained in Slurm"
    FINISH = "finish", "a job on a draining node ended, and not by the agent", OfJob
    WARN = "warn", "the user of a job was told", OfJob
    SIGNAL = "signal", "a job was sent a signal, to write a checkpoint", OfJob
    REQUEUE = "requeue", "a job was requeued", JobLost
    UNREQUEUED = (
        "unrequeued",
        "Slurm refused to requeue a job: its user is told, it gets the signal, and is cancelled in time",
        OfJob,
    )
    CANCEL = "cancel", "a job was cancelled", JobLost
    KILLED = "killed", "a job died of the signal that told it to save its work", JobLost
    LOST = "lost", "a job lost its machine", JobLost
    LEAVE = "leave", "nothing is left on a node: the delete commands were run there"
    RELEASE = "release", "Cloudlab may take a revoked machine, or one whose lease ends is given back", Release
    RESUME = "resume", "a node is back in service"

    # The node's record in Slurm.
    DOWN = "down", "Slurm was told that a node has no machine"
    REMOVE = "remove", "a node was taken out of Slurm"
    WEIGHT = "weight", "a node has another weight"
    POWER = "power", "Slurm's own power saving was told what becomes of a node"
    PLUGIN = "plugin", "what Slurm's own parts are told could not be written"

    # The agent itself.
    REQUEST = "request", "somebody asked the local API for an act", Request
    STEP = "step", "a step of the cycle begins to fail, or works again"
    FATAL = "fatal", "the manager ended by itself"
    THREAD = "thread", "a thread of the agent ended unexpectedly: it is begun anew, or the agent ends"
    CERTIFICATE = "certificate", "the user's certificate ends soon"
    BACKEND = "backend", "another way in to Slurm is taken"
    PRIMARY = "primary", "this agent acts"
    STANDBY = "standby", "this agent stands by: another one acts"
    SSH = "ssh", "the host key of a machine that is gone could not be forgotten"

    @property
    def is_notable(self) -> bool:
        """A person may have to act on every event of this kind."""
        return self in _NOTABLE

    @property
    def causes(self) -> frozenset[EventKind]:
        """Kinds that can have led to it, when they are about the same machine."""
        return _CAUSES.get(self, frozenset())


_K = EventKind
_NOTABLE = frozenset(
    {
        _K.BLOCKED,
        _K.CERTIFICATE,
        _K.DOWN,
        _K.TERMINATING,
        _K.FAILED,
        _K.FATAL,
        _K.FOREIGN_REVOKE,
        _K.GROWTH_RESUMED,
        _K.GROWTH_STOPPED,
        _K.HINDERED,
        _K.LEASE,
        _K.LEFT_BEHIND,
        _K.ORPHANED,
        _K.OVERRUN,
        _K.RETIRED,
        _K.SLICE_GONE,
        _K.THREAD,
        _K.UNWELCOME,
        _K.LEASE_ENDS,
        _K.KILLED,
    }
)
_WISHES = frozenset({_K.REVOKE, _K.ADMIN, _K.SURPLUS, _K.BLOCKED, _K.FAILED, _K.JOIN_FAILED, _K.ADOPT})
"""After these a machine is emptied."""
_EMPTYING = frozenset({_K.DRAIN, *_WISHES})
_CAUSES: Mapping[str, frozenset[EventKind]] = {
    _K.READY: frozenset({_K.ARRIVED, _K.ADOPTED}),
    _K.FAILED: frozenset({_K.ARRIVED, _K.ADOPTED}),
    _K.JOINING: frozenset({_K.READY}),
    _K.JOIN_STEP: frozenset({_K.JOINING}),
    _K.JOIN_ERROR: frozenset({_K.JOINING}),
    _K.JOIN_FAILED: frozenset({_K.JOIN_ERROR, _K.JOINING, _K.READY}),
    _K.JOIN: frozenset({_K.JOIN_STEP, _K.JOINING, _K.READY}),
    _K.ADOPT: _EMPTYING - {_K.ADOPT},
    _K.FENCE: _WISHES,
    _K.DRAIN: _WISHES,
    _K.WARN: _EMPTYING,
    _K.SIGNAL: _EMPTYING,
    _K.REQUEUE: _EMPTYING,
    _K.UNREQUEUED: _EMPTYING,
    _K.CANCEL: _EMPTYING,
    _K.KILLED: frozenset({_K.SIGNAL, *_EMPTYING}),
    _K.LEAVE: _EMPTYING,
    _K.RELEASE: frozenset({_K.LEAVE, _K.DRAIN, _K.REVOKE}),
    _K.RESUME: frozenset({_K.WITHDRAWN, _K.KEEP, _K.ADMIN}),
    _K.WITHDRAWN: frozenset({_K.REVOKE, _K.FOREIGN_REVOKE}),
    _K.MISJUDGED: frozenset({_K.JOIN}),
    _K.SURPLUS: frozenset({_K.MISJUDGED}),
    _K.KEEP: frozenset({_K.SURPLUS}),
    _K.GONE: frozenset({_K.RELEASE, _K.LEAVE, _K.MISSING, *_WISHES}),
    _K.LOST: frozenset({_K.DOWN, _K.GONE}),
    _K.DOWN: frozenset({_K.GONE, _K.REVOKE}),
    _K.REMOVE: frozenset({_K.DOWN, _K.GONE}),
}


@dataclass(frozen=True)
class Event:
    """One decision or act, with its reason in words: texts that every sink can take (``storable``)."""

    time: datetime
    kind: EventKind
    subject: str
    """What it is about: a node_id, node names with commas between them, a CM, or "" for the whole agent."""
    message: str
    data: EventData | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", storable(self.subject))
        object.__setattr__(self, "message", storable(self.message))

    @property
    def is_notable(self) -> bool:
        """A person may have to act on it: on any of its kind, or on a release that missed its deadline."""
        return self.data.is_late if isinstance(self.data, Release) else self.kind.is_notable

    @property
    def fields(self) -> Mapping[str, object]:
        """Name -> value of its data, as they are written down."""
        data = {} if self.data is None else vars(self.data)
        return {name: all_storable(value) for name, value in data.items()}


@dataclass(frozen=True)
class PastEvent:
    """An event as it was written down, perhaps by another version: any word may be its kind."""

    time: datetime
    kind: str
    subject: str
    message: str
    data: Mapping[str, object]

    @property
    def causes(self) -> frozenset[EventKind]:
        """Kinds that can have led to it; none where this version does not know its kind."""
        return _CAUSES.get(self.kind, frozenset())
