"""What machines of ours left in Slurm that went while no agent looked: a pure decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.cluster.moment import Moment
from agent.cluster.reasons import JOINING, SILENT, TAKEN_BACK, Drain, DrainCause, parse_reason
from agent.cluster.settings.cluster import ClusterSettings
from agent.slurm.model import Node
from agent.slurm.names import expand


def is_dynamic(node: Node) -> bool:
    """Tell whether a node is not in slurm.conf: ``slurmd -Z`` or ``scontrol create`` made it."""
    return "DYNAMIC_NORM" in node.flags


def find_remains(moment: Moment) -> Mapping[str, str]:
    """Find the nodes of machines that we have no more, where nothing but Slurm remembers them.

    No node is among them that a machine of the slice may be behind, or that slurm.conf declares for others.
    Of the rest one was ours that is out of service with a reason of ours. So was one that has the features
    of borrowed machines, or that [join] names, and whose slurmd does not answer: one that answers may be
    somebody else's, whatever it looks like.

    Args:
        moment: now; every manifest was read, and no machine is in doubt.

    Returns:
        Node name -> the Reason= that says that its machine is gone.
    """
    return dict(_remains(moment))


def _remains(moment: Moment) -> Iterator[tuple[str, str]]:
    settings, snapshot = moment.settings, moment.snapshot
    if snapshot is None:
        return
    is_cloud = settings.join.mode == "cloud"
    declared = expand(settings.join.predeclared) if is_cloud else frozenset()
    for name in sorted(moment.nodes.keys() - moment.present):
        node = moment.nodes[name]
        if not (name in declared if is_cloud else is_dynamic(node)):
            continue
        said = parse_reason(name, node.reason)
        is_silent = "NOT_RESPONDING" in node.flags or (node.usable and node.booted is None)
        is_lent = snapshot.holds(name) and "POWERING_UP" not in node.flags
        looks_ours = is_lent if is_cloud else _has_our_features(node, settings)
        if _is_set_aside_by_us(node, said, settings) or (is_silent and looks_ours):
            slivers = said.slivers if said is not None else frozenset[str]()
            yield name, Drain(name, DrainCause.TAKEN, slivers=slivers).reason


def _is_set_aside_by_us(node: Node, said: Drain | None, settings: ClusterSettings) -> bool:
    """Tell whether a node is drained or down with a reason that we write for machines of ours alone.

    With [drain] foreign some of them are written for those of others too.
    """
    if not node.draining and node.state != "DOWN":
        return False  # Slurm 24.11 keeps reasons of what is over.
    if said is None:
        return node.reason.startswith((JOINING, SILENT))
    return not (settings.drain.foreign and said.cause in TAKEN_BACK)


def _has_our_features(node: Node, settings: ClusterSettings) -> bool:
    sets = [offer.features for offer in settings.demand.offers()]
    return settings.plugin.feature in node.features or any(each and each <= node.features for each in sets)
