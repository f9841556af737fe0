"""What Slurm saw of machines of each hardware type, over restarts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

import structlog

from agent.cluster.grow.shapes import learn
from agent.cluster.moment import Moment
from agent.cluster.shape import MachineShape
from agent.core.desk import Lock
from agent.core.errors import LedgerError
from agent.slurm.layout import Layout

log = structlog.get_logger()


class MachineTypeStore(Protocol):
    """Where it survives a restart what machines are."""

    def put_machine_type(self, hardware_type: str, shape: str) -> None:
        """Store or replace the words about a type."""

    def machine_types(self) -> Mapping[str, str]:
        """Return what is stored: hardware type -> words."""


class MachineTypes:
    """Remembers them. Thread-safe; one thread at a time learns.

    Args:
        lock: of all that is remembered.
        store: read once, here. What it cannot take is remembered until a restart, and offered again.

    Raises:
        LedgerError: the store cannot be read.
    """

    def __init__(self, lock: Lock, store: MachineTypeStore) -> None:
        self._lock = lock
        self._store = store
        self._stored = dict(store.machine_types())
        self._known = read_shapes(self._stored)

    @property
    def known(self) -> Mapping[str, MachineShape]:
        """Hardware type -> what Slurm saw of it."""
        with self._lock:
            return self._known

    def learn(self, moment: Moment) -> None:
        """Take in what a reading of Slurm tells."""
        known = learn(moment)
        with self._lock:
            self._known = known
        for kind, shape in known.items():
            text = write_shape(shape)
            if self._stored.get(kind) == text:
                continue
            try:
                self._store.put_machine_type(kind, text)
            except LedgerError as error:
                log.warning("what machines are cannot be stored; tried again", type=kind, error=str(error))
                return
            self._stored[kind] = text


def write_shape(shape: MachineShape) -> str:
    """Write one for the store, as JSON."""
    told = {**asdict(shape), "features": sorted(shape.features), "newest": shape.newest.isoformat()}
    return json.dumps(told, sort_keys=True)


def read_shapes(stored: Mapping[str, str]) -> dict[str, MachineShape]:
    """Read what ``write_shape`` wrote, by type; what cannot be read is passed over, and learnt anew."""
    found = {}
    for kind, text in stored.items():
        try:
            found[kind] = _read(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            log.warning("what a machine is cannot be read from the ledger", type=kind, error=str(error))
    return found


def _read(told: dict[str, Any]) -> MachineShape:
    return MachineShape(
        **{
            **told,
            "features": frozenset(told["features"]),
            "layout": Layout(**told["layout"]),
            "newest": datetime.fromisoformat(told["newest"]),
        }
    )
