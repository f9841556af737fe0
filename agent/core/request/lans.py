"""Existing LANs that added machines join: whether they are there, and which addresses are free in them.

A CM of 2021 takes a machine into a LAN whose members have addresses only with an address and a netmask
(GeniCM.pm GetTicketAuxAux). One of 2016 knows names only, chooses the address itself, and writes no netmask
into its manifests. A machine is given an address in any case: whoever asks the CM knows whether it takes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from agent.core.errors import ConfigError
from agent.core.model import Lan

_USUAL = 24
"""Length of the prefix of a LAN whose manifest tells no masks (10.10.LINK.INTERFACE)."""
_GONE_WITH_MEMBERS = (
    "A CM takes a LAN away once a single machine is left in it: when that is given back too, the next sliver"
    " has the LAN again"
)
"""``GeniCMV2 DeleteNodes`` of 2021. No machine is asked for then: it would not be in the LAN."""
_POINT_TO_POINT = 31
"""From this prefix length on, a network has no address of its own and none for all (RFC 3021)."""


def require_lans(cm: str, wanted: Iterable[str], lans: Sequence[Lan], count: int = 1) -> int | None:
    """Check that a CM can take machines into each of these LANs.

    Args:
        cm: URN of the CM, for the error.
        wanted: names of LANs.
        lans: those of its manifest.
        count: machines that have to have room in each.

    Returns:
        How many have room in each; None where the CM chooses all addresses.

    Raises:
        ConfigError: one is not there, or has no room for so many.
    """
    rooms = []
    for name in wanted:
        lan = _find(cm, name, lans)
        if (free := free_addresses(lan)) is not None:
            rooms.append(free)
            if free < count:
                raise _full(cm, lan, free)
    return min(rooms, default=None)


def free_addresses(lan: Lan) -> int | None:
    """Count how many more machines a LAN has addresses for; None where the CM chooses them."""
    if (network := _network(lan)) is None:
        return None
    size = network.num_addresses - (0 if network.prefixlen >= _POINT_TO_POINT else 2)
    return size - len({p.address for p in lan.ports if p.address and IPv4Address(p.address) in network})


def with_addresses(
    cm: str,
    args: Mapping[str, Mapping[str, Any]],
    lans: Sequence[Lan],
    taken: Mapping[str, Collection[str]],
) -> dict[str, dict[str, Any]]:
    """Give added machines an address in each LAN whose members have one.

    Args:
        cm: URN of the CM, for errors.
        args: client_id -> fields of ``GeniCMV2 AddNodes``; an item of ``lans`` is a name, or a dict with
            ``name``, ``address`` and ``netmask``, which keeps its address.
        lans: those of its manifest.
        taken: LAN -> addresses of machines that no manifest shows yet.

    Returns:
        The fields, with dicts for names where members have addresses: another one for each machine.

    Raises:
        ConfigError: no such LAN, no address is free in it, or an address for a CM that takes none.
    """
    used = {name: set(addresses) for name, addresses in taken.items()}
    for lan in lans:
        used.setdefault(lan.name, set()).update(port.address for port in lan.ports)
    for fields in args.values():
        for name, address in addresses_of(fields).items():
            used.setdefault(name, set()).add(address)
    ready: dict[str, dict[str, Any]] = {}
    for client_id, fields in args.items():
        ready[client_id] = dict(fields)
        if items := fields.get("lans"):
            ready[client_id]["lans"] = [_with_address(cm, item, lans, used) for item in items]
    return ready


def addresses_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """Tell the addresses that the fields of an added machine name: LAN -> address."""
    items = [item for item in fields.get("lans") or () if isinstance(item, Mapping)]
    return {str(item.get("name")): str(item["address"]) for item in items if item.get("address")}


def _with_address(cm: str, item: object, lans: Sequence[Lan], used: Mapping[str, set[str]]) -> object:
    lan = _find(cm, str(item.get("name")) if isinstance(item, Mapping) else str(item), lans)
    network = _network(lan)
    if isinstance(item, Mapping) and item.get("address"):
        if network is None and any(port.address for port in lan.ports):
            raise ConfigError(
                f"LAN {lan.name!r} at {cm}: expected its name alone, not {item['address']}: the CM"
                " chooses the address"
            )
        return item
    is_sure = network is not None
    if network is None and (network := _usual_network(lan)) is None:
        return lan.name
    address = next((str(host) for host in network.hosts() if str(host) not in used[lan.name]), None)
    if address is None and is_sure:
        raise _full(cm, lan)
    if address is None:
        return lan.name
    used[lan.name].add(address)
    return {"name": lan.name, "address": address, "netmask": str(network.netmask)}


def _find(cm: str, name: str, lans: Sequence[Lan]) -> Lan:
    lan = next((lan for lan in lans if lan.name == name), None)
    if lan is None:
        there = ", ".join(lan.name for lan in lans) or "none"
        raise ConfigError(
            f"LAN {name!r} is not in the slice at {cm}; expected one that is there, which are: {there}."
            f" {_GONE_WITH_MEMBERS}"
        )
    return lan


def _network(lan: Lan) -> IPv4Network | None:
    """Return the network of a LAN whose manifest tells masks."""
    told = (port for port in lan.ports if port.address and port.netmask)
    return next((IPv4Interface(f"{port.address}/{port.netmask}").network for port in told), None)


def _usual_network(lan: Lan) -> IPv4Network | None:
    """Return the network that the addresses of a LAN are in if nobody said more; None where it has none."""
    told = (port.address for port in lan.ports if port.address)
    return next((IPv4Interface(f"{address}/{_USUAL}").network for address in told), None)


def _full(cm: str, lan: Lan, free: int = 0) -> ConfigError:
    return ConfigError(f"LAN {lan.name!r} at {cm} has too few free addresses in {_network(lan)}: {free}")
