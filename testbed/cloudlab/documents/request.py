"""Request RSpecs, and the checks that CreateSliver and AddNodes make on them (protogeni.md §3.3, §4.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from lxml import etree

from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RefusalError, malformed
from testbed.cloudlab.documents.rspec import V2, V3, children, links_of, namespace, nodes_of, parse_xml
from testbed.cloudlab.documents.startup import read_startup
from testbed.cloudlab.sites import Site

_TARBALLS_LIMIT = 1024
"""Characters that all tarballs of a node may have, as ``path URL;path URL``."""
_CLIENT_ID = re.compile(r"[-A-Za-z0-9_]{1,32}", re.ASCII)
_PRINTABLE = re.compile(r"[\t\n\r -~]*")
_TARBALL = re.compile(r"[-\w./+:~]+", re.ASCII)
_RAW = frozenset({"", "raw", "raw-pc"})


@dataclass(frozen=True)
class RequestNode:
    """A machine that a request (or a manifest that is being extended) asks of this CM."""

    client_id: str
    element: etree._Element
    node_id: str
    """The machine it is bound to; "" if any will do."""
    hardware_type: str
    startup: str
    """The shell script that it runs after boot; "" for none."""


def parse_request(text: str) -> etree._Element:
    """Parse a request RSpec, version 2 or 3.

    Raises:
        RefusalError: code 1 for other characters than printable ASCII or an unknown version; code 2 for XML
            that is not well formed, with the parser's words as value.
    """
    if not _PRINTABLE.fullmatch(text):
        raise malformed("Bad characters in rspec")
    try:
        root = parse_xml(text)
    except etree.XMLSyntaxError as error:
        raise RefusalError(Code.ERROR, "rspec is not well formed", str(error)) from error
    if namespace(root) not in {V2, V3}:
        raise _bad("Unknown RSpec Version")
    return root


def read_nodes(
    root: etree._Element,
    site: Site,
    known: Collection[str],
    check_image: Callable[[str, str], None] = lambda _project_and_os, _name: None,
) -> list[RequestNode]:
    """Check all nodes and links of a site's CM and return the nodes, in document order.

    ``known`` are the known node_ids; ``check_image`` takes PROJECT:OS and the name that the node has for it,
    and refuses one that cannot be used any more.

    Raises:
        RefusalError: code 1, naming the first fault found.
    """
    elements = nodes_of(root, site.urn)
    is_new = site.generation >= 2021
    if is_new and not children(root, "node", namespace(root)) + children(root, "link", namespace(root)):
        raise _bad("No nodes or links in your topology")
    names: set[str] = set()
    requests = []
    for element in elements:
        client_id = element.get("client_id") or ""
        if not _CLIENT_ID.fullmatch(client_id):
            raise _bad(
                f"Invalid client id for node: {client_id}" if is_new else f"Invalid client_id: {client_id}"
            )
        if client_id.lower() in names:
            raise _bad(f"Duplicate node {client_id}")
        names.add(client_id.lower())
        requests.append(_read_node(element, client_id, site, known))
        for name in _images(element):
            check_image(_known_image(name, site.images), name)
    _check_links(elements, links_of(root, site.urn))
    return requests


def _read_node(element: etree._Element, client_id: str, site: Site, known: Collection[str]) -> RequestNode:
    space = namespace(element)
    sliver_types = children(element, "sliver_type", space)
    sliver_type = (sliver_types[0].get("name") or "") if sliver_types else ""
    if sliver_type not in _RAW:
        raise RefusalError(
            Code.INSUFFICIENT_NODES,
            f"*** {client_id}: no machine here carries slivers of type {sliver_type}",
            f"Could not map to resources: no host for {sliver_type}",
        )
    node_id = ""
    if element.get("component_id"):
        bound = urn.parse(element.get("component_id", ""))
        if bound is None or bound.kind != "node" or bound.name not in known:
            raise _bad(f"Bad resource {element.get('component_id')}")
        node_id = bound.name
    hardware = children(element, "hardware_type", space)
    return RequestNode(
        client_id=client_id,
        element=element,
        node_id=node_id,
        hardware_type=(hardware[0].get("name") or site.node_class) if hardware else site.node_class,
        startup=_startup(children(element, "services", space), space, site),
    )


def _images(element: etree._Element) -> list[str]:
    space = namespace(element)
    sliver_types = children(element, "sliver_type", space)[:1]
    found = [image for each in sliver_types for image in children(each, "disk_image", space)]
    names = [image.get("name") or image.get("url") or "" for image in found]
    return [name for name in names if not name.startswith(("http://", "https://"))]


def _known_image(name: str, images: Collection[str]) -> str:
    """Return the PROJECT:OS that an image's URN means."""
    image = urn.parse(name)
    if image is None or image.kind != "image":
        raise _bad(f"Malformed image URN: {name}")
    project_and_os = ":".join(urn.normal_id(image.name).split(":")[:2])
    if project_and_os not in images:
        raise _bad(f"Unknown image URN: {name}")
    return project_and_os


def _startup(services: Sequence[etree._Element], space: str, site: Site) -> str:
    executes = [execute for service in services for execute in children(service, "execute", space)]
    installs = [install for service in services for install in children(service, "install", space)]
    for install in installs:
        if not _TARBALL.fullmatch(install.get("url") or ""):
            raise _bad(f"Invalid tarfiles: {install.get('url')}")
    tarballs = ";".join(f"{install.get('install_path')} {install.get('url')}" for install in installs)
    if len(tarballs) > _TARBALLS_LIMIT:
        raise _bad("Invalid tarfiles: Too Long")
    return read_startup(executes, generation=site.generation, halts=site.startup_halts)


def _check_links(nodes: Sequence[etree._Element], links: Sequence[etree._Element]) -> None:
    interfaces: set[str] = set()
    for node in nodes:
        for interface in children(node, "interface", namespace(node)):
            name = interface.get("client_id") or ""
            if name in interfaces:
                raise _bad(f"Duplicate interface {name} on node {node.get('client_id')}")
            interfaces.add(name)
    for link in links:
        for reference in children(link, "interface_ref", namespace(link)):
            if reference.get("client_id") not in interfaces:
                raise _bad(f"Bad link {link.get('client_id')}: no interface {reference.get('client_id')}")


def check_addresses(root: etree._Element, cm_urn: str) -> None:
    """Check that in each link all interfaces have an address with a mask, or none (protogeni-2021.md §3.4).

    Raises:
        RefusalError: code 1, naming the link.
    """
    space = namespace(root)
    ips = {
        interface.get("client_id"): (element.get("client_id"), children(interface, "ip", space))
        for element in nodes_of(root, cm_urn)
        for interface in children(element, "interface", space)
    }
    for link in links_of(root, cm_urn):
        name = link.get("client_id")
        members = [
            ips.get(each.get("client_id"), ("", [])) for each in children(link, "interface_ref", space)
        ]
        told = [bool(found) for _, found in members]
        if any(told) and not all(told):
            raise _bad(f"{name}: Must supply IP/MASK on all members, or no members")
        for node, found in members:
            if found and not found[0].get("netmask"):
                raise _bad(f"{name}:{node} must provide a netmask if you specify an IP address")


def _bad(text: str) -> RefusalError:
    return RefusalError(Code.BADARGS, text)
