"""Machines that are idle for so long that their site may stop renewing the slice: they go back before. Pure.

A site counts the machines of a slice whose last activity is longer ago than its limit (3 h by default). When
they are half of them, it mails; later it may refuse every renewal for good (``expire_daemon CheckIdle``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta

from agent.cluster.moment import Moment
from agent.cluster.settings.cluster import ClusterSettings
from agent.core.settings import format_duration

SITES_LIMIT = 3 * 3600.0
"""Seconds: ``protogeni/idlecheck_threshold``, where a site has not set it otherwise."""


def too_idle(moment: Moment, staying: Iterable[str]) -> dict[str, str]:
    """Tell which idle machines go although something keeps them: node name -> why.

    Of each CM as many go as leaves fewer than half of the slice's machines there idle for so long, those that
    are idle the longest first.

    Args:
        moment: what is known.
        staying: names of nodes of ours that may go, and would stay: nothing is on them, no job or reservation
            names them, and nobody else drained them.
    """
    limit, history = moment.settings.demand.idle_limit, moment.history
    if not limit or history is None:
        return {}
    since = {n: history.idle_since[n] for n in staying if n in history.idle_since}
    long = {n: t for n, t in since.items() if moment.steady - t >= timedelta(seconds=limit)}
    total = Counter(machine.cm for machine in (*moment.slice.machines, *moment.slice.foreign))
    at = Counter(moment.machines[name].cm for name in long)
    # What goes is not counted by the site any more, neither as idle nor at all.
    goes = {cm: max(2 * count - total[cm] + 1, 0) for cm, count in at.items()}
    found: dict[str, str] = {}
    for name in sorted(long, key=lambda name: (long[name], name)):
        cm = moment.machines[name].cm
        if goes[cm] > 0:
            goes[cm] -= 1
            idle = format_duration(round((moment.steady - long[name]).total_seconds()))
            found[name] = f"idle for {idle}, idle_limit is {format_duration(limit)}: its site would object"
    return found


def what_breaks_it(settings: ClusterSettings) -> tuple[str, ...]:
    """Say which settings may leave half of a slice's machines idle for longer than a site takes."""
    demand, join = settings.demand, settings.join
    found = []
    if not 0 < demand.idle_limit < SITES_LIMIT:
        kept = f"min_nodes is {demand.min_nodes}" if demand.min_nodes else ""
        slow = f"idle_timeout is {format_duration(demand.idle_timeout)}"
        why = " and ".join(filter(None, (kept, slow if demand.idle_timeout >= SITES_LIMIT else "")))
        limit = format_duration(demand.idle_limit)
        if why:
            found.append(f"[demand] {why}, and idle_limit is {limit}")
    if join.keep_failed >= SITES_LIMIT:
        found.append(f"[join] keep_failed is {format_duration(join.keep_failed)}")
    return tuple(found)
