"""Start-up commands of a node: checked, and as machines run them (protogeni.md §4.1, §3.5 of 2021)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lxml import etree

from testbed.cloudlab.answer import Code, RefusalError

LIMIT = 256
"""Characters of a command that a server of 2016 takes."""
_COMMAND = re.compile(r"[ -~\t]*")
_OLD_SHELLS = frozenset({"sh", "csh", "/bin/sh", "/bin/csh"})
_SHELLS = _OLD_SHELLS | {"bash", "tcsh", "/bin/bash", "/bin/tcsh"}
_OUTPUT = "/var/tmp/startup-{number}"
_STEP = """\
{shell} -c "{command}" >{output}.txt 2>&1
status=$?
echo $status >{output}.status
"""
_HALT = """\
if [ $status -ne 0 ]; then
    exit $?
fi
"""
"""The slip of the real script: what it exits with is the status of the shell's own test."""


def read_startup(executes: Sequence[etree._Element], *, generation: int, halts: bool) -> str:
    """Check the ``execute`` elements of a node; return the shell script that the machine runs, "" for none.

    A server of 2016 has one command run as it is, and a script written for several. One of 2021 always
    writes a script, which pastes each command unescaped behind its shell; with ``halts`` that stops at the
    first one that fails, and ends with 0 even then (protogeni-2025.md §3.5).

    Raises:
        RefusalError: code 1: the first fault found.
    """
    is_new = generation >= 2021
    steps = [(execute.get("shell") or "sh", execute.get("command") or "") for execute in executes]
    for shell, command in steps:
        if not is_new and len(command) > LIMIT:
            raise RefusalError(Code.BADARGS, "Invalid startup command: Too Long")
        if not _COMMAND.fullmatch(command):
            raise RefusalError(Code.BADARGS, "Invalid startup command: Illegal Characters")
        if (is_new or len(steps) > 1) and shell not in (_SHELLS if is_new else _OLD_SHELLS):
            raise RefusalError(Code.BADARGS, "Invalid shell in execute")
    if not is_new:
        return "\n".join(command for _, command in steps)
    script = "".join(
        _STEP.format(shell=shell, command=command, output=_OUTPUT.format(number=number))
        + (_HALT if halts else "")
        for number, (shell, command) in enumerate(steps)
    )
    return f"{script}exit $status\n" if steps else ""
