"""How Cloudlab learns in time that a revoked machine is empty: a pure decision."""

from __future__ import annotations

from datetime import timedelta

from agent.cluster.settings.drain import DrainSettings
from agent.core.model import Revocation

IN_TIME = 1.5
"""So many intervals before the deadline, the next notice comes and leaves time to act should it not."""


def is_given_back(revocation: Revocation, settings: DrainSettings) -> bool:
    """Tell whether our own DeleteNodes gives a machine back, rather than the reply to the next notice.

    Cloudlab repeats its notice, the last time up to an interval before the deadline: a machine that is empty
    only then would not be offered any more. A countdown that stops earlier may have been withdrawn, so that
    such a machine is kept.
    """
    if not revocation.releasable or settings.release == "delete":
        return revocation.releasable
    left = revocation.deadline - revocation.last_notice
    return not revocation.offered and left <= timedelta(seconds=IN_TIME * settings.notice_interval)
