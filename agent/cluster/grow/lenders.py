"""What the CMs can lend us, and which of their machines are asked for: pure decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.cluster.moment import Moment
from agent.core.model import Place, Share
from agent.core.said import ResourceValue
from agent.core.scaling.choosing import asking_for, choose_machines


@dataclass(frozen=True)
class Loan:
    """A free machine that is asked for by its node_id, or by its type where the CM knows types."""

    hardware_type: str
    """The type that the queue wants it as."""
    node_id: str

    def asked(self, cm: str, values: Mapping[Place, ResourceValue]) -> dict[str, str]:
        """Return the fields of ``GeniCMV2 AddNodes`` that ask for it."""
        return asking_for(self.node_id, self.hardware_type, cm, values)


def spare_machines(moment: Moment) -> dict[tuple[str, str], int]:
    """Count what each CM can spare: (type, CM) -> machines, negative where too few are free.

    It is 0 where the CM said that it has none, and for a type that is left alone there for now; where it
    refused more of a type, it is what it gives. There is no
    key where it is not known, and at a CM that cannot be asked now: nobody waits for it.
    """
    known = moment.slice
    found = {}
    for cm in known.cms:
        for kind in moment.settings.demand.types_at(cm):
            share = _share_of(kind, moment, cm) if kind else known.shares.get(cm)
            admission = known.admitted.get((cm, kind))
            is_refused = admission is not None and admission.more == 0
            if cm in known.exhausted or is_refused or kind in known.avoided.get(cm, ()):
                found[kind, cm] = 0
            elif share is not None and cm not in known.closed:
                spare = share.spare(known.stays_free)
                limits = [spare, spare if kind else known.fitting.get(cm, spare)]
                found[kind, cm] = min([*limits, admission.more] if admission else limits)
    return found


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


def choose_loans(moment: Moment, cm: str, wanted: Mapping[str, int], most: int) -> tuple[Loan, ...]:
    """Pick a free machine of its type for each that is wanted: not every CM can be asked for a type.

    Args:
        moment: what is known.
        cm: the CM.
        wanted: type -> machines.
        most: how many in all.
    """
    loans: list[Loan] = []
    for kind, count in wanted.items():
        # One machine may be of several types.
        lent = {loan.node_id for loan in loans}
        chosen = choose_machines(
            (node for node in moment.slice.free.get(cm, ()) if node.node_id not in lent),
            min(count, most - len(loans)),
            nodetype=kind,
            avoid_types=(),
            values=moment.slice.values,
        )
        loans += [Loan(kind, node_id) for node_id in chosen]
    return tuple(loans)


def _share_of(hardware_type: str, moment: Moment, cm: str) -> Share | None:
    """Count the free machines of a type at a CM; None where that is not known."""
    everything, free = moment.slice.everything.get(cm), moment.slice.free.get(cm)
    if everything is None or free is None:
        return None
    return Share(
        sum(hardware_type in n.hardware_types for n in free),
        sum(hardware_type in n.hardware_types for n in everything),
    )
