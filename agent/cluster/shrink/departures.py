"""Which machines may be given back now, and how Cloudlab learns of it: a pure decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from agent.cluster.moment import Moment
from agent.cluster.settings.drain import DrainSettings
from agent.core.model import SliverNode
from agent.core.said import Revocation

IN_TIME = 1.5
"""So many intervals before the deadline, the next notice comes and leaves time to act should it not."""


@dataclass(frozen=True)
class DeparturePlan:
    """Which machines are given back next."""

    failed: tuple[SliverNode, ...] = ()
    """Those that are of no use."""
    kept: tuple[SliverNode, ...] = ()
    """Those of no use that a person may look at for a while first."""
    empty: tuple[SliverNode, ...] = ()
    """Those that are emptied: surplus ones, revoked ones, in a teardown all that it is of."""

    @property
    def machines(self) -> tuple[SliverNode, ...]:
        """All that go."""
        return tuple(dict.fromkeys((*self.failed, *self.empty)))


def plan_departures(moment: Moment) -> DeparturePlan:
    """Decide which machines may be given back: never one on which Slurm has a job, or could start one."""
    torn = {name for name, machine in moment.machines.items() if moment.torn_down_by(machine)}
    ready = moment.emptied & (moment.chosen | torn)
    ready |= frozenset(_released(moment))
    # One without a usable node_id has no name in Slurm, and goes back all the same.
    useless = [machine for machine in moment.slice.machines if machine.key in moment.slice.failed]
    failed = [machine for machine in useless if _is_idle(moment.name(machine), moment)]
    return DeparturePlan(
        failed=tuple(machine for machine in failed if not _is_kept(machine, moment)),
        kept=tuple(machine for machine in failed if _is_kept(machine, moment)),
        empty=tuple(
            moment.machines[name] for name in sorted(ready & moment.machines.keys()) if _is_idle(name, moment)
        ),
    )


def are_near(moment: Moment) -> bool:
    """Tell whether a machine may be given back as soon as its node is seen idle."""
    return bool(moment.emptied or moment.slice.failed or any(_released(moment)))


def is_on_trust(machine: SliverNode, moment: Moment) -> bool:
    """Tell whether a machine is ours by its name alone, and that for less than a person needs to object."""
    known = moment.history is not None and moment.name(machine) in moment.history.found
    if machine.key not in moment.slice.unexplained or known:
        return False
    return moment.steady - moment.started < timedelta(seconds=moment.settings.demand.min_hold)


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


def _released(moment: Moment) -> Iterator[str]:
    """Yield the names of the revoked machines that are empty, where we give them back ourselves.

    One that goes in any case does not wait for a notice that may never come.
    """
    settings = moment.settings.drain
    for name, machine in moment.machines.items():
        revocation = moment.slice.revocation_of(machine)
        if revocation is None:
            continue
        is_over = revocation.releasable and revocation.is_silent(moment.now, settings.notice_interval)
        if is_given_back(revocation, settings) or (is_over and _goes_anyway(name, machine, moment)):
            yield name


def _goes_anyway(name: str, machine: SliverNode, moment: Moment) -> bool:
    """Tell whether a machine goes also if Cloudlab does not want it any more."""
    wish = moment.wish_for(machine)
    is_wanted_back = moment.torn_down_by(machine) is not None or (wish is not None and wish.give_back)
    return is_wanted_back or name in moment.leaving or name in moment.blocking


def _is_idle(name: str, moment: Moment) -> bool:
    """Tell whether no job is on a node and none can start there; False while Slurm was never read."""
    if moment.snapshot is None or moment.snapshot.holds(name):
        return False
    node = moment.nodes.get(name)
    return node is None or not node.usable


def _is_kept(machine: SliverNode, moment: Moment) -> bool:
    """Tell whether a failed machine is still kept, for a person to look at, or since it may be in use."""
    if is_on_trust(machine, moment):
        return True
    since = moment.failed_since.get(machine.key, moment.steady)
    return moment.steady - since < timedelta(seconds=moment.settings.join.keep_failed)
