"""The help is whole on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import agent.cli
import testbed.cli

PROGRAMS = {"esagent": agent.cli.app, "python -m testbed": testbed.cli.app}


def commands_of(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield before
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, (*before, name))
        else:
            yield (*before, name)


HELPS = [
    pytest.param(program, app, words, id=" ".join((program, *words)))
    for program, app in PROGRAMS.items()
    for words in commands_of(get_command(app))
]


@pytest.mark.parametrize(("program", "app", "words"), HELPS)
def test_no_line_of_a_help_is_cut_or_too_long(program: str, app: typer.Typer, words: tuple[str, ...]) -> None:
    # What click takes of 80 columns; its runner for tests would take all of them.
    shown = CliRunner().invoke(app, [*words, "--help"], prog_name=program, terminal_width=78)
    assert shown.exit_code == 0
    first, *lines = shown.output.strip().splitlines()
    assert "Usage:" in first
    assert [line for line in lines if line.endswith("...") or "…" in line or len(line) > 80] == []
