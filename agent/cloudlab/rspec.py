"""Manifests and advertisements in, and the ``nodes`` of AddNodes out.

Elements are known by namespace URI, never by prefix: servers add elements under whatever prefix is in scope.
Names from outside end here when they are not what a name may be; one bad machine never costs the others.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from lxml import etree

from agent.cloudlab.times import parse_time
from agent.cloudlab.urn import Urn, check_client_id, check_node_id, same_urn
from agent.core.model import AdvertisedNode, Lan, LanPort, SliverNode
from agent.core.request.escaping import escape, meant
from agent.core.request.rspec import EMULAB, MAX_STARTUP, RSPEC, STARTUP
from agent.core.request.tarballs import read_tarballs

log = structlog.get_logger()

PROTOGENI_2 = "http://www.protogeni.net/resources/rspec/2"
_VERSIONS = (RSPEC, PROTOGENI_2)

MAX_IMAGE = 256

_ANY_CLIENT_ID = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9._]{0,62}")
"""What others may have called their machines; wider than what ``AddNodes`` takes."""
_IMAGE = re.compile(r"[\x21-\x7e]+")
_HOSTNAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?")
_USERNAME = re.compile(r"[A-Za-z_][-A-Za-z0-9_.]{0,31}")
_TYPE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._+]{0,62}")
_OF_2021 = ("recovery", "powercycle", "imageable")
"""What a server of 2021 offers for each machine in ``services``, and one of 2016 does not know."""
_MAC = re.compile(r"[0-9A-Fa-f]{12}")


@dataclass(frozen=True)
class Manifest:
    """What a CM's manifest says about its own machines."""

    expires: datetime | None
    nodes: tuple[SliverNode, ...]
    unread: int
    """Machines of this CM that are left out."""
    generator: str
    """What wrote the request; "" where it does not say."""
    lans: tuple[Lan, ...]
    """Its links, with the interfaces of all machines there, also of those left out."""
    knows_types: bool
    """Its server knows ``hardware_type`` in ``AddNodes``: one of 2021 (GeniSliver.pm AnnotateManifest)."""


def parse_manifest(text: str, cm: str, user: str = "") -> Manifest:
    """Read a manifest.

    Machines of another CM are left out, and so are those that are not allocated (neither component_id nor
    sliver_id) or have no usable name. One without a usable node_id stays in with node_id "": it is held all
    the same.

    Args:
        text: the XML.
        cm: URN of the CM that sent it.
        user: the login that is preferred: a slice that a portal made has one for each member of its project.

    Raises:
        ValueError: not an RSpec.
    """
    root = _parse(text)
    expires = None
    if stamp := root.get("expires"):
        try:
            expires = parse_time(stamp)
        except ValueError as error:
            log.warning("manifest with a bad expiry", cm=cm, error=str(error))
    links, on = _links(root)
    read = [
        _manifest_node(node, cm, user, on.get(node.get("client_id", ""), ()))
        for node in _nodes(root)
        if _is_of(node, cm)
    ]
    nodes = tuple(node for node in read if node is not None)
    left_out = len(read) - len(nodes)
    return Manifest(expires, nodes, left_out, root.get("generated_by", ""), links, _is_of_2021(root))


def parse_advertisement(text: str, cm: str) -> tuple[AdvertisedNode, ...]:
    """Read which machines a CM has that can be borrowed whole: no switches, no hosts of virtual machines.

    Args:
        text: the XML, RSpec version 3 or 2.
        cm: URN of the CM that sent it.

    Raises:
        ValueError: not an RSpec.
    """
    nodes = (_advertised(node, cm) for node in _nodes(_parse(text)) if _is_of(node, cm))
    return tuple(n for n in nodes if n is not None)


