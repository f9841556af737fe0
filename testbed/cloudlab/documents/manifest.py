"""Manifests: the request, annotated with what was given (protogeni.md §4.2, protogeni-2021.md §10)."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Interface

from lxml import etree

from testbed.cloudlab import dates, urn
from testbed.cloudlab.documents.rspec import EMULAB, SITE_INFO, children, links_of, namespace, nodes_of
from testbed.cloudlab.room import Card
from testbed.cloudlab.state import Account, Machine, NodeSliver

_OFFERED = ("recovery", "powercycle", "imageable")
"""What a server of 2021 says of each machine that can be had of it."""
_NETMASK = "255.255.255.0"
_DESCRIBED_HERE = {"rs": EMULAB}
"""The server declares a prefix of its own where none is in scope."""


class Annotator:
    """Writes one CM's manifests."""

    def __init__(self, domain: str, cm_urn: str, next_id: Callable[[], int], *, generation: int) -> None:
        """Describe a CM.

        Args:
            domain: its domain.
            cm_urn: its URN.
            next_id: numbers what it gives out.
            generation: which server it is like.
        """
        self._domain = domain
        self._cm_urn = cm_urn
        self._next_id = next_id
        self._is_new = generation >= 2021

    def sliver_urn(self) -> str:
        """Make a new sliver URN: nodes, links, interfaces and aggregates share one counter."""
        return urn.make(self._domain, "sliver", self._next_id())

    def annotate(
        self,
        root: etree._Element,
        slivers: Mapping[str, NodeSliver],
        links: dict[str, str],
        accounts: Sequence[Account],
    ) -> None:
        """Turn a request, or a manifest with new nodes in it, into a manifest.

        Links that carry a sliver_id already are left alone, and so are nodes, but for a server of 2021: that
        one annotates all anew. Sliver URNs of new links are put into ``links``.
        """
        root.set("type", "manifest")
        for element in nodes_of(root, self._cm_urn):
            sliver = slivers[element.get("client_id", "")]
            if element.get("sliver_id") is None:
                self._annotate_node(element, sliver, accounts)
            elif self._is_new:
                image = _bare(element)
                self._describe(element, sliver, accounts, image)
        self._annotate_links(root, links)
        if root.find(f"{{{SITE_INFO}}}site_info") is None:
            info = etree.SubElement(root, f"{{{SITE_INFO}}}site_info", nsmap={"rs": SITE_INFO})
            place = {"country": "US", "latitude": "40.0", "longitude": "-111.0"}
            etree.SubElement(info, f"{{{SITE_INFO}}}location", place)

    def log_in_again(
        self, root: etree._Element, slivers: Mapping[str, NodeSliver], accounts: Sequence[Account]
    ) -> None:
        """Write the logins of all nodes anew, for other accounts."""
        for element in nodes_of(root, self._cm_urn):
            space = namespace(element)
            sliver = slivers[element.get("client_id", "")]
            found = children(element, "services", space)
            for services in found:
                for login in children(services, "login", space):
                    services.remove(login)
                self._logins(services, sliver, accounts)
            if not found:
                self._log_in(element, sliver, accounts)

    def _annotate_node(
        self, element: etree._Element, sliver: NodeSliver, accounts: Sequence[Account]
    ) -> None:
        space = namespace(element)
        machine = sliver.machine
        element.set("component_id", urn.make(self._domain, "node", machine.node_id))
        element.set("component_manager_id", self._cm_urn)
        element.set("sliver_id", sliver.urn)
        element.set("exclusive", "true")
        sliver_types = children(element, "sliver_type", space)
        sliver_type = (
            sliver_types[0] if sliver_types else etree.SubElement(element, f"{{{space}}}sliver_type")
        )
        sliver_type.set("name", "raw-pc")
        for number, interface in enumerate(children(element, "interface", space)):
            self._annotate_interface(interface, machine, number)
        self._describe(element, sliver, accounts, "")

    def _describe(
        self, element: etree._Element, sliver: NodeSliver, accounts: Sequence[Account], image: str
    ) -> None:
        """Write what tells the machine and the ways to it; ``image`` is what it booted, "" for none yet."""
        space = namespace(element)
        machine = sliver.machine
        self._log_in(element, sliver, accounts)
        vnode = {"name": machine.node_id, "hardware_type": machine.hardware_type}
        if image:
            vnode["disk_image"] = image
        etree.SubElement(element, f"{{{EMULAB}}}vnode", vnode, nsmap=_DESCRIBED_HERE)
        host = {"name": sliver.host_name, "ipv4": machine.address}
        etree.SubElement(element, f"{{{space}}}host", host)

    def _log_in(self, element: etree._Element, sliver: NodeSliver, accounts: Sequence[Account]) -> None:
        space = namespace(element)
        found = children(element, "services", space)
        if not (found or accounts or self._is_new):
            return
        services = found[0] if found else etree.SubElement(element, f"{{{space}}}services")
        self._logins(services, sliver, accounts)
        console = {"server": f"boss.{self._domain}"}
        etree.SubElement(services, f"{{{EMULAB}}}console", console, nsmap=_DESCRIBED_HERE)
        for offered in _OFFERED if self._is_new else ():
            known = {"available": "true"}
            etree.SubElement(services, f"{{{EMULAB}}}{offered}", known, nsmap=_DESCRIBED_HERE)

    def _logins(self, services: etree._Element, sliver: NodeSliver, accounts: Sequence[Account]) -> None:
        ordered = list(accounts)
        if self._is_new:
            # No order that a client could rely on: another one for each machine, and at each account.
            random.Random(f"{sliver.urn} {len(ordered)}").shuffle(ordered)
        for account in ordered:
            login = {
                "authentication": "ssh-keys",
                "hostname": f"{sliver.machine.node_id}.{self._domain}",
                "port": "22",
                "username": account.login,
            }
            etree.SubElement(services, f"{{{namespace(services)}}}login", login)

    def _annotate_interface(self, interface: etree._Element, machine: Machine, number: int) -> None:
        card = f"{machine.node_id}:eth{number + 1}"
        interface.set("component_id", urn.make(self._domain, "interface", card))
        interface.set("sliver_id", self.sliver_urn())
        address = [int(part) for part in machine.address.split(".")[-2:]]
        interface.set("mac_address", f"02{number + 1:02x}{address[0]:02x}{address[1]:02x}0000")

    def _annotate_links(self, root: etree._Element, links: dict[str, str]) -> None:
        space = namespace(root)
        interfaces = {
            interface.get("client_id"): interface
            for node in nodes_of(root, self._cm_urn)
            for interface in children(node, "interface", space)
        }
        for index, link in enumerate(links_of(root, self._cm_urn), start=1):
            name = link.get("client_id", "")
            if link.get("sliver_id") is None:
                links[name] = self.sliver_urn()
                link.set("sliver_id", links[name])
                link.set("vlantag", str(300 + int(links[name].rpartition("+")[2]) % 700))
            for position, reference in enumerate(children(link, "interface_ref", space), start=1):
                interface = interfaces.get(reference.get("client_id"))
                if interface is None:
                    continue
                for key in ("component_id", "sliver_id"):
                    reference.set(key, interface.get(key, ""))
                if not children(interface, "ip", space):
                    address = {"address": f"10.10.{index}.{position}", "type": "ipv4"}
                    if self._is_new:
                        address["netmask"] = _NETMASK
                    etree.SubElement(interface, f"{{{space}}}ip", address)


