"""The credentials that we work with: fetched when needed, renewed before their end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from agent.cloudlab.api import SliceAuthority
from agent.cloudlab.credentials import Credential
from agent.cloudlab.phases import before_the_request
from agent.core.errors import (
    BusyError,
    CredentialExpiredError,
    LostReplyError,
    NotFoundError,
    UnreachableError,
)
from agent.core.ports import Clock

log = structlog.get_logger()

MARGIN = timedelta(minutes=5)

T = TypeVar("T")


class CredentialCache:
    """Our self credential and our slice's, fetched when needed and renewed before their end.

    Safe for many threads: they wait for one fetch.
    """

    def __init__(self, sa: SliceAuthority, slice_urn: str, clock: Clock) -> None:
        self._sa = sa
        self._slice_urn = slice_urn
        self._clock = clock
        self._lock = threading.RLock()
        self._self: Credential | None = None
        self._slice: Credential | None = None

    @property
    def slice_urn(self) -> str:
        """The slice's URN, as the SA spells it once it has been asked."""
        slice_credential = self._slice
        return slice_credential.target_urn if slice_credential else self._slice_urn

    def expiries(self) -> dict[str, datetime]:
        """Return when the credentials end that we hold now: keys "self" and "slice", absent while unknown."""
        held = {"self": self._self, "slice": self._slice}
        return {target: credential.expires for target, credential in held.items() if credential is not None}

    def with_self(self, call: Callable[[Credential], T]) -> T:
        """Call with the self credential; once more with a new one when the server finds it expired.

        Raises:
            CloudlabError: of the SA, or of ``call``.
        """
        try:
            return call(self._self_credential())
        except CredentialExpiredError as error:
            log.info("credential expired, fetching a new one", target="self", error=str(error))
            with self._lock:
                self._self = None
            return call(self._self_credential())

    def with_slice(self, call: Callable[[Credential], T]) -> T:
        """Call with the slice credential; once more with a new one when the server finds it expired.

        Raises:
            NotFoundError: of the SA: there is no such slice.
            CloudlabError: of the SA, or of ``call``.
        """
        try:
            with before_the_request():
                credential = self._slice_credential()
            return call(credential)
        except CredentialExpiredError as error:
            log.info("credential expired, fetching a new one", target="slice", error=str(error))
            with before_the_request():
                credential = self.fetch_slice()
            return call(credential)

    def fetch_slice(self) -> Credential:
        """Ask the SA for the slice credential: the only way to learn until when the slice lasts.

        Raises:
            NotFoundError: there is no such slice.
            CloudlabError: the SA did not answer rightly.
        """
        with self._lock:
            try:
                self._slice = self.with_self(lambda own: self._sa.get_slice_credential(own, self._slice_urn))
            except NotFoundError:
                self._slice = None
                raise
            return self._slice

    def keep_slice(self, credential: Credential) -> None:
        """Use the slice credential that Register or RenewSlice gave."""
        with self._lock:
            self._slice = credential

    def _self_credential(self) -> Credential:
        with self._lock:
            if self._self is None or not self._fresh(self._self):
                # The SA hands out the same string until the second it ends: it may well not be fresh now.
                self._self = self._sa.get_credential()
            return self._self

    def _slice_credential(self) -> Credential:
        with self._lock:
            old = self._slice
            if old is not None and self._fresh(old):
                return old
            try:
                return self.fetch_slice()
            except (BusyError, LostReplyError, UnreachableError) as error:
                # An SA that is down must not keep us from CMs that take what we have.
                if old is None or old.expires <= self._clock.now():
                    raise
                log.warning("the slice credential is used to its end", error=str(error))
                return old

    def _fresh(self, credential: Credential) -> bool:
        return credential.expires - self._clock.now() > MARGIN
