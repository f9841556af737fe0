"""Commands that follow what happens."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from agent.cli.client import call
from agent.cli.exits import Exit
from agent.cli.feed import Feed
from agent.cli.options import DEFAULT_SOCKET, Asking, Json, Socket, Subject
from agent.cli.output import plain, remark, say, say_json, say_table

commands = typer.Typer()

EVENT_COLUMNS = ("time", "kind", "subject", "message")


@commands.command(cls=Asking)
def events(
    subject: Subject = "",
    newest: Annotated[
        int, typer.Option("-n", "--newest", metavar="NUMBER", min=1, max=10_000, help="How many.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C; one a line.")
    ] = False,
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Tell what the agent did, and why.

    Of a machine that is gone too: why it was taken.
    """
    answer = call(socket, "GET", f"/v1/events?{urlencode({'subject': subject, 'newest': newest})}")
    if follow:
        _follow(socket, subject, answer, as_json)
    elif as_json:
        say_json(answer)
    elif not answer["events"]:
        remark(_nothing_about(subject, socket) if subject else "nothing has happened yet")
    else:
        say_table(EVENT_COLUMNS, answer["events"])


def _follow(socket: Path, subject: str, first: Mapping[str, Any], as_json: bool) -> None:
    def tell(event: Mapping[str, Any]) -> None:
        if as_json:
            say(json.dumps({"version": first["version"], "kind": "event", **event_fields(event)}))
        else:
            words = (plain(event["time"]), f"{event['kind']:<10}", f"{plain(event['subject']):<12}")
            say("  ".join((*words, plain(event["message"]))))

    with _ending_at_ctrl_c():
        for event in first["events"]:
            tell(event)
        for event in Feed(socket, first["last"], subject).endless():
            tell(event)


@contextmanager
def _ending_at_ctrl_c() -> Iterator[None]:
    """End at once: Python drops a KeyboardInterrupt that is raised while an object is being finalized."""
    before = signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(Exit.INTERRUPTED)


def event_fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event for a line of its own: its kind gives way to that of the line."""
    return {"event": event["kind"], **{key: value for key, value in event.items() if key != "kind"}}


def _nothing_about(subject: str, socket: Path) -> str:
    """Tell that nothing is known about a name, with the nearest names."""
    import difflib

    known = {
        name
        for e in call(socket, "GET", "/v1/events?newest=5000")["events"]
        for name in e["subject"].split(",")
    }
    known |= {str(n[key]) for n in call(socket, "GET", "/v1/nodes")["nodes"] for key in ("node", "client_id")}
    near = difflib.get_close_matches(subject, sorted(known - {""}), n=2)
    return f"no event is about {subject}" + (f"; did you mean {' or '.join(near)}?" if near else "")


@commands.command(cls=Asking)
def top(
    interval: Annotated[
        float,
        typer.Option(
            "--interval", "-i", metavar="SECONDS", min=0.2, max=20, help="Seconds between two looks at most."
        ),
    ] = 2.0,
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Show machines, drains and events, live.

    q ends it. Where there is no terminal, it is shown once.
    """
    from agent.cli import top as live

    if as_json:
        say_json(live.look(socket))
    else:
        live.run(socket, interval)
