"""Commands that work without a running daemon, and the daemon itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.exits import Exit
from agent.cli.options import DEFAULT_CONFIG, Config, Json
from agent.cli.output import say, say_json, say_table

if TYPE_CHECKING:
    from agent.check.user import User

commands = typer.Typer()


@commands.command()
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run the daemon in the foreground until SIGTERM.

    SIGHUP reads the settings again.
    """
    from agent.daemon import serve

    raise SystemExit(serve(config))


@commands.command()
def check(
    config: Config = DEFAULT_CONFIG,
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither Cloudlab nor Slurm.")] = False,
    as_user: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="USER",
            help="Whom the daemon runs as, by name or uid; else whoever the running one or its unit says.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at all that the agent needs, as the daemon's user would.

    Only root may look as another user than itself. Exit code 1 where something keeps the agent from its work.
    """
    from dataclasses import asdict

    from agent.check.everything import check_everything
    from agent.check.finding import Grade
    from agent.core.ports import SystemClock
    from agent.tell.log import LogSettings, configure

    asked = None if as_user is None else _user(as_user)
    configure(LogSettings(level="error"))
    findings = []
    for finding in check_everything(config, SystemClock(), offline=offline, asked=asked):
        findings.append(finding)
        if not as_json:
            say(f"{finding.grade:8} {finding.subject}: {finding.seen}")
            if finding.mend:
                say(f"{'':8} -> {finding.mend}")
    if as_json:
        say_json({"version": 1, "kind": "check", "findings": [asdict(f) for f in findings]})
    if any(f.grade is Grade.FAULT for f in findings):
        raise typer.Exit(Exit.REFUSED)


def _user(text: str) -> User:
    """Read whom --as names.

    Raises:
        BadParameter: this machine knows no such user, or the caller may not look as that one.
    """
    from agent.check.user import named
    from agent.core.errors import ConfigError

    try:
        user = named(text)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--as") from None
    if os.geteuid() not in {0, user.uid}:
        raise typer.BadParameter(f"only root may look as {user.name}", param_hint="--as")
    return user


@commands.command()
def state(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Tell what Slurm says now of its nodes and jobs.

    Also while no daemon runs.
    """
    from agent.check import state as shown
    from agent.config import load

    snapshot = shown.read_slurm(load(config))
    if as_json:
        say_json({"version": 1, "kind": "state", **shown.as_json(snapshot)})
        return
    say_table(shown.NODE_COLUMNS, shown.node_rows(snapshot), nothing="Slurm has no node")
    say_table(shown.JOB_COLUMNS, shown.job_rows(snapshot), nothing="Slurm has no job")
