"""How a CM wants to be told the LANs of added machines: with addresses, or by their names alone.

A CM of 2021 takes a machine into a LAN whose members have addresses only with an address and a mask; one of
2016 reads that as a name, chooses the address, and writes no masks into its manifests. Both refuse the wrong
form with code 1, and leave nothing behind (GeniCMV2.pm AddNodes, GeniCM.pm GetTicketAuxAux).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.errors import BadArgumentsError
from agent.core.model import Lan

_READ_AS_NAME = "no such hash("
_WANTS_ADDRESSES = ("must supply ip/mask", "must provide a netmask")

Nodes = dict[str, dict[str, object]]


class LanForm:
    """Remembers the form for one CM."""

    def __init__(self) -> None:
        self._by_name: bool | None = None
        """What manifests tell; None while none has a LAN with addresses."""
        self._refused: bool | None = None
        """What a refusal told, which counts for more: manifests repeat the masks of a profile."""

    def read(self, lans: Iterable[Lan]) -> None:
        """Learn from a manifest."""
        masks = [bool(port.netmask) for lan in lans for port in lan.ports if port.address]
        if masks:
            self._by_name = not any(masks)

    def first(self, nodes: Nodes) -> Nodes:
        """Return machines with their LANs in the form that the CM probably wants."""
        is_by_name = self._by_name if self._refused is None else self._refused
        return by_name(nodes) if is_by_name else nodes

    def other(self, error: BadArgumentsError, sent: Nodes, nodes: Nodes) -> Nodes | None:
        """Return machines with their LANs in the other form, if a refusal asks for it, and remember that.

        Args:
            error: the refusal.
            sent: the machines as they were sent.
            nodes: the machines with all that is known of their LANs.
        """
        words, named = str(error).lower(), by_name(nodes)
        if sent != named and _READ_AS_NAME in words:
            self._refused = True
            return named
        if sent != nodes and any(part in words for part in _WANTS_ADDRESSES):
            self._refused = False
            return nodes
        return None


def by_name(nodes: Mapping[str, Mapping[str, object]]) -> Nodes:
    """Give the LANs of machines by name alone."""

    def named(value: object) -> object:
        if not isinstance(value, list):
            return value
        return [lan["name"] if isinstance(lan, dict) else lan for lan in value]

    return {
        client_id: {key: named(value) if key == "lans" else value for key, value in fields.items()}
        for client_id, fields in nodes.items()
    }