def escape_add_nodes(nodes: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """Make the ``nodes`` argument of AddNodes safe for a server that pastes values into XML unescaped.

    What a helper escaped itself is not escaped again.

    Args:
        nodes: client_id -> fields ``node``, ``hardware_type``, ``diskimage``, ``startup``, ``tarballs``,
            ``lans``.

    Raises:
        ValueError: what the server would refuse, misread or ignore; it names the place.
    """
    ready: dict[str, dict[str, object]] = {}
    seen: dict[str, str] = {}
    for client_id, fields in nodes.items():
        check_client_id(client_id)
        if other := seen.get(client_id.lower()):
            raise ValueError(f"nodes: {other!r} and {client_id!r} differ only in case")
        seen[client_id.lower()] = client_id
        ready[client_id] = {key: _field(client_id, key, value) for key, value in fields.items()}
    return ready


def _field(client_id: str, key: str, value: object) -> object:
    where = f"nodes[{client_id!r}].{key}"
    try:
        match key, value:
            case "node", str():
                return check_node_id(value)
            case "hardware_type", str() if _TYPE.fullmatch(value):
                return value
            case "diskimage", str() if len(text := meant(value)) <= MAX_IMAGE and _IMAGE.fullmatch(text):
                return escape(text)
            case "startup", str() if len(text := meant(value)) <= MAX_STARTUP and STARTUP.fullmatch(text):
                return escape(text)
            case "tarballs", list() | tuple():
                return [tarball.argument for tarball in read_tarballs(value)]
            case "lans", list() | tuple():
                return [_lan(lan) for lan in value]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    expected = {
        "node": "a node_id",
        "hardware_type": "a hardware type, such as m510",
        "diskimage": f"a URN or URL of at most {MAX_IMAGE} printable ASCII characters without blanks",
        "startup": f"at most {MAX_STARTUP} printable ASCII characters in one line",
        "tarballs": "a list of URLs, or of pairs of URL and path",
        "lans": "a list of client_ids of links, or of dicts with name, address and netmask",
    }
    if key not in expected:
        raise ValueError(f"{where}: no such field; there are {', '.join(expected)}")
    raise ValueError(f"{where}: expected {expected[key]}, not {str(value)[:300]!r}")


def _lan(lan: object) -> str | dict[str, str]:
    """Check an item of ``lans``: a name, or the struct that GeniCM.pm takes since it wants addresses."""
    if not isinstance(lan, Mapping):
        return check_client_id(str(lan))
    if unknown := lan.keys() - {"name", "address", "netmask", "type"}:
        raise ValueError(f"{min(unknown, key=str)!r} in {lan}: name, address, netmask and type are expected")
    name = check_client_id(str(lan.get("name", "")))
    address, netmask = str(lan.get("address", "")), str(lan.get("netmask", ""))
    if not address and not netmask:
        return name
    if not _is_address(address) or not _is_netmask(netmask):
        raise ValueError(
            f"LAN {name!r}: an IPv4 address with a netmask such as 255.255.255.0 is expected, or neither, not"
            f" {address!r} and {netmask!r}"
        )
    if (kind := lan.get("type", "ipv4")) != "ipv4":
        raise ValueError(f"LAN {name!r}: an address of type ipv4 is expected, not {kind!r}")
    return {"name": name, "address": address, "netmask": netmask}


def _parse(text: str) -> etree._Element:
    if "<!DOCTYPE" in text:
        raise ValueError("an RSpec has no document type")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError) as error:
        raise ValueError(f"not XML: {error}") from error
    if not _is(root, "rspec"):
        raise ValueError(f"not an RSpec of version 3 or 2: the root is {root.tag}")
    return root


def _is(element: etree._Element, name: str, namespaces: Sequence[str] = _VERSIONS) -> bool:
    return isinstance(element.tag, str) and any(element.tag == f"{{{uri}}}{name}" for uri in namespaces)


def _nodes(root: etree._Element) -> Iterator[etree._Element]:
    return (child for child in root if _is(child, "node"))


def _all(element: etree._Element, name: str) -> list[etree._Element]:
    """Find children by name in the RSpec's or Emulab's namespace."""
    return [child for child in element if _is(child, name, (*_VERSIONS, EMULAB))]


def _attribute(elements: Sequence[etree._Element], name: str) -> str:
    """Return the first value that is not empty."""
    return next((value for element in elements if (value := element.get(name))), "")


def _first(element: etree._Element, name: str, attribute: str) -> str:
    return _attribute(_all(element, name), attribute)


def _is_of(node: etree._Element, cm: str) -> bool:
    manager = node.get("component_manager_id")
    return manager is None or same_urn(manager, cm)


def _is_of_2021(root: etree._Element) -> bool:
    services = [each for node in _nodes(root) for each in _all(node, "services")]
    return any(_all(each, offer) for each in services for offer in _OF_2021)


