"""The exit codes of every command: a script can tell by them what happened."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; those of ``run`` are 0, 1, 2 and 78 (EX_CONFIG of sysexits(3head))."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NO_DAEMON = 3
    NOT_ALLOWED = 4
    TIMED_OUT = 5
    CONFIG = 78
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS = {
    Exit.DONE: "done",
    Exit.REFUSED: "refused or failed; `check` found a fault, `config diff` a difference",
    Exit.USAGE: "wrong usage of the command",
    Exit.NO_DAEMON: "no daemon answers, or this user may not open its socket",
    Exit.NOT_ALLOWED: "the daemon does not take this from this user",
    Exit.TIMED_OUT: "what --wait waits for did not happen within --timeout",
    Exit.CONFIG: "agent.conf, or a file that it names, has a fault; to try again is no use",
    Exit.INTERRUPTED: "ended by Ctrl-C",
    Exit.PIPE_CLOSED: "the reader of the output went away",
}


def explain() -> str:
    """Tell all of them, one a line."""
    return "\n".join(f"{code.value:<4} {meaning}" for code, meaning in MEANINGS.items())
