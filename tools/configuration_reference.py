"""Writes docs/configuration.md from the settings that the code obeys.

``.venv/bin/python -m tools.configuration_reference > docs/configuration.md``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from agent.config import Settings, as_toml, choices_of, is_duration, section_of
from agent.core.settings import Section, format_duration

_HEAD = """\
# Configuration

The settings of `agent.conf`, in [TOML](https://toml.io). This page is written from the code
(`tools/configuration_reference.py`); `esagent config example` prints the same as a file to fill in, and
`esagent check` says what is wrong with yours: an unknown setting with the nearest known one, a value with
what was expected.

A duration is a number of seconds, or a string with a unit: `"30s"`, `"10m"`, `"6h"`, `"5d"`. A list stands in
square brackets. `systemctl reload esagent` (SIGHUP) takes up changes of most sections, and the log says which
need a restart.
"""


def reference() -> str:
    """Return the page."""
    parts = [_HEAD]
    for name, info in Settings.model_fields.items():
        section = section_of(info.annotation)
        assert section is not None
        parts.extend(_section(f"[{name}]", section, info.description or ""))
    return "\n".join(parts)


def _section(name: str, section: type[Section], description: str) -> Iterator[str]:
    lines, inner = [], []
    for key, info in section.model_fields.items():
        if nested := section_of(info.annotation):
            inner.append((f"[[{name.strip('[]')}.{key}]]", nested, info.description or ""))
        else:
            lines.append(f"- **`{key}`** ({worth(info)}): {info.description}.")
    yield f"## `{name}`\n\n{as_sentence(description)}\n\n" + "\n".join(lines) + "\n"
    for item in inner:
        yield from _section(*item)


def as_sentence(description: str) -> str:
    """Begin with a capital, end with a full stop."""
    return f"{description[:1].upper()}{description[1:].removesuffix('.')}."


def worth(info: FieldInfo) -> str:
    """Tell default, choices and bounds of a setting; values stand in backquotes."""
    if info.is_required():
        words = ["required"]
    else:
        default = info.get_default(call_default_factory=True)
        words = ["unset by default" if default is None else f"default `{as_toml(default, info)}`"]
    if choices := choices_of(info.annotation):
        words.append("one of " + ", ".join(f'`"{c}"`' for c in choices))
    return "; ".join([*words, *_bounds(info)])


def _bounds(info: FieldInfo) -> Iterator[str]:
    for bound in info.metadata:
        match bound:
            case Ge(ge=value):
                words = "at least"
            case Gt(gt=value):
                words = "more than"
            case Le(le=value):
                words = "at most"
            case Lt(lt=value):
                words = "less than"
            case _:
                continue
        assert isinstance(value, int | float)
        yield f"{words} {format_duration(value) if is_duration(info) and value else value}"


if __name__ == "__main__":
    sys.stdout.write(reference())