def note_images(root: etree._Element, cm_urn: str, booted: Collection[str], default: str) -> None:
    """Write which image the machines of these client_ids booted: the one asked for, or the default."""
    for element in nodes_of(root, cm_urn):
        vnode = element.find(f"{{{EMULAB}}}vnode")
        if element.get("client_id") in booted and vnode is not None:
            asked = element.find("{*}sliver_type/{*}disk_image[@name]")
            vnode.set("disk_image", default if asked is None else asked.get("name", default))


def _bare(element: etree._Element) -> str:
    """Take from a node what tells its machine and the ways to it; return the image that it booted."""
    space = namespace(element)
    vnode = element.find(f"{{{EMULAB}}}vnode")
    image = "" if vnode is None else vnode.get("disk_image", "")
    told = [*children(element, "vnode", EMULAB), *children(element, "host", space)]
    for services in children(element, "services", space):
        told += children(services, "login", space)
        for tag in ("console", *_OFFERED):
            told += children(services, tag, EMULAB)
    for child in told:
        parent = child.getparent()
        if parent is not None:
            parent.remove(child)
    return image


def cards(root: etree._Element, client_id: str) -> tuple[Card, ...]:
    """Tell the interfaces of a node that are in a link and have an address."""
    space = namespace(root)
    links = {
        reference.get("client_id"): link.get("sliver_id", "")
        for link in children(root, "link", space)
        for reference in children(link, "interface_ref", space)
    }
    found = []
    for node in children(root, "node", space):
        for interface in children(node, "interface", space) if node.get("client_id") == client_id else ():
            lan = links.get(interface.get("client_id"))
            ips = children(interface, "ip", space)
            mac = interface.get("mac_address", "")
            if lan and ips and mac:
                place = IPv4Interface(f"{ips[0].get('address')}/{ips[0].get('netmask', _NETMASK)}")
                found.append(Card(lan, str(place), ":".join(mac[n : n + 2] for n in range(0, 12, 2))))
    return tuple(found)


def without_bare_links(root: etree._Element) -> None:
    """Remove links with one interface or none, and that interface of the node that remains."""
    space = namespace(root)
    for link in children(root, "link", space):
        references = children(link, "interface_ref", space)
        if len(references) > 1:
            continue
        root.remove(link)
        left = {reference.get("client_id") for reference in references}
        for node in children(root, "node", space):
            for interface in children(node, "interface", space):
                if interface.get("client_id") in left:
                    node.remove(interface)


def without_nodes(root: etree._Element, client_ids: Sequence[str], cm_urn: str) -> etree._Element:
    """Return a copy without these nodes; their interfaces leave every link, and the links stay."""
    result = copy.deepcopy(root)
    space = namespace(result)
    gone: set[str | None] = set()
    for element in nodes_of(result, cm_urn):
        if element.get("client_id") in client_ids:
            gone.update(interface.get("client_id") for interface in children(element, "interface", space))
            result.remove(element)
    for link in children(result, "link", space):
        for reference in children(link, "interface_ref", space):
            if reference.get("client_id") in gone:
                link.remove(reference)
    return result


def text(root: etree._Element, expires: datetime) -> str:
    """Write a manifest with its expiry of this moment."""
    root.set("expires", dates.zulu(expires))
    return etree.tostring(root, encoding="unicode")


def node_text(root: etree._Element, sliver_urn: str) -> str:
    """Write the element of one node sliver."""
    for element in root:
        if isinstance(element.tag, str) and element.get("sliver_id") == sliver_urn:
            return etree.tostring(element, encoding="unicode", with_tail=False)
    return ""
