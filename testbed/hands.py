"""Commands of ``python -m testbed`` that act as somebody else: an administrator, a portal, another user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cloudlab.steering.control import ask

app = typer.Typer()

_DEFAULT = Path("build/testbed")
Directory = Annotated[
    Path, typer.Option("--dir", help="Where the test bed keeps its files.", envvar="TESTBED_DIR")
]
Place = Annotated[str, typer.Option(help="Only there: sa, or the domain of a CM.")]
Cm = Annotated[str, typer.Argument(help="The domain of a CM.")]


@app.command()
def account(
    user: Annotated[str, typer.Argument(help="A user, such as ada.")],
    standing: Annotated[str, typer.Argument(help="active, inactive or frozen.")],
    at: Place = "",
    directory: Directory = _DEFAULT,
) -> None:
    """Freeze an account, make it inactive, or active again; a server of 2016 cannot freeze."""
    ask(directory, {"do": "account", "user": user, "standing": standing, "at": at})
    typer.echo(f"{user}: {standing}")


@app.command()
def logins(
    place: Annotated[str, typer.Argument(help="sa, or the domain of a CM.")],
    on: Annotated[bool, typer.Option("--on/--off", help="Whether calls are taken.")] = False,
    directory: Directory = _DEFAULT,
) -> None:
    """Let the SA or a CM take no logins, or take them again."""
    ask(directory, {"do": "logins", "at": place, "on": on})
    typer.echo(f"{place}: logins are {'on' if on else 'off'}")


@app.command()
def experiments(
    cm: Cm,
    state: Annotated[str, typer.Argument(help="on, off, or off-2024: in the words of newer servers.")],
    directory: Directory = _DEFAULT,
) -> None:
    """Disable the experiments of a CM of 2021, or enable them."""
    ask(directory, {"do": "experiments", "at": cm, "state": state})
    typer.echo(f"{cm}: experiments are {state}")


@app.command()
def portals(
    cm: Cm,
    known: Annotated[list[str] | None, typer.Argument(help="Domains whose users are let in.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Let everybody in again.")] = False,
    directory: Directory = _DEFAULT,
) -> None:
    """Let only users of a CM's own and of these domains in to a CM of 2021."""
    ask(directory, {"do": "portals", "at": cm, "known": None if everybody else known or []})
    typer.echo(f"{cm}: lets in {'everybody' if everybody else ' '.join(['its own', *(known or [])])}")


@app.command("end-slice")
def end_slice(
    name: Annotated[str, typer.Argument(help="A slice, by its name or URN.")],
    at: Annotated[str, typer.Option(help="sa, or the domain of a CM.")],
    directory: Directory = _DEFAULT,
) -> None:
    """End a slice at the SA or at a CM, as a portal or an administrator does."""
    ask(directory, {"do": "end-slice", "slice": name, "at": at})
    typer.echo(f"{name}: ended at {at}")


@app.command()
def lockdown(
    name: Annotated[str, typer.Argument(help="A slice, by its name or URN.")],
    at: Annotated[str, typer.Option(help="The domain of a CM of 2021.")],
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it is locked down.")] = True,
    directory: Directory = _DEFAULT,
) -> None:
    """Lock a slice down: it does not expire, and cannot be deleted."""
    ask(directory, {"do": "lockdown", "slice": name, "at": at, "on": on})
    typer.echo(f"{name}: {'' if on else 'not '}locked down at {at}")


@app.command()
def panic(
    name: Annotated[str, typer.Argument(help="A slice, by its name or URN.")],
    at: Annotated[str, typer.Option(help="The domain of a CM of 2021.")],
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it is in panic mode.")] = True,
    directory: Directory = _DEFAULT,
) -> None:
    """Put a slice into panic mode: it cannot be deleted."""
    ask(directory, {"do": "panic", "slice": name, "at": at, "on": on})
    typer.echo(f"{name}: {'' if on else 'not '}in panic mode at {at}")


@app.command()
def reboot(
    place: Annotated[str, typer.Argument(help="sa, or the domain of a CM.")],
    seconds: Annotated[float, typer.Option(help="Real seconds in which nothing answers.")] = 0.0,
    directory: Directory = _DEFAULT,
) -> None:
    """Reboot the server of the SA or of a CM, in the middle of whatever it does."""
    ask(directory, {"do": "reboot", "at": place, "seconds": seconds})
    typer.echo(f"{place}: reboots, {seconds:g} s")


@app.command()
def recovery(
    node: Annotated[str, typer.Argument()],
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it is there.")] = True,
    directory: Directory = _DEFAULT,
) -> None:
    """Boot a machine into the recovery system, where it cannot be reloaded."""
    ask(directory, {"do": "recovery", "node": node, "on": on})
    typer.echo(f"{node}: {'' if on else 'not '}in the recovery system")
