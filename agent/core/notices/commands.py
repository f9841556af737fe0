"""Shell commands of a helper, one after the other in a child, within a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from agent.core import children

log = structlog.get_logger()

KEPT_OUTPUT = 8192
"""Bytes of a command's output that are logged: the last ones, which tell how it ended."""
REAP_TIME = 5.0


def run_commands(commands: Sequence[str], *, timeout: float, subject: str) -> str:
    """Run commands with ``/bin/sh -c``, each in turn; log what they print.

    A command that fails does not stop those behind it: each cleans up something of its own.

    Args:
        commands: shell commands.
        timeout: seconds for all of them together; what still runs then is killed with its children.
        subject: what they are run for, for the log.

    Returns:
        "" when all went well, else the first fault in words.
    """
    end = time.monotonic() + timeout
    fault = ""
    for command in commands:
        left = end - time.monotonic()
        error = _run(command, left, subject) if left > 0 else f"{command!r}: no time left of {timeout:g} s"
        fault = fault or error
        if error:
            log.warning("a delete command failed", subject=subject, error=error)
    return fault


def _run(command: str, timeout: float, subject: str) -> str:
    # A file, not a pipe: a grandchild that keeps the pipe open would hold us beyond the time limit.
    with tempfile.TemporaryFile() as output:
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"{command!r}: cannot be started: {error}"
        children.adopt(child)
        try:
            status = child.wait(timeout)
            fault = "" if status == 0 else f"{command!r}: ended with status {status}"
        except subprocess.TimeoutExpired:
            fault = f"{command!r}: not done after {timeout:.0f} s, so it was killed"
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                child.wait(REAP_TIME)
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - KEPT_OUTPUT))
        text = output.read().decode("utf-8", "replace")
    log.info("ran a delete command", subject=subject, command=command, output=text.strip())
    return fault
