"""The lease: who renews it, and which slivers end before they should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from agent.check.finding import Finding, fine, warning
from agent.check.ownership import Held
from agent.core.settings import LeaseSettings
from agent.core.slice.lapse import NOTICE


def check_lease(until: datetime, lease: LeaseSettings, now: datetime) -> Finding:
    """Tell who renews the slice, and warn of one that ends soon and that nobody may renew.

    Args:
        until: when it ends.
        lease: the section [lease].
        now: the time.
    """
    who = {
        "always": "this agent renews it, and every sliver at the CMs of [cloudlab], with all that is in them",
        "while-we-hold": "this agent renews it only while it holds or has asked for a machine",
        "never": "nobody renews it but people",
    }[lease.renew]
    seen = f'the slice ends at {until:%Y-%m-%dT%H:%M:%SZ}; {who} ([lease] renew is "{lease.renew}")'
    if lease.renew == "always" or until - now >= NOTICE:
        return fine("lease", seen)
    return warning(
        "lease", seen, 'renew it at the portal or by `esagent renew`, or set [lease] renew to "always"'
    )


def check_sliver_ends(helds: Iterable[Held], lease: LeaseSettings, now: datetime) -> Iterator[Finding]:
    """Warn of each sliver with machines that should have been renewed long ago: its CM refuses, most likely.

    Args:
        helds: what each CM holds.
        lease: the section [lease].
        now: the time.
    """
    for held in helds:
        if held.sliver is None or held.sliver.expires is None or not held.sliver.nodes:
            continue
        end = held.sliver.expires
        if end - now >= lease.overdue_when_left:
            continue
        begins = end - timedelta(seconds=lease.emptied_when_left)
        seen = (
            f"its sliver ends at {end:%Y-%m-%dT%H:%M:%SZ} and was not renewed; our machines there are emptied"
            f" from {begins:%Y-%m-%dT%H:%M:%SZ} on"
        )
        yield warning(
            f"lease at {held.cm}", seen, "see `esagent status` for what is in the way, or try `esagent renew`"
        )
