"""The pins hold for each Python that we support, and are what pyproject.toml asks for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
NEWEST = "3.14"
_HASH = re.compile(r"--hash=sha256:(\w+)")
BUILT_HERE = ("sdnotify", "yattag")
"""The libraries that have no wheel: pip builds them, without a compiler."""


def oldest() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return f"{project['requires-python'].removeprefix('>=')}.0"


@pytest.mark.parametrize("python", [oldest(), NEWEST])
@pytest.mark.parametrize("pins", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_every_pin_can_be_installed_without_a_compiler(pins: Path, python: str, tmp_path: Path) -> None:
    tried = subprocess.run(
        [
            *(UV, "pip", "install", "--dry-run", "--system-certs", "--require-hashes", "--target", tmp_path),
            *("--python-version", python, "--only-binary", ":all:"),
            *(f"--no-binary={name}" for name in BUILT_HERE),
            *("--requirement", pins),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy what tools/lock takes."""
    for name in ("pyproject.toml", "tools/lock", "requirements"):
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, place)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path


def test_the_pins_are_those_that_pyproject_asks_for(project: Path) -> None:
    subprocess.run(["tools/lock"], cwd=project, check=True, timeout=300)

    for pins in (project / "requirements").iterdir():
        ours = ROOT / "requirements" / pins.name
        assert pins.read_text() == ours.read_text(), f"{ours} is not what tools/lock makes: `make lock`"


def test_the_hashes_are_those_of_the_archives(project: Path) -> None:
    requirements = project / "requirements"
    for pins in requirements.iterdir():
        pins.write_text(re.sub(r" \\\n +--hash=\S+", "", pins.read_text()))
        assert "--hash" not in pins.read_text()

    subprocess.run(["tools/lock"], cwd=project, check=True, timeout=300)

    for pins in requirements.iterdir():
        ours, theirs = (
            set(_HASH.findall(file.read_text())) for file in (ROOT / "requirements" / pins.name, pins)
        )
        assert ours, pins.name
        # Archives may be added to a release later on.
        assert ours <= theirs, f"{pins.name} has hashes that no archive has: `make lock`"


def test_the_demo_installs_no_tool_for_documents_or_tests() -> None:
    names = {line.partition("==")[0] for line in (ROOT / "requirements/run.txt").read_text().splitlines()}
    assert not names & {"mkdocs", "mkdocs-material", "pymdown-extensions", "pytest", "ruff", "mypy", "uv"}
