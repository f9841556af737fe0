"""Which machine for which node: the simulator's «mapper» and «assign». Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.cloudlab.answer import Code
from testbed.cloudlab.cm import mapper_log
from testbed.cloudlab.documents.request import RequestNode
from testbed.cloudlab.state import Machine


@dataclass(frozen=True)
class Limits:
    """What stands between a slice and machines that are free (protogeni-2021.md §3.8, §8.2)."""

    bounds: Mapping[str, int] = field(default_factory=dict)
    """Type, or node_id of a machine that is reserved singly -> how many the slice may hold."""
    policy: Mapping[str, int] = field(default_factory=dict)
    """Type or class -> how many it may use by the site's policy."""
    kind_of: Callable[[Machine], str] = lambda machine: machine.hardware_type
    """What a machine counts as among the bounds."""
    is_a_mates: Callable[[Machine], bool] = lambda _machine: False
    """Whether another slice of the same project has a machine."""


def place(requests: Sequence[RequestNode], machines: Collection[Machine], project: str) -> dict[str, Machine]:
    """Give each request a free machine as the older server does: client_id -> machine, bound ones first.

    ``project`` may have machines that are set aside for it.

    Raises:
        RefusalError: code 26 when too few machines of a type are free, 28 when a bound machine is not;
            the value tells the reason, the output is the long log.
    """
    free = {machine.node_id: machine for machine in machines if machine.available_to(project)}
    placed = _place_bound(requests, free)
    for request in requests:
        if request.node_id:
            continue
        kind = request.hardware_type
        fitting = [m for m in free.values() if kind in {m.hardware_type, m.node_class}]
        if not fitting:
            wanted = sum(1 for other in requests if not other.node_id and other.hardware_type == kind)
            had = sum(
                1 for m in machines if m.available_to(project) and kind in {m.hardware_type, m.node_class}
            )
            found = f"only {had} available nodes of type {kind} found"
            reason = f"{wanted} nodes of type {kind} requested, but {found}"
            log = f"mapper: starting\n*** {reason}\nmapper: Not enough nodes or no mapping; giving up\n"
            raise mapper_log.unmapped(Code.INSUFFICIENT_NODES, f"{log}mapper: exit 2\n", reason)
        placed[request.client_id] = free.pop(fitting[0].node_id)
    return placed


def place_within(
    requests: Sequence[RequestNode],
    held: Collection[Machine],
    machines: Collection[Machine],
    project: str,
    limits: Limits,
) -> dict[str, Machine]:
    """Give each request a machine as the newer server does, within what reservations and policy leave.

    ``held`` are the machines that the slice of ``project`` keeps; ``machines`` are all of the site.

    Raises:
        RefusalError: codes 26 and 28, with the words of protogeni-2021.md §3.8.
    """
    by_name = {machine.node_id: machine for machine in machines}
    wanted = Counter(machine.hardware_type for machine in held)
    wanted.update(r.hardware_type for r in requests if not r.node_id)
    wanted.update(by_name[r.node_id].hardware_type for r in requests if r.node_id)
    _check_reservations(requests, held, by_name, wanted, limits)
    free = {m.node_id: m for m in machines if m.available_to(project) and m not in held}
    short = _short(wanted, requests, held, free.values(), limits)
    if short:
        everything = {m.node_id: m for m in machines if m not in held}
        never = bool(_short(wanted, requests, held, everything.values(), limits))
        raise mapper_log.short_of_types(short, never=never)
    placed = _place_bound(requests, free)
    used = Counter(limits.kind_of(machine) for machine in [*held, *placed.values()])
    # Those that want a type come first: the others make do with what is left.
    for request in sorted(requests, key=lambda r: r.hardware_type in {m.node_class for m in machines}):
        if not request.node_id:
            machine = _pick(request, free, used, limits)
            placed[request.client_id] = free.pop(machine.node_id)
            used[limits.kind_of(machine)] += 1
    return placed


def _place_bound(requests: Sequence[RequestNode], free: dict[str, Machine]) -> dict[str, Machine]:
    bound = [request for request in requests if request.node_id]
    lacking = [request.node_id for request in bound if request.node_id not in free]
    taken = {request.node_id: request.client_id for request in bound}
    lacking += [r.node_id for r in bound if taken[r.node_id] != r.client_id and r.node_id in free]
    if lacking:
        raise mapper_log.fixed(list(dict.fromkeys(lacking)))
    return {request.client_id: free.pop(request.node_id) for request in bound}


def _check_reservations(
    requests: Sequence[RequestNode],
    held: Collection[Machine],
    by_name: Mapping[str, Machine],
    wanted: Mapping[str, int],
    limits: Limits,
) -> None:
    named = [by_name[request.node_id] for request in requests if request.node_id]
    singly = [m for m in [*held, *named] if limits.kind_of(m) == m.node_id]
    for machine in singly:
        if limits.bounds.get(machine.node_id) == 0:
            raise mapper_log.machine_reserved(machine.node_id)
        if limits.is_a_mates(machine):
            raise mapper_log.machine_of_a_mate(machine.node_id, machine.hardware_type)
    for kind, bound in limits.bounds.items():
        count = wanted.get(kind, 0) - sum(1 for machine in singly if machine.hardware_type == kind)
        if count > bound:
            raise mapper_log.short_by_reservation(count, kind, bound)


def _short(
    wanted: Mapping[str, int],
    requests: Sequence[RequestNode],
    held: Collection[Machine],
    free: Collection[Machine],
    limits: Limits,
) -> list[str]:
    """Compare what is asked for with what there is, type by type (assign.cc type_precheck)."""
    lines = []
    asked = dict.fromkeys(r.hardware_type for r in requests if not r.node_id)
    for kind in asked:
        found = sum(1 for machine in [*held, *free] if machine.hardware_type == kind)
        found += sum(1 for machine in free if machine.node_class == kind)
        if found < wanted[kind]:
            lines.append(mapper_log.too_few(wanted[kind], kind, found))
        if limits.policy.get(kind, wanted[kind]) < wanted[kind]:
            lines.append(mapper_log.limited(wanted[kind], kind, limits.policy[kind]))
    return lines


def _pick(
    request: RequestNode, free: Mapping[str, Machine], used: Mapping[str, int], limits: Limits
) -> Machine:
    kind = request.hardware_type
    fitting = [m for m in free.values() if kind in {m.hardware_type, m.node_class}]
    for machine in fitting:
        counted = limits.kind_of(machine)
        most = min(
            limits.bounds.get(counted, len(free) + used.get(counted, 0)),
            limits.policy.get(counted, len(free) + used.get(counted, 0)),
        )
        if used.get(counted, 0) < most:
            return machine
    if fitting:
        raise mapper_log.policy()
    reason = "Not enough nodes with fast enough interfaces"
    raise mapper_log.unmapped(Code.INSUFFICIENT_NODES, f"*** {reason}\n", reason)
