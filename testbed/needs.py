"""What a test bed needs of the machine, asked before it makes anything: rights and programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from testbed.registry import BedError
from testbed.tree import PATH

RIGHTS = Path(__file__).resolve().parent.parent / "tools/require-rights"
"""Program that says on stderr which right this process lacks; ``tools/setup-system`` asks it too."""
PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmrestd": "slurmrestd",
    "scontrol": "slurm-client",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
    "mount": "mount",
    "pgrep": "procps",
    "unshare": "util-linux",
}
"""Program -> the package of Debian that holds it."""
_TIMEOUT = 20.0


def require_rights() -> None:
    """Check that this process may make machines and start daemons.

    Raises:
        BedError: says what it lacks, and how to have it.
    """
    asked = subprocess.run(
        [RIGHTS],
        capture_output=True,
        check=False,
        env={"PATH": PATH, "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_TIMEOUT,
    )
    if asked.returncode != 0:
        raise BedError(asked.stderr.strip())


def require_programs() -> None:
    """Check that Slurm and all else that a test bed runs is installed.

    Raises:
        BedError: names what is missing, and the packages of Debian that hold it.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), PATH])
    missing = {
        program: package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None
    }
    if missing:
        packages = " ".join(missing.values())
        raise BedError(f"the test bed needs {', '.join(missing)}; on Debian: apt-get install {packages}")
