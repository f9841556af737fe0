"""What a portal does when a person presses Modify: one call that adds and removes machines.

protogeni-2025.md §5.1: CreateSliver with ``isupdate`` and ``asyncmode``. Nothing asks whether the slice is at
work; a change that fails is stored beside the slice, whose machines may go on or be gone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from enum import StrEnum

from lxml import etree

from testbed.cloudlab.answer import Code, RaisedError, RefusalError
from testbed.cloudlab.cm.background import Background
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.cm.nodes import NodeMethods
from testbed.cloudlab.documents import manifest
from testbed.cloudlab.documents.rspec import EMULAB, links_of
from testbed.cloudlab.state import Account, Aggregate, CmSlice


class Failure(StrEnum):
    """How a change may end, besides well."""

    MAPPING = "mapping"
    """The mapper finds no machines: those that are there stay."""
    REDEEMING = "redeeming"
    """The second phase fails: all machines are torn down, and the slice's record stays."""


class Modify:
    """Changes the slices of one CM to another topology in one step."""

    def __init__(self, cm: ComponentManager, nodes: NodeMethods, background: Background) -> None:
        self._cm = cm
        self._nodes = nodes
        self._background = background

    def change(
        self,
        record: CmSlice,
        add: Sequence[str],
        remove: Sequence[str],
        accounts: Sequence[Account],
        failure: Failure | None = None,
    ) -> None:
        """Add and remove machines by client_id; the caller holds the mutex.

        What goes wrong is in ``record.async_code`` and ``async_output`` afterwards.

        Raises:
            RefusalError: code 2: the slice is locked, and nothing happens.
            RaisedError: the slice holds nothing here.
        """
        aggregate = record.aggregate
        if aggregate is None:
            raise RaisedError("the slice has no aggregate")
        if record.lock.held:
            raise RefusalError(Code.ERROR, "Internal Error locking slice")
        record.lock.take("slice")
        record.async_code, record.async_output = 0, ""
        root = self._wanted(aggregate, add, remove)
        aggregate.accounts = tuple(accounts) or aggregate.accounts
        if failure is Failure.MAPPING:
            self._fail(record, RefusalError(Code.NO_MAPPING, "*** No possible mapping\n"))
            return
        if failure is Failure.REDEEMING:
            self._release(aggregate, list(aggregate.nodes))
            record.aggregate = None
            self._fail(record, RefusalError(Code.ERROR, "Could not redeem ticket"))
            return
        try:
            self._nodes.fill(record, aggregate, root)
        except RefusalError as refusal:
            self._fail(record, refusal)
            return
        self._release(aggregate, remove)
        there = {link.get("client_id") for link in links_of(root, self._cm.urn)}
        aggregate.links = {name: sliver for name, sliver in aggregate.links.items() if name in there}
        self._background.start(record, aggregate, self._cm.site.timing.start)

    def _fail(self, record: CmSlice, refusal: RefusalError) -> None:
        record.async_code, record.async_output = int(refusal.code), refusal.output
        record.lock.free()

    def _wanted(self, aggregate: Aggregate, add: Sequence[str], remove: Sequence[str]) -> etree._Element:
        """Write the complete document that the portal would send, from the manifest that it has."""
        root = copy.deepcopy(manifest.without_nodes(aggregate.manifest, remove, self._cm.urn))
        manifest.without_bare_links(root)
        space = etree.QName(root).namespace
        for name in add:
            node = etree.SubElement(root, f"{{{space}}}node", client_id=name, exclusive="true")
            node.set("component_manager_id", self._cm.urn)
            etree.SubElement(node, f"{{{space}}}sliver_type", name="raw-pc")
        portal = root.find(f"{{{EMULAB}}}portal")
        if portal is not None:
            portal.set("sequence", str(int(portal.get("sequence", "1")) + 1))
        return root

    def _release(self, aggregate: Aggregate, client_ids: Sequence[str]) -> None:
        for name in client_ids:
            sliver = aggregate.nodes.pop(name)
            if sliver.reserved:
                self._cm.lives.release(sliver.machine, "Modify", taken=False)
