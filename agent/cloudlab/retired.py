"""Which CMs the ledger knows and [cloudlab] has no more: renamed ones, and retired ones. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.cloudlab.settings import CmSettings
from agent.cloudlab.urn import same_urn
from agent.core.model import CmTeardown, Holding, Intent


@dataclass(frozen=True)
class Departed:
    """The CMs at which something is held or asked for, and that agent.conf does not have."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """URN -> the one that agent.conf has for it now."""
    retired: Mapping[str, str] = field(default_factory=dict)
    """URN -> URL of those that it does not have at all; "" where nobody remembers the URL."""


class CmStore(Protocol):
    """What is kept of whole CMs."""

    def urls(self) -> Mapping[str, str]:
        """Return URN -> URL where each CM was called."""

    def teardowns(self) -> Collection[CmTeardown]:
        """Return the wishes that CMs be emptied."""

    def take_up(self, renamed: Mapping[str, str], urls: Mapping[str, str]) -> None:
        """Take over other URNs, and where the CMs are called now."""


class Store(Protocol):
    """What is remembered: the ledger."""

    @property
    def cms(self) -> CmStore:
        """What is kept of whole CMs."""

    def holdings(self) -> Collection[Holding]:
        """Return what CMs held when they were last heard."""

    def intents(self) -> Collection[Intent]:
        """Return what was asked and is not settled."""


def take_leave(cms: Sequence[CmSettings], store: Store) -> Departed:
    """Tell what became of the CMs that are not in agent.conf any more, and write down where all are called.

    Raises:
        LedgerError: the store cannot be read or written.
    """
    wished = {wish.cm for wish in store.cms.teardowns()}
    departed = find_departed(cms, store.holdings(), store.intents(), store.cms.urls(), wished)
    store.cms.take_up(departed.renamed, {cm.urn: cm.url for cm in cms})
    return departed


def find_departed(
    cms: Sequence[CmSettings],
    holdings: Collection[Holding],
    intents: Collection[Intent],
    urls: Mapping[str, str],
    wished: Collection[str] = (),
) -> Departed:
    """Tell what became of each CM that is remembered and not in agent.conf.

    One whose URL, or another spelling of whose URN, is in agent.conf is the same CM under another URN: asked
    by the old one, it would tell of a sliver without machines, and that would be given back as a whole.

    Args:
        cms: those of agent.conf.
        holdings: what CMs held when they were last heard.
        intents: what was asked and is not settled.
        urls: URN -> URL where each CM was called.
        wished: URNs of those that somebody had emptied: nothing is asked of such a one under another URN
            either, though nothing is held there.
    """
    occupied = {h.cm for h in holdings if h.is_ours_to_return} | {intent.cm for intent in intents}
    renamed: dict[str, str] = {}
    retired: dict[str, str] = {}
    for urn in sorted((occupied | set(wished)) - {cm.urn for cm in cms}):
        url = urls.get(urn, "")
        same = [cm.urn for cm in cms if same_urn(cm.urn, urn) or (url and _is_same(cm.url, url))]
        if free := [new for new in same if new not in occupied and new not in renamed.values()]:
            renamed[urn] = free[0]
        elif urn not in occupied:
            continue
        elif not same:
            retired[urn] = url
        else:
            # Two are called at one URL, and each has something: which is which only a person can tell.
            retired[urn] = ""
    return Departed(renamed, retired)


def _is_same(url: str, other: str) -> bool:
    return url.rstrip("/").lower() == other.rstrip("/").lower()
