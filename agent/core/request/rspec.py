"""Request RSpecs, version 3 (``http://www.geni.net/resources/rspec/3``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from lxml import etree

from agent.core.errors import ConfigError
from agent.core.model import RAW_PC
from agent.core.request.tarballs import Tarball

RSPEC = "http://www.geni.net/resources/rspec/3"
EMULAB = "http://www.protogeni.net/resources/rspec/ext/emulab/1"
GENERATOR = "esagent"
"""``generated_by`` of the requests that we write ourselves: a manifest repeats it."""
MAX_STARTUP = 255
STARTUP = re.compile(r"[\x20-\x7e]*")
"""What ``GeniCMV2 AddNodes`` takes as a start-up command."""
LAN_NAME = re.compile(r"[-A-Za-z0-9_]{1,32}")
"""What a link's client_id may be, as that of a machine."""


@dataclass(frozen=True)
class RequestNode:
    """One raw PC of a request."""

    client_id: str
    image_urn: str = ""
    hardware_type: str = ""
    tarballs: tuple[Tarball, ...] = ()
    startup_command: str = ""


def check_lan_names(names: Sequence[str]) -> None:
    """Check the names of LANs that machines join.

    Raises:
        ValueError: what can be no name of a LAN, or one twice.
    """
    if bad := [name for name in names if not LAN_NAME.fullmatch(name)]:
        raise ValueError(f"lans: {LAN_NAME.pattern} is expected, not {bad[0]!r}")
    if len({name.lower() for name in names}) < len(names):
        raise ValueError(f"lans: each LAN once is expected, not {', '.join(names)}")


def build_request(
    nodes: Sequence[RequestNode],
    lans: Sequence[str] = (),
    *,
    multiplex_lans: bool = False,
    bandwidth: int = 0,
) -> str:
    """Write a request in which every machine is in every LAN.

    The RSpec namespace is the default one: ``AddNodes`` pastes elements without a prefix into the manifest,
    and under any other prefix they would not be seen.

    Args:
        nodes: the machines.
        lans: client_ids of the LANs.
        multiplex_lans: let LANs share interfaces as tagged VLANs (the Emulab extension), for machines that
            have fewer interfaces than LANs.
        bandwidth: of each interface in a LAN, in kbit/s, as traffic shaping holds it; 0 for what there is.
    """
    namespaces: dict[str | None, str] = {None: RSPEC, "emulab": EMULAB}
    # lxml takes None as the default namespace; its stubs do not know.
    attributes = {"type": "request", "generated_by": GENERATOR}
    root = etree.Element(f"{{{RSPEC}}}rspec", attributes, cast("dict[str, str]", namespaces))
    for node in nodes:
        _add_node(root, node, lans)
    for lan in lans:
        link = _add(root, "link", client_id=lan)
        for node in nodes:
            _add(link, "interface_ref", client_id=f"{node.client_id}:{lan}")
        for node in nodes if bandwidth else ():
            # From an interface to its LAN: what GeniCM.pm reads, and all that a LAN of one machine can have.
            ends = {"source_id": f"{node.client_id}:{lan}", "dest_id": lan}
            _add(link, "property", **ends, capacity=str(bandwidth))
        _add(link, "link_type", name="lan")
        if multiplex_lans:
            for tag in ("best_effort", "link_multiplexing", "vlan_tagging"):
                etree.SubElement(link, f"{{{EMULAB}}}{tag}", {"enabled": "true"})
    return etree.tostring(root, encoding="unicode", pretty_print=True)


def _add_node(root: etree._Element, node: RequestNode, lans: Sequence[str]) -> None:
    element = _add(root, "node", client_id=node.client_id, exclusive="true")
    sliver = _add(element, "sliver_type", name="raw-pc")
    if node.image_urn:
        _add(sliver, "disk_image", name=node.image_urn)
    if node.hardware_type:
        _add(element, "hardware_type", name=node.hardware_type)
    if node.tarballs or node.startup_command:
        services = _add(element, "services")
        for tarball in node.tarballs:
            _add(services, "install", url=tarball.url, install_path=tarball.path)
        if node.startup_command:
            attributes = {"shell": "/bin/sh", "command": node.startup_command}
            _add(services, "execute", **attributes)
    for lan in lans:
        _add(element, "interface", client_id=f"{node.client_id}:{lan}")


def _add(parent: etree._Element, tag: str, **attributes: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{RSPEC}}}{tag}", attributes)


def request_client_ids(rspec: str, cm: str) -> tuple[str, ...]:
    """List the machines that a request asks of this CM: those bound to it, and those bound to none.

    Virtual machines and block stores are none: nobody boots and joins them.

    Raises:
        ConfigError: not a version 3 request with a client_id for each machine.
    """
    return tuple(
        node.get("client_id", "")
        for node in parse_request(rspec).iterfind(f"{{{RSPEC}}}node")
        if node.get("component_manager_id") in {None, "", cm} and is_machine(node)
    )


def is_machine(node: etree._Element) -> bool:
    """Tell whether a node is a raw PC; one without a sliver_type is too (``GeniCM.pm GetTicketAuxAux``)."""
    kind = node.find(f"{{{RSPEC}}}sliver_type")
    return kind is None or kind.get("name", "") in RAW_PC


def parse_request(rspec: str) -> etree._Element:
    """Parse a request.

    Raises:
        ConfigError: not a version 3 request with a client_id for each node.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(rspec.encode(), parser)
    except etree.XMLSyntaxError as error:
        raise ConfigError(f"the request RSpec is not well formed: {error}") from error
    if root.tag != f"{{{RSPEC}}}rspec":
        raise ConfigError(f"the request RSpec begins with {root.tag}; rspec in namespace {RSPEC} is expected")
    if not all(node.get("client_id") for node in root.iterfind(f"{{{RSPEC}}}node")):
        raise ConfigError("the request RSpec has a node without a client_id")
    return root
