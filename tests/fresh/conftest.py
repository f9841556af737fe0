"""A fresh clone, and commands in it that have nothing of this machine's own environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIAN_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where nothing is but what Debian's packages bring."""
_PROXIES = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
_TIMEOUT = 900.0

Run = Callable[..., subprocess.CompletedProcess[str]]


def fetch(clone: Path) -> None:
    """Clone what is committed."""
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True, timeout=120)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a fresh clone."""
    fetch(tmp_path / "esagent")
    return tmp_path / "esagent"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command with a home of its own, and an environment in which only the path is set."""

    def run(
        command: Sequence[str | Path], *, cwd: Path, path: str = DEBIAN_PATH, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", **_PROXIES},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0 or not check, (command, done.stdout, done.stderr)
        return done

    return run
