"""`esagent top`: machines, drains and the newest events on one screen."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from agent.cli.client import NoDaemonError, call
from agent.cli.feed import Feed
from agent.cli.output import counted, plain, terminal_width
from agent.cli.show import DRAIN_COLUMNS, drain_rows

ENDS = b"qQ"
EVENTS = 12
"""Events that are shown."""
CALM = 0.2
"""Seconds between two looks at least."""
MOST = 24
"""Characters of a column other than the last."""
NARROW = 70
"""Columns below which a table shows the most important of its own only."""
_COLOURS = {"joined": "green", "draining": "yellow", "drained": "yellow", "failed": "red", "released": "dim"}


def look(socket: Path) -> dict[str, Any]:
    """Read all that is shown: one object of this shape is what ``--json`` prints."""
    return {
        "version": 1,
        "kind": "top",
        "status": call(socket, "GET", "/v1/status"),
        "nodes": call(socket, "GET", "/v1/nodes")["nodes"],
        "drains": call(socket, "GET", "/v1/drains")["drains"],
        "events": call(socket, "GET", f"/v1/events?newest={EVENTS}")["events"],
    }


def run(socket: Path, interval: float) -> None:
    """Show it until a key ends it; once where there is no terminal.

    Raises:
        AgentError: no daemon answers at the start.
    """
    picture = look(socket)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        Console(width=1000, color_system=None).print(draw(picture, 1000), soft_wrap=True)
        return
    feed = Feed(socket)
    with suppress(KeyboardInterrupt), _keys() as keyboard, Live(screen=True, auto_refresh=False) as live:
        lost = ""
        while True:
            live.update(draw(picture, terminal_width() or 80, lost), refresh=True)
            if _ended(keyboard, feed, interval, alive=not lost):
                return
            try:
                picture, lost = look(socket), ""
            except NoDaemonError as error:
                lost = str(error)


def draw(picture: Mapping[str, Any], width: int, lost: str = "") -> RenderableType:
    """Draw one screen.

    Args:
        picture: what ``look`` returned.
        width: columns of the terminal.
        lost: why the daemon does not answer any more; "" where it does.
    """
    status = picture["status"]
    held = dict(status["states"])
    requested = held.pop("requested", 0)
    asked = f", {requested} asked for" if requested else ""
    machines = f"{status['machines']} machines held ({counted(held) or '-'}){asked}"
    head = [
        Text(f"{status['slice']}", style="bold"),
        Text(f"{machines}, {status['wanted']} more wanted"),
        Text(f"lease until {plain(status['slice_expires'])}"),
    ]
    if growing := status["growing"]:
        words = f"{growing['in_service']} of {growing['machines']} machines in service, for {growing['who']}"
        head.append(Text(words, style="cyan"))
    if status["foreign"]:
        head.append(Text(status["foreign"], style="dim"))
    head += [Text(status[key], style="yellow") for key in ("paused", "growth_stopped") if status[key]]
    warnings = (*status["lease_warnings"], *status.get("impasses", ()))
    head += [Text(plain(warning), style="bold red") for warning in warnings]
    if lost:
        head.append(Text(lost, style="bold red"))
    wide = width >= NARROW
    return Group(
        *head,
        _table(
            ("node", "state", "value", "weight", "due") if wide else ("node", "state", "due"),
            picture["nodes"],
        ),
        _table(
            DRAIN_COLUMNS if wide else ("node", "job", "fate"),
            drain_rows(picture["drains"]),
        ),
        _table(
            ("time", "kind", "subject", "message") if wide else ("kind", "message"),
            [_short(event) for event in reversed(picture["events"])],
        ),
    )


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    if not rows:
        return Text("")
    table = Table(box=None, pad_edge=False, header_style="bold")
    *others, last = columns
    for column in others:
        table.add_column(column.upper(), no_wrap=True, overflow="ellipsis", max_width=MOST)
    # Rich takes room from columns that may wrap, before others: this one may, and none of its cells does.
    table.add_column(last.upper())
    for row in rows:
        cells = (Text(plain(row.get(c)), no_wrap=True, overflow="ellipsis") for c in columns)
        table.add_row(*cells, style=_COLOURS.get(str(row.get("state")), ""))
    return table


def _short(event: Mapping[str, Any]) -> dict[str, object]:
    """Leave out of an event what is the same in every line: the day, and what every URN begins with."""
    clock = event["time"].partition("T")[2]
    return {**event, "time": clock, "subject": event["subject"].removeprefix("urn:publicid:IDN+")}


def _ended(keyboard: int, feed: Feed, interval: float, *, alive: bool) -> bool:
    """Wait for an event, a key, or the interval; tell whether the key ends it."""
    if not alive:
        return _pressed(keyboard, interval)
    try:
        under_way = feed.ask(interval)
    except NoDaemonError:
        return _pressed(keyboard, interval)
    try:
        ready, _, _ = select.select([keyboard, under_way.fileno()], [], [], interval + 1)
        if under_way.fileno() in ready:
            feed.take(under_way)
    except NoDaemonError:
        return _pressed(keyboard, interval)
    finally:
        under_way.close()
    return _pressed(keyboard, 0.0 if keyboard in ready else CALM)


def _pressed(keyboard: int, seconds: float) -> bool:
    ready, _, _ = select.select([keyboard], [], [], seconds)
    if not ready:
        return False
    keys = os.read(keyboard, 64)
    return not keys or any(key in ENDS for key in keys)


@contextmanager
def _keys() -> Iterator[int]:
    """Read single keys from the terminal; as it was, afterwards."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
