"""Start-up commands in the form in which every CM has them run alike.

A CM of 2016 runs the one command of a node as it is. One of 2021 writes it into a script as ``SHELL -c
"COMMAND"`` (GeniCM.pm GetTicketAuxAux): a shell reads what is special between double quotes before the one
that is meant does. One of 2024 ends that script at the first of several commands that fails. So one command
without such characters is sent, with what has them in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from agent.core.request.document import DocumentNode, Execute
from agent.core.request.rspec import MAX_STARTUP, STARTUP

_READ_TWICE = frozenset('"$`\\')
"""What a shell reads between double quotes."""
_AS_BASH = frozenset({"sh", "bash"})
"""Shells whose commands the one of ``AddNodes``, bash, runs as well."""
_NAMED = "quote, $, backquote or backslash"
_MEND = "put it into a script in one of the tarballs, and call that"


def startup_of(executes: Sequence[Execute]) -> str:
    """Return one command that runs these, one after the other, whatever becomes of the one before.

    Each of several has a shell of its own. One alone stays as it is, where it can.

    Returns:
        The command, of any length; "" for none.
    """
    match executes:
        case [alone] if _shell(alone) in _AS_BASH and STARTUP.fullmatch(alone.command):
            return alone.command
    return ";".join(_in_its_shell(execute) for execute in executes)


def alike(command: str) -> str:
    """Return the command, of printable ASCII in one line, as every CM runs it in bash.

    Raises:
        ValueError: it has to be sent in base64, and is too long then.
    """
    if _is_plain(command):
        return command
    packed = _packed(command, "bash")
    if len(packed) > MAX_STARTUP:
        raise ValueError(
            f"with a double {_NAMED} in it, it is sent in base64, so that newer CMs run it as it stands:"
            f" that takes {len(packed)} characters, and at most {MAX_STARTUP} are expected; {_MEND}"
        )
    return packed


def first_startup(node: DocumentNode) -> str | None:
    """Return what stands for the commands of a machine in a request; None where they stay as they are."""
    if not node.is_machine or _are_understood(node.executes):
        return None
    one = startup_of(node.executes)
    one = one if _is_plain(one) else _in_its_shell(node.executes[0])
    return one if len(one) <= MAX_STARTUP else None


def startup_remarks(node: DocumentNode) -> Iterator[str]:
    """Say what CMs of different years make of a machine's start-up commands."""
    name = node.client_id
    if not node.is_machine:
        return
    if any("\\" + each in execute.command for execute in node.executes for each in _READ_TWICE):
        yield (
            f"{name}: a start-up command has a backslash before a double {_NAMED}: it is run as it stands,"
            " by one shell alone; leave the backslash out if it is there for a second one"
        )
    if not _are_understood(node.executes) and first_startup(node) is None:
        yield (
            f"{name}: its start-up commands do not go as one of {MAX_STARTUP} characters at first:"
            f" some CMs end at the first that fails, others read a double {_NAMED} twice; {_MEND}"
        )


def _in_its_shell(execute: Execute) -> str:
    shell = _shell(execute)
    if _is_plain(execute.command) and "'" not in execute.command:
        return f"{shell} -c '{execute.command}'"
    return _packed(execute.command, shell)


def _packed(command: str, shell: str) -> str:
    if "\n" in command.strip() and shell in _AS_BASH:
        # What runs in the middle must not read the rest of the script as its input.
        command = f"{{\n{command}\n}} </dev/null"
    return f"echo {base64.b64encode(command.encode()).decode()}|base64 -d|{shell}"


def _are_understood(executes: Sequence[Execute]) -> bool:
    """Tell whether every CM runs commands as they stand; those of 2016 pass over the shell of one alone."""
    alone = len(executes) <= 1
    return alone and all(_shell(each) in _AS_BASH and _is_plain(each.command) for each in executes)


def _is_plain(command: str) -> bool:
    return STARTUP.fullmatch(command) is not None and _READ_TWICE.isdisjoint(command)


def _shell(execute: Execute) -> str:
    return execute.shell.rpartition("/")[2]
