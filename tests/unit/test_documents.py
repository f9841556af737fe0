"""The documents tell the truth: commands exist, links lead somewhere, settings are those of the code."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.config import load
from tools.configuration_manual import manual
from tools.configuration_reference import reference

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
UNIT = ROOT / "contrib" / "systemd" / "esagent.service"
_BLOCK = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^ *```$")
_INLINE = re.compile(r"`(esagent [^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
OTHERS = frozenset(
    {
        *("apt-get", "cd", "chgrp", "chown", "cp", "install", "ln", "mkdir", "rm"),
        *(
            "openssl",
            "printf",
            "python3",
            "runuser",
            "sacctmgr",
            "ssh-keygen",
            "systemctl",
            "useradd",
            "userdel",
        ),
    }
)
"""Commands of Debian's own and of Slurm that the documents may use."""


def commands_of(page: Path) -> Iterator[list[str]]:
    """Find each command that a page has its reader run, as words."""
    for _, language, text in _BLOCK.findall(page.read_text()):
        if language in {"console", "sh", "bash", ""}:
            for line in textwrap.dedent(text).splitlines():
                if language == "console" and not line.startswith("$ "):
                    continue
                for part in line.removeprefix("$ ").split("&&"):
                    if words := shlex.split(part.partition(" > ")[0], comments=True):
                        yield words
    for found in _INLINE.findall(page.read_text()):
        yield shlex.split(found)


def ours(words: list[str]) -> list[str]:
    """Leave out what only says as whom or from where a command is run."""
    if words[0] == "runuser":
        return words[words.index("--") + 1 :]
    return [words[0].rpartition("/")[2], *words[1:]]


COMMANDS = [pytest.param(c, id=f"{p.stem}: {' '.join(c)}"[:80]) for p in PAGES for c in commands_of(p)]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_ours_exists_with_its_options(words: list[str]) -> None:
    program, *arguments = ours(words)
    if program == "esagent":
        asked = CliRunner().invoke(app, [*arguments, "--help"])
        assert asked.exit_code == 0, asked.output
    elif program == "make":
        targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
        assert set(arguments) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_console_block_has_only_commands_that_are_known(page: Path) -> None:
    for _, language, text in _BLOCK.findall(page.read_text()):
        if language == "console":
            for line in textwrap.dedent(text).splitlines():
                program = ours(shlex.split(line.removeprefix("$ ")))[0]
                assert program in OTHERS | {"esagent", "make", "pip"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" in link or link.startswith("#"):
            continue
        target = (page.parent / link.partition("#")[0]).resolve()
        assert target.exists(), link
        # What is beside the documents is not on their site.
        assert page.parent != DOCS or target.is_relative_to(DOCS), link


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert (DOCS / "configuration.md").read_text() == reference(), (
        "write it anew: .venv/bin/python -m tools.configuration_reference > docs/configuration.md"
    )


def test_the_manual_page_of_settings_is_what_the_code_says() -> None:
    assert (DOCS / "man" / "agent.conf.5").read_text() == manual(), (
        "write it anew: .venv/bin/python -m tools.configuration_manual > docs/man/agent.conf.5"
    )


@pytest.mark.skipif(not shutil.which("man"), reason="man is not installed")
@pytest.mark.parametrize("page", sorted((DOCS / "man").iterdir()), ids=lambda page: page.name)
def test_a_manual_page_is_taken_without_a_warning(page: Path) -> None:
    shown = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-Tutf8", "-Z", "-l", page],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shown.stderr == ""


def test_the_settings_that_the_installation_shows_are_accepted(tmp_path: Path) -> None:
    (text,) = (
        text for _, language, text in _BLOCK.findall((DOCS / "install.md").read_text()) if language == "toml"
    )
    (tmp_path / "agent.conf").write_text(text)
    assert load(tmp_path / "agent.conf").cloudlab.slice == "elastic"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_as_little_exposed_as_the_documents_say() -> None:
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", UNIT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (figure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+ \w+)", rated.stdout)
    level, word = figure.split()
    assert f"**{level} ({word})**" in (DOCS / "security.md").read_text(), figure
