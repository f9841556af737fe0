"""What machines are called in Slurm: the name that one joined under stays its name, and no two have one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import count

from agent.cluster.settings.join import JoinSettings, node_name
from agent.core.model import KnownAs, MachineId, SliverNode
from agent.slurm.model import Node


def name_machines(
    machines: Collection[SliverNode],
    settings: JoinSettings,
    *,
    bound: Mapping[tuple[str, str], KnownAs],
    nodes: Mapping[str, Node],
    taken: Collection[str] = (),
) -> dict[MachineId, KnownAs]:
    """Name machines, and tell in which mode each joins.

    What a machine joined as stays, whatever the settings say since: its slurmd, its jobs and its record in
    Slurm have that name. Where that is not remembered, a node of Slurm at the machine's address tells it.

    Args:
        machines: those that are to have names, the ones with the first choice in front.
        settings: what new ones are called.
        bound: (CM, client_id) -> what is remembered of the machine that had it.
        nodes: name -> node, as Slurm has them.
        taken: names of nodes that are not ours to give.
    """
    named: dict[MachineId, KnownAs] = {}
    new: list[SliverNode] = []
    for machine in machines:
        known = bound.get((machine.cm, machine.client_id))
        if known is not None and known.machine.may_be(machine.key):
            named[machine.key] = known
        else:
            new.append(machine)
    there = {machine.place for machine in machines} | {(m.cm, m.client_id) for m in machines}
    used = {known.name for known in named.values()} | set(taken)
    # One that no manifest has now may come again, but for one in whose place there is another machine.
    used |= {known.name for at, known in bound.items() if there.isdisjoint({at, known.machine.place})}
    for machine in new:
        name = next(n for n in _names(machine, settings, nodes) if n not in used)
        named[machine.key] = KnownAs(machine.key, name, settings.mode)
        used.add(name)
    return named


def _found(machine: SliverNode, settings: JoinSettings, nodes: Mapping[str, Node]) -> Iterator[str]:
    """Yield the names of nodes that Slurm has at a machine's address, where it has none of the usual name."""
    if node_name(machine, settings) in nodes:
        return
    places = {machine.address, *(port.address for port in machine.lans)} - {""}
    for name in (machine.node_id, machine.client_id, *(f"{machine.node_id}-{s}" for s in _sites(machine))):
        if name in nodes and nodes[name].address in places:
            yield name


def _names(machine: SliverNode, settings: JoinSettings, nodes: Mapping[str, Node]) -> Iterator[str]:
    """Yield names for a machine, without an end: the later ones are for one whose own name another has."""
    yield from _found(machine, settings, nodes)
    name = node_name(machine, settings)
    yield name
    for site in _sites(machine):
        yield f"{name}-{site}"
    for number in count(2):
        yield f"{name}-{number}"


def _sites(machine: SliverNode) -> tuple[str, ...]:
    """Return what tells its CM from others: ``utah``, then ``utah-cloudlab-us``."""
    domain = machine.cm.partition("+")[2].partition("+")[0].lower()
    return tuple(dict.fromkeys(s for s in (domain.partition(".")[0], domain.replace(".", "-")) if s))
