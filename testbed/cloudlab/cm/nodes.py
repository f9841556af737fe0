"""AddNodes, DeleteNodes and BindToSlice (protogeni.md §3.7, §3.8, §3.12)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from lxml import etree

from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RaisedError, RefusalError, forbidden, malformed
from testbed.cloudlab.cm.background import Background
from testbed.cloudlab.cm.gate import require_idle, require_kept
from testbed.cloudlab.cm.manager import SHUT_DOWN, ComponentManager
from testbed.cloudlab.cm.mapper import place
from testbed.cloudlab.documents import manifest
from testbed.cloudlab.documents.request import check_addresses, read_nodes
from testbed.cloudlab.documents.rspec import links_of, nodes_of, parse_xml
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Account, Aggregate, CmSlice, NodeSliver
from testbed.cloudlab.steering.faults import Kind

CHANGE = frozenset({"pi", "bind"})


class NodeMethods:
    """The methods that give machines to slices and take them away."""

    def __init__(self, cm: ComponentManager, background: Background) -> None:
        self._cm = cm
        self._background = background
        cm.methods["AddNodes"] = self._add_nodes
        cm.methods["DeleteNodes"] = self._delete_nodes
        cm.methods["BindToSlice"] = self._bind_to_slice

    def delete_nodes(self, record: CmSlice, client_ids: Sequence[str], cause: str, *, taken: bool) -> str:
        """Take machines out of a slice and return the new manifest; the server's own way as well.

        Raises:
            RefusalError: code 1 for a name that is not in the topology, 14 for a locked slice.
            RaisedError: the slice holds nothing here.
        """
        aggregate = _aggregate(record)
        for name in client_ids:
            if name not in aggregate.nodes:
                raise RefusalError(Code.BADARGS, f"No such node {name} in the topology!")
        record.lock.take("slice")
        try:
            self._check_open(record)
        except RefusalError:
            record.lock.free()
            raise
        aggregate.manifest = manifest.without_nodes(aggregate.manifest, client_ids, self._cm.urn)
        if self._cm.site.generation >= 2021:
            manifest.without_bare_links(aggregate.manifest)
            there = {link.get("client_id") for link in links_of(aggregate.manifest, self._cm.urn)}
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
            request, CHANGE, RefusalError(Code.BADARGS, "No slice here"), parse_urn=False
        )
        aggregate = _aggregate(record)
        require_idle(self._cm, record)
        for element in nodes_of(aggregate.manifest, self._cm.urn):
            if element.get("client_id") in wanted:
                raise RefusalError(Code.BADARGS, f"Already have {element.get('client_id')} in the topology!")
        root = copy.deepcopy(aggregate.manifest)
        for client_id, fields in wanted.items():
            self._paste(root, client_id, fields)
        record.lock.take("slice")
        try:
            self.fill(record, aggregate, root)
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
            request, CHANGE, RefusalError(Code.BADARGS, "No slice here"), parse_urn=False
        )
        _aggregate(record)
        require_idle(self._cm, record)
        return self.delete_nodes(record, [str(name) for name in names], "DeleteNodes", taken=False)

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

    def fill(self, record: CmSlice, aggregate: Aggregate, root: etree._Element) -> None:
        """Give machines to all nodes of ``root`` that have none, and make it the manifest; all or nothing.

        Raises:
            RefusalError: as CreateSliver and AddNodes (protogeni.md §3.3, §3.7).
        """
        cm = self._cm
        site = cm.site
        self._check_open(record)
        requests = read_nodes(root, site, cm.machines.keys())
        if site.generation >= 2021:
            check_addresses(root, cm.urn)
        new = [request for request in requests if request.client_id not in aggregate.nodes]
        placed = place(new, cm.machines.values())
        for sliver in aggregate.nodes.values():
            if not sliver.reserved:
                name = sliver.machine.node_id
                node_urn = urn.make(site.domain, "node", name)
                raise RefusalError(Code.ERROR, f"{node_urn} ({name}) is not available")
        for request in new:
            machine = placed[request.client_id]
            machine.holder = aggregate.nodes[request.client_id] = NodeSliver(
                urn=cm.annotator.sliver_urn(),
                slice_urn=record.urn,
                client_id=request.client_id,
                host_name=f"{request.client_id}.{record.name}.{record.project}.{site.domain}",
                machine=machine,
                startup=request.startup,
            )
            cm.around.journal.hold(cm.urn, machine.node_id, record.urn, request.client_id)
        cm.annotator.annotate(root, aggregate.nodes, aggregate.links, aggregate.accounts)
        for sliver in aggregate.nodes.values():
            sliver.cards = manifest.cards(root, sliver.client_id)
        aggregate.manifest = root

    def _paste(self, root: etree._Element, client_id: str, fields: object) -> None:
        """Put a node into the manifest as the server does: text in single quotes, nothing escaped."""
        if not isinstance(fields, Mapping):
            raise RaisedError(f"{client_id} is not a hash")
        bound = self._bound(fields.get("node"))
        lans = [self._lan(item) for item in _list(fields, "lans", client_id)]
        links = {link.get("client_id"): link for link in links_of(root, self._cm.urn)}
        for lan, _ in lans:
            if lan not in links:
                raise malformed(f"No such {lan}")
        text = _pasted(
            client_id, bound, fields, lans, _list(fields, "tarballs", client_id), root.nsmap.get(None)
        )
        try:
            root.append(parse_xml(text)[0])
        except etree.XMLSyntaxError as error:
            raise RefusalError(Code.ERROR, f"Could not parse XML for {client_id}: {error}") from error
        for lan, _ in lans:
            link = links[lan]
            # Without a prefix, as the node itself: lost where the document's namespace has one.
            default = root.nsmap.get(None)
            tag = f"{{{default}}}interface_ref" if default else "interface_ref"
            etree.SubElement(link, tag, client_id=f"{client_id}:{lan}")

    def _lan(self, item: object) -> tuple[str, str]:
        """Return the name of a LAN, and the address to paste."""
        if not isinstance(item, Mapping):
            return str(item), ""
        if self._cm.site.generation < 2021:
            # A hash in Perl, as text.
            return "HASH(0x55d0c8a1)", ""
        pasted = [f"{key}='{item[key]}'" for key in ("address", "netmask") if key in item]
        kind = item.get("type", "ipv4")
        return str(item.get("name")), f"<ip {' '.join(pasted)} type='{kind}'/>" if pasted else ""

    def _bound(self, node_id: object) -> str:
        """Check the physical node of an AddNodes field; return the attribute to paste."""
        if node_id is None:
            return ""
        machine = self._cm.machines.get(str(node_id))
        if machine is None:
            raise RefusalError(Code.BADARGS, f"Physical node {node_id} does not exist")
        if machine.reserved:
            raise RefusalError(Code.BADARGS, f"Physical node {node_id} is not available")
        return f" component_id='{urn.make(self._cm.site.domain, 'node', machine.node_id)}'"


def _aggregate(record: CmSlice) -> Aggregate:
    if record.aggregate is None:
        raise RaisedError("the slice has no aggregate")
    return record.aggregate


def _list(fields: Mapping[str, object], key: str, client_id: str) -> list[object]:
    value = fields.get(key, [])
    if not isinstance(value, list):
        raise RefusalError(Code.BADARGS, f"{key} for {client_id} is not a list")
    return value


def _pasted(
    client_id: str,
    bound: str,
    fields: Mapping[str, object],
    lans: Sequence[tuple[str, str]],
    tarballs: Sequence[object],
    default: str | None,
) -> str:
    image = f"<disk_image name='{fields['diskimage']}'/>" if "diskimage" in fields else ""
    install = "".join(f"<install url='{url}' install_path='/'/>" for url in tarballs)
    execute = f"<execute shell='/bin/bash' command='{fields['startup']}'/>" if "startup" in fields else ""
    interfaces = "".join(
        f"<interface client_id='{client_id}:{lan}'>{address}</interface>" for lan, address in lans
    )
    around = f" xmlns='{default}'" if default else ""
    return (
        f"<around{around}><node client_id='{client_id}' exclusive='true'{bound}>"
        f"<sliver_type name='raw'>{image}</sliver_type>"
        f"<services>{install}{execute}</services>{interfaces}</node></around>"
    )


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
