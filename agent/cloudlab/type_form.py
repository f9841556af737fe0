"""How a CM is asked for a machine of a type: by the type, or by the name of a machine that is of it.

``GeniCMV2 AddNodes`` of 2016 passes over ``hardware_type`` without a word; one of 2021 knows it, and chooses
a machine that nobody took meanwhile and that the project may have. Newer manifests tell by what they say of
the machines. A machine of another type that comes tells that the CM does not know it after all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from agent.core.model import SliverNode

log = structlog.get_logger()

Nodes = dict[str, dict[str, object]]


class TypeForm:
    """Remembers the form for one CM."""

    def __init__(self, cm: str) -> None:
        self._cm = cm
        self._knows_types = False
        self._passed_over = False

    def read(self, *, knows_types: bool) -> None:
        """Learn from a manifest whether it is of a CM that knows types."""
        self._knows_types = self._knows_types or knows_types

    def choose(self, nodes: Mapping[str, Mapping[str, object]]) -> Nodes:
        """Keep one of ``node`` and ``hardware_type`` of machines that have both."""
        left_out = "node" if self._knows_types and not self._passed_over else "hardware_type"
        return {
            client_id: {
                key: value
                for key, value in fields.items()
                if key != left_out or not {"node", "hardware_type"} <= fields.keys()
            }
            for client_id, fields in nodes.items()
        }

    def came(self, sent: Mapping[str, Mapping[str, object]], machines: Iterable[SliverNode]) -> None:
        """See whether machines that were asked for by type alone are of it."""
        for machine in machines:
            fields = sent.get(machine.client_id, {})
            wanted = fields.get("hardware_type")
            if "node" in fields or not wanted or machine.hardware_type in {"", wanted}:
                continue
            self._passed_over = True
            log.warning(
                "the CM passes over hardware_type: machines of a type are asked for by name from now on",
                cm=self._cm,
                client_id=machine.client_id,
                wanted=wanted,
                given=machine.hardware_type,
            )
