"""The arguments of a command of the control socket, each read as what it has to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.cloudlab.steering.control import SteeringError


def text(command: Mapping[str, Any], key: str) -> str:
    """Return an argument that is text.

    Raises:
        SteeringError: it is missing, or something else; as all below.
    """
    value = command.get(key)
    if not isinstance(value, str):
        raise SteeringError(f"{key} must be a text, not {value!r}")
    return value


def texts(command: Mapping[str, Any], key: str) -> list[str]:
    """Return an argument that is a list of texts."""
    value = command.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SteeringError(f"{key} must be a list of texts, not {value!r}")
    return value


def whole(command: Mapping[str, Any], key: str) -> int:
    """Return an argument that is a whole number."""
    value = command.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise SteeringError(f"{key} must be a whole number, not {value!r}")
    return value


def number(command: Mapping[str, Any], key: str) -> float:
    """Return an argument that is a number."""
    value = command.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SteeringError(f"{key} must be a number, not {value!r}")
    return float(value)


def switch(command: Mapping[str, Any], key: str) -> bool:
    """Return an argument that is true or false."""
    value = command.get(key)
    if not isinstance(value, bool):
        raise SteeringError(f"{key} must be true or false, not {value!r}")
    return value


def machine(command: Mapping[str, Any]) -> str:
    """Return the machine that ``node`` names."""
    node = command.get("node")
    if not isinstance(node, str):
        raise SteeringError(f"node must be a machine such as pc100, not {node!r}")
    return node
