"""Manifests that a fault makes wrong: without a machine, or with sliver_ids that tell nothing apart."""

from __future__ import annotations

from lxml import etree

from testbed.cloudlab.documents import manifest
from testbed.cloudlab.documents.rspec import nodes_of
from testbed.cloudlab.state import Aggregate
from testbed.cloudlab.steering.faults import MISPRINTS, Faults, Kind


def as_told(aggregate: Aggregate, cm_urn: str, faults: Faults) -> etree._Element:
    """Return the manifest as this document has it: the true one, where no fault strikes a machine of it."""
    struck = {
        name: fault.kind
        for name, sliver in aggregate.nodes.items()
        if (fault := faults.strike(cm_urn, sliver.machine.node_id, MISPRINTS))
    }
    if not struck:
        return aggregate.manifest
    missing = [name for name, kind in struck.items() if kind is Kind.NOT_LISTED]
    root = manifest.without_nodes(aggregate.manifest, missing, cm_urn)
    for element in nodes_of(root, cm_urn):
        match struck.get(element.get("client_id", "")):
            case Kind.NO_SLIVER_ID:
                del element.attrib["sliver_id"]
            case Kind.EMPTY_SLIVER_ID:
                element.set("sliver_id", "")
            case Kind.EQUAL_SLIVER_ID:
                element.set("sliver_id", aggregate.urn)
    return root
