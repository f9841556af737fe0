"""What machines are called in Slurm, from the first sight of one until it is gone."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import structlog

from agent.cluster.settings.join import JoinSettings, node_name
from agent.core.desk import Lock
from agent.core.errors import LedgerError
from agent.core.model import KnownAs, MachineId, SliverNode

log = structlog.get_logger()


class NameStore(Protocol):
    """Where it survives a restart what machines joined as."""

    def put_name(self, known: KnownAs) -> None:
        """Store one; a repeat of the same CM and client_id replaces the older one."""

    def remove_name(self, cm: str, client_id: str) -> None:
        """Forget one; no error where there is none."""

    def names(self) -> Sequence[KnownAs]:
        """Return what is stored."""


class Names:
    """Remembers them. Thread-safe.

    Args:
        lock: of all that is remembered.
        store: read once, here.

    Raises:
        LedgerError: the store cannot be read.
    """

    def __init__(self, lock: Lock, store: NameStore) -> None:
        self._lock = lock
        self._store = store
        self._writing = threading.Lock()
        self._stored = {_at(known.machine): known for known in store.names()}
        self._known = dict(self._stored)
        self._unseen = set(self._stored)
        """(CM, client_id) of what an earlier run stored and this one has not seen there yet."""

    @property
    def bound(self) -> dict[tuple[str, str], KnownAs]:
        """(CM, client_id) -> what the machine that has it, or had it last, is called."""
        with self._lock:
            return dict(self._known)

    def learn(self, named: Mapping[MachineId, KnownAs]) -> None:
        """Take note of what machines are called from now on."""
        with self._lock:
            self._known.update({_at(known.machine): known for known in named.values()})
            self._unseen.difference_update(_at(known.machine) for known in named.values())

    def of(self, machine: SliverNode) -> KnownAs | None:
        """Return what a machine is called, be it gone; None where that is not known."""
        with self._lock:
            known = self._known.get((machine.cm, machine.client_id))
        return known if known and known.machine.may_be(machine.key) else None

    def as_joined(self, machine: SliverNode, settings: JoinSettings) -> tuple[str, JoinSettings]:
        """Return what a machine is called, be it gone, and the section [join] as it holds for it."""
        known = self.of(machine)
        return (
            (known.name, settings.in_mode(known.mode)) if known else (node_name(machine, settings), settings)
        )

    def write(self, machines: Collection[SliverNode]) -> None:
        """Write down what these are called, before something is done there under that name.

        What cannot be written is told, and written the next time: until a restart the memory knows it.
        """
        known = [each for each in map(self.of, machines) if each is not None]
        with self._writing:
            try:
                for each in known:
                    if self._stored.get(_at(each.machine)) != each:
                        self._store.put_name(each)
                        self._stored[_at(each.machine)] = each
            except LedgerError as error:
                log.warning("what machines are called in Slurm cannot be stored", error=str(error))

    def strike_gone(self, read: Collection[str], there: Collection[tuple[str, str]]) -> None:
        """Forget machines that went while the agent was away: they keep their names from others.

        Args:
            read: the CMs that were heard.
            there: (CM, client_id) of all that may be there.

        Raises:
            LedgerError: that cannot be written down.
        """
        with self._lock:
            gone = [at for at in self._unseen if at[0] in read and at not in there]
        for at in gone:
            self._strike(at)

    def forget(self, machine: SliverNode) -> None:
        """Take note that a machine is not ours any more.

        Raises:
            LedgerError: that cannot be written down; the next machine that is called so replaces it.
        """
        if self.of(machine) is not None:
            self._strike(_at(machine.key))

    def _strike(self, at: tuple[str, str]) -> None:
        with self._lock:
            self._known.pop(at, None)
            self._unseen.discard(at)
        with self._writing:
            if at in self._stored:
                self._store.remove_name(*at)
                del self._stored[at]


def _at(machine: MachineId) -> tuple[str, str]:
    return machine.cm, machine.client_id
