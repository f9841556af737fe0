"""Machines by state over time, as the shapes of an SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.core.views import NodeState
from agent.page.history import KEEP, thin
from agent.page.model import Sample

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 12, 30
"""Margins: room for the axes' numbers."""
COLUMNS = 240
"""Steps of the course that are drawn at most."""
SHORTEST = timedelta(minutes=2)
"""An agent that has just begun does not blow seconds up to the whole width."""
STATES = (
    NodeState.JOINED,
    NodeState.READY,
    NodeState.BOOTING,
    NodeState.REQUESTED,
    NodeState.DRAINING,
    NodeState.DRAINED,
    NodeState.RELEASED,
    NodeState.FAILED,
)
"""From the bottom of the stack to its top: at work, coming, going, lost."""
_STEPS = tuple(timedelta(minutes=m) for m in (1, 2, 5, 10, 30, 60, 120, 240, 360))


@dataclass(frozen=True)
class Area:
    """One state's share of the stack."""

    state: NodeState
    path: str
    """The ``d`` of an SVG path."""


@dataclass(frozen=True)
class Tick:
    """A number on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """What is drawn; coordinates in a view box of ``WIDTH`` by ``HEIGHT``."""

    areas: tuple[Area, ...]
    machines: tuple[Tick, ...]
    """Ticks of the upright axis."""
    times: tuple[Tick, ...]
    begin: datetime
    highest: int
    """Most machines at one time."""


def draw(samples: Sequence[Sample], now: datetime) -> Chart | None:
    """Draw the course up to now; None where nothing is known yet."""
    if not samples:
        return None
    begin = min(max(samples[0].time, now - KEEP), now - SHORTEST)
    course = thin(samples, begin, now, COLUMNS)
    highest = max((sum(s.counts.values()) for s in course), default=0)
    scale = _Scale(begin, now, max(highest, 1))
    areas = []
    below = [0] * len(course)
    for state in STATES:
        above = [b + s.counts.get(state, 0) for b, s in zip(below, course, strict=True)]
        if above != below:
            areas.append(Area(state, " ".join(_outline(course, below, above, scale))))
        below = above
    return Chart(tuple(areas), tuple(_machine_ticks(scale)), tuple(_time_ticks(scale)), begin, highest)


@dataclass(frozen=True)
class _Scale:
    begin: datetime
    end: datetime
    top: int

    def x(self, when: datetime) -> float:
        share = (when - self.begin) / (self.end - self.begin)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, machines: float) -> float:
        return round(HEIGHT - BOTTOM - machines / self.top * (HEIGHT - TOP - BOTTOM), 1)


def _outline(
    course: Sequence[Sample], below: Sequence[int], above: Sequence[int], scale: _Scale
) -> Iterator[str]:
    """Go along the upper edge, step by step, and back along the lower one."""
    xs = [*(scale.x(s.time) for s in course), scale.x(scale.end)]
    yield f"M{xs[0]:g} {scale.y(below[0]):g}"
    for machines, right in zip(above, xs[1:], strict=True):
        yield f"V{scale.y(machines):g}H{right:g}"
    for machines, left in zip(reversed(below), reversed(xs[:-1]), strict=True):
        yield f"V{scale.y(machines):g}H{left:g}"
    yield "Z"


def _machine_ticks(scale: _Scale) -> Iterator[Tick]:
    step = next(s for n in range(12) for s in (10**n, 2 * 10**n, 5 * 10**n) if scale.top / s <= 5)
    for machines in range(0, scale.top + 1, step):
        yield Tick(scale.y(machines), str(machines))


def _time_ticks(scale: _Scale) -> Iterator[Tick]:
    step = next((s for s in _STEPS if (scale.end - scale.begin) / s <= 5), _STEPS[-1])
    midnight = scale.begin.replace(hour=0, minute=0, second=0, microsecond=0)
    when = midnight + ((scale.begin - midnight) // step + 1) * step
    while when <= scale.end:
        yield Tick(scale.x(when), f"{when:%H:%M}")
        when += step
