"""`pip install .` without any pin, by an ordinary user, with each Python of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.fresh.conftest import Run, fetch

NOBODY = 65534
# An ordinary user, who yet may read a Python that lies in somebody's home.
AS_USER = (
    *(
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--inh-caps=-all,+dac_read_search",
    ),
    *("--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search", "--no-new-privs", "--"),
)


@cache
def pythons() -> dict[str, Path]:
    """Find every Python 3 of this machine: version -> its program, Debian's own before another."""
    homes = Path(os.environ.get("PYENV_ROOT", "/nonexistent")).glob("versions/*/bin")
    directories = [Path("/usr/bin"), *map(Path, os.environ["PATH"].split(":")), *homes]
    found: dict[str, Path] = {}
    for program in (
        d / name for d in directories for name in ("python3", *(f"python3.{n}" for n in range(9, 20)))
    ):
        if program.exists():
            told = subprocess.run(
                [program, "-c", "import platform; print(platform.python_version())"],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            if told.returncode == 0:
                found.setdefault(told.stdout.strip(), program)
    return found


def number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


def users(command: Sequence[str | Path]) -> list[str | Path]:
    return [*(AS_USER if os.geteuid() == 0 else ()), *command]


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a directory of an ordinary user, with a clone in it; pytest's own are for root alone."""
    with TemporaryDirectory(prefix="esagent-fresh-") as name:
        home = Path(name)
        fetch(home / "esagent")
        if os.geteuid() == 0:
            for place in (home, *home.rglob("*")):
                os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
        yield home


@pytest.fixture
def venv(request: pytest.FixtureRequest, home: Path, run: Run) -> Path:
    """Make a venv of a Python."""
    run(users([pythons()[request.param], "-m", "venv", home / "venv"]), cwd=home)
    return home / "venv"


@pytest.mark.parametrize("venv", [v for v in pythons() if number(v) >= (3, 11)], indirect=True)
def test_it_is_enough_to_use_the_command(venv: Path, home: Path, run: Run) -> None:
    run(users([venv / "bin/pip", "install", "--quiet", "."]), cwd=home / "esagent")

    def esagent(*arguments: str | Path, check: bool = True) -> str:
        done = run(users([venv / "bin/esagent", *arguments]), cwd=venv, check=check)
        assert done.stderr == ""
        return done.stdout

    assert "Makes a Slurm cluster elastic" in esagent("--help")
    assert esagent("config", "example") == (home / "esagent/agent.conf.example").read_text()
    assert "[cloudlab] certificate" in esagent(
        "check", "--offline", "--config", home / "esagent/agent.conf.example", check=False
    )


@pytest.mark.parametrize("venv", [v for v in pythons() if (3, 9) <= number(v) < (3, 11)], indirect=True)
def test_an_older_python_is_told_what_to_do(venv: Path, home: Path, run: Run) -> None:
    refused = run(users([venv / "bin/pip", "install", "."]), cwd=home / "esagent", check=False)

    assert refused.returncode != 0
    assert "esagent needs Python 3.11 or newer" in refused.stdout + refused.stderr
    assert "docs/install.md" in refused.stdout + refused.stderr
