"""Phases one and two of every change of a slice: all its nodes are checked, and mapped anew.

protogeni.md §3.7, protogeni-2021.md §3.6, §3.8, §3.11 (GeniCM.pm GetTicketAuxAux, SliverWorkAux).
"""

from __future__ import annotations

from lxml import etree

from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RefusalError
from testbed.cloudlab.cm import mapper_faults, mapper_log
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.cm.mapper import Limits, place, place_within
from testbed.cloudlab.documents.request import RequestNode, check_addresses, read_nodes
from testbed.cloudlab.state import Aggregate, CmSlice, Machine, NodeSliver
from testbed.cloudlab.steering.faults import MAPPER_KINDS, Kind


class Mapping:
    """Finds the machines for what a slice shall have at one CM."""

    def __init__(self, cm: ComponentManager) -> None:
        self._cm = cm
        self._new = cm.site.generation >= 2021

    def find(
        self, record: CmSlice, aggregate: Aggregate, root: etree._Element, method: str
    ) -> list[tuple[RequestNode, Machine]]:
        """Find machines for those nodes of ``root`` that have none; nothing is taken yet.

        A machine of the slice that was lost, and is free, is taken again.

        Raises:
            RefusalError: as CreateSliver and AddNodes; a machine that stays can be the cause.
        """
        cm, site = self._cm, self._cm.site
        requests = read_nodes(root, site, cm.machines.keys(), cm.rules.check_image)
        if self._new:
            check_addresses(root, cm.urn)
        cm.rules.check_size(requests)
        if cm.rules.over_quota and record.aggregate is None:
            raise RefusalError(Code.NO_SPACE, "Over disk quota, please clean up")
        if cm.around.faults.strike(cm.urn, method, {Kind.RENEWED_MEANWHILE}):
            raise RefusalError(Code.REFUSED, "Not allowed to change expiration when updating")
        names = [request.client_id for request in requests]
        held = [sliver for name, sliver in aggregate.nodes.items() if name in names]
        new = [request for request in requests if request.client_id not in aggregate.nodes]
        self._check_faults(method, names)
        lost = [sliver for sliver in held if not sliver.reserved]
        gone = [sliver.machine.node_id for sliver in lost if not sliver.machine.available_to(record.project)]
        if gone:
            raise mapper_log.fixed(gone)
        placed = self._place(record, new, held)
        self._phase_two(method, held)
        for sliver in lost:
            self._take_again(aggregate, sliver)
        return [(request, placed[request.client_id]) for request in new]

    def renew(self, record: CmSlice, aggregate: Aggregate, root: etree._Element) -> None:
        """Check and map what stays after DeleteNodes.

        Raises:
            RefusalError: as ``find``.
        """
        self.find(record, aggregate, root, "DeleteNodes")

    def _check_faults(self, method: str, names: list[str]) -> None:
        fault = self._cm.around.faults.strike(self._cm.urn, method, MAPPER_KINDS)
        if fault is not None:
            raise mapper_faults.refusal(fault.kind, names[-1] if names else "", self._cm.site.generation)

    def _place(self, record: CmSlice, new: list[RequestNode], held: list[NodeSliver]) -> dict[str, Machine]:
        cm = self._cm
        kept = [sliver.machine for sliver in held]
        if not self._new:
            others = [machine for machine in cm.machines.values() if machine not in kept]
            return place(new, others, record.project)
        reservations = cm.reservations

        def is_a_mates(machine: Machine) -> bool:
            other = cm.slices.get(machine.holder.slice_urn) if machine.holder else None
            return other is not None and other is not record and other.project == record.project

        limits = Limits(
            bounds=reservations.bounds(record, cm.around.clock.now()),
            policy=cm.rules.limits,
            kind_of=reservations.of_machine,
            is_a_mates=is_a_mates,
        )
        return place_within(new, kept, cm.machines.values(), record.project, limits)

    def _phase_two(self, method: str, held: list[NodeSliver]) -> None:
        """Let a machine go between the phases, as a fault has it."""
        if not held or not self._cm.around.faults.strike(self._cm.urn, method, {Kind.GONE_IN_PHASE_TWO}):
            return
        machine = held[0].machine
        if held[0].reserved:
            self._cm.lives.release(machine, str(Kind.GONE_IN_PHASE_TWO), taken=True)
        node_urn = urn.make(self._cm.site.domain, "node", machine.node_id)
        raise RefusalError(Code.ERROR, f"{node_urn} ([Node: {machine.node_id}]) is not available")

    def _take_again(self, aggregate: Aggregate, lost: NodeSliver) -> None:
        """Give a machine back to the slice that lost it; whoever waits for the lost sliver waits for that."""
        sliver = NodeSliver(
            urn=lost.urn,
            slice_urn=lost.slice_urn,
            client_id=lost.client_id,
            host_name=lost.host_name,
            machine=lost.machine,
            startup=lost.startup,
            cards=lost.cards,
        )
        sliver.machine.holder = aggregate.nodes[lost.client_id] = sliver
        self._cm.around.journal.hold(self._cm.urn, sliver.machine.node_id, sliver.slice_urn, sliver.client_id)
