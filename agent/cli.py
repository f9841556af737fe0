"""The `esagent` command: parse, ask the daemon, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from agent.client import call
from agent.core.errors import AgentError

app = typer.Typer(
    name="esagent",
    help="Makes a Slurm cluster elastic on Cloudlab.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at agent.conf.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")

DEFAULT_CONFIG = Path("/etc/esagent/agent.conf")
DEFAULT_SOCKET = Path("/run/esagent/admin.sock")

Config = Annotated[Path, typer.Option("--config", "-c", envvar="ESAGENT_CONFIG", help="The settings.")]
Socket = Annotated[
    Path, typer.Option("--socket", envvar="ESAGENT_SOCKET", help="The daemon's socket ([admin] socket).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Nodes = Annotated[
    list[str], typer.Argument(help="node_id, client_id or node name; node sets such as pc[100-102].")
]


def main() -> None:
    """Run the command line; an error of ours is one sentence on stderr and status 1."""
    try:
        app()
    except AgentError as error:
        print(f"esagent: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"esagent {version('esagent')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make a Slurm cluster elastic on Cloudlab."""


@app.command()
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run the daemon in the foreground until SIGTERM; SIGHUP reads the settings again."""
    from agent.daemon import serve

    raise SystemExit(serve(config))


@app.command()
def status(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Tell what the agent holds, wants and last did."""
    answer = call(socket, "GET", "/v1/status")
    if as_json:
        _print_json(answer)
        return
    for key, value in answer.items():
        print(f"{key.replace('_', ' ') + ':':22}{_plain(value)}")


@app.command()
def nodes(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """List the machines that the agent holds."""
    answer = call(socket, "GET", "/v1/nodes")
    if as_json:
        _print_json(answer)
        return
    _print_table(("node", "client_id", "cm", "state", "value", "weight", "due"), answer["nodes"])


@app.command()
def plan(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Tell what the next cycle would do, why each pending job counts or not, and each node stays or goes."""
    answer = call(socket, "GET", "/v1/plan")
    if as_json:
        _print_json(answer)
        return
    if answer["growth"]:
        print(f"growth is held up: {answer['growth']}")
    for step in answer["steps"]:
        print(f"{step['kind']} {step['subject']}: {step['why']}")
    if not answer["steps"]:
        print("nothing is to be done")
    jobs = [{**job, "counts": _yes(job["counts"])} for job in answer["jobs"]]
    _print_table(("job", "counts", "machines", "why"), jobs)
    nodes = [{"node": n["name"], "goes": _yes(n["goes"]), "why": n["why"]} for n in answer["nodes"]]
    _print_table(("node", "goes", "why"), nodes)


def _yes(answer: object) -> str:
    return "yes" if answer else "no"


@app.command()
def drain(
    nodes: Nodes,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why, for all to read.")] = "administrator",
    deadline: Annotated[
        str, typer.Option("--deadline", help="Requeue what still runs after this time, such as 30m.")
    ] = "",
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Empty machines and keep them: running jobs end, no new ones start."""
    body = {"nodes": nodes, "reason": reason, "deadline": _seconds(deadline)}
    print(f"draining: {' '.join(call(socket, 'POST', '/v1/drain', body)['nodes'])}")


@app.command()
def resume(nodes: Nodes, socket: Socket = DEFAULT_SOCKET) -> None:
    """Give machines back to the scheduler that `esagent drain` took from it."""
    print(f"resumed: {' '.join(call(socket, 'POST', '/v1/resume', {'nodes': nodes})['nodes'])}")


@app.command()
def pause(socket: Socket = DEFAULT_SOCKET) -> None:
    """Ask Cloudlab for no machine until `esagent unpause`, also over a restart; all else goes on."""
    print(call(socket, "POST", "/v1/pause")["growth"])


@app.command()
def unpause(socket: Socket = DEFAULT_SOCKET) -> None:
    """Allow growth again after `esagent pause`, `esagent teardown` or a stop by the protective brake."""
    print(call(socket, "POST", "/v1/unpause")["growth"])


@app.command()
def teardown(
    deadline: Annotated[
        str, typer.Option("--deadline", help="Requeue what still runs after this time; else jobs run on.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Empty every machine and give it back to Cloudlab; the agent stays up and asks for none.

    Growth stays stopped, also over a restart, until `esagent unpause`.
    """
    seconds = _seconds(deadline)
    status = call(socket, "GET", "/v1/status")
    name = str(status["slice"]).rpartition("+")[2]
    if not yes:
        print(f"This empties all {status['machines']} machines of {status['slice']} and gives them back.")
        if typer.prompt("Type the slice's name to go on") != name:
            raise AgentError("that is not its name; nothing was done")
    print(call(socket, "POST", "/v1/teardown", {"slice": name, "deadline": seconds})["growth"])


@app.command()
def events(
    node: Annotated[str, typer.Argument(help="Only what concerns this machine.")] = "",
    newest: Annotated[int, typer.Option("-n", "--newest", min=1, max=10_000, help="How many.")] = 50,
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    """Tell what the agent did, and why."""
    answer = call(socket, "GET", f"/v1/events?subject={quote(node)}&newest={newest}")
    if as_json:
        _print_json(answer)
        return
    for event in answer["events"]:
        print(f"{event['time']}  {event['kind']:<10} {event['subject'] or '-':<12} {event['message']}")


@config_app.command("check")
def config_check(config: Config = DEFAULT_CONFIG) -> None:
    """Read agent.conf and tell every fault in it."""
    from agent.config import load

    load(config)
    print(f"{config}: no fault found")


@config_app.command("example")
def config_example() -> None:
    """Print agent.conf.example: every setting with its meaning and default."""
    from agent.config import example

    print(example(), end="")


def _seconds(deadline: str) -> object:
    if not deadline:
        return None
    from agent.core.settings import parse_duration

    try:
        return parse_duration(deadline)
    except ValueError as error:
        raise AgentError(f"--deadline: {error}") from None


def _print_json(answer: object) -> None:
    print(json.dumps(answer, indent=2))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "-"
    return "-" if value in (None, "", []) else str(value)


def _print_table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(_plain(row.get(c)) for c in columns))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(_plain(row.get(c)) for c in columns))
    Console(width=int(os.environ.get("COLUMNS", "0")) or None).print(table)
