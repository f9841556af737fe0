"""The start-up commands of a node as the one that ``GeniCMV2 AddNodes`` takes."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from agent.core.request.document import Execute
from agent.core.request.rspec import STARTUP

_AS_BASH = frozenset({"sh", "bash"})
"""Shells whose commands the one of ``AddNodes``, bash, runs as well."""


def startup_of(executes: Sequence[Execute]) -> str:
    """Return one command that runs these, one after the other, whatever becomes of the one before.

    Each has a shell of its own. One alone stays as it is, so that a CM treats it as it would in a request; of
    several, those with a single quote, or with what is no printable ASCII, go in base64.

    Returns:
        The command, of any length; "" for none.
    """
    match executes:
        case [alone] if _shell(alone) in _AS_BASH and STARTUP.fullmatch(alone.command):
            return alone.command
    return ";".join(_in_its_shell(execute) for execute in executes)


def _in_its_shell(execute: Execute) -> str:
    shell = _shell(execute)
    if STARTUP.fullmatch(execute.command) and "'" not in execute.command:
        return f"{shell} -c '{execute.command}'"
    packed = base64.b64encode(execute.command.encode()).decode()
    return f"echo {packed}|base64 -d|{shell}"


def _shell(execute: Execute) -> str:
    return execute.shell.rpartition("/")[2]
