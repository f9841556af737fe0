"""AddNodes, DeleteNodes and BindToSlice (protogeni.md §3.7, §3.8, §3.12)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from lxml import etree

from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RaisedError, RefusalError, forbidden, malformed
from testbed.cloudlab.cm.background import Background
from testbed.cloudlab.cm.gate import require_idle, require_kept
from testbed.cloudlab.cm.manager import SHUT_DOWN, ComponentManager
from testbed.cloudlab.cm.mapping import Mapping
from testbed.cloudlab.cm.pasting import Paste
from testbed.cloudlab.documents import manifest
from testbed.cloudlab.documents.rspec import links_of, nodes_of
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Account, Aggregate, CmSlice, NodeSliver
from testbed.cloudlab.steering.faults import Kind

CHANGE = {2016: frozenset({"pi", "bind"}), 2021: frozenset({"pi", "instantiate", "bind"})}


class NodeMethods:
    """The methods that give machines to slices and take them away."""

    def __init__(self, cm: ComponentManager, background: Background) -> None:
        self._cm = cm
        self._background = background
        self._paste = Paste(cm)
        self._mapping = Mapping(cm)
        self._new = cm.site.generation >= 2021
        cm.methods["AddNodes"] = self._add_nodes
        cm.methods["DeleteNodes"] = self._delete_nodes
        cm.methods["BindToSlice"] = self._bind_to_slice

    def delete_nodes(
        self, record: CmSlice, client_ids: Sequence[str], cause: str, *, taken: bool, asked: bool = False
    ) -> str:
        """Take machines out of a slice and return the new manifest; the server's own way as well.

        Args:
            record: the slice.
            client_ids: its names for the machines; one may be there twice.
            cause: why, for the journal.
            taken: another project has them from now on.
            asked: a client did so: what stays is checked as the server of this generation does.

        Raises:
            RefusalError: code 1 for a name that is not in the topology, 14 for a locked slice; with ``asked``
                also what AddNodes has for the machines that stay.
            RaisedError: the slice holds nothing here.
        """
        aggregate = _aggregate(record)
        for name in client_ids:
            if name not in aggregate.nodes:
                raise RefusalError(Code.BADARGS, f"No such node {name} in the topology!")
        checks = asked and self._new
        if checks and aggregate.nodes.keys() <= set(client_ids):
            raise RefusalError(Code.BADARGS, "Not allowed to delete all nodes from the topology!")
        record.lock.take("slice")
        root = manifest.without_nodes(aggregate.manifest, client_ids, self._cm.urn)
        if self._new:
            manifest.without_bare_links(root)
        try:
            self._check_open(record)
            if checks:
                self._mapping.renew(record, aggregate, root)
        except RefusalError:
            record.lock.free()
            raise
        aggregate.manifest = root
        there = {link.get("client_id") for link in links_of(root, self._cm.urn)}
        aggregate.links = {name: sliver for name, sliver in aggregate.links.items() if name in there}
        for name in dict.fromkeys(client_ids):
            sliver = aggregate.nodes.pop(name)
            if sliver.reserved:
                self._cm.lives.release(sliver.machine, cause, taken=taken)
        self._background.start(record, aggregate, self._cm.site.timing.resync)
        return self._cm.manifest_text(record, aggregate)

    # --- methods

    def _add_nodes(self, request: Request) -> str:
        request.require("slice_urn", "credentials", "nodes")
        wanted = request.params["nodes"]
        if not isinstance(wanted, dict):
            raise malformed("nodes is not a hash")
        record, _ = self._cm.find_slice(
            request,
            CHANGE[self._cm.site.generation],
            RefusalError(Code.BADARGS, "No slice here"),
            parse_urn=False,
        )
        aggregate = _aggregate(record)
        require_idle(self._cm, record)
        for element in nodes_of(aggregate.manifest, self._cm.urn):
            if element.get("client_id") in wanted:
                raise RefusalError(Code.BADARGS, f"Already have {element.get('client_id')} in the topology!")
        root = copy.deepcopy(aggregate.manifest)
        for client_id, fields in wanted.items():
            self._paste.node(root, client_id, fields)
        record.lock.take("slice")
        try:
            self.fill(record, aggregate, root, "AddNodes")
        except RefusalError:
            record.lock.free()
            raise
        if self._cm.around.faults.strike(self._cm.urn, "AddNodes", {Kind.ERROR_ALTHOUGH_ADDED}):
            # The lock was not to be had again: nothing starts the machines, and nothing takes them back.
            record.lock.free()
            raise RefusalError(Code.ERROR, "Internal Error")
        self._background.start(record, aggregate, self._cm.site.timing.start)
        return self._cm.manifest_text(record, aggregate)

    def _delete_nodes(self, request: Request) -> str:
        request.require("slice_urn", "credentials", "nodes")
        names = request.params["nodes"]
        if not isinstance(names, list):
            raise malformed("nodes is not a list")
        record, _ = self._cm.find_slice(
            request,
            CHANGE[self._cm.site.generation],
            RefusalError(Code.BADARGS, "No slice here"),
            parse_urn=False,
        )
        _aggregate(record)
        require_idle(self._cm, record)
        return self.delete_nodes(record, [str(n) for n in names], "DeleteNodes", taken=False, asked=True)

    def _bind_to_slice(self, request: Request) -> int:
        request.require("slice_urn", "credentials", "keys")
        missing = RefusalError(Code.SEARCHFAILED, "No slice or aggregate here")
        record, _ = self._cm.find_slice(request, (), missing, parse_urn=False)
        aggregate = record.aggregate
        if aggregate is None:
            raise missing
        added = read_accounts(request, need_urn=self._cm.site.generation >= 2021)
        accounts = {account.login: account for account in (*aggregate.accounts, *added)}
        require_kept(record)
        with record.lock.during("slice"):
            aggregate.accounts = tuple(accounts.values())
            self._cm.annotator.log_in_again(aggregate.manifest, aggregate.nodes, aggregate.accounts)
        return 0

    # --- parts of methods

    def _check_open(self, record: CmSlice) -> None:
        if record.shut_down:
            raise forbidden(SHUT_DOWN)
        if record.expires <= self._cm.around.clock.now():
            raise RefusalError(Code.REFUSED, "Slice has expired")

    def fill(self, record: CmSlice, aggregate: Aggregate, root: etree._Element, method: str = "") -> None:
        """Give machines to all nodes of ``root`` that have none, and make it the manifest; all or nothing.

        ``method`` is the one whose faults strike.

        Raises:
            RefusalError: as CreateSliver and AddNodes (protogeni.md §3.3, §3.7).
        """
        cm = self._cm
        self._check_open(record)
        for request, machine in self._mapping.find(record, aggregate, root, method):
            machine.holder = aggregate.nodes[request.client_id] = NodeSliver(
                urn=cm.annotator.sliver_urn(),
                slice_urn=record.urn,
                client_id=request.client_id,
                host_name=f"{request.client_id}.{record.name}.{record.project}.{cm.site.domain}",
                machine=machine,
                startup=request.startup,
            )
            cm.around.journal.hold(cm.urn, machine.node_id, record.urn, request.client_id)
        cm.annotator.annotate(root, aggregate.nodes, aggregate.links, aggregate.accounts)
        for sliver in aggregate.nodes.values():
            sliver.cards = manifest.cards(root, sliver.client_id)
        aggregate.manifest = root


def _aggregate(record: CmSlice) -> Aggregate:
    if record.aggregate is None:
        raise RaisedError("the slice has no aggregate")
    return record.aggregate


def read_accounts(request: Request, *, need_urn: bool = False) -> tuple[Account, ...]:
    """Read ``keys``: plain keys are the caller's own; else each item is a user with keys.

    A login alone is enough for a user, unless ``need_urn``.

    Raises:
        RefusalError: code 1.
    """
    items = request.params.get("keys")
    if items is None:
        return ()
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise malformed("Malformed keys")
    if all("type" in item for item in items):
        caller = urn.parse(request.caller)
        login = caller.name if caller else ""
        return (Account(request.caller, login, tuple(_key(item) for item in items)),)
    accounts = []
    for item in items:
        if need_urn and "urn" not in item:
            raise RefusalError(Code.BADARGS, "Missing urn in key argument")
        user = urn.parse(str(item.get("urn", "")))
        login = str(item.get("login", "")) or (user.name if user else "")
        keys = item.get("keys")
        if not login or not isinstance(keys, list):
            raise malformed("Malformed keys")
        accounts.append(Account(str(item.get("urn", "")), login, tuple(_key(key) for key in keys)))
    return tuple(accounts)


def _key(item: object) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("key"), str) or item.get("type") != "ssh":
        raise malformed("Malformed keys")
    return " ".join(item["key"].split())
