"""Slurm's backfill scheduler, and nodes that come and go."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from agent.check.finding import Finding, fine, warning

_MENDED = (22, 5, 9)
"""Slurm's NEWS of 22.05.9: "sched/backfill - fix segfault when removing a PLANNED node from system"."""


def check_backfill(config: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether slurmctld is known to crash when dynamic nodes come and go.

    That of 22.05.8 was seen to crash in backfill when nodes came and went while 40 jobs waited: with
    ``bf_continue`` after 61 rounds, without it after 225. One of 24.11.5 outlasted 200 with it.

    Args:
        config: what slurm.conf has in force, and ``SLURM_VERSION``.
    """
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", config.get("SLURM_VERSION", ""))
    if version is None or tuple(map(int, version.groups())) >= _MENDED:
        return
    if "bf_continue" in config.get("SchedulerParameters", "").split(","):
        yield warning(
            "SchedulerParameters",
            f"bf_continue, with Slurm {version[0]}: slurmctld may crash when borrowed nodes come and go",
            "take bf_continue out of slurm.conf, or upgrade Slurm to 22.05.9 or later",
        )
    else:
        yield fine("SchedulerParameters", "no bf_continue")
