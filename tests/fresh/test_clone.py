"""A fresh clone is set up with Debian's own Python, whatever other there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fresh.conftest import DEBIAN_PATH, Run

pytestmark = pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="this is no Debian")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """Make a directory for the path with a python3 that must not be used."""
    directory = tmp_path / "stranger"
    directory.mkdir()
    python = directory / "python3"
    python.write_text(f'#!/bin/sh\necho used >>{tmp_path}/used\nexec /usr/bin/python3 "$@"\n')
    python.chmod(0o755)
    return directory


def test_with_nothing_but_debian_it_is_set_up_and_its_commands_work(clone: Path, run: Run) -> None:
    run(["make", "setup"], cwd=clone)

    esagent = clone / ".venv/bin/esagent"
    assert "Makes a Slurm cluster elastic" in run([esagent, "--help"], cwd=clone).stdout
    example = run([esagent, "config", "example"], cwd=clone).stdout
    assert example == (clone / "agent.conf.example").read_text()
    looked = run([esagent, "check", "--offline", "--config", "agent.conf.example"], cwd=clone, check=False)
    assert looked.returncode == 1
    assert "[cloudlab] certificate" in looked.stdout
    assert looked.stderr == ""
    told = run(["make", "setup"], cwd=clone).stdout
    assert told == "", "it was set up already"


def test_debian_s_python_goes_before_any_other_on_the_path(
    clone: Path, run: Run, stranger: Path, tmp_path: Path
) -> None:
    run(["make", "setup"], cwd=clone, path=f"{stranger}:{DEBIAN_PATH}")

    assert (clone / ".venv/bin/python").resolve() == Path("/usr/bin/python3").resolve()
    assert not (tmp_path / "used").exists()


def test_another_python_is_taken_where_it_is_asked_for(
    clone: Path, run: Run, stranger: Path, tmp_path: Path
) -> None:
    run(["make", "setup", f"PYTHON={stranger / 'python3'}"], cwd=clone)
    assert (tmp_path / "used").exists()


@pytest.mark.parametrize(
    ("python", "words"),
    [("/no/such/python", "not found"), ("old", "Python 3.10.12")],
)
def test_a_python_that_does_not_suit_is_named_with_what_to_do(
    clone: Path, run: Run, tmp_path: Path, python: str, words: str
) -> None:
    old = tmp_path / "old"
    old.write_text('#!/bin/sh\n[ "$1" != -V ] || echo Python 3.10.12\nexit 1\n')
    old.chmod(0o755)

    refused = run(["make", "setup", f"PYTHON={tmp_path / python}"], cwd=clone, check=False)

    assert refused.returncode != 0
    assert "esagent needs Python 3.11 or newer" in refused.stderr
    assert words in refused.stderr
    assert "docs/install.md" in refused.stderr
    assert not (clone / ".venv").exists()


def test_a_venv_of_a_python_that_is_gone_is_made_anew(clone: Path, run: Run) -> None:
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/no/such/python")

    run(["make", "setup"], cwd=clone)

    run([python, "-c", "import agent"], cwd=clone)


def test_a_clone_that_was_moved_or_copied_is_set_up_where_it_is(
    clone: Path, run: Run, tmp_path: Path
) -> None:
    run(["make", "setup"], cwd=clone)
    moved = clone.rename(tmp_path / "moved")

    run(["make", "setup"], cwd=moved)

    run([moved / ".venv/bin/esagent", "--version"], cwd=tmp_path)
    assert run(["make", "setup"], cwd=moved).stdout == "", "it was set up already"
