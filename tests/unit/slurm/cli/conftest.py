"""Slurm's commands as shell scripts."""

import os
from datetime import UTC, datetime
from pathlib import Path

from agent.slurm.cli.backend import CliBackend
from agent.slurm.settings import SlurmSettings

SAMPLES = Path(__file__).parents[3] / "data" / "slurm"
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, 14, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def backend(
    directory: Path,
    *,
    scontrol: str = "",
    squeue: str = "",
    sinfo: str = "",
    scancel: str = "",
    release: str = "22.05.8",
) -> CliBackend:
    """Make a backend over shell scripts that stand for Slurm's commands."""
    version = f'if [ "$1" = --version ]; then echo slurm-wlm {release}; exit; fi\n'
    scripts = {"scontrol": scontrol, "squeue": version + squeue, "sinfo": sinfo, "scancel": scancel}
    for name, script in scripts.items():
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return CliBackend(SlurmSettings(bin_dir=directory, command_timeout=10), FixedClock(), ENVIRONMENT)


def cat(name: str) -> str:
    return f"cat {SAMPLES / '22.05' / name}"
