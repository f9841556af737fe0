"""How many machines are held, how many can be had, and from which CM."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Supply:
    """What we hold, and what could be had, by type."""

    held: Mapping[str, int] = field(default_factory=dict)
    """Type -> machines held or asked for; those that match no type are under "?"."""
    coming: Mapping[str, int] = field(default_factory=dict)
    """Type -> those of them that will join."""
    returnable: Collection[str] = ()
    """Names of nodes that are drained only because we found them surplus."""
    spare: Mapping[str, int] | None = None
    """Type -> machines that the CMs together can spare; None for no limit."""

    lacking: Mapping[str, str | None] | None = None
    """Nodes that Slurm's power saving wants machines for -> their type, None where no type is like a node.

    None in all where the queue decides.
    """

    @property
    def count(self) -> int:
        """Machines held or asked for."""
        return sum(self.held.values())


def divide(
    wanted: Mapping[str, int], spare: Mapping[tuple[str, str], int], cms: Sequence[str]
) -> dict[tuple[str, str], int]:
    """Share machines out among the CMs, in the CMs' order of preference.

    Args:
        wanted: type -> machines.
        spare: (type, CM) -> machines that this CM can spare; no key where it has none, or it is not known.
        cms: URNs.

    Returns:
        (type, CM) -> machines, without zeros.
    """
    shares: dict[tuple[str, str], int] = {}
    for kind, count in wanted.items():
        left = count
        for cm in cms:
            given = min(left, max(spare.get((kind, cm), 0), 0))
            if given:
                shares[kind, cm] = given
                left -= given
    return shares
