"""Gathers all that is known of the slice at one instant from the rooms that know it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent.core.desk import Desk
from agent.core.model import AdvertisedNode, IntentKind, Share
from agent.core.notices.endpoint import SimpleElasticSliceClientEndpoint
from agent.core.scaling.adding import Growth
from agent.core.scaling.brake import GrowthBrake
from agent.core.scaling.placement import Placement
from agent.core.slice.ending import Endings
from agent.core.slice.facts import SliceFacts
from agent.core.slice.inventory import Inventory
from agent.core.slice.offers import Offers


class Knowledge:
    """What the rooms know, read under one lock.

    Args:
        desk: the manager's.
        cms: URNs of the CMs in use, preferred first.
        notices: what Cloudlab said.
        inventory: what the CMs hold for us.
        offers: what they could lend.
        placement: what is left alone.
        brake: whether growth is stopped.
        endings: which slivers end.
        retired: URNs of the CMs that are asked for no machine.
        growth: which CMs can be asked, and what they refused.
    """

    def __init__(
        self,
        desk: Desk,
        cms: Sequence[str],
        notices: SimpleElasticSliceClientEndpoint,
        inventory: Inventory,
        offers: Offers,
        placement: Placement,
        brake: GrowthBrake,
        endings: Endings,
        retired: Collection[str],
        growth: Growth,
    ) -> None:
        self._desk = desk
        self._cms = tuple(cms)
        self._notices = notices
        self._inventory = inventory
        self._offers = offers
        self._placement = placement
        self._askable = growth.askable
        self._refused = growth.refused
        self._endings = endings
        self._brake = brake
        self._lenders = tuple(cm for cm in cms if cm not in retired)

    def share(self, cm: str) -> Share | None:
        """Count the free machines of our type at a CM; None while unknown."""
        return self._share(cm, self._free(cm))

    def _share(self, cm: str, free: Sequence[AdvertisedNode] | None) -> Share | None:
        return self._placement.share(self._offers.all_nodes.get(cm), free)

    def _free(self, cm: str) -> tuple[AdvertisedNode, ...] | None:
        """Return what a CM said is free, without what has come into the slice or could not be had since."""
        free = self._refused.without_shunned(cm, self._offers.free(cm))
        sliver = self._inventory.slivers.get(cm)
        taken = {node.node_id for node in sliver.nodes} if sliver else set()
        return None if free is None else tuple(node for node in free if node.node_id not in taken)

    def facts(self, lease_seconds: float, stays_free: float) -> SliceFacts:
        """Return all of it.

        Args:
            lease_seconds: for how long a machine would be lent that is asked for now.
            stays_free: fraction of a CM's machines that are left to others.
        """
        cms, inventory, notices = self._cms, self._inventory, self._notices
        now = self._desk.clock.steady()
        with self._desk.lock:
            notices.follow_clock()
            free = {cm: self._free(cm) for cm in cms}
            shares = {cm: self._share(cm, free[cm]) for cm in cms}
            read = frozenset(inventory.slivers)
            return SliceFacts(
                cms=self._lenders,
                machines=tuple(inventory.held(None)),
                doubted=tuple(inventory.doubted()),
                unseen=inventory.unseen(),
                foreign=tuple(inventory.foreign()),
                unexplained=inventory.unexplained(),
                fresh=inventory.fresh(),
                all_read=read >= frozenset(cms),
                read=read,
                ready=frozenset(node.key for node in inventory.with_fate("ready")),
                failed=frozenset(node.key for node in inventory.with_fate("failed")),
                statuses=inventory.told(),
                requested=tuple(inventory.in_flight(IntentKind.ADD, None)),
                leaving=tuple(inventory.in_flight(IntentKind.DELETE, None)),
                leases=inventory.expires,
                endings=self._endings.now(),
                lease_seconds=lease_seconds,
                values=dict(notices.resource_values),
                revocations=dict(notices.revocations),
                taken=dict(notices.taken),
                free={cm: nodes for cm, nodes in free.items() if nodes is not None},
                everything=dict(self._offers.all_nodes),
                shares={cm: share for cm, share in shares.items() if share is not None},
                stays_free=stays_free,
                avoided={cm: self._placement.avoided(cm, now) for cm in cms},
                exhausted=frozenset(
                    cm for cm in cms if self._placement.paused(cm, now) or self._refused.why_not(cm)
                ),
                admitted={
                    (cm, kind): admission
                    for cm in cms
                    for kind, admission in self._refused.admissions(cm).items()
                },
                closed={cm: why for cm in cms if (why := self._askable.why_not(cm))},
                fitting={
                    cm: self._placement.fitting(cm, nodes, now)
                    for cm, nodes in free.items()
                    if nodes is not None
                },
                turns=self._brake.turns(),
                overdue=inventory.overdue(),
                over=inventory.over(),
                braked=self._brake.words(),
            )
