"""The command line as a whole: its commands, its errors, its ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import about, act, local, settings, show, watch
from agent.cli.exits import Exit, explain
from agent.cli.output import remark, say, silence
from agent.core.errors import AgentError, ConfigError, UnavailableError

COMPLETE = "_ESAGENT_COMPLETE"

app = typer.Typer(
    name="esagent",
    help="Makes a Slurm cluster elastic on Cloudlab.",
    epilog=f"\b\nExit codes:\n{explain()}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (show, watch, act, local, about):
    app.registered_commands += part.commands.registered_commands
app.add_typer(settings.commands, name="config")


def main() -> None:
    """Run the command line; an error of ours is one sentence on stderr and an exit code."""
    _open_what_is_closed()
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
        code = Exit.PIPE_CLOSED
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except OSError as error:
        silence()
        remark(f"esagent: {error}")
        code = Exit.REFUSED
    raise SystemExit(code)


def _open_what_is_closed() -> None:
    """Let go nowhere what the caller closed (``esagent status >&-``): Python has no stream for it."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process


def _run() -> int | str | None:
    if COMPLETE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    try:
        app(prog_name="esagent")
    except SystemExit as ended:
        return ended.code
    except AgentError as error:
        remark(f"esagent: {error}")
        return _code_of(error)
    return Exit.DONE


def _code_of(error: AgentError) -> Exit:
    from agent.cli.client import NoDaemonError, NotAllowedError

    match error:
        case NoDaemonError():
            return Exit.NO_DAEMON
        case NotAllowedError():
            return Exit.NOT_ALLOWED
        case UnavailableError():
            return Exit.REFUSED
        case ConfigError():
            return Exit.CONFIG
    return Exit.REFUSED


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"esagent {version('esagent')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make a Slurm cluster elastic on Cloudlab."""
