"""What `esagent check` makes of files on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.check.files import check_places, check_secrets, check_user
from agent.check.finding import Grade


def test_a_secret_for_its_owner_alone_is_fine(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    (found,) = check_secrets({"[callback] key": key, "[slurm] rest_token": None})
    assert (found.subject, found.grade) == ("[callback] key", Grade.FINE)


def test_a_secret_that_others_can_read_is_warned_of_with_the_command_that_mends_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    key.chmod(0o644)
    (found,) = check_secrets({"[callback] key": key})
    assert (found.grade, found.mend) == (Grade.WARNING, f"chmod 600 {key}")


def test_a_secret_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (found,) = check_secrets({"[callback] key": tmp_path / "nowhere"})
    assert (found.grade, found.seen) == (Grade.FAULT, f"{tmp_path}/nowhere: No such file or directory")


def test_whoever_looks_in_place_of_the_daemons_user_is_told(tmp_path: Path) -> None:
    assert not list(check_user(tmp_path, os.getuid()))
    (found,) = check_user(tmp_path, 12345)
    assert found.grade is Grade.WARNING
    assert found.seen.startswith("uid 12345 looks")
    assert not list(check_user(tmp_path / "not there yet", 12345))


def test_directories_that_the_unit_will_make_are_no_fault_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    there, later = tmp_path / "x", tmp_path / "later" / "x"
    assert [f.grade for f in check_places(later, later, there)] == [
        Grade.WARNING,
        Grade.WARNING,
        Grade.FAULT,
    ]
