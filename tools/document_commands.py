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
_INLINE = re.compile(r"`(esagent [^`]+)`")


def commands_of(page: Path) -> Iterator[list[str]]:
    """Find each command of a page, as words: those of its blocks, and ours in its text."""
    text = page.read_text(encoding="utf-8")
    for _, language, _, block in BLOCK.findall(text):
        if language == "sh":
            yield from _commands_in(block)
    for found in _INLINE.findall(text):
        yield shlex.split(found)


def ours(words: list[str]) -> list[str]:
    """Leave out what only says from where a command is run."""
    return [words[0].rpartition("/")[2], *words[1:]]


def _commands_in(block: str) -> Iterator[list[str]]:
    for line in textwrap.dedent(block).splitlines():
        for part in line.split("&&"):
            if words := shlex.split(part.partition(" > ")[0], comments=True):
                yield words
