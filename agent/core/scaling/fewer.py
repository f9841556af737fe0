"""How many machines of each type to ask for after a refusal: fewer, by its words or by half. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.errors import InsufficientNodesError, Shortage


@dataclass(frozen=True)
class Fewer:
    """What a refusal leaves to ask for, of one type."""

    count: int
    """Machines, fewer than were asked for."""
    is_told: bool = False
    """The CM told the number: it is the most. Else it is a guess, and more of them may be had."""


def fewer(
    asked: Mapping[str, int], held: Mapping[str, int], refusal: InsufficientNodesError
) -> dict[str, Fewer]:
    """Decide what may be asked for instead.

    A CM counts the machines that the sliver has already, foreign ones included: what matters is by how many
    its numbers differ (``tbsetup/mapper.in``: «5 nodes of type m510 requested, but only 4 available»).

    Args:
        asked: type -> machines that were asked for, "" for any type; not empty.
        held: type -> machines that the sliver has.
        refusal: what the CM said.

    Returns:
        Type -> what to ask for; no key for a type that the refusal is not about. Empty where it does not tell
        which of several types it is about.
    """
    found: dict[str, Fewer] = {}
    for short in refusal.shortages:
        if short.hardware_type not in asked and held.get(short.hardware_type, 0) >= short.wanted:
            # It has more of it already than it may have: the CM refuses every change.
            return dict.fromkeys(asked, Fewer(0, is_told=True))
        kind = short.hardware_type if short.hardware_type in asked else _only(asked)
        if kind is not None:
            told = _by_its_numbers(asked[kind], short)
            found[kind] = min(told, found.get(kind, told), key=lambda each: each.count)
    if not found and (kind := _only(asked)) is not None:
        return {kind: Fewer(asked[kind] // 2)}
    return found


def _only(asked: Mapping[str, int]) -> str | None:
    return next(iter(asked)) if len(asked) == 1 else None


def _by_its_numbers(count: int, short: Shortage) -> Fewer:
    beyond = short.wanted - short.available
    return Fewer(max(count - beyond, 0), is_told=True) if beyond > 0 else Fewer(count // 2)
