"""Commands of ``python -m testbed`` that act as a portal, and as the people at it."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed.cloudlab.steering.control import ask
from testbed.hands import _DEFAULT, Directory

app = typer.Typer()

Slice = Annotated[str, typer.Argument(metavar="SLICE", help="Name or URN of a slice.")]
Cm = Annotated[str, typer.Argument(help="The domain of a CM.")]


@app.command("portal-slice")
def portal_slice(
    name: Annotated[str, typer.Argument(metavar="SLICE", help="Its name.")],
    cm: Cm,
    nodes: Annotated[list[str], typer.Argument(help="The client_ids of its machines.")],
    user: Annotated[str, typer.Option(help="Who is its creator; by default the first user.")] = "",
    hosts: Annotated[bool, typer.Option("--hosts", help="With a host of virtual machines.")] = False,
    directory: Directory = _DEFAULT,
) -> None:
    """Make a slice with machines as a portal does, for a user."""
    command = {"do": "portal-slice", "slice": name, "at": cm, "nodes": nodes, "user": user, "hosts": hosts}
    typer.echo(f"made {ask(directory, command)}")


@app.command("portal-modify")
def portal_modify(
    name: Slice,
    cm: Cm,
    add: Annotated[list[str] | None, typer.Option(help="The client_id of a new machine.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="The client_id of one that goes.")] = None,
    failure: Annotated[str, typer.Option(help="How it fails: mapping or redeeming.")] = "",
    directory: Directory = _DEFAULT,
) -> None:
    """Press Modify at the portal: machines come and go at once, or it fails."""
    changes = {"add": add or [], "remove": remove or [], "failure": failure}
    ask(directory, {"do": "portal-modify", "slice": name, "at": cm, **changes})
    typer.echo(f"{name}: modified at {cm}")


@app.command("sa-lock")
def sa_lock(
    name: Slice,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it is held.")] = True,
    directory: Directory = _DEFAULT,
) -> None:
    """Hold the SA's lock of a slice, as a portal does while it works, or give it back."""
    ask(directory, {"do": "sa-lock", "slice": name, "on": on})
    typer.echo(f"{name}: the SA's lock is {'held' if on else 'free'}")


@app.command()
def expiry(
    name: Slice,
    at: Annotated[str, typer.Argument(help="Where: sa, or the domain of a CM.")],
    seconds: Annotated[float, typer.Option("--in", help="Real seconds until the slice ends there.")],
    directory: Directory = _DEFAULT,
) -> None:
    """Move a slice's end, as a portal or an administrator does: earlier too."""
    ask(directory, {"do": "expiry", "slice": name, "at": at, "seconds": seconds})
    typer.echo(f"{name}: ends at {at} in {seconds:g} s")