def _links(root: etree._Element) -> tuple[tuple[Lan, ...], Mapping[str, Sequence[LanPort]]]:
    """Read the links of a manifest, and which machine (client_id) has which interfaces in them."""
    interfaces = {
        interface.get("client_id", ""): (node.get("client_id", ""), interface)
        for node in _nodes(root)
        for interface in _all(node, "interface")
    }
    lans: list[Lan] = []
    on: dict[str, list[LanPort]] = {}
    for link in (child for child in root if _is(child, "link")):
        name = link.get("client_id", "")
        ports: list[LanPort] = []
        for reference in _all(link, "interface_ref"):
            owner, interface = interfaces.get(reference.get("client_id", ""), ("", None))
            if interface is not None:
                ports.append(_port(name, interface))
                on.setdefault(owner, []).append(ports[-1])
        lans.append(Lan(name, tuple(ports)))
    return tuple(lans), on


def _port(lan: str, interface: etree._Element) -> LanPort:
    """Read an interface; what is no IPv4 address, mask or hardware address counts as not told."""
    told = [ip for ip in _all(interface, "ip") if ip.get("type", "ipv4") == "ipv4"]
    address, netmask = _attribute(told, "address"), _attribute(told, "netmask")
    mac = interface.get("mac_address", "")
    return LanPort(
        lan,
        address if _is_address(address) else "",
        netmask if _is_netmask(netmask) else "",
        mac if _MAC.fullmatch(mac) else "",
    )


def _manifest_node(node: etree._Element, cm: str, user: str, lans: Sequence[LanPort]) -> SliverNode | None:
    client_id, sliver_id = node.get("client_id", ""), node.get("sliver_id", "")
    component = node.get("component_id", "")
    if not sliver_id and not component:
        return None
    if not _ANY_CLIENT_ID.fullmatch(client_id):
        log.warning("machine in the manifest left out", cm=cm, sliver_id=sliver_id, client_id=client_id)
        return None
    logins = [login for services in _all(node, "services") for login in _all(services, "login")]
    logins.sort(key=lambda login: login.get("username") != user)

    def usable(what: str, value: str | None, right: Callable[[str], bool]) -> str:
        if value and not right(value):
            log.warning(
                "bad value in the manifest left out", cm=cm, client_id=client_id, what=what, value=value
            )
            return ""
        return value or ""

    return SliverNode(
        client_id=client_id,
        node_id=usable("node_id", _component_name(component) or _first(node, "vnode", "name"), _is_node_id),
        cm=cm,
        sliver_id=sliver_id,
        hardware_type=_first(node, "vnode", "hardware_type") or _first(node, "hardware_type", "name"),
        address=usable("address", _first(node, "host", "ipv4"), _is_address),
        hostname=usable("hostname", _attribute(logins, "hostname"), _is_hostname),
        username=usable("username", _attribute(logins, "username"), _is_username),
        sliver_type=_first(node, "sliver_type", "name"),
        lans=tuple(lans),
    )


def _advertised(node: etree._Element, cm: str) -> AdvertisedNode | None:
    whole = node.get("exclusive") == "true" and any(
        t.get("name") == "raw-pc" for t in _all(node, "sliver_type")
    )
    node_id = _component_name(node.get("component_id", "")) or node.get("component_name", "")
    if not whole:
        return None
    if not _is_node_id(node_id):
        log.warning("machine in the advertisement left out", cm=cm, node_id=node_id)
        return None
    return AdvertisedNode(
        node_id=node_id,
        cm=cm,
        hardware_types=tuple(name for t in _all(node, "hardware_type") if (name := t.get("name"))),
        available=_first(node, "available", "now") == "true",
    )


def _component_name(component: str) -> str:
    """Return the name in a component_id; "" where it is not a URN."""
    try:
        return Urn.parse(component).id
    except ValueError:
        return ""


def _is_node_id(text: str) -> bool:
    try:
        check_node_id(text)
    except ValueError:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_netmask(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(f"0.0.0.0/{text}")
    except ValueError:
        return False
    return str(network.netmask) == text


def _is_hostname(text: str) -> bool:
    return _HOSTNAME.fullmatch(text) is not None


def _is_username(text: str) -> bool:
    return _USERNAME.fullmatch(text) is not None
