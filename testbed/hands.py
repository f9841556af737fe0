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
