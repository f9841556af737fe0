"""How `make test-fresh` types what a page tells its reader to type."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from testbed.fresh import REPOSITORY, Reader


class Shell:
    """Stands for a clean tree: a directory, where lines are run as a shell does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.typed: list[str] = []

    def start(self, line: str) -> subprocess.Popen[bytes]:
        self.typed.append(line)
        return subprocess.Popen(["sh", "-c", line], cwd=self.home, stderr=subprocess.DEVNULL)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "clone").mkdir()
    return Shell(tmp_path)


def said(shell: Shell, text: str) -> list[str]:
    page = shell.home / "PAGE.md"
    page.write_text(text)
    return [outcome.said.partition(",")[0] for outcome in Reader(shell, page).follow()]  # type: ignore[arg-type]


def test_lines_of_shell_blocks_are_typed_and_nothing_else(shell: Shell) -> None:
    assert (
        said(shell, "```sh\ntrue\n\n```\n```toml\nfalse\n```\n```sh\ntest a = a  # b\n```\n") == ["ran"] * 2
    )


def test_a_terminal_remembers_its_directory_and_what_is_exported(shell: Shell) -> None:
    lines = ("true && cd clone   # there", "export A=1 B=2", 'test "$A$B" = 12 && pwd | grep -q /clone$')
    assert said(shell, "```sh\n{}\n```\n```sh\n{}\n{}\n```".format(*lines)) == ["ran"] * 3


def test_what_stands_on_a_line_that_fails_is_not_typed(shell: Shell) -> None:
    told = said(shell, "```sh\nexit 3\ntouch never\n```\n```sh\ntouch never\n```\n")
    assert told == ["FAILED with status 3", *["not run: it stands on `exit 3`"] * 2]
    assert not (shell.home / "never").exists()


def test_the_address_of_the_repository_is_that_of_what_is_committed_here(shell: Shell) -> None:
    said(shell, "```sh\n: git clone URL esagent\n```\n")
    assert shell.typed == [f": git clone {REPOSITORY} esagent"]
