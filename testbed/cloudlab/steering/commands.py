"""The commands of the control socket: checked, then carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError


class Steered(Protocol):
    """What commands steer: the simulator."""

    @property
    def commands(self) -> Mapping[str, Commands]:
        """Commands of other modules, by name."""

    def revoke(self, nodes: str | Sequence[str], seconds: float) -> None:
        """Announce that machines are taken."""

    def withdraw(self, name: str) -> None:
        """Stop a countdown."""

    def value(self, name: str, value: float) -> None:
        """Set a resource value."""

    def fault(self, place: str, kind: str, times: int = 1, *, at: str = "", seconds: float = 5.0) -> None:
        """Switch a fault on."""

    def faults(self) -> Sequence[Any]:
        """List the faults, as dataclasses."""

    def clear_faults(self) -> int:
        """Switch all faults off."""

    def unlock(self) -> list[str]:
        """Free the locks that were left held."""

    def machines(self) -> Sequence[Any]:
        """List the machines, as dataclasses."""


def carry_out(cloudlab: Steered, command: Mapping[str, Any]) -> object:
    """Carry out one command: ``{"do": NAME, ...}``.

    Raises:
        SteeringError: an unknown command, an argument of the wrong type, or the simulator refuses.
    """
    name = str(command.get("do"))
    if name in cloudlab.commands:
        return cloudlab.commands[name](command)
    match name:
        case "ping":
            return "running"
        case "revoke":
            nodes = command.get("nodes")
            if not isinstance(nodes, list) or not nodes:
                raise SteeringError("nodes must be a list of machines")
            cloudlab.revoke([str(node) for node in nodes], arguments.number(command, "seconds"))
            return None
        case "withdraw":
            cloudlab.withdraw(arguments.machine(command))
            return None
        case "value":
            cloudlab.value(arguments.machine(command), arguments.number(command, "value"))
            return None
        case "fault":
            cloudlab.fault(
                arguments.text(command, "place"),
                arguments.text(command, "kind"),
                arguments.whole(command, "times"),
                at=arguments.text(command, "at"),
                seconds=arguments.number(command, "seconds"),
            )
            return None
        case "faults":
            return [asdict(fault) for fault in cloudlab.faults()]
        case "clear-faults":
            return cloudlab.clear_faults()
        case "unlock":
            return cloudlab.unlock()
        case "machines":
            return [asdict(machine) for machine in cloudlab.machines()]
        case other:
            raise SteeringError(f"unknown command {other!r}")
