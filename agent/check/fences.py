"""Fences: whether they stand before the first job, and those that an older agent may have left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

from agent.check.finding import Finding, warning
from agent.cluster.drain.held import can_hold
from agent.cluster.settings.join import JoinSettings
from agent.slurm.reservation import Reservation

_SUBJECT = "[drain] fence"
_OLDER = re.compile(r"esagent-\d{8}T\d{6}Z")
_LONG = timedelta(days=300)


def check_fences(join: JoinSettings, reservations: Iterable[Reservation], *, on: bool) -> Iterator[Finding]:
    """Tell what keeps fences from doing their work, or does so for nobody.

    Args:
        join: how machines join.
        reservations: all in Slurm.
        on: nodes are fenced.
    """
    if on and join.mode == "dynamic" and not can_hold(join.commands):
        yield warning(
            _SUBJECT,
            "no join command is a slurmd -Z that registers nodes drained: jobs may start before the fence",
            "let [join] commands start slurmd -Z themselves, without State= in --conf",
        )
    # A current agent's last an hour, and their names have more.
    older = [r.name for r in reservations if _OLDER.fullmatch(r.name) and r.ends - r.starts > _LONG]
    if older:
        yield warning(
            _SUBJECT,
            f"{', '.join(sorted(older))}: named as an older agent named its fences",
            "the agent takes over those that its ledger tells of; remove others by scontrol delete",
        )
