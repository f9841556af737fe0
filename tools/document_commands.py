"""Finds the commands that the documents have their readers run."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "contrib").glob("*/README.md")),
)
BLOCK = re.compile(r"(?ms)^( *)```(\w*)([^\n]*)\n(.*?)^ *```$")
"""A block of a page: its indentation, language, name, text."""
_SHELLS = frozenset({"console", "sh", "bash"})
_INLINE = re.compile(r"`(esagent [^`]+)`")


def commands_of(page: Path) -> Iterator[list[str]]:
    """Find each command of a page, as words: those of its blocks, and ours in its text."""
    text = page.read_text(encoding="utf-8")
    for _, language, _, block in BLOCK.findall(text):
        if language in _SHELLS:
            yield from _commands_in(block, prompted=language == "console")
    for found in _INLINE.findall(text):
        yield shlex.split(found)


def ours(words: list[str]) -> list[str]:
    """Leave out what only says as whom or from where a command is run."""
    if words[0] == "runuser":
        return words[words.index("--") + 1 :]
    return [words[0].rpartition("/")[2], *words[1:]]


def _commands_in(block: str, *, prompted: bool) -> Iterator[list[str]]:
    for line in textwrap.dedent(block).splitlines():
        if prompted and not line.startswith("$ "):
            continue
        for part in line.removeprefix("$ ").split("&&"):
            if words := shlex.split(part.partition(" > ")[0], comments=True):
                yield words
