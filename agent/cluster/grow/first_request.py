"""What a CM is asked for that holds nothing for us: all that is wanted there, in one request.

A CM of 2021 takes no more before all machines of the first request have booted or were given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from agent.cluster.grow.lenders import choose_loans
from agent.cluster.moment import Moment
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.request.rspec import request_client_ids


def first_request(
    helper: SimpleElasticSliceHelper,
    moment: Moment,
    cm: str,
    wanted: Mapping[str, int],
    names: Mapping[str, str],
) -> tuple[str, dict[str, str]]:
    """Write the first request.

    Args:
        helper: writes it; a document is asked for as it is.
        moment: what is known.
        cm: the CM.
        wanted: type -> how many machines, not empty; the first is preferred.
        names: name -> type where the machines have names already; empty where they have none.

    Returns:
        The request, and client_id -> type of its machines, those of the preferred type first.
    """
    preferred = next(iter(wanted))
    if helper.is_fixed:
        request = helper.create_rspec()
        return request, dict.fromkeys(request_client_ids(request, cm), preferred)
    if names:
        types = {n: kind for each in wanted for n, kind in _of(names, each)[: wanted[each]]}
    else:
        kinds = _kinds(moment, cm, wanted, helper.num_pcs)
        types = dict(zip(helper.new_names(len(kinds)), kinds, strict=True))
    return helper.request_with(types), types


def _kinds(moment: Moment, cm: str, wanted: Mapping[str, int], least: int) -> list[str]:
    preferred, *others = wanted
    # A machine may be of several types: it is wanted once.
    free = Counter(loan.hardware_type for loan in choose_loans(moment, cm, wanted, sum(wanted.values())))
    counts = {preferred: wanted[preferred], **{kind: free[kind] for kind in others}}
    counts[preferred] += max(least - sum(counts.values()), 0)
    return [kind for kind, count in counts.items() for _ in range(count)]


def _of(names: Mapping[str, str], kind: str) -> list[tuple[str, str]]:
    return [(name, each) for name, each in names.items() if each == kind]
