"""Whose name a package bears: that of whoever builds it, found as other Debian tools find it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

MAINTAINER = Path(__file__).parents[2] / "tools" / "maintainer"
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
GIT = "[user]\nname = Ada of git\nemail = ada@git.example\n"


@needs_git
@pytest.mark.parametrize(
    ("environment", "git", "expected"),
    [
        ({"DEBFULLNAME": "Ada B.", "DEBEMAIL": "ada@example.org"}, GIT, "Ada B. <ada@example.org>"),
        ({"DEBEMAIL": "Ada B. <ada@example.org>"}, GIT, "Ada B. <ada@example.org>"),
        ({"DEBFULLNAME": "Ada", "DEBEMAIL": "B <ada@example.org>"}, "", "Ada <ada@example.org>"),
        ({"EMAIL": "ada@example.org"}, GIT, "Ada of git <ada@example.org>"),
        ({}, GIT, "Ada of git <ada@git.example>"),
    ],
)
def test_the_environment_goes_before_git(
    tmp_path: Path, environment: dict[str, str], git: str, expected: str
) -> None:
    assert told(tmp_path, environment, git) == expected


def test_who_says_nothing_is_the_user_at_this_host(tmp_path: Path) -> None:
    user = pwd.getpwuid(os.getuid()).pw_name
    assert told(tmp_path, {}, "").startswith(f"{user} <{user}@")


def told(home: Path, environment: dict[str, str], git: str) -> str:
    (home / ".gitconfig").write_text(git)
    done = subprocess.run(
        [MAINTAINER],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.rstrip("\n")
