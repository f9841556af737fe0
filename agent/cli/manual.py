"""esagent(1), made from the commands: `esagent --help` is its source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agent.cli.exits import MEANINGS

_ENVIRONMENT = {
    "ESAGENT_SOCKET": "the daemon's socket, where --socket is not given",
    "ESAGENT_CONFIG": "the settings, where --config is not given",
    "COLUMNS": "columns of the terminal",
}
_FILES = {
    "/etc/esagent/agent.conf": "the settings; esagent config example tells each",
    "/run/esagent/admin.sock": "the daemon's socket",
    "/var/lib/esagent/ledger.db": "what survives a restart",
}
_OUTPUT = (
    "On a terminal tables are fitted to its width. Elsewhere they are aligned and never wrapped, with a line "
    'for each record; "-" stands for what is unknown or does not apply. Times are UTC. With --json a command '
    "prints an object with its kind and version; a version changes when a reader would have to."
)


def write(root: Any) -> str:
    """Write the page in the man macros (``man(7)``).

    Args:
        root: the whole command line as a group of click's, such as ``typer.main.get_command`` makes.
    """
    lines = [
        '.TH ESAGENT 1 "" esagent "System Administration"',
        ".SH NAME",
        r"esagent \- makes a Slurm cluster elastic on Cloudlab",
        ".SH SYNOPSIS",
        r".B esagent",
        r"[\fIoptions\fR] \fIcommand\fR [\fIarguments\fR]",
        ".SH DESCRIPTION",
        escape(root.help),
        ".PP",
        escape(_OUTPUT),
        ".SH OPTIONS",
        *_options(root),
        ".SH COMMANDS",
    ]
    for name, command in _commands(root):
        lines += _command(name, command)
    lines += [".SH EXIT STATUS", *_list({str(code.value): words for code, words in MEANINGS.items()})]
    lines += [".SH ENVIRONMENT", *_list(_ENVIRONMENT), ".SH FILES", *_list(_FILES)]
    lines += [".SH SEE ALSO", ".BR agent.conf (5)"]
    return "\n".join(lines) + "\n"


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(_usage(p) for p in arguments)
    yield ".SS " + escape(f"esagent {name} {usage}".rstrip())
    for number, paragraph in enumerate(command.help.split("\n\n")):
        if number:
            yield ".PP"
        yield escape(" ".join(paragraph.split()))
    for argument in arguments:
        yield from _item(_usage(argument), argument.help or "")
    yield from _options(command)


def _usage(argument: Any) -> str:
    return argument.metavar if argument.required else f"[{argument.metavar}]"


def _options(command: Any) -> Iterator[str]:
    for option in command.params:
        if option.param_type_name == "option" and not option.hidden:
            value = "" if option.is_flag else f" {option.metavar}"
            default = f" Default: {option.default}." if option.default not in (None, "", False) else ""
            yield from _item(", ".join(option.opts) + value, (option.help or "") + default)


def _list(entries: dict[str, str]) -> Iterator[str]:
    for term, words in entries.items():
        yield from _item(term, words)


def _item(term: str, words: str) -> tuple[str, str, str]:
    return ".TP", rf"\fB{escape(term)}\fR", escape(words)


def escape(text: str) -> str:
    """Write text so that roff takes none of it as its own."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", escaped)
