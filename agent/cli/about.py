"""Commands about the command line itself: its manual page, its completion, the API behind it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from agent.cli.output import say

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
def man() -> None:
    """Print the manual page, esagent(1).

    Try: esagent man | man -l -
    """
    from agent.cli.app import app
    from agent.cli.manual import write

    say(write(app).rstrip("\n"))


@commands.command()
def api() -> None:
    """Print the document of the local API (OpenAPI 3.1)."""
    from agent.admin.openapi import document

    say(document().rstrip("\n"))
