"""Commands that have the running daemon do something."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from agent.cli.client import call
from agent.cli.options import (
    DEFAULT_SOCKET,
    Asking,
    Cm,
    Json,
    Nodes,
    Reason,
    Socket,
    Timeout,
    Wait,
    patience,
    seconds,
)
from agent.cli.output import say, say_json
from agent.core.errors import AgentError

commands = typer.Typer()

Deadline = Annotated[
    str,
    typer.Option(
        "--deadline", metavar="TIME", help="Requeue what still runs after this time, such as 30m or 0s."
    ),
]


@commands.command(cls=Asking)
def drain(
    nodes: Nodes,
    reason: Reason = None,
    deadline: Deadline = "",
    force: Annotated[bool, typer.Option("--force", help="Also nodes that somebody else drained.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Give the machines back to Cloudlab once they are empty.")
    ] = False,
    wait: Wait = False,
    timeout: Timeout = "",
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Empty machines, to keep or to release them.

    Running jobs end, no new ones start.
    """
    body = {
        "nodes": nodes,
        "reason": reason,
        "deadline": seconds("--deadline", deadline),
        "force": force,
        "release": release,
    }
    limit = patience(wait, timeout)
    answer = call(socket, "POST", "/v1/drain", body)
    _tell(answer, f"draining: {' '.join(answer['nodes'])}", as_json)
    if wait:
        from agent.cli.waiting import wait_for_empty

        wait_for_empty(socket, answer["nodes"], limit, gone=release)


@commands.command(cls=Asking)
def release(
    nodes: Nodes,
    reason: Reason = None,
    now: Annotated[bool, typer.Option("--now", help="Requeue what runs there, at once.")] = False,
    wait: Wait = False,
    timeout: Timeout = "",
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Give empty machines back to Cloudlab.

    A machine with jobs on it goes with --now only; `esagent drain --release` waits for their end first.
    """
    limit = patience(wait, timeout)
    answer = call(socket, "POST", "/v1/release", {"nodes": nodes, "reason": reason, "now": now})
    _tell(answer, f"going back to Cloudlab: {' '.join(answer['nodes'])}", as_json)
    if wait:
        from agent.cli.waiting import wait_for_empty

        wait_for_empty(socket, answer["nodes"], limit, gone=True)


@commands.command(cls=Asking)
def resume(nodes: Nodes, socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Put machines back into service after `esagent drain`."""
    answer = call(socket, "POST", "/v1/resume", {"nodes": nodes})
    _tell(answer, f"resumed: {' '.join(answer['nodes'])}", as_json)


@commands.command(cls=Asking)
def grow(
    count: Annotated[
        int,
        typer.Argument(
            metavar="COUNT", min=0, max=10_000, help="Machines in addition; 0 withdraws an earlier wish."
        ),
    ],
    within: Annotated[
        str,
        typer.Option("--within", metavar="TIME", help="The wish ends by itself after this time, such as 2h."),
    ] = "1h",
    wait: Wait = False,
    timeout: Timeout = "",
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Have machines in addition, whatever the queue wants.

    Once they are in service they are as all others: idle ones go back in their time. The wish holds over a
    restart of the daemon.
    """
    body = {"count": count, "within": seconds("--within", within)}
    limit = patience(wait, timeout)
    answer = call(socket, "POST", "/v1/grow", body)
    growing = answer["growing"]
    if growing is None:
        _tell(answer, "the wish is withdrawn", as_json)
        return
    words = f"machines in service: {growing['in_service']} of {growing['machines']}"
    _tell(answer, words, as_json)
    if wait:
        from agent.cli.waiting import wait_for_machines

        wait_for_machines(socket, growing["machines"], limit)


@commands.command(cls=Asking)
def renew(
    wait: Wait = False, timeout: Timeout = "", socket: Socket = DEFAULT_SOCKET, as_json: Json = False
) -> None:
    """Renew the lease to its full length now."""
    limit = patience(wait, timeout)
    if not wait:
        _growth(socket, "renew", None, as_json)
        return
    from agent.cli.feed import last_event
    from agent.cli.waiting import wait_for_renewal

    since = last_event(socket)
    _growth(socket, "renew", None, as_json)
    wait_for_renewal(socket, since, limit)


@commands.command(cls=Asking)
def pause(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Ask Cloudlab for no machine until `esagent unpause`.

    All else goes on. It holds over a restart too.
    """
    _growth(socket, "pause", None, as_json)


@commands.command(cls=Asking)
def unpause(cm: Cm = None, socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Allow growth again.

    After `esagent pause`, `esagent teardown` or a stop by the protective brake. With --cm: allow machines to
    be asked again of a CM that `esagent teardown` emptied alone.
    """
    if cm:
        _growth(socket, "reopen", {"cm": cm}, as_json)
    else:
        _growth(socket, "unpause", None, as_json)


@commands.command(cls=Asking)
def teardown(
    cm: Cm = None,
    deadline: Deadline = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: Wait = False,
    timeout: Timeout = "",
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Empty every machine and give it back to Cloudlab.

    The agent stays up and asks for none: growth stays stopped, also over a restart, until `esagent unpause`.
    With --cm only what one CM lent goes back, also one that is not in agent.conf any more; all else goes on.
    """
    due, limit = seconds("--deadline", deadline), patience(wait, timeout)
    status = call(socket, "GET", "/v1/status")
    name, held = str(status["slice"]).rpartition("+")[2], status["machines"]
    if cm:
        records = call(socket, "GET", "/v1/nodes")["nodes"]
        held = sum(record["cm"] == cm and record["state"] != "requested" for record in records)
    if not yes:
        where = f" at {cm}" if cm else ""
        question = f"This empties all {held} machines of {status['slice']}{where} and gives them back."
        typer.echo(question, err=as_json)
        if typer.prompt("Type the slice's name to go on", err=as_json) != name:
            raise AgentError("that is not its name; nothing was done")
    _growth(socket, "teardown", {"slice": name, "deadline": due, "cm": cm}, as_json)
    if wait:
        from agent.cli.waiting import wait_for_none

        wait_for_none(socket, held, limit, cm or "")


@commands.command(cls=Asking)
def poke(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Have the draining nodes looked at now.

    For Slurm's epilog and triggers.
    """
    answer = call(socket, "POST", "/v1/poke")
    if as_json:
        say_json(answer)


def _growth(socket: Socket, what: str, body: dict[str, object] | None, as_json: bool) -> None:
    answer = call(socket, "POST", f"/v1/{what}", body)
    _tell(answer, answer["growth"], as_json)


def _tell(answer: Any, words: str, as_json: bool) -> None:
    if as_json:
        say_json(answer)
    else:
        say(words)
