"""Which surplus nodes return to service, since something waits for them after all: a pure decision."""

from __future__ import annotations

from agent.cluster.drain.wanted import returnable
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.moment import Moment
from agent.cluster.shrink.surplus import names_in_use


def named_again(moment: Moment) -> dict[str, str]:
    """Tell which surplus nodes a waiting job or a reservation names: node name -> why.

    Without Slurm's reservations in the moment, those that one of them names are not seen.
    """
    if moment.snapshot is None:
        return {}
    waiting = [job for job in moment.snapshot.jobs if not job.holds_nodes]
    named = names_in_use(waiting, moment.reservations or (), moment.snapshot.taken)
    return {name: named[name] for name in returnable(moment) & named.keys()}


def wanted_again(moment: Moment, growth: GrowthPlan) -> dict[str, str]:
    """Tell which surplus nodes the queue wants rather than that more are borrowed: node name -> why."""
    return dict.fromkeys(growth.returned & returnable(moment), "the queue wants it again")
