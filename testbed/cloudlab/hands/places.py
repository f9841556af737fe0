"""Authorities and slices by the names that a person gives them."""

from __future__ import annotations

from testbed.cloudlab.assembly import SiteParts
from testbed.cloudlab.engine import Engine
from testbed.cloudlab.sa.records import SaSlice
from testbed.cloudlab.state import CmSlice, Machine
from testbed.cloudlab.steering.control import SteeringError
from testbed.cloudlab.wire.doors import Doors


class Places:
    """Finds what is steered; all from the simulator's ``start`` on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_sa(self, at: str) -> bool:
        """Tell whether a person means the SA."""
        return at in {"sa", self._engine.sa.urn}

    def site(self, at: str) -> SiteParts:
        """Return the parts of the CM with this domain or URN.

        Raises:
            SteeringError: there is none.
        """
        named = {parts.cm.site.domain: parts for parts in self._engine.parts.values()} | self._engine.parts
        if at not in named:
            raise SteeringError(f"there is no CM {at!r}; there are {', '.join(named)}")
        return named[at]

    def machine(self, name: str) -> tuple[SiteParts, Machine]:
        """Return a machine by its name on this computer, with the CM's parts; the caller holds the mutex.

        Raises:
            SteeringError: there is none.
        """
        found = {
            m.name: (parts, m) for parts in self._engine.parts.values() for m in parts.cm.machines.values()
        }
        if name not in found:
            raise SteeringError(f"there is no machine {name!r}; there are {', '.join(found)}")
        return found[name]

    def doors(self, at: str) -> list[Doors]:
        """Return the doors of the SA or of a CM, or all of them for "".

        Raises:
            SteeringError: there is no such authority.
        """
        if not at:
            return [self._engine.sa_doors, *(parts.doors for parts in self._engine.parts.values())]
        return [self.door(at)]

    def door(self, at: str) -> Doors:
        """Return the doors of the SA or of one CM.

        Raises:
            SteeringError: there is no such authority.
        """
        return self._engine.sa_doors if self.is_sa(at) else self.site(at).doors

    def slice_at(self, name: str, parts: SiteParts) -> CmSlice:
        """Return a slice, by its name or URN, as a CM knows it; the caller holds the mutex.

        Raises:
            SteeringError: the CM has no such slice.
        """
        for record in parts.cm.slices.values():
            if name in {record.urn, record.name}:
                return record
        raise SteeringError(f"{parts.cm.site.domain} has no slice {name!r}")

    def slice_at_sa(self, name: str) -> SaSlice:
        """Return a slice, by its name or URN, as the SA knows it; the caller holds the mutex.

        Raises:
            SteeringError: the SA has no such slice.
        """
        for record in self._engine.sa.slices.values():
            if name in {record.urn, record.urn.rpartition("+")[2]}:
                return record
        raise SteeringError(f"the SA has no slice {name!r}")
