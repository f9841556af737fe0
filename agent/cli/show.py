"""Commands that tell what the running daemon knows: each asks one question of the local API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from agent.cli.client import call
from agent.cli.options import DEFAULT_SOCKET, Asking, Json, Socket
from agent.cli.output import say, say_fields, say_json, say_table

TOLD = 5
"""Jobs of one verdict that are named."""
DRAIN_COLUMNS = ("node", "cause", "due", "margin", "job", "user", "fate", "at")

Answer = Mapping[str, Any]
"""What the local API says, decoded."""


def status(answer: Answer) -> None:
    """Tell what the agent holds, wants and last did."""
    say_fields(status_fields(answer))


def status_fields(answer: Answer) -> dict[str, object]:
    """Return what `esagent status` tells of an answer."""
    if answer["standby"]:
        return {"standby": answer["standby"]}
    fields = {key: value for key, value in answer.items() if key not in {"kind", "version", "standby"}}
    fields["teardowns"] = [*answer["teardowns"].values()]
    fields["retired"] = [record["words"] for record in answer["retired"]]
    if growing := answer["growing"]:
        fields["growing"] = (
            f"{growing['in_service']} of {growing['machines']} machines in service, asked for by"
            f" {growing['who']}, until {growing['until']}"
        )
    return fields


def nodes(answer: Answer) -> None:
    """List the machines that are held, and those asked for.

    With --all those of the slice too that are not ours: the agent shows them, and does nothing with them.
    """
    asked = ("asked",) if any(node["asked"] for node in answer["nodes"]) else ()
    rows = [{**node, "for": _some(node["jobs"], node["more_jobs"])} for node in answer["nodes"]]
    jobs = ("for",) if any(row["for"] for row in rows) else ()
    columns = ("node", "client_id", "state", *asked, *jobs, "value", "weight", "due", "cm")
    say_table(columns, rows, nothing="no machine is held, and none was asked for")


def jobs(answer: Answer) -> None:
    """List the jobs on borrowed machines, and those that wait.

    Each with what will become of it, or what it means for growth.
    """
    columns = ("job", "user", "state", "ends", "nodes", "outlook")
    say_table(columns, answer["jobs"], nothing="no job is on a borrowed machine, and none waits")


def values(answer: Answer) -> None:
    """List the resource value and the weight of each machine."""
    columns = ("node", "client_id", "value", "received", "weight", "wanted_weight")
    say_table(columns, answer["values"], nothing="no machine is held")


def plan(answer: Answer) -> None:
    """Tell what the next cycle would do, and why.

    And why each pending job counts or not, and each node stays or goes.
    """
    if answer["growth"]:
        say(f"growth is held up: {answer['growth']}")
    for step in answer["steps"]:
        say(f"{step['kind']} {step['subject']}: {step['why']}")
    if not answer["steps"]:
        say("nothing is to be done")
    say_table(("jobs", "counts", "machines", "why"), alike(answer["jobs"]))
    verdicts = [{"node": n["name"], "goes": _yes(n["goes"]), "why": n["why"]} for n in answer["nodes"]]
    say_table(("node", "goes", "why"), verdicts)
    for words in answer["leases"]:
        say(words)


def alike(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Put the jobs of one verdict into one row, so that a long queue is told in few."""
    rows: dict[tuple[object, ...], list[str]] = {}
    for job in jobs:
        rows.setdefault((_yes(job["counts"]), job["machines"], job["why"]), []).append(str(job["job"]))
    return [
        {
            "jobs": _some(ids[:TOLD], max(len(ids) - TOLD, 0)),
            "counts": counts,
            "machines": machines,
            "why": why,
        }
        for (counts, machines, why), ids in rows.items()
    ]


def _some(ids: Sequence[str], more: int) -> str:
    return " ".join(ids) + (f" and {more} more" if more else "")


def _yes(answer: object) -> str:
    return "yes" if answer else "no"


def drains(answer: Answer) -> None:
    """List what is being emptied, and the jobs on it.

    Whose jobs they are, what will happen to them and when, and the margin to the deadline; what tells
    them to save their work, and when they are expected to end, where that is known.
    """
    rows = drain_rows(answer["drains"])
    told = [name for name in ("saves", "expected") if any(row.get(name) for row in rows)]
    columns = (*DRAIN_COLUMNS, *told)
    say_table(columns, rows, nothing="no machine is being emptied")


def drain_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Return a row for each job that holds a draining node, one for a node that none holds."""
    return [
        {**record, **job, "margin": _margin(record["margin_seconds"])}
        for record in records
        for job in record["jobs"]
        or [{"job": "", "user": "", "fate": "empty", "at": None, "saves": "", "expected": ""}]
    ]


def _margin(seconds: int | None) -> str:
    return "-" if seconds is None else f"{seconds} s"


SHOWN: Mapping[str, Callable[[Answer], None]] = {
    "status": status,
    "nodes": nodes,
    "jobs": jobs,
    "values": values,
    "plan": plan,
    "drains": drains,
}
"""Command, and what it asks ``/v1/`` for -> what tells the answer to people; its docstring is the help."""

commands = typer.Typer()


def _asking(question: str) -> Callable[..., None]:
    def ask(socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
        _show(question, call(socket, "GET", f"/v1/{question}"), as_json=as_json)

    return ask


def _ask_for_nodes(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also machines that are not ours.")] = False,
    socket: Socket = DEFAULT_SOCKET,
    as_json: Json = False,
) -> None:
    _show("nodes", call(socket, "GET", f"/v1/nodes{'?all=true' if everything else ''}"), as_json=as_json)


def _show(question: str, answer: Answer, *, as_json: bool) -> None:
    (say_json if as_json else SHOWN[question])(answer)


for _question, _tell in SHOWN.items():
    _ask = _ask_for_nodes if _question == "nodes" else _asking(_question)
    commands.command(_question, cls=Asking, help=_tell.__doc__)(_ask)
