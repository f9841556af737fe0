"""Resource values -> node weights: a pure decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from agent.cluster.settings.weights import WeightSettings
from agent.core.errors import SlurmRefusedError
from agent.core.model import ResourceValue
from agent.core.settings import format_duration
from agent.slurm.model import SlurmBackend, Snapshot


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


def plan_weights(
    snapshot: Snapshot,
    node_names: Mapping[str, str],
    values: Mapping[str, ResourceValue],
    settings: WeightSettings,
    now: datetime,
) -> tuple[SetWeight, ...]:
    """Decide which weights have to change, as differences against those seen in Slurm.

    Args:
        snapshot: what Slurm says; a reconfigure or a restart may have reset its weights.
        node_names: node_id -> node name of the machines that we hold; no other node is ever touched.
        values: node_id -> the last resource value received.
        settings: [weights].
        now: the time of the decision.

    Returns:
        One action a weight, lowest weight first.
    """
    groups: dict[int, dict[str, str]] = {}
    for node_id, name in node_names.items():
        node = snapshot.nodes.get(name)
        if node is None:
            continue
        value, why = _value_now(values.get(node_id), settings, now)
        weight = weight_of(value, settings)
        if node.weight != weight:
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


def note_weights(snapshot: Snapshot, names: Iterable[str], weight: int) -> Snapshot:
    """Return the snapshot with the weight that Slurm took just now; the next reading tells what really holds.

    Until then the same would be set, and told, again whenever resource values come.
    """
    changed = {name: replace(snapshot.nodes[name], weight=weight) for name in names}
    return replace(snapshot, nodes={**snapshot.nodes, **changed})


def push_weights(backend: SlurmBackend, change: SetWeight) -> tuple[tuple[str, ...], list[SlurmRefusedError]]:
    """Set one weight, in one request; where Slurm refuses it, in halves, so that one node costs no other.

    Returns:
        The names that Slurm took, and each refusal. The next reading tells what really holds.

    Raises:
        SlurmDownError: no controller answered.
    """
    try:
        backend.set_weight(change.nodes, change.weight)
    except SlurmRefusedError as error:
        if len(change.nodes) == 1:
            return (), [error]
    else:
        return change.nodes, []
    middle = len(change.nodes) // 2
    parts = (change.nodes[:middle], change.nodes[middle:])
    halves = [push_weights(backend, replace(change, nodes=part)) for part in parts]
    return tuple(n for done, _ in halves for n in done), [e for _, errors in halves for e in errors]
