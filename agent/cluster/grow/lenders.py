"""What the CMs can lend us, and what is asked of each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from agent.cluster.grow.by_name import lacking
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply, count_supply, divide, share_of
from agent.cluster.moment import Picture
from agent.cluster.settings.cluster import ClusterSettings
from agent.core.model import AdvertisedNode, Intent, ResourceValue, Share, SliverNode
from agent.core.request.helper import AddArgs
from agent.core.scaling.choosing import choose_machines


class Borrower(Protocol):
    """What the manager knows of Cloudlab."""

    cmlist: tuple[str, ...]
    resource_values: dict[str, ResourceValue]
    percent_available_minimum: float
    settings: ClusterSettings

    @property
    def available(self) -> dict[str, tuple[AdvertisedNode, ...]]:
        """CM -> free machines; no key while unknown."""

    @property
    def all_nodes(self) -> dict[str, tuple[AdvertisedNode, ...]]:
        """CM -> all machines; no key while unknown."""

    def share(self, cm: str) -> Share | None:
        """Count the free machines of the one type that is borrowed."""

    def held(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that manifests say are ours."""

    def requested(self, cm: str | None = None) -> list[Intent]:
        """List the machines that were asked for and have not been seen yet."""

    def get_add_args(self, count: int = 1) -> AddArgs:
        """Ask the helper for machines."""


class Borrowing:
    """Counts what we hold and could have, and divides what is wanted among the CMs.

    Args:
        borrower: the manager.
        avoided: (CM, time) -> hardware types that are left alone there for now.
    """

    def __init__(self, borrower: Borrower, avoided: Callable[[str, datetime], Collection[str]]) -> None:
        self._borrower = borrower
        self._avoided = avoided
        self._asked: dict[str, str] = {}
        """client_id -> the hardware type that was asked for, while more than one is borrowed."""

    def supply(
        self, picture: Picture, failed: Collection[str], returnable: Collection[str], now: datetime
    ) -> Supply:
        """Count what we hold, and what the CMs can spare.

        Args:
            picture: the moment.
            failed: sliver_ids of machines that are of no use.
            returnable: names of nodes that are drained only because we found them surplus.
            now: time.
        """
        requested = self._borrower.requested()
        supply = count_supply(
            picture,
            failed=failed,
            requested=requested,
            requested_types=self._asked,
            returnable=returnable,
            spare=self._spare(now),
            settings=self._borrower.settings.demand,
        )
        settings = self._borrower.settings
        if power_names := settings.join.power_names:
            asked_for = {intent.client_id for intent in requested}
            offers = settings.demand.offers()
            return replace(supply, lacking=lacking(picture, power_names, asked_for, offers))
        return supply

    def shares(self, growth: GrowthPlan, now: datetime) -> dict[tuple[str, str], int]:
        """Share what the queue wants out among the CMs: (type, CM) -> machines."""
        return divide(growth.wanted, self._spare(now), self._borrower.cmlist)

    def take_names(self, names: Sequence[str]) -> AddArgs:
        """Return machines like the helper's, with these names."""
        fields = self._borrower.get_add_args(len(names)).values()
        return dict(zip(names, fields, strict=True))

    def name_machines(
        self, cm: str, wanted: Mapping[str, int], most: int, names: Mapping[str, str]
    ) -> AddArgs:
        """Pick a free machine of its type for each that is wanted: ``AddNodes`` cannot name a type.

        Args:
            cm: the CM.
            wanted: type -> machines.
            most: how many in all.
            names: name -> type, where the machines are to have these names; else they are free.
        """
        args: AddArgs = {}
        for kind, count in wanted.items():
            chosen = choose_machines(
                self._free(cm) or (),
                min(count, most - len(args)),
                nodetype=kind,
                avoid_types=(),
                values=self._borrower.resource_values,
            )
            if not chosen:
                continue
            if names:
                fields = self.take_names([n for n, k in names.items() if k == kind][: len(chosen)])
            else:
                fields = self._borrower.get_add_args(len(chosen))
            for (client_id, each), node_id in zip(fields.items(), chosen, strict=True):
                args[client_id] = {**each, "node": node_id}
                self._asked[client_id] = kind
        return args

    def forget(self, client_id: str) -> None:
        """Drop what was asked for a machine that is not ours any more."""
        self._asked.pop(client_id, None)

    def _free(self, cm: str) -> list[AdvertisedNode] | None:
        """List what a CM said is free, without what has become ours since; None where it was not read."""
        ours = {machine.node_id for machine in self._borrower.held(cm)}
        free = self._borrower.available.get(cm)
        return None if free is None else [node for node in free if node.node_id not in ours]

    def _spare(self, now: datetime) -> dict[tuple[str, str], int]:
        """Count what each CM can spare of each type; no key where that is not known."""
        borrower = self._borrower
        found = {}
        for cm in borrower.cmlist:
            avoided = self._avoided(cm, now)
            for kind in borrower.settings.demand.types_at(cm):
                if kind:
                    share = share_of(kind, borrower.all_nodes.get(cm), self._free(cm))
                else:
                    share = borrower.share(cm)
                if share is not None and kind not in avoided:
                    found[kind, cm] = share.spare(borrower.percent_available_minimum)
        return found
