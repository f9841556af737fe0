"""At which CM a machine is that a call of Cloudlab names: racks call their machines alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from agent.core.model import SliverNode, differ
from agent.core.said import Saying

_caller: ContextVar[str] = ContextVar("caller", default="")


@contextmanager
def called_by(urn: str) -> Iterator[None]:
    """Have the calls that are answered within come from this caller: the URN in its certificate."""
    token = _caller.set(urn)
    try:
        yield
    finally:
        _caller.reset(token)


def caller() -> str:
    """Return the URN of who makes the call that is being answered; "" where that is not known."""
    return _caller.get()


def cm_of(
    node_id: str,
    client_id: str,
    source: str,
    *,
    cms: Sequence[str],
    machines: Collection[SliverNode],
    said: Collection[Saying] = (),
) -> str:
    """Tell at which CM a machine is that was named.

    By both its names, as the manifests have them; else the CM that speaks, of its own machines; else by its
    node_id, where one CM alone has such a machine, or was spoken of before with such a one. A machine that is
    known by another client_id is not meant: its twin at another CM may have left the manifests. Where one CM
    alone is in use, it is at that one.

    Args:
        node_id: as it was named.
        client_id: "" where it was not told.
        source: URN of who said it, or of what was named; "" where it is not known.
        cms: URNs of the CMs in use.
        machines: those in the manifests, of ours or of others.
        said: what was said of machines before.

    Returns:
        URN of the CM; "" where it cannot be told.
    """
    speaker = next((cm for cm in cms if source and _authority(cm) == _authority(source)), "")
    fitting = [m for m in machines if m.node_id == node_id and not differ(m.client_id, client_id)]
    full = {m.cm for m in fitting if client_id and m.client_id == client_id}
    if len(full) == 1:
        return next(iter(full))
    if speaker:
        return speaker
    named = {machine.cm for machine in fitting}
    alike = (each for each in said if each.node_id == node_id and not differ(each.client_id, client_id))
    before = {each.cm for each in alike if each.cm}
    for found in (named, before, set(cms)):
        if len(found) == 1:
            return next(iter(found))
    return ""


def _authority(urn: str) -> str:
    """Return the authority of a URN in lower case, such as ``emulab.net`` (Emulab's GeniHRN.pm)."""
    return urn.partition("+")[2].partition("+")[0].lower()
