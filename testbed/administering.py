"""Commands of ``python -m testbed`` that act as a site's administrator: reservations, images, limits."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed.cloudlab.steering.control import ask
from testbed.hands import _DEFAULT, Cm, Directory

app = typer.Typer()

_HOUR = 3600.0
At = Annotated[str, typer.Option("--at", help="The domain of the CM.")]
Most = Annotated[int | None, typer.Argument(help="At most so many; none: any number.")]


@app.command()
def reserve(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="A hardware type, such as m510.")],
    count: Annotated[int, typer.Argument(help="How many machines.")],
    at: At,
    hours: Annotated[float, typer.Option("--for", help="Hours that it lasts.")],
    after: Annotated[float, typer.Option("--in", help="Hours until it begins.")] = 0.0,
    project: Annotated[str, typer.Option(help="Whom it is for.")] = "other",
    user: Annotated[str, typer.Option(help="The only user of that project whom it is for.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Also where it takes more than there is.")] = False,
    directory: Directory = _DEFAULT,
) -> None:
    """Reserve machines of a type for others, at a CM of 2021: it bounds leases and what is lent."""
    command = {"at": at, "type": kind, "count": count, "after": after * _HOUR, "seconds": hours * _HOUR}
    command |= {"project": project, "user": user, "force": force}
    index = ask(directory, {"do": "reserve", **command})
    typer.echo(f"{at}: {count} {kind} reserved for {project}, number {index}")


@app.command("cancel-reservation")
def cancel_reservation(
    index: Annotated[int, typer.Argument(help="The number of the reservation.")],
    at: At,
    directory: Directory = _DEFAULT,
) -> None:
    """Cancel a reservation."""
    ask(directory, {"do": "cancel-reservation", "at": at, "index": index})
    typer.echo(f"{at}: reservation {index} cancelled")


@app.command()
def reservations(directory: Directory = _DEFAULT) -> None:
    """List what is reserved."""
    for one in ask(directory, {"do": "reservations"}):
        words = f"{one['count']} {one['type']} for {one['project']} from {one['start']} to {one['end']}"
        typer.echo(f"{one['at']} {one['index']}: {words}{'' if one['approved'] else ', not approved'}")


@app.command()
def promise(
    node: Annotated[str, typer.Argument(help="A machine, such as pc100.")],
    project: Annotated[str, typer.Option(help='The project; "" ends it.')] = "other",
    after: Annotated[float, typer.Option("--in", help="Hours until it is in force.")] = 0.0,
    directory: Directory = _DEFAULT,
) -> None:
    """Reserve a machine for another project in advance: leases with it cannot be renewed."""
    ask(directory, {"do": "promise", "node": node, "project": project, "after": after * _HOUR})
    typer.echo(f"{node}: reserved in advance for {project or 'nobody'}")


@app.command()
def mark(
    node: Annotated[str, typer.Argument(help="A machine, such as pc100.")],
    how: Annotated[str, typer.Argument(metavar="MARK", help="sched-reserved, taken, freed or none.")],
    project: Annotated[str, typer.Option(help="Whom it is for.")] = "other",
    directory: Directory = _DEFAULT,
) -> None:
    """Give a machine to others next, or take it out of its slice without a word."""
    ask(directory, {"do": "mark", "node": node, "mark": how, "project": project})
    typer.echo(f"{node}: {how}")


@app.command()
def image(
    cm: Cm,
    name: Annotated[str, typer.Argument(metavar="PROJECT:OS")],
    fault: Annotated[str, typer.Argument(help="Such as deprecated or restricted; none: in order.")] = "",
    words: Annotated[str, typer.Option(help="What the owner of a deprecated image says.")] = "",
    directory: Directory = _DEFAULT,
) -> None:
    """Let an image not be usable any more: slices with a machine that runs it cannot be changed."""
    ask(directory, {"do": "image", "at": cm, "image": name, "fault": fault, "words": words})
    typer.echo(f"{cm}: {name} is {fault or 'in order'}")


@app.command()
def limit(
    cm: Cm,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="A hardware type or class.")],
    most: Most = None,
    directory: Directory = _DEFAULT,
) -> None:
    """Let a slice use only so many machines of a type."""
    ask(directory, {"do": "limit", "at": cm, "type": kind, "most": most})
    typer.echo(f"{cm}: {kind}: {'any number' if most is None else most}")


@app.command("most-nodes")
def most_nodes(cm: Cm, most: Most = None, directory: Directory = _DEFAULT) -> None:
    """Let a slice have only so many nodes."""
    ask(directory, {"do": "most-nodes", "at": cm, "most": most})
    typer.echo(f"{cm}: nodes: {'any number' if most is None else most}")


@app.command()
def quota(
    cm: Cm,
    exceeded: Annotated[bool, typer.Option("--exceeded/--kept", help="Whether it is exceeded.")] = True,
    directory: Directory = _DEFAULT,
) -> None:
    """Let the disk quota be exceeded: no slice begins at the CM."""
    ask(directory, {"do": "quota", "at": cm, "exceeded": exceeded})
    typer.echo(f"{cm}: the disk quota is {'exceeded' if exceeded else 'kept'}")


@app.command()
def lifetime(
    cm: Cm,
    hours: Annotated[float, typer.Argument(help="How far ahead slivers may end.")],
    directory: Directory = _DEFAULT,
) -> None:
    """Set the longest lease that a CM grants."""
    ask(directory, {"do": "lifetime", "at": cm, "seconds": hours * _HOUR})
    typer.echo(f"{cm}: leases of {hours:g} h at most")


@app.command("renew-limit")
def renew_limit(
    name: Annotated[str, typer.Argument(metavar="SLICE")],
    at: At,
    hours: Annotated[
        float | None, typer.Argument(help="How far ahead; 0: idle for too long; none: no limit.")
    ] = None,
    until: Annotated[bool, typer.Option("--until", help="Ahead of now, whenever it is renewed.")] = False,
    directory: Directory = _DEFAULT,
) -> None:
    """Limit the renewals of one slice at a CM."""
    seconds = None if hours is None else hours * _HOUR
    ask(directory, {"do": "renew-limit", "slice": name, "at": at, "seconds": seconds, "until": until})
    typer.echo(f"{at}: {name}: {'no limit' if hours is None else f'{hours:g} h'}")


@app.command()
def cluster(
    cm: Cm,
    use: Annotated[str, typer.Argument(help="users, forbidden or offline.")],
    directory: Directory = _DEFAULT,
) -> None:
    """Let a CM's module cluster admit users, or nobody."""
    ask(directory, {"do": "cluster", "at": cm, "use": use})
    typer.echo(f"{cm}: cluster is {use}")
