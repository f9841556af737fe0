"""Advertisements: a CM's machines, with switches and shared hosts between them (protogeni.md §3.2, §4.3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from lxml import etree

from testbed.cloudlab import dates, urn
from testbed.cloudlab.documents import EMULAB, V2, V3, prefixes
from testbed.cloudlab.sites import Site
from testbed.cloudlab.state import Machine

V0 = "http://www.protogeni.net/resources/rspec/0."
VERSIONS = {
    **dict.fromkeys(("0.1", "PG 0.1"), f"{V0}1"),
    **dict.fromkeys(("0.2", "PG 0.2"), f"{V0}2"),
    **dict.fromkeys(("2", "PG 2"), V2),
    "3": V3,
}
"""Values of rspec_version, and their namespaces."""


def write(
    site: Site,
    machines: Sequence[Machine],
    now: datetime,
    *,
    version: str,
    available: bool,
    own: Collection[str],
) -> str:
    """Write an advertisement of a version in ``VERSIONS``.

    With ``available`` only machines that nobody has reserved; those promised to others and those of the
    caller's slice (``own``) slip in, flagged ``now="false"``.
    """
    space = VERSIONS[version]
    stamp = dates.zulu(now)
    listed = [m for m in machines if not available or not m.reserved or m.node_id in own]
    if space.startswith(V0):
        return _write_old(space, site, listed, stamp)
    attributes = {"type": "advertisement", "generated": stamp, "expires": stamp}
    root = etree.Element(f"{{{space}}}rspec", attributes, nsmap=prefixes(space, emulab=EMULAB))
    for machine in listed:
        _machine(root, space, site, machine)
    _other(root, space, site, "switch1", ("switch",), exclusive=True, slots="1", sliver_type="")
    _other(
        root,
        space,
        site,
        "pcshared1",
        _shared_kinds(site),
        exclusive=False,
        slots="unlimited",
        sliver_type="emulab-xen",
    )
    return etree.tostring(root, encoding="unicode")


def _shared_kinds(site: Site) -> tuple[str, ...]:
    return site.node_class, site.hardware_type, f"{site.node_class}vm", f"{site.hardware_type}-vm"


def _write_old(space: str, site: Site, machines: Sequence[Machine], stamp: str) -> str:
    """Write the forms 0.1 and 0.2: other names of attributes, and flags as the text of elements."""
    attributes = {"type": "advertisement", "generated": stamp, "valid_until": stamp}
    root = etree.Element(f"{{{space}}}rspec", attributes, nsmap=prefixes(space))

    def add(name: str, kinds: Sequence[str], slots: str, *, available: bool, exclusive: bool) -> None:
        node = etree.SubElement(
            root,
            f"{{{space}}}node",
            component_manager_uuid=site.urn,
            component_name=name,
            component_uuid=urn.make(site.domain, "node", name),
        )
        for kind in kinds:
            etree.SubElement(node, f"{{{space}}}node_type", type_name=kind, type_slots=slots)
        etree.SubElement(node, f"{{{space}}}available").text = str(available).lower()
        etree.SubElement(node, f"{{{space}}}exclusive").text = str(exclusive).lower()

    for machine in machines:
        kinds = (machine.node_class, machine.hardware_type)
        add(machine.node_id, kinds, "1", available=machine.available, exclusive=True)
    add("switch1", ("switch",), "1", available=True, exclusive=True)
    add("pcshared1", _shared_kinds(site), "unlimited", available=True, exclusive=False)
    return etree.tostring(root, encoding="unicode")


def _machine(root: etree._Element, space: str, site: Site, machine: Machine) -> None:
    kinds = (machine.node_class, machine.hardware_type)
    node = _node(root, space, site, machine.node_id, kinds, exclusive=True, slots="1")
    sliver_type = etree.SubElement(node, f"{{{space}}}sliver_type", name="raw-pc")
    for index, image in enumerate(site.images):
        name = urn.make(site.domain, "image", image)
        extra = {"default": "true"} if index == 0 else {}
        etree.SubElement(sliver_type, f"{{{space}}}disk_image", {"name": name, "os": "Linux", **extra})
    etree.SubElement(node, f"{{{space}}}available", now="true" if machine.available else "false")
    card = {
        "component_id": urn.make(site.domain, "interface", f"{machine.node_id}:eth0"),
        "role": "control",
        "public_ipv4": machine.address,
    }
    interface = etree.SubElement(node, f"{{{space}}}interface", card)
    etree.SubElement(interface, f"{{{EMULAB}}}interface", name="eth0")
    etree.SubElement(node, f"{{{EMULAB}}}fd", name=f"{machine.hardware_type}-explicit", weight="1")


def _other(
    root: etree._Element,
    space: str,
    site: Site,
    name: str,
    kinds: Sequence[str],
    *,
    exclusive: bool,
    slots: str,
    sliver_type: str,
) -> None:
    node = _node(root, space, site, name, kinds, exclusive=exclusive, slots=slots)
    if sliver_type:
        etree.SubElement(node, f"{{{space}}}sliver_type", name=sliver_type)
    etree.SubElement(node, f"{{{space}}}available", now="true")


def _node(
    root: etree._Element,
    space: str,
    site: Site,
    name: str,
    kinds: Sequence[str],
    *,
    exclusive: bool,
    slots: str,
) -> etree._Element:
    attributes = {
        "component_name": name,
        "exclusive": "true" if exclusive else "false",
        "component_id": urn.make(site.domain, "node", name),
        "component_manager_id": site.urn,
    }
    node = etree.SubElement(root, f"{{{space}}}node", attributes)
    for kind in kinds:
        hardware = etree.SubElement(node, f"{{{space}}}hardware_type", name=kind)
        etree.SubElement(hardware, f"{{{EMULAB}}}node_type", type_slots=slots)
    return node
