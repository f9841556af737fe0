"""How everything is printed: aligned columns, plain where nobody reads them on a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from agent.cli.exits import Exit

GAP = "  "
LEAST_LAST_COLUMN = 24
"""Columns of a terminal that the last column has to have, lest a table be told as records."""


def say(text: str) -> None:
    """Print text to stdout; a reader that went away ends the command."""
    try:
        print(_harmless(text), flush=True)
    except BrokenPipeError:
        silence()
        raise SystemExit(Exit.PIPE_CLOSED) from None


def silence() -> None:
    """Let what is still to be written to stdout go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def remark(text: str) -> None:
    """Print text to stderr, for people."""
    print(_harmless(text), file=sys.stderr)


def say_json(answer: object) -> None:
    """Print JSON."""
    say(json.dumps(answer, indent=2))


def say_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, nothing: str = "") -> None:
    """Print a table; ``nothing`` is remarked where it has no rows."""
    if not rows:
        if nothing:
            remark(nothing)
        return
    say("\n".join(draw_table(columns, rows, width=terminal_width())))


def say_fields(fields: Mapping[str, object]) -> None:
    """Print one record."""
    say("\n".join(draw_fields(fields, width=terminal_width())))


def terminal_width() -> int | None:
    """Return how wide the terminal is; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def draw_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, width: int | None) -> list[str]:
    """Draw a table in aligned columns, with a head.

    Args:
        columns: keys of the rows; the last one may be long.
        rows: what is shown.
        width: that of the terminal: the last column is wrapped into it, and where that cannot be, each row
            becomes a record; None does neither.
    """
    cells = [[column.upper().replace("_", " ") for column in columns]]
    cells += [[plain(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    if width is not None and before + widths[-1] > width:
        if before + LEAST_LAST_COLUMN > width:
            return _records(columns, rows, width)
        widths[-1] = width - before
    lines = []
    for row in cells:
        start = "".join(cell.ljust(size) + GAP for cell, size in zip(row, widths[:-1], strict=False))
        pieces = textwrap.wrap(row[-1], widths[-1]) if width is not None else [row[-1]]
        lines += [
            (start if number == 0 else " " * before) + piece.rstrip() for number, piece in enumerate(pieces)
        ]
    return [line.rstrip() for line in lines]


def draw_fields(fields: Mapping[str, object], *, width: int | None) -> list[str]:
    """Draw one record, a field a line; long ones are wrapped into the width of a terminal."""
    size = max((len(key) for key in fields), default=0) + len(GAP) + 1
    lines = []
    for key, value in fields.items():
        start, text = f"{key.replace('_', ' ')}:".ljust(size), plain(value)
        if width is None or len(start + text) <= width:
            lines.append((start + text).rstrip())
        elif size + LEAST_LAST_COLUMN <= width:
            lines += textwrap.wrap(text, width, initial_indent=start, subsequent_indent=" " * size)
        else:
            lines.append(start.rstrip())
            lines += textwrap.wrap(text, max(width, 10), initial_indent=GAP, subsequent_indent=GAP)
    return lines


def plain(value: object) -> str:
    """Write a value in one line, without anything that a terminal obeys."""
    if isinstance(value, dict):
        return ", ".join(f"{plain(k)} {plain(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list | tuple):
        return "; ".join(map(plain, value)) or "-"
    text = "-" if value in (None, "") else str(value)
    return _harmless(text, kept="")


def counted(states: Mapping[str, int]) -> str:
    """Write how many there are of each state: ``2 draining, 1 joined``."""
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def _harmless(text: str, kept: str = "\n\t") -> str:
    """Leave out what a terminal obeys; users of Slurm and Cloudlab wrote part of what we print."""
    return "".join(c if c.isprintable() or c in kept else " " for c in text)


def _records(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    lines: list[str] = []
    for row in rows:
        lines += [*([""] if lines else []), *draw_fields({c: row.get(c) for c in columns}, width=width)]
    return lines
