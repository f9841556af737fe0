"""Places in LANs for machines that are added: looked for before they are asked for, and none given twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agent.core.desk import Desk
from agent.core.errors import ConfigError
from agent.core.model import IntentKind, Lan
from agent.core.request.lans import addresses_of, require_lans, with_addresses
from agent.core.slice.slivers import Slivers


class Asker(Protocol):
    """What the manager gives."""

    def lans_of_added(self) -> Sequence[str]:
        """Ask the helper which LANs each added machine joins."""

    def wants_machine(self, cm: str) -> bool:
        """Tell whether a machine should be added at a CM."""


class LanPlaces:
    """Chooses addresses in the LANs of a sliver. The caller holds the CM, and decides alone.

    Args:
        desk: the manager's.
        asker: the manager.
        slivers: what the CMs hold.
    """

    def __init__(self, desk: Desk, asker: Asker, slivers: Slivers) -> None:
        self._desk = desk
        self._asker = asker
        self._slivers = slivers
        self._given: dict[tuple[str, str], dict[str, str]] = {}
        """(CM, client_id) -> LAN -> the address that it was asked for with."""

    def room(self, cm: str, count: int) -> int | None:
        """Look in a manifest of now how many machines have room in the LANs that added ones join.

        The helper is asked for machines after that, so that a LAN which is not there costs no names.

        Args:
            cm: the CM.
            count: how many are to have room, if it matters; else 0.

        Returns:
            How many; None for any number.

        Raises:
            ConfigError: a machine is wanted, and one of the LANs is not there, or has no room.
        """
        wanted = self._asker.lans_of_added()
        if not wanted:
            return None
        sliver = self._slivers.read(cm)
        if sliver is None:
            return 0
        try:
            return require_lans(cm, wanted, sliver.lans, max(count, 1))
        except ConfigError:
            if self._asker.wants_machine(cm):
                raise
            return 0

    def give(self, cm: str, args: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Give machines addresses where the CM wants them: none of a machine that may still come.

        Raises:
            ConfigError: as ``with_addresses``.
        """
        coming = {(i.cm, i.client_id) for i in self._slivers.intents.in_flight(IntentKind.ADD)}
        self._given = {key: given for key, given in self._given.items() if key in coming}
        taken: dict[str, list[str]] = {}
        for (at, _), given in self._given.items():
            for lan, address in given.items() if at == cm else ():
                taken.setdefault(lan, []).append(address)
        ready = with_addresses(cm, args, self._lans(cm), taken)
        self._given |= {(cm, client_id): addresses_of(fields) for client_id, fields in ready.items()}
        return ready

    def _lans(self, cm: str) -> tuple[Lan, ...]:
        with self._desk.lock:
            sliver = self._slivers.book.slivers.get(cm)
        return sliver.lans if sliver else ()
