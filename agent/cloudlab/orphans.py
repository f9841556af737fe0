"""Slivers whose slice is gone at the SA: which CMs hold one, and which credential still acts on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from agent.cloudlab.credential_cache import CredentialCache
from agent.cloudlab.credentials import Credential
from agent.core.errors import CredentialExpiredError, EarlierSliceError, SliceGoneError
from agent.core.model import Orphan
from agent.core.ports import Clock

log = structlog.get_logger()
T = TypeVar("T")


class Orphans:
    """Finds the credential that acts on what a CM holds for us. Thread-safe.

    It is that of the slice as the SA has it, until the SA has another one or none, or the CM says that its
    sliver is an earlier slice's. It is learnt from calls that act: ``Resolve`` compares URNs alone.

    Args:
        credentials: the SA's word.
        clock: time.
    """

    def __init__(self, credentials: CredentialCache, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock
        self._slivers: dict[str, str] = {}
        """CM -> URN of its sliver."""
        self._acted: dict[str, Credential] = {}
        """CM -> the credential that acted last on its sliver."""
        self._refused: set[str] = set()
        """CMs with a sliver of an earlier slice on which no credential that we have acts."""

    def act(self, cm: str, call: Callable[[Credential], T]) -> T:
        """Make a call that acts on a CM's sliver, or asks how it is, with the credential that may.

        Raises:
            SliceGoneError: there is no such slice at the SA, and no older credential.
            EarlierSliceError: the sliver is an earlier slice's whose credential we do not have.
            CloudlabError: of the SA, or of ``call``.
        """

        def acting(credential: Credential) -> T:
            return self._note(cm, credential, call(credential))

        if (old := self._older(cm)) is not None:
            return acting(old)
        try:
            return self._credentials.with_slice(acting)
        except (EarlierSliceError, SliceGoneError) as error:
            for old in self._credentials.earlier():
                try:
                    return acting(old)
                except (CredentialExpiredError, EarlierSliceError) as other:
                    log.info("not the credential of that slice", cm=cm, error=str(other))
            if isinstance(error, EarlierSliceError):
                self._refused.add(cm)
            raise

    def make(self, cm: str, call: Callable[[Credential], T]) -> T:
        """Make a call that asks a CM for machines, with the credential of a slice that the SA has.

        Raises:
            SliceGoneError: there is no such slice at the SA; nothing was called.
            EarlierSliceError: what the CM holds is an earlier slice's; nothing was made.
            CloudlabError: of the SA, or of ``call``.
        """

        def making(credential: Credential) -> T:
            if (old := self._acted.get(cm)) is not None and credential.is_for_another(old):
                raise EarlierSliceError("the slice of the sliver there is gone at the SA", authority=cm)
            return self._note(cm, credential, call(credential))

        try:
            return self._credentials.with_living(making)
        except EarlierSliceError:
            if cm not in self._acted:
                self._refused.add(cm)
            raise

    def read(self, cm: str, call: Callable[[Credential], T]) -> T:
        """Make a call that only looks, with any credential for a slice of that name.

        Raises:
            SliceGoneError: there is no such slice at the SA, and no older credential.
            CloudlabError: of the SA, or of ``call``.
        """
        if (old := self._older(cm)) is not None:
            return call(old)
        try:
            return self._credentials.with_slice(call)
        except SliceGoneError:
            if (old := next(iter(self._credentials.earlier()), None)) is None:
                raise
            return call(old)

    def saw(self, cm: str, sliver_urn: str) -> None:
        """Take note of what a CM holds for us; "" for nothing."""
        if sliver_urn:
            self._slivers[cm] = sliver_urn
            return
        self._slivers.pop(cm, None)
        self._acted.pop(cm, None)
        self._refused.discard(cm)

    def sliver_urn(self, cm: str) -> str:
        """Return the URN of the sliver that was seen last at a CM; "" for none."""
        return self._slivers.get(cm, "")

    def found(self) -> dict[str, Orphan]:
        """Return CM -> its sliver, where that has no slice at the SA any more."""
        found: dict[str, Orphan] = {}
        for cm in tuple(self._slivers):
            if (old := self._older(cm)) is not None:
                found[cm] = Orphan(old.expires)
            elif cm in self._refused:
                found[cm] = Orphan(None)
            elif self._credentials.is_gone:
                kept = next(iter(self._credentials.earlier()), None)
                found[cm] = Orphan(kept.expires if kept else None)
        return found

    def _note(self, cm: str, credential: Credential, result: T) -> T:
        if result is not None:
            self._acted[cm] = credential
            self._refused.discard(cm)
        return result

    def _older(self, cm: str) -> Credential | None:
        """Return the credential of a slice that is gone, by which a CM's sliver is known; None for none."""
        if (acted := self._acted.get(cm)) is None:
            return None
        kept, current = self._credentials.newest(acted), self._credentials.current
        is_older = current is None or current.is_for_another(kept)
        return kept if is_older and kept.expires > self._clock.now() else None
