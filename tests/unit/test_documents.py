"""The documents tell the truth: commands exist, links lead somewhere, settings are those of the code."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli import app
from agent.config import load
from tools.configuration_manual import manual
from tools.configuration_reference import reference
from tools.document_commands import BLOCK, PAGES, commands_of, ours

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
UNIT = ROOT / "contrib" / "systemd" / "esagent.service"
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MAKE = re.compile(r"`(make [^`]+)`")
OTHERS = frozenset(
    {
        *("apt-get", "chgrp", "chmod", "chown", "install", "ln", "mkdir", "printf", "rm"),
        *("openssl", "python3", "sacctmgr", "ssh-keygen", "systemctl", "useradd", "userdel"),
    }
)
"""Commands of Debian's own and of Slurm that the installation may use."""
ELSEWHERE = frozenset({"dnf", "firewall-cmd", "python3.12", "restorecon", "ufw"})
"""Commands that its last chapter may use besides, on systems that no test runs on."""
INSTALL = DOCS / "install.md"
RUN_BY = {
    "make deb": "tests/packaging/conftest.py",
    "apt-get install ./build/deb/": "tests/packaging/test_debian_package.py",
    "apt-get update": "testbed/fresh.py",
    "apt-get install --yes git make": "testbed/fresh.py",
    "git clone": "testbed/fresh.py",
    "cd esagent": "testbed/fresh.py",
    "make demo": "tests/system/test_demo.py",
    "make test": "it runs the tests",
    "make system setup": "it makes what the tests run with",
    "python -m testbed up --dir": "tests/system/test_bed_cleanup.py",
    "python -m testbed value": "tests/system/test_document_commands.py",
    "python -m testbed revoke": "tests/system/test_document_commands.py",
    "export SLURM_CONF=": "tests/system/test_document_commands.py",
    "for i in 1 2 3 4 5; do sbatch": "tests/system/test_document_commands.py",
    "scontrol show reservations": "it changes nothing",
    "make": "tests/system/plugin/conftest.py",
    "sleep": "it changes nothing",
    "install.sh --dry-run": "tests/unit/plugin/test_plugin_install.py",
    "install.sh job-submit": "tests/system/plugin/conftest.py",
    "install -o slurm": "tests/packaging/test_cloudlab_profile.py",
    "install -m 644 cloudlab-ca.pem": "tests/packaging/test_cloudlab_profile.py",
    "rm cloudlab.pem": "tests/packaging/test_cloudlab_profile.py",
    "systemctl enable --now esagent": "tests/packaging/test_cloudlab_profile.py",
    "strigger --set": "tests/system/plugin/test_plugin_poke.py",
}
"""How a command that is not ours begins -> the test that runs it, or why none has to.

Those of docs/install.md are run by tests/packaging/test_install_document.py, and ours on all other pages by
tests/system/test_document_commands.py.
"""


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


def test_make_help_lists_every_target_that_the_documents_use_in_one_column() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md")]
    found = [words for page in pages for words in commands_of(page)]
    found += [words.split() for page in pages for words in _MAKE.findall(page.read_text())]
    used = {word for program, *words in found if program == "make" for word in words if "=" not in word}
    assert {"demo", "test", "system", "setup", "lock"} <= used
    assert used - {line.split()[1] for line in listed} == set()
    assert len({re.match(r"make \S+ +", line).end() for line in listed}) == 1, listed


def test_every_command_that_is_not_ours_is_run_by_a_test_and_every_such_test_is_needed() -> None:
    used = set()
    for page in PAGES:
        for words in commands_of(page) if page != INSTALL else ():
            line = " ".join(ours(words))
            if line.startswith("esagent "):
                continue
            known = [b for b in RUN_BY if line == b or (b != "make" and line.startswith(b))]
            assert known, f"{page.name}: no test runs {line!r}"
            used.update(known)
    assert used == RUN_BY.keys()
    assert [t for t in RUN_BY.values() if t.startswith("tests/") and not (ROOT / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_can_be_copied_as_they_stand(page: Path) -> None:
    for _, language, _, text in BLOCK.findall(page.read_text()):
        assert language not in {"bash", "console", "shell"}, "sh has nothing but commands"
        for line in textwrap.dedent(text).splitlines():
            assert not line.startswith("$ "), line
            assert language != "sh" or line[:2] not in {"# ", "% ", "> "}, line


def test_the_installation_has_only_commands_that_are_known() -> None:
    page, chapter, elsewhere = INSTALL.read_text().partition("\n## Other systems\n")
    assert chapter
    known = OTHERS | {"esagent", "make", "pip"}
    for part, programs in ((page, known), (elsewhere, known | ELSEWHERE)):
        for _, language, _, text in BLOCK.findall(part):
            for line in textwrap.dedent(text).splitlines() if language == "sh" else ():
                assert ours(shlex.split(line))[0] in programs, line


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
        text
        for _, language, _, text in BLOCK.findall((DOCS / "install.md").read_text())
        if language == "toml"
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
