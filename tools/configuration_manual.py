"""Writes agent.conf(5) from the settings that the code obeys.

``.venv/bin/python -m tools.configuration_manual > docs/man/agent.conf.5``
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.cli.manual import escape
from agent.config import Settings, section_of
from agent.core.settings import Section
from tools.configuration_reference import as_sentence, worth

_INSTALLATION = Path(__file__).resolve().parents[1] / "docs" / "install.md"
_DESCRIPTION = """\
The settings of
.BR esagent (1),
in TOML: a section is a table in square brackets, a setting a line
.IR "key = value" .
A section in double square brackets may stand more than once.
.PP
A duration is a number of seconds, or a string with a unit: "30s", "10m", "6h", "5d".
A list stands in square brackets.
.PP
.B esagent config example
prints every setting as a file to fill in, and
.B esagent check
tells what is wrong with one: an unknown setting with the nearest known one, a value with what was expected.
.B systemctl reload esagent
(SIGHUP) takes up changes of most sections, and the log says which need a restart.
A daemon that finds a fault when it starts ends with status 78; systemd does not start it again by itself.\
"""


def manual() -> str:
    """Return the page, in the man macros (``man(7)``)."""
    (example,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", _INSTALLATION.read_text())
    lines = [
        '.TH AGENT.CONF 5 "" esagent "File Formats"',
        ".SH NAME",
        r"agent.conf \- settings of esagent",
        ".SH SYNOPSIS",
        ".I /etc/esagent/agent.conf",
        ".SH DESCRIPTION",
        _DESCRIPTION,
        ".SH SETTINGS",
    ]
    for name, info in Settings.model_fields.items():
        section = section_of(info.annotation)
        assert section is not None
        lines.extend(_section(f"[{name}]", section, info.description or ""))
    lines += [".SH EXAMPLES", ".EX", escape(example.rstrip("\n")), ".EE"]
    lines += [
        ".SH SEE ALSO",
        ".BR esagent (1)",
        ".PP",
        "https://toml.io; Debian's package has documents in /usr/share/doc/esagent",
    ]
    return "\n".join(lines) + "\n"


def _section(name: str, section: type[Section], description: str) -> Iterator[str]:
    yield f".SS {escape(name)}"
    yield escape(as_sentence(description))
    inner = []
    for key, info in section.model_fields.items():
        if nested := section_of(info.annotation):
            inner.append((f"[[{name.strip('[]')}.{key}]]", nested, info.description or ""))
            continue
        yield ".TP"
        yield rf"\fB{escape(key)}\fR ({escape(worth(info).replace('`', ''))})"
        yield escape(as_sentence(info.description or ""))
    for item in inner:
        yield from _section(*item)


if __name__ == "__main__":
    sys.stdout.write(manual())
