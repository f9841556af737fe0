"""The commands of the control socket: checked, then carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from testbed.cloudlab.steering.control import SteeringError


class Steered(Protocol):
    """What commands steer: the simulator."""

    def revoke(self, nodes: str | Sequence[str], seconds: float) -> None:
        """Announce that machines are taken."""

    def withdraw(self, name: str) -> None:
        """Stop a countdown."""

    def value(self, name: str, value: float) -> None:
        """Set a resource value."""

    def promise(self, name: str, project: str) -> None:
        """Reserve a machine for another project in advance."""

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
    match command.get("do"):
        case "ping":
            return "running"
        case "revoke":
            nodes = command.get("nodes")
            if not isinstance(nodes, list) or not nodes:
                raise SteeringError("nodes must be a list of machines")
            cloudlab.revoke([str(node) for node in nodes], _number(command, "seconds"))
            return None
        case "withdraw":
            cloudlab.withdraw(_name(command))
            return None
        case "value":
            cloudlab.value(_name(command), _number(command, "value"))
            return None
        case "promise":
            cloudlab.promise(_name(command), _text(command, "project"))
            return None
        case "fault":
            cloudlab.fault(
                _text(command, "place"),
                _text(command, "kind"),
                _whole(command, "times"),
                at=_text(command, "at"),
                seconds=_number(command, "seconds"),
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


def _text(command: Mapping[str, Any], key: str) -> str:
    value = command.get(key)
    if not isinstance(value, str):
        raise SteeringError(f"{key} must be a text, not {value!r}")
    return value


def _whole(command: Mapping[str, Any], key: str) -> int:
    value = command.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise SteeringError(f"{key} must be a whole number, not {value!r}")
    return value


def _name(command: Mapping[str, Any]) -> str:
    node = command.get("node")
    if not isinstance(node, str):
        raise SteeringError(f"node must be a machine such as pc100, not {node!r}")
    return node


def _number(command: Mapping[str, Any], key: str) -> float:
    value = command.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SteeringError(f"{key} must be a number, not {value!r}")
    return float(value)
