"""The `esagent` command: parse, ask the daemon, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
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
config_app = typer.Typer(help="Write agent.conf.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")

_TOLD = 5
"""Jobs of one verdict that are named."""

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
    _print_table(("jobs", "counts", "machines", "why"), _alike(answer["jobs"]))
    nodes = [{"node": n["name"], "goes": _yes(n["goes"]), "why": n["why"]} for n in answer["nodes"]]
    _print_table(("node", "goes", "why"), nodes)


def _alike(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Put the jobs of one verdict into one row, so that a long queue is told in few."""
    rows: dict[tuple[object, ...], list[str]] = {}
    for job in jobs:
        rows.setdefault((_yes(job["counts"]), job["machines"], job["why"]), []).append(str(job["job"]))
    return [
        {
            "jobs": " ".join(ids[:_TOLD]) + (f" and {len(ids) - _TOLD} more" if len(ids) > _TOLD else ""),
            "counts": counts,
            "machines": machines,
            "why": why,
        }
        for (counts, machines, why), ids in rows.items()
    ]


def _yes(answer: object) -> str:
    return "yes" if answer else "no"


@app.command()
def drain(
    nodes: Nodes,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why, for all to read.")] = "administrator",
    deadline: Annotated[
        str, typer.Option("--deadline", help="Requeue what still runs after this time, such as 30m.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Also nodes that somebody else drained.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Give the machines back to Cloudlab once they are empty.")
    ] = False,
    socket: Socket = DEFAULT_SOCKET,
) -> None:
    """Empty machines, to keep or to release them: running jobs end, no new ones start."""
    body = {
        "nodes": nodes,
        "reason": reason,
        "deadline": _seconds(deadline),
        "force": force,
        "release": release,
    }
    print(f"draining: {' '.join(call(socket, 'POST', '/v1/drain', body)['nodes'])}")


@app.command()
def drains(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """List what is being emptied: whose jobs hold it, what will happen to them and when, and the margin."""
    records = call(socket, "GET", "/v1/drains")["drains"]
    if as_json:
        _print_json(records)
        return
    rows = [
        {**record, **job, "margin": _margin(record["margin_seconds"])}
        for record in records
        for job in record["jobs"] or [{"job": "", "user": "", "fate": "empty", "at": None}]
    ]
    _print_table(("node", "cause", "due", "job", "user", "fate", "at", "margin"), rows)


@app.command()
def poke(socket: Socket = DEFAULT_SOCKET) -> None:
    """Have the draining nodes looked at now: for Slurm's epilog and triggers."""
    call(socket, "POST", "/v1/poke")


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


@app.command()
def check(
    config: Config = DEFAULT_CONFIG,
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither Cloudlab nor Slurm.")] = False,
    as_json: Json = False,
) -> None:
    """Look at everything that the agent needs; status 1 where something keeps it from its work."""
    from dataclasses import asdict

    from agent.check.everything import check_everything
    from agent.check.finding import Grade
    from agent.core.ports import SystemClock
    from agent.log import LogSettings, configure

    configure(LogSettings(level="error"))
    findings = []
    for finding in check_everything(config, SystemClock(), offline=offline):
        findings.append(finding)
        if not as_json:
            print(f"{finding.grade:8} {finding.subject}: {finding.seen}")
            if finding.mend:
                print(f"{'':8} -> {finding.mend}")
    if as_json:
        _print_json({"version": 1, "findings": [asdict(f) for f in findings]})
    if any(f.grade is Grade.FAULT for f in findings):
        raise typer.Exit(1)


@app.command()
def state(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Tell what Slurm says now of its nodes and jobs, also while no daemon runs."""
    from agent import state as shown
    from agent.config import load

    snapshot = shown.read_slurm(load(config))
    if as_json:
        _print_json(shown.as_json(snapshot))
        return
    _print_table(shown.NODE_COLUMNS, shown.node_rows(snapshot))
    _print_table(shown.JOB_COLUMNS, shown.job_rows(snapshot))


@config_app.command("example")
def config_example() -> None:
    """Print agent.conf.example: every setting with its meaning and default."""
    from agent.config import example

    print(example(), end="")


def _margin(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"


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
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "-"
    text = "-" if value in (None, "") else str(value)
    # Slurm's free text may hold what a terminal obeys.
    return "".join(c if c.isprintable() else " " for c in text)


def _print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(_plain(row.get(c)) for c in columns))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(escape(_plain(row.get(c))) for c in columns))
    Console(width=int(os.environ.get("COLUMNS", "0")) or None).print(table)
