"""What the status page shows, as plain values. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.core.events import PastEvent
from agent.core.views import AgentView, NodeState


@dataclass(frozen=True)
class Sample:
    """How many machines were in each state from one time on; a state that is not named had none."""

    time: datetime
    counts: Mapping[NodeState, int]


@dataclass(frozen=True)
class HeldBy:
    """A job that holds a node which is emptied."""

    job: str
    user: str
    fate: str
    """What will happen to it, in words."""
    at: datetime | None
    """When that happens; None where it is not known."""


@dataclass(frozen=True)
class Countdown:
    """A node that is emptied, and what stands against it."""

    node: str
    cause: str
    who: str
    why: str
    due: datetime | None
    """None lets every job run to its end."""
    empty: datetime | None
    """When its last job will be gone; None where that is not known."""
    jobs: tuple[HeldBy, ...]


@dataclass(frozen=True)
class PageView:
    """Everything that the page shows, at one moment."""

    now: datetime
    slice_urn: str
    agent: AgentView
    hold: str
    """Who holds growth up and since when, in words; "" for nobody."""
    reasons: tuple[str, ...]
    """Why this many machines are wanted, in words."""
    countdowns: tuple[Countdown, ...]
    """The earliest deadline first."""
    events: tuple[PastEvent, ...]
    """The newest first."""
    certificate_expires: datetime
    history: tuple[Sample, ...]
    """Oldest first."""
    teardowns: tuple[str, ...] = ()
    """Who has which CM emptied, in words."""
    objections: tuple[str, ...] = ()
    """Settings by which a site may find the slice idle for too long."""
    unread: str = ""
    """Why the events could not be read; "" where they could."""
