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
        self._began = set(self._stored)
        self._unseen = set(self._stored)
        """(CM, client_id) of what an earlier run stored and this one has not seen there yet."""
        self._left: dict[tuple[str, str], KnownAs] = {}
        """Those that are gone, while Slurm may have their nodes: a restart knows them."""

    @property
    def bound(self) -> dict[tuple[str, str], KnownAs]:
        """(CM, client_id) -> what the machine that has it, or had it last, is called."""
        with self._lock:
            return dict(self._known)

    def learn(self, named: Mapping[MachineId, KnownAs]) -> None:
        """Take note of what machines are called from now on."""
        with self._lock:
            for known in named.values():
                at, before = _at(known.machine), self._known.get(_at(known.machine))
                if before is not None and not before.machine.may_be(known.machine):
                    if at in self._began and before.name != known.name:
                        self._left[at] = before
                    self._began.discard(at)
                self._known[at] = known
                self._unseen.discard(at)

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

    @property
    def written(self) -> frozenset[tuple[str, str]]:
        """(CM, client_id) of the machines that began to join, in this run or an earlier one."""
        with self._lock:
            return frozenset(self._began)

    def write(self, machines: Collection[SliverNode]) -> None:
        """Write down what these are called, before something is done there under that name.

        What cannot be written is told, and written the next time: until a restart the memory knows it.
        """
        with self._lock:
            self._began.update(_at(machine.key) for machine in machines)
        self._keep_in_step()

    def gone(self, read: Collection[str], there: Collection[tuple[str, str]]) -> tuple[KnownAs, ...]:
        """Return what is kept of machines that went, in this run or while the agent was away.

        Args:
            read: the CMs that were heard.
            there: (CM, client_id) of all that may be there.
        """
        with self._lock:
            for at in [at for at in self._unseen if at[0] in read and at not in there]:
                self._left[at] = self._known[at]
                self._drop(at)
            return tuple(self._left.values())

    def strike(self, known: KnownAs) -> None:
        """Forget a machine that went: nothing of it is in Slurm."""
        with self._lock:
            self._left.pop(_at(known.machine), None)
        self._keep_in_step()

    def forget(self, machine: SliverNode) -> None:
        """Take note that a machine is not ours any more."""
        at, known = _at(machine.key), self.of(machine)
        if known is not None:
            with self._lock:
                if at in self._began:
                    self._left[at] = known
                self._drop(at)
            self._keep_in_step()

    def _drop(self, at: tuple[str, str]) -> None:
        self._known.pop(at, None)
        self._unseen.discard(at)
        self._began.discard(at)

    def _keep_in_step(self) -> None:
        """Have the store hold what machines began to join as, until Slurm has nothing of them."""
        with self._writing:
            with self._lock:
                due = self._left | {at: self._known[at] for at in self._began if at in self._known}
            try:
                for at in self._stored.keys() - due.keys():
                    self._store.remove_name(*at)
                    del self._stored[at]
                for at, known in due.items():
                    if self._stored.get(at) != known:
                        self._store.put_name(known)
                        self._stored[at] = known
            except LedgerError as error:
                log.warning("what machines are called in Slurm cannot be stored", error=str(error))


def _at(machine: MachineId) -> tuple[str, str]:
    return machine.cm, machine.client_id
