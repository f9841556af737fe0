"""Commands about the program itself: its files, its manual page, its completion, the API behind it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import Json
from agent.cli.output import say, say_json, say_table

commands = typer.Typer()


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@commands.command()
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print what makes a shell complete.

    It completes commands, options and machines.

    For bash: esagent completion bash > /etc/bash_completion.d/esagent
    """
    # Typer's public way, add_completion, costs every command its import and puts two options into every help.
    from typer._completion_shared import get_completion_script

    say(get_completion_script(prog_name="esagent", complete_var="_ESAGENT_COMPLETE", shell=shell.value))


@commands.command()
def files(as_json: Json = False) -> None:
    """Tell where the files are that came with it.

    The unit, the alert rules, the parts for Slurm, the manual pages.
    """
    from agent.cli.files import find

    rows = [{"what": what, "path": str(path)} for what, path in find(Path(__file__)).items()]
    if as_json:
        say_json({"version": 1, "kind": "files", "files": rows})
    else:
        say_table(("what", "path"), rows)


@commands.command()
def man(context: typer.Context) -> None:
    """Print the manual page, esagent(1).

    Try: esagent man | man -l -
    """
    from agent.cli.manual import write

    say(write(context.find_root().command).rstrip("\n"))


@commands.command()
def api() -> None:
    """Print the document of the local API (OpenAPI 3.1)."""
    from agent.admin.openapi import document

    say(document().rstrip("\n"))
