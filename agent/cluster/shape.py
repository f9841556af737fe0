"""What Slurm saw of machines of one hardware type: what plans go by, once one has come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from agent.slurm.gres import offered_gres
from agent.slurm.layout import UNKNOWN, Layout
from agent.slurm.model import Node

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class MachineShape:
    """A machine as its node's record has it (``scontrol show node``)."""

    cpus: int
    memory: int = 0
    """RealMemory in MB."""
    gres: str = ""
    """Generic resources (``gpu:2``); "" for none."""
    features: frozenset[str] = frozenset()
    """Those that every machine of the type had, without what is a name of one."""
    layout: Layout = UNKNOWN
    said: str = field(default="", compare=False)
    """What [demand] said of the type when it came; once that is changed, [demand] holds until the next."""
    newest: datetime = field(default=_NEVER, compare=False)
    """When the newest of the machines booted that it is learnt from."""


def shape_of_node(node: Node, names: Iterable[str] = ()) -> MachineShape:
    """Return what a node's record says of its machine.

    Args:
        node: one that is at work, or that slurm.conf declares.
        names: what its machine is called: a feature of such a name is that of no other.
    """
    features = node.features - {node.name, *names}
    newest = node.booted or _NEVER
    return MachineShape(node.cpus, node.memory, node.gres, features, node.layout, newest=newest)


def least(shapes: Iterable[MachineShape]) -> MachineShape:
    """Return what each of these machines can take: no number is larger than that of any.

    Raises:
        ValueError: there is none.
    """
    each = list(shapes)
    smallest = min(each, key=lambda shape: (shape.cpus, _cores(shape), shape.layout.sockets))
    usable = min(_usable(shape) for shape in each)
    layout = replace(
        smallest.layout,
        usable_cpus=usable if usable < smallest.cpus else 0,
        system_memory=max(shape.layout.system_memory for shape in each),
        tmp_disk=min(shape.layout.tmp_disk for shape in each),
    )
    return MachineShape(
        smallest.cpus,
        min(shape.memory for shape in each),
        _common_gres([shape.gres for shape in each]),
        frozenset.intersection(*(shape.features for shape in each)),
        layout,
        newest=max(shape.newest for shape in each),
    )


def _cores(shape: MachineShape) -> int:
    return shape.layout.sockets * shape.layout.cores


def _usable(shape: MachineShape) -> int:
    return shape.layout.usable_cpus or shape.cpus


def _common_gres(texts: list[str]) -> str:
    if len(set(texts)) == 1:
        return texts[0]
    offered = [offered_gres(text) for text in texts]
    kinds = sorted(frozenset[str].intersection(*(frozenset(counts) for counts in offered)))
    return ",".join(f"{kind}:{min(counts[kind] for counts in offered)}" for kind in kinds)
