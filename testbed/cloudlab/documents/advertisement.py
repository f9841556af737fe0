"""Advertisements: a CM's machines, with switches and shared hosts between them.

protogeni.md §3.2 and §4.3 tell of a server of 2016, protogeni-2021.md §9 of one of 2021.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from testbed.cloudlab import dates, urn
from testbed.cloudlab.documents.rspec import EMULAB, V2, V3, prefixes
from testbed.cloudlab.sites import Site
from testbed.cloudlab.state import Machine

ARCHITECTURE = "x86_64"
V0 = "http://www.protogeni.net/resources/rspec/0."
VERSIONS = {
    **dict.fromkeys(("0.1", "PG 0.1"), f"{V0}1"),
    **dict.fromkeys(("0.2", "PG 0.2"), f"{V0}2"),
    **dict.fromkeys(("2", "PG 2"), V2),
    "3": V3,
}
"""Values of rspec_version, and their namespaces."""


@dataclass(frozen=True)
class _Entry:
    """One node of an advertisement."""

    name: str
    kinds: tuple[str, ...]
    """Hardware types."""
    exclusive: bool
    slots: str
    sliver_type: str
    """"" for what carries no slivers."""
    available: bool
    machine: Machine | None
    """None for a switch or a shared host."""


@dataclass(frozen=True)
class Caller:
    """Who asks, by his credentials."""

    own: Collection[str] = ()
    """node_ids of the machines of his slice."""
    project: str = ""
    """Project of the slice whose credential he has; "" with no such credential."""
    barred: Collection[str] = ()
    """node_ids of machines that are reserved singly for others than the slice."""


def write(
    site: Site,
    machines: Sequence[Machine],
    now: datetime,
    *,
    version: str,
    available: bool,
    caller: Caller,
) -> str:
    """Write an advertisement of a version in ``VERSIONS``.

    With ``available`` only machines that nobody has reserved; those of the caller's slice slip in, flagged
    ``now="false"``, and at a site of 2016 those promised to others too.
    """
    space = VERSIONS[version]
    stamp = dates.zulu(now)
    is_new = site.generation >= 2021
    free = {m.node_id for m in machines if (_is_free_for(m, caller) if is_new else m.available)}
    if is_new:
        listed = [m for m in machines if not available or m.node_id in free or m.node_id in caller.own]
    else:
        listed = [m for m in machines if not available or not m.reserved or m.node_id in caller.own]
    entries = [*(_of_machine(site, machine, machine.node_id in free) for machine in listed), *_others(site)]
    if space.startswith(V0):
        attributes = {"type": "advertisement", "generated": stamp, "valid_until": stamp}
        root = etree.Element(f"{{{space}}}rspec", attributes, nsmap=prefixes(space))
        for entry in entries:
            _write_old(root, space, site, entry)
    else:
        attributes = {"type": "advertisement", "generated": stamp, "expires": stamp}
        root = etree.Element(f"{{{space}}}rspec", attributes, nsmap=prefixes(space, emulab=EMULAB))
        for entry in entries:
            _write(root, space, site, entry)
        if is_new:
            _write_reservable(root, site)
    return etree.tostring(root, encoding="unicode")


def _is_free_for(machine: Machine, caller: Caller) -> bool:
    """Tell whether ptopgen of 2021 shows a machine as free.

    One that is set aside for the project is free with the slice's credential alone, and only that tells the
    server to leave out what is reserved singly for others. Reservations by type are not looked at.
    """
    return machine.available_to(caller.project) and machine.node_id not in caller.barred


def _kinds(site: Site, machine: Machine) -> tuple[str, ...]:
    exact, kind = machine.hardware_type, machine.node_class
    if site.generation < 2021:
        return kind, exact
    return exact, ARCHITECTURE, kind, "firewall", "delay", f"{kind}vm", f"{exact}-vm"


def _of_machine(site: Site, machine: Machine, is_free: bool) -> _Entry:
    return _Entry(
        name=machine.node_id,
        kinds=_kinds(site, machine),
        exclusive=True,
        slots="1",
        sliver_type="raw-pc",
        available=is_free,
        machine=machine,
    )


def _others(site: Site) -> tuple[_Entry, _Entry]:
    # The newer one's shared hosts lack the exact type.
    kinds = (
        (ARCHITECTURE, site.node_class) if site.generation >= 2021 else (site.node_class, site.hardware_type)
    )
    shared = (*kinds, f"{site.node_class}vm", f"{site.hardware_type}-vm")
    return (
        _Entry("switch1", ("switch",), True, "1", "", True, None),
        _Entry("pcshared1", shared, False, "unlimited", "emulab-xen", True, None),
    )


def _write(root: etree._Element, space: str, site: Site, entry: _Entry) -> None:
    attributes = {
        "component_name": entry.name,
        "exclusive": str(entry.exclusive).lower(),
        "component_id": urn.make(site.domain, "node", entry.name),
        "component_manager_id": site.urn,
    }
    node = etree.SubElement(root, f"{{{space}}}node", attributes)
    for kind in entry.kinds:
        hardware = etree.SubElement(node, f"{{{space}}}hardware_type", name=kind)
        etree.SubElement(hardware, f"{{{EMULAB}}}node_type", type_slots=entry.slots)
    if entry.sliver_type:
        sliver_type = etree.SubElement(node, f"{{{space}}}sliver_type", name=entry.sliver_type)
        for index, image in enumerate(site.images if entry.machine else ()):
            name = urn.make(site.domain, "image", image)
            extra = {"default": "true"} if index == 0 else {}
            etree.SubElement(sliver_type, f"{{{space}}}disk_image", {"name": name, "os": "Linux", **extra})
    etree.SubElement(node, f"{{{space}}}available", now=str(entry.available).lower())
    if entry.machine is not None:
        _write_card(node, space, site, entry.machine)


def _write_reservable(root: etree._Element, site: Site) -> None:
    """Write which types can be reserved: that they can, not whether they are."""
    types = etree.SubElement(root, f"{{{EMULAB}}}reservable_types")
    figures = {"architecture": ARCHITECTURE, "disksize": "256.00", "processor": "Xeon"}
    singly = [node_id for node_id in site.machines if node_id in site.reservable]
    for kind in dict.fromkeys(site.type_of(node_id) for node_id in site.machines if node_id not in singly):
        etree.SubElement(types, f"{{{EMULAB}}}reservable_type", {"name": kind, **figures})
    nodes = etree.SubElement(root, f"{{{EMULAB}}}reservable_nodes")
    for node_id in singly:
        attributes = {"component_id": urn.make(site.domain, "node", node_id), "type": site.type_of(node_id)}
        etree.SubElement(nodes, f"{{{EMULAB}}}node", attributes)


def _write_card(node: etree._Element, space: str, site: Site, machine: Machine) -> None:
    card = {
        "component_id": urn.make(site.domain, "interface", f"{machine.node_id}:eth0"),
        "role": "control",
        "public_ipv4": machine.address,
    }
    interface = etree.SubElement(node, f"{{{space}}}interface", card)
    etree.SubElement(interface, f"{{{EMULAB}}}interface", name="eth0")
    etree.SubElement(node, f"{{{EMULAB}}}fd", name=f"{machine.hardware_type}-explicit", weight="1")


def _write_old(root: etree._Element, space: str, site: Site, entry: _Entry) -> None:
    """Write the forms 0.1 and 0.2: other names of attributes, and flags as the text of elements."""
    node = etree.SubElement(
        root,
        f"{{{space}}}node",
        component_manager_uuid=site.urn,
        component_name=entry.name,
        component_uuid=urn.make(site.domain, "node", entry.name),
    )
    for kind in entry.kinds:
        etree.SubElement(node, f"{{{space}}}node_type", type_name=kind, type_slots=entry.slots)
    etree.SubElement(node, f"{{{space}}}available").text = str(entry.available).lower()
    etree.SubElement(node, f"{{{space}}}exclusive").text = str(entry.exclusive).lower()
