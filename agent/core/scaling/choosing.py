"""Which machines come first: of the free ones those that Cloudlab wants least. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from agent.core.model import AdvertisedNode, Place
from agent.core.said import Placed, ResourceValue, said_of


def choose_machines(
    available: Iterable[AdvertisedNode],
    count: int,
    *,
    nodetype: str | None,
    avoid_types: Collection[str],
    values: Mapping[Place, ResourceValue],
) -> tuple[str, ...]:
    """Pick up to ``count`` free physical machines of a type; those that Cloudlab wants least come first.

    ``GeniCMV2 AddNodes`` of 2016 cannot name a type, only a machine.
    """
    fitting = [
        node
        for node in available
        if node.available
        and (nodetype is None or nodetype in node.hardware_types)
        and not any(t in avoid_types for t in node.hardware_types)
    ]
    fitting.sort(key=lambda n: (wanted(n, values), n.node_id))
    return tuple(n.node_id for n in fitting[:count])


def wanted(machine: Placed, values: Mapping[Place, ResourceValue]) -> float:
    """Tell how much Cloudlab wants a machine; what it says nothing of it does not want."""
    value = next(said_of(values, machine), None)
    return value.value if value else 0.0


def asking_for(
    node_id: str, hardware_type: str | None, cm: str, values: Mapping[Place, ResourceValue]
) -> dict[str, str]:
    """Return the fields of ``GeniCMV2 AddNodes`` that ask for a machine.

    One that was chosen for its type alone has that besides: a CM that knows types may give another of it.
    Where Cloudlab said how much it wants the machines of a CM, it matters which one comes.
    """
    matters = any(at in {cm, ""} for at, _ in values)
    of_type = {"hardware_type": hardware_type} if hardware_type and not matters else {}
    return {"node": node_id, **of_type}
