"""Resource values -> node weights: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.moment import Moment
from agent.cluster.settings.weights import WeightSettings
from agent.core.said import ResourceValue
from agent.core.settings import format_duration


@dataclass(frozen=True)
class SetWeight:
    """Give these nodes one weight."""

    nodes: tuple[str, ...]
    """Node names, sorted."""
    weight: int
    reason: str


def weight_of(value: float, settings: WeightSettings) -> int:
    """Map a resource value, 0 to 1, to the weight of its level."""
    wanted = value if settings.high_value == "wanted" else 1 - value
    level = round(wanted * (settings.levels - 1))
    span = settings.weight_max - settings.weight_min
    return settings.weight_min + round(level * span / (settings.levels - 1))


def plan_weights(moment: Moment) -> tuple[SetWeight, ...]:
    """Decide which weights have to change, as differences against those seen in Slurm.

    A reconfigure or a restart of Slurm may have reset its weights. No node but our machines' is touched.

    Returns:
        One action a weight, lowest weight first.
    """
    settings = moment.settings.weights
    groups: dict[int, dict[str, str]] = {}
    for name in moment.joined:
        received = moment.slice.value_of(moment.machines[name])
        value, why = _value_now(received, settings, moment.steady)
        weight = weight_of(value, settings)
        if moment.nodes[name].weight != weight:
            groups.setdefault(weight, {})[name] = why
    return tuple(
        SetWeight(tuple(sorted(group)), weight, ", ".join(sorted(set(group.values()))))
        for weight, group in sorted(groups.items())
    )


def _value_now(received: ResourceValue | None, settings: WeightSettings, now: datetime) -> tuple[float, str]:
    """Return the value that holds now, and why in words."""
    default = f"default value {settings.default_value:.2f}"
    if received is None:
        return settings.default_value, f"{default}: none was received"
    if now - received.received > timedelta(seconds=settings.value_ttl):
        return settings.default_value, f"{default}: none within {format_duration(settings.value_ttl)}"
    if not 0 <= received.value <= 1:
        return settings.default_value, f"{default}: {received.value} is not from 0 to 1"
    return received.value, f"resource value {received.value:.2f}"
