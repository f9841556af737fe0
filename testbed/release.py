"""Which Slurm a test bed runs: the machine's own, or another release out of a directory.

Slurm's parts speak only to their own release, so the whole test bed has to be of one. Each of its daemons,
machines and commands gets a mount namespace where the other release lies over the machine's own in ``/usr``:
every program, plugin and library is then where it was built to be, and nothing of it is seen outside.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.registry import BedError
from testbed.tree import PATH

VARIABLE = "TESTBED_SLURM"
"""Environment variable that names the directory of another release; unset: the machine's own."""
COMMANDS = (
    *("salloc", "sbatch", "scancel", "scontrol", "sdiag", "sinfo", "sprio", "squeue", "srun"),
    *("sshare", "strigger"),
)
"""Slurm's commands that need no slurmdbd."""
_VERSION_TIMEOUT = 20.0


@dataclass(frozen=True)
class Release:
    """A release of Slurm that is installed here."""

    version: str
    """As Slurm prints it, such as ``24.11.5``."""
    mount: str
    """Shell command that puts it over ``/usr``; "true" for the machine's own."""

    @property
    def number(self) -> tuple[int, int]:
        """Return what releases are compared by: ``(24, 11)``."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)

    @property
    def is_own(self) -> bool:
        """Tell whether it is the one that every process of this machine sees."""
        return self.mount == "true"

    def inside(self, command: Sequence[str]) -> list[str]:
        """Make a command see this release. The caller gives it a mount namespace, as unshare(1) does."""
        return list(command) if self.is_own else ["sh", "-c", f'{self.mount} && exec "$0" "$@"', *command]

    def write_commands(self, directory: Path) -> None:
        """Write scripts into a new directory that stand for Slurm's commands in this release; for root."""
        directory.mkdir()
        for name in COMMANDS:
            # By its path: the directory of the scripts is likely to be the first in PATH.
            command = shlex.join(["unshare", "--mount", *self.inside([f"/usr/bin/{name}"])])
            script = directory / name
            script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            script.chmod(0o755)


def wanted() -> Path | None:
    """Return the directory that the environment names (``TESTBED_SLURM``)."""
    directory = os.environ.get(VARIABLE)
    return Path(directory) if directory else None


def find_release(directory: Path | None) -> Release:
    """Find out which release to run.

    Args:
        directory: a Debian tree (see tools/setup-release), or the prefix of a Slurm built from source; None
            is the machine's own.

    Raises:
        BedError: there is no whole Slurm.
    """
    mount = "true" if directory is None else _mount(directory.resolve())
    release = Release("", mount)
    # What `unshare --mount` makes is private: the machine never sees the mount.
    command = ["unshare", "--mount", *release.inside(["slurmctld", "-V"])]
    done = subprocess.run(
        command,
        capture_output=True,
        check=False,
        env={"PATH": PATH},
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_VERSION_TIMEOUT,
    )
    found = re.search(r"\d+\.\d+\.\S+", done.stdout)
    if done.returncode != 0 or found is None:
        raise BedError(
            f"slurmctld of {directory or 'this machine'}: expected a version, "
            f"got {(done.stderr or done.stdout).strip()!r}"
        )
    return Release(found[0], mount)


def _mount(directory: Path) -> str:
    if re.fullmatch(r"[\w./+@=-]+", str(directory), re.ASCII) is None:
        raise BedError(f"{directory}: no directory for a Slurm: use letters, digits and ./+@=-_ only")
    # In Debian's tree this is a link to /etc/alternatives, which leads nowhere from here.
    if os.path.lexists(directory / "usr/sbin/slurmctld"):
        return f"mount --bind {directory}/usr /usr"
    if (directory / "sbin/slurmctld").exists():
        return " && ".join(
            f"mount -t overlay -o lowerdir={directory}/{place}:/usr/{place} slurm /usr/{place}"
            for place in ("bin", "sbin")
        )
    raise BedError(f"{directory}: expected a Slurm, with slurmctld in sbin or usr/sbin")
