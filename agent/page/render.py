"""The status page as text: a pure function of what it shows.

Every value that stands in the page goes through ``words.plain`` and is escaped, whether the template asks for
it or not: names of users, reasons and messages are foreign text.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from agent.core.slice.words import foreign_words
from agent.core.views import NodeState, NodeView
from agent.page import chart
from agent.page.history import peak
from agent.page.model import PageView
from agent.page.standing import standing_warnings
from agent.page.words import cm_name, plain, span, until

REFRESH = 30
"""Seconds after which a browser asks again."""
MAX_MACHINES = 500
MAX_COUNTDOWNS = 100
MAX_JOBS = 20
"""Jobs of one countdown that are told."""
MAX_EVENTS = 50
MAX_WARNINGS = 20

_URGENT = (NodeState.FAILED, NodeState.DRAINING, NodeState.DRAINED, NodeState.RELEASED)
T = TypeVar("T")


def _finalize(value: object) -> object:
    """Clean foreign text; what has ``__html__`` is a part of the page that was cleaned already."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _clock(when: datetime) -> str:
    return f"{when.astimezone(UTC):%H:%M:%S}"


def _stamp(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


_environment = Environment(
    loader=PackageLoader("agent.page", "."),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(clock=_clock, stamp=_stamp, span=span, until=until, cm=cm_name)
_template = _environment.get_template("page.html.j2")
_style = files("agent.page").joinpath("page.css").read_text(encoding="utf-8")

STYLE_HASH = base64.b64encode(hashlib.sha256(_style.encode()).digest()).decode()
"""SHA-256 of the page's only style sheet, as a Content-Security-Policy names it."""


def render(view: PageView) -> str:
    """Return the page, an HTML document of bounded size."""
    machines = sorted(view.agent.nodes, key=_urgency)
    counts = {state: sum(node.state is state for node in machines) for state in chart.STATES}
    return _template.render(
        view=view,
        refresh=REFRESH,
        style=_style,
        warnings=_first(standing_warnings(view), MAX_WARNINGS),
        chart=chart.draw(view.history, view.now),
        width=chart.WIDTH,
        height=chart.HEIGHT,
        left=chart.LEFT,
        right=chart.WIDTH - chart.RIGHT,
        floor=chart.HEIGHT - chart.BOTTOM,
        states=[(state, counts[state], max(peak(view.history, state), counts[state])) for state in counts],
        machines=_first(machines, MAX_MACHINES),
        foreign=_first(view.agent.foreign, MAX_MACHINES),
        foreign_words=foreign_words([node.client_id for node in view.agent.foreign]),
        countdowns=_first(view.countdowns, MAX_COUNTDOWNS),
        max_jobs=MAX_JOBS,
        events=view.events[:MAX_EVENTS],
    )


def _urgency(node: NodeView) -> tuple[bool, str]:
    return node.state not in _URGENT, node.node


def _first(items: Sequence[T], most: int) -> tuple[Sequence[T], int]:
    """Return the first of them, and how many are left out."""
    return items[:most], max(len(items) - most, 0)
