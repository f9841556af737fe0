"""Waits until something is so, with a progress bar on a terminal and a line for each step elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from agent.cli.client import call
from agent.cli.exits import Exit
from agent.cli.feed import Feed
from agent.cli.output import counted, remark
from agent.core.errors import AgentError
from agent.core.events import EventKind

INTERVAL = 2.0
"""Seconds between two looks at most: an event makes the next one due at once."""
AT_EASE = {"joined", "ready", "booting"}
"""States of a machine that nobody empties."""


@dataclass(frozen=True)
class Stage:
    """How far it is."""

    done: int
    total: int
    words: str

    @property
    def complete(self) -> bool:
        """All of it is so."""
        return self.done >= self.total


def wait_for_empty(socket: Path, names: Collection[str], limit: float | None, *, gone: bool) -> None:
    """Wait until these machines are empty; with ``gone``, until we hold them no more.

    Raises:
        AgentError: one of them is back in service.
        SystemExit: they are not within ``limit`` seconds.
    """

    def look() -> Stage:
        records = call(socket, "GET", "/v1/nodes")["nodes"]
        states = {record["node"]: record["state"] for record in records if record["node"] in names}
        back = sorted(name for name, state in states.items() if state in AT_EASE)
        if back:
            raise AgentError(f"{' '.join(back)}: back in service; `esagent events {back[0]}` tells why")
        left = sorted(n for n, state in states.items() if gone or state not in {"drained", "released"})
        words = f"emptying {' '.join(left[:5])}{' ...' if len(left) > 5 else ''}" if left else "empty"
        return Stage(len(names) - len(left), len(names), words)

    _wait(socket, look, limit)


def wait_for_none(socket: Path, held: int, limit: float | None, cm: str = "") -> None:
    """Wait until no machine is held any more, of so many at the start.

    Args:
        socket: the daemon's.
        held: how many were held.
        limit: seconds; None waits for ever.
        cm: URN of the one CM that is meant; "" for all.

    Raises:
        AgentError: somebody allows growth again.
        SystemExit: one still is after ``limit`` seconds.
    """

    def look() -> Stage:
        # Nodes first: a wish that has served may be gone with the last of them.
        records = call(socket, "GET", "/v1/nodes")["nodes"]
        status = call(socket, "GET", "/v1/status")
        counts = Counter(r["state"] for r in records if r["state"] != "requested" and cm in {"", r["cm"]})
        left = counts.total()
        if left and not (cm in status["teardowns"] if cm else status["paused"]):
            raise AgentError(f"growth is allowed again, with {left} machines held; see `esagent events`")
        total = max(held, left)
        states = counted(counts)
        return Stage(total - left, total, f"giving back: {states}" if left else "all is given back")

    _wait(socket, look, limit)


def wait_for_machines(socket: Path, wanted: int, limit: float | None) -> None:
    """Wait until so many machines are in service.

    Raises:
        AgentError: the wish for them has ended before.
        SystemExit: they are not within ``limit`` seconds.
    """

    def look() -> Stage:
        growing = call(socket, "GET", "/v1/status")["growing"]
        records = call(socket, "GET", "/v1/nodes")["nodes"]
        joined = sum(1 for record in records if record["state"] == "joined")
        if growing is None and joined < wanted:
            raise AgentError(f"the wish has ended with {joined} of {wanted} machines; see `esagent events`")
        states = sorted({r["state"] for r in records} - {"joined"})
        return Stage(
            min(joined, wanted), wanted, f"machines in service; others: {', '.join(states) or 'none'}"
        )

    _wait(socket, look, limit)


def wait_for_renewal(socket: Path, since: int, limit: float | None) -> None:
    """Wait until the slice and every sliver of it are renewed.

    Args:
        socket: the daemon's.
        since: id of the last event before the renewal was asked for.
        limit: seconds; None waits for ever.

    Raises:
        AgentError: Cloudlab does not renew one of them; in its words.
        SystemExit: they are not within ``limit`` seconds.
    """

    def look() -> Stage:
        status = call(socket, "GET", "/v1/status")
        events = call(socket, "GET", f"/v1/events?after={since}&newest=10000")["events"]
        if refused := [e["message"] for e in events if e["kind"] in {EventKind.LEASE, EventKind.BLOCKED}]:
            raise AgentError(refused[0])
        leases = {status["slice"]: status["slice_expires"], **status["sliver_expires"]}
        renewed = leases.keys() & {e["subject"] for e in events if e["kind"] == EventKind.RENEW}
        ends = min((leases[name] for name in renewed), default="")
        return Stage(len(renewed), len(leases), f"renewed until {ends}" if ends else "renewing")

    _wait(socket, look, limit)


def _wait(socket: Path, look: Callable[[], Stage], limit: float | None) -> None:
    feed = Feed(socket)
    began = time.monotonic()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        told = None
        while True:
            stage = look()
            progress.update(task, description=stage.words, completed=stage.done, total=stage.total)
            if not console.is_terminal and stage != told:
                remark(f"{stage.done}/{stage.total} {stage.words}")
                told = stage
            if stage.complete:
                return
            left = INTERVAL if limit is None else min(INTERVAL, began + limit - time.monotonic())
            if left <= 0:
                break
            feed.wait(left)
    remark(f"esagent: not so within {limit:g} s; it goes on")
    raise SystemExit(Exit.TIMED_OUT)
