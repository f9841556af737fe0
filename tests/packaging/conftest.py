"""Clean Debian machines, layered over one chroot: a package is installed, started and removed on its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from testbed import release
from testbed.fresh import OWN_SUITE, SUITE_VARIABLE
from testbed.nspawn import CleanMachine, place_of_run
from testbed.up import TestBed

ROOT = Path(__file__).parents[2]
SUITE = os.environ.get(SUITE_VARIABLE, OWN_SUITE)
HEAD = ROOT / "build" / "chroots" / f"{SUITE}-head"
SITE = ROOT / "build" / "chroots" / f"{SUITE}-site"


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Return the directory of this run: a unit's sandbox lets it be seen."""
    if os.geteuid() != 0:
        pytest.exit("tests/packaging makes machines out of chroots: run it as root", returncode=4)
    with place_of_run() as place:
        yield place


@pytest.fixture
def bed(place: Path) -> Iterator[TestBed]:
    """Run a test bed."""
    with TestBed(place / "bed", speed=120, slurm=release.wanted()) as bed:
        yield bed


@pytest.fixture(scope="session")
def nobody() -> dict[str, str]:
    """Return an environment that does not tell who builds a package."""
    known = {"DEBFULLNAME", "DEBEMAIL", "EMAIL", "XDG_CONFIG_HOME"}
    rest = {name: value for name, value in os.environ.items() if name not in known}
    return {**rest, "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture(scope="session")
def package(nobody: dict[str, str]) -> Path:
    """Make the package, as root without a name whose files nobody else may read; or take that of a suite."""
    if SUITE_VARIABLE in os.environ:
        (found,) = (ROOT / "build" / "fresh" / f"{SUITE}-deb").glob("*.deb")
        return found
    subprocess.run(["make", "deb"], cwd=ROOT, env=nobody, umask=0o077, check=True, timeout=900)
    (found,) = (ROOT / "build" / "deb").glob("*.deb")
    return found


@pytest.fixture(scope="session")
def older_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same package as if it were an older one."""
    directory = tmp_path_factory.mktemp("older")
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True, timeout=120)
    control = tree / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 0.0~before+"))
    with (tree / "etc/esagent/agent.conf").open("a") as conf:
        conf.write("# of an older release\n")
    older = directory / "older.deb"
    subprocess.run(["dpkg-deb", "-Znone", "-b", tree, older], check=True, timeout=120, capture_output=True)
    return older


@pytest.fixture(scope="session")
def installed(place: Path, package: Path) -> Path:
    """Install the package on a clean machine; return the layer that it is in."""
    machine = CleanMachine(place, "installed", HEAD)
    try:
        machine.install(package)
    finally:
        machine.close()
    return machine.layer


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Count the machines of this run."""
    return count(1)


@pytest.fixture
def machine_on(place: Path, numbers: Iterator[int]) -> Iterator[Callable[..., CleanMachine]]:
    """Make a machine over these layers, or over a clean chroot alone."""
    with ExitStack() as stack:

        def make(*layers: Path, chroot: Path = HEAD) -> CleanMachine:
            machine = CleanMachine(place, f"m{next(numbers)}", *layers, chroot)
            stack.callback(machine.close)
            return machine

        yield make
