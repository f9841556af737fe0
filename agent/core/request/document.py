"""A request RSpec as a site or the portal wrote it: its nodes, and which of them are machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from lxml import etree

from agent.core.errors import ConfigError
from agent.core.request.rspec import EMULAB, GENERATOR, RSPEC, is_machine, parse_request
from agent.core.request.tarballs import INSTALL_PATH, Tarball

PARAMETERS = "http://www.protogeni.net/resources/rspec/ext/profile-parameters/1"
_NS = {"r": RSPEC, "e": EMULAB, "p": PARAMETERS}
_MORE_THAN_A_CABLE = 3
"""Machines on a link of no type that make it a LAN."""


@dataclass(frozen=True)
class Execute:
    """A command that a node runs once it is up."""

    command: str
    shell: str = "sh"


@dataclass(frozen=True)
class DocumentNode:
    """One node of a request."""

    client_id: str
    kind: str = ""
    """Its sliver_type; "" where none is said."""
    is_machine: bool = True
    """Whether it is a raw PC: no virtual machine, no block store."""
    cm: str = ""
    """URN of the CM that it is for; "" for any."""
    image: str = ""
    hardware_type: str = ""
    installs: tuple[Tarball, ...] = ()
    executes: tuple[Execute, ...] = ()
    lans: tuple[str, ...] = ()
    """client_ids of the LANs that it is in."""
    cables: tuple[str, ...] = ()
    """client_ids of its links that are no LAN: to one other machine, or to a block store."""
    blockstores: tuple[str, ...] = ()
    """Where block stores are mounted on it, or their names."""


@dataclass(frozen=True)
class RequestDocument:
    """A request, ready for ``CreateSliver``."""

    text: str
    """In ASCII, with the RSpec namespace as the default one, and our mark (``generated_by``)."""
    nodes: tuple[DocumentNode, ...]
    parameters: frozenset[str]
    """The profile's parameters that the document tells values of."""

    @property
    def machines(self) -> tuple[DocumentNode, ...]:
        """The nodes that are machines."""
        return tuple(node for node in self.nodes if node.is_machine)


def parse_document(text: str) -> RequestDocument:
    """Read a request RSpec, version 3.

    It is brought into the form that CMs take: printable ASCII (``GeniCM.pm GetTicketAuxAux``) without a
    prefix, since ``AddNodes`` pastes elements without one into what was made of it. It says who sends it.

    Raises:
        ConfigError: not well formed, no request of version 3, or a node without a client_id.
    """
    root = parse_request(text.lstrip("\ufeff \t\r\n"))
    if root.get("type") == "manifest":
        raise ConfigError(
            "this is a manifest, which tells what an experiment was given; the request of its profile is"
            " expected"
        )
    if any(element.prefix for element in root.iter(f"{{{RSPEC}}}*")):
        root = _without_prefix(root)
    root.set("generated_by", GENERATOR)
    named = (item.get("name", "") for item in root.iterfind("p:data_set/*", _NS))
    return RequestDocument(
        etree.tostring(root, encoding="unicode").encode("ascii", "xmlcharrefreplace").decode("ascii"),
        tuple(_nodes(root)),
        frozenset(name.rpartition(".")[2] for name in named),
    )


def _without_prefix(root: etree._Element) -> etree._Element:
    """Copy a document, without its comments, so that the RSpec namespace is its default one."""
    namespaces = {prefix: uri for prefix, uri in root.nsmap.items() if prefix and uri != RSPEC}
    # lxml takes None as the default namespace; its stubs do not know.
    namespaces[cast("str", None)] = RSPEC
    copied = etree.Element(root.tag, _attributes(root), namespaces)
    _copy_into(copied, root)
    return copied


def _copy_into(target: etree._Element, source: etree._Element) -> None:
    target.text = source.text
    for child in source.iterchildren("*"):
        copied = etree.SubElement(target, child.tag, _attributes(child))
        copied.tail = child.tail
        _copy_into(copied, child)


def _attributes(element: etree._Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.attrib.items()}


def _nodes(root: etree._Element) -> Iterator[DocumentNode]:
    lans, cables = _links(root)
    for node in root.iterfind("r:node", _NS):
        interfaces = [interface.get("client_id", "") for interface in node.iterfind("r:interface", _NS)]
        blockstores = node.findall("e:blockstore", _NS)
        yield DocumentNode(
            client_id=node.get("client_id", ""),
            kind=_attribute(node, "r:sliver_type", "name"),
            is_machine=is_machine(node),
            cm=node.get("component_manager_id", ""),
            image=_attribute(node, "r:sliver_type/r:disk_image", "name")
            or _attribute(node, "r:sliver_type/r:disk_image", "url"),
            hardware_type=_attribute(node, "r:hardware_type", "name"),
            installs=tuple(
                Tarball(install.get("url", ""), install.get("install_path") or INSTALL_PATH)
                for install in node.iterfind("r:services/r:install", _NS)
            ),
            executes=tuple(
                Execute(execute.get("command", ""), execute.get("shell") or "sh")
                for execute in node.iterfind("r:services/r:execute", _NS)
                if execute.get("command")
            ),
            lans=tuple(name for name, ends in lans.items() if not ends.isdisjoint(interfaces)),
            cables=tuple(name for name, ends in cables.items() if not ends.isdisjoint(interfaces)),
            blockstores=tuple(b.get("mountpoint") or b.get("name") or "" for b in blockstores),
        )


def _links(root: etree._Element) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return the LANs and the other links: client_id -> the interfaces on it."""
    owners = {
        interface.get("client_id", ""): node
        for node in root.iterfind("r:node", _NS)
        for interface in node.iterfind("r:interface", _NS)
    }
    lans: dict[str, set[str]] = {}
    cables: dict[str, set[str]] = {}
    for link in root.iterfind("r:link", _NS):
        ends = {end.get("client_id", "") for end in link.iterfind("r:interface_ref", _NS)}
        kind = _attribute(link, "r:link_type", "name")
        is_lan = kind == "lan" or (not kind and len(ends) >= _MORE_THAN_A_CABLE)
        # A block store is lent to one machine, or to those of the request.
        has_stores = any(not is_machine(owners[end]) for end in ends if end in owners)
        (lans if is_lan and not has_stores else cables)[link.get("client_id", "")] = ends
    return lans, cables


def _attribute(element: etree._Element, path: str, name: str) -> str:
    found = element.find(path, _NS)
    return found.get(name, "") if found is not None else ""
