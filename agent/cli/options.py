"""Options and arguments that many commands have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from agent.core.errors import AgentError

DEFAULT_CONFIG = Path("/etc/esagent/agent.conf")
DEFAULT_SOCKET = Path("/run/esagent/admin.sock")


def _complete_nodes(incomplete: str) -> list[str]:
    """Return the names of machines that begin so; node names for none; nothing where no daemon tells."""
    from agent.client import call

    path = Path(os.environ.get("ESAGENT_SOCKET", str(DEFAULT_SOCKET)))
    try:
        records = call(path, "GET", "/v1/nodes", timeout=2)["nodes"]
    except AgentError:
        return []
    names = {
        record[key] for record in records for key in ("node", "client_id") if incomplete or key == "node"
    }
    return sorted(name for name in names if name.startswith(incomplete))


Config = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", envvar="ESAGENT_CONFIG", help="The settings.")
]
Socket = Annotated[
    Path,
    typer.Option(
        "--socket", metavar="FILE", envvar="ESAGENT_SOCKET", help="The daemon's socket ([admin] socket)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: an object with its kind and version.")]
Nodes = Annotated[
    list[str],
    typer.Argument(
        metavar="NODE...",
        help="node_id, client_id or node name; node sets such as pc[100-102].",
        autocompletion=_complete_nodes,
    ),
]
Subject = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Only what concerns this: a machine by any of its names, a CM, a step.",
        autocompletion=_complete_nodes,
    ),
]
Reason = Annotated[
    str | None,
    typer.Option(
        "--reason",
        "-r",
        metavar="TEXT",
        help="Why, for all to read; an earlier drain's words stay without it.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return when it is so; show how far it is.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="With --wait: wait so long at most, such as 30m.")
]


def seconds(option: str, text: str) -> float | None:
    """Read a duration that an option was given; None where it was not.

    Raises:
        BadParameter: it is none.
    """
    if not text:
        return None
    from agent.core.settings import parse_duration

    try:
        return float(text) if text.isdecimal() else float(str(parse_duration(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def patience(wait: bool, timeout: str) -> float | None:
    """Read how long --wait waits at most; None for without end.

    Raises:
        BadParameter: it is no duration, or nothing is waited for.
    """
    if timeout and not wait:
        raise typer.BadParameter("it goes with --wait", param_hint="--timeout")
    return seconds("--timeout", timeout)
