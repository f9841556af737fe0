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
from agent.cloudlab.shared_answer import SharedAnswer
from agent.cloudlab.slices import Slices
from agent.core.errors import (
    BusyError,
    CredentialExpiredError,
    LostReplyError,
    NotFoundError,
    SliceGoneError,
    UnreachableError,
)
from agent.core.ports import Clock, CredentialStore

log = structlog.get_logger()

MARGIN = timedelta(minutes=5)
PATIENCE = 5.0
"""Seconds that a call waits for a new credential where the old one is still good."""

T = TypeVar("T")


class CredentialCache:
    """Our self credential and our slice's, fetched when needed and renewed before their end.

    Safe for many threads: they wait for one fetch, and for none while what they need is at hand. No lock is
    held while the SA is asked.
    """

    def __init__(
        self, sa: SliceAuthority, slice_urn: str, clock: Clock, store: CredentialStore | None = None
    ) -> None:
        self._sa = sa
        self._slice_urn = slice_urn
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = 0
        self._taken = 0
        """Number of the question whose answer ``_slice`` is: an older one never takes its place."""
        self._self: Credential | None = None
        self._slice: Credential | None = None
        self._is_gone = False
        """The SA's last word is that there is no such slice."""
        self._slices = Slices(slice_urn, store)
        self._new_self = SharedAnswer(self._fetch_self, clock, "self-credential")
        self._new_slice = SharedAnswer(self.fetch_slice, clock, "slice-credential")

    @property
    def slice_urn(self) -> str:
        """The slice's URN, as the SA spells it once it has been asked."""
        slice_credential = self._slice
        return slice_credential.target_urn if slice_credential else self._slice_urn

    @property
    def holds_slice(self) -> bool:
        """Whether there is a slice credential at hand."""
        return self._slice is not None

    def expiries(self) -> dict[str, datetime]:
        """Return when the credentials end that we hold now: keys "self" and "slice", absent while unknown."""
        held = {"self": self._self, "slice": self._slice}
        return {target: credential.expires for target, credential in held.items() if credential is not None}

    @property
    def current(self) -> Credential | None:
        """The credential of the slice as the SA has it; None where it has none, or was not asked yet."""
        return self._slice

    @property
    def is_gone(self) -> bool:
        """The SA says that there is no such slice, or it has ended by the end of its credential."""
        held = self._slice
        return self._is_gone or (held is not None and held.expires <= self._clock.now())

    def earlier(self) -> tuple[Credential, ...]:
        """Return what still acts on slices of our name that the SA has no more, the newest one first."""
        return self._slices.earlier(self._slice, self._clock.now())

    def newest(self, credential: Credential) -> Credential:
        """Return the newest credential for the same slice, which lasts longest."""
        return self._slices.newest(credential)

    def with_self(self, call: Callable[[Credential], T]) -> T:
        """Call with the self credential; once more with a new one when the server finds it expired.

        Raises:
            CloudlabError: of the SA, or of ``call``.
        """
        try:
            return call(self._self_credential())
        except CredentialExpiredError as error:
            log.info("credential expired, fetching a new one", target="self", error=str(error))
            return call(self._new_self.get())

    def with_slice(self, call: Callable[[Credential], T]) -> T:
        """Call with the slice credential; once more with a new one when the server finds it expired.

        Raises:
            SliceGoneError: there is no such slice at the SA.
            CloudlabError: of the SA, or of ``call``.
        """
        return self._with_slice(self._slice_credential, call)

    def with_living(self, call: Callable[[Credential], T]) -> T:
        """Call with the credential of a slice that the SA has now, as far as it says so.

        A CM does not know that a slice is gone, and serves a credential until its end. From an SA that is
        silent nothing is known: the credential that we hold is used, since it also gives back what is made
        with it.

        Raises:
            SliceGoneError: there is no such slice at the SA; nothing was called.
            CloudlabError: of the SA, or of ``call``.
        """
        return self._with_slice(self._living, call)

    def _living(self) -> Credential:
        credential = self._renewed(self._slice, self._new_slice, "slice")
        if credential.expires <= self._clock.now():
            raise SliceGoneError(
                f"the slice ended at {credential.expires:%Y-%m-%dT%H:%M:%SZ}", authority="SA"
            )
        return credential

    def _with_slice(self, get: Callable[[], Credential], call: Callable[[Credential], T]) -> T:
        try:
            with before_the_request():
                credential = get()
            return call(credential)
        except CredentialExpiredError as error:
            log.info("credential expired, fetching a new one", target="slice", error=str(error))
            with before_the_request():
                credential = self.fetch_slice()
            return call(credential)

    def fetch_slice(self) -> Credential:
        """Ask the SA for the slice credential: the only way to learn until when the slice lasts.

        Raises:
            SliceGoneError: there is no such slice.
            CloudlabError: the SA did not answer rightly.
        """
        number = self._next()
        try:
            credential = self.with_self(lambda own: self._sa.get_slice_credential(own, self._slice_urn))
        except NotFoundError as error:
            self._take(number, None)
            raise _gone(error) from error
        self._take(number, credential)
        return credential

    def look_for_longer(self, until: datetime) -> None:
        """Ask the SA for a slice credential where the one that we hold ends before ``until``.

        Raises:
            CloudlabError: there was none before, or the SA refuses.
        """
        held = self._slice
        if held is not None and held.expires < until:
            self._renewed(held, self._new_slice, "slice")

    def keep_slice(self, credential: Credential) -> None:
        """Use the slice credential that Register or RenewSlice gave."""
        self._take(self._next(), credential)

    def _next(self) -> int:
        with self._lock:
            self._asked += 1
            return self._asked

    def _take(self, number: int, credential: Credential | None) -> None:
        with self._lock:
            if number <= self._taken:
                return
            self._taken, self._slice, self._is_gone = number, credential, credential is None
        if credential is not None:
            self._slices.keep(credential, self._clock.now())

    def _fetch_self(self) -> Credential:
        # The SA hands out the same string until the second it ends: it may well not be fresh now.
        self._self = credential = self._sa.get_credential()
        return credential

    def _self_credential(self) -> Credential:
        return self._usable(self._self, self._new_self, "self")

    def _slice_credential(self) -> Credential:
        return self._usable(self._slice, self._new_slice, "slice")

    def _usable(self, held: Credential | None, new: SharedAnswer[Credential], target: str) -> Credential:
        if held is not None and self._fresh(held):
            return held
        return self._renewed(held, new, target)

    def _renewed(self, held: Credential | None, new: SharedAnswer[Credential], target: str) -> Credential:
        """Return a new credential; the one held where it is good and the SA does not answer in time."""
        # An SA that is down or hangs must not keep us from CMs that take what we have.
        good = held is not None and held.expires > self._clock.now()
        try:
            return new.get(PATIENCE if good else None)
        except (BusyError, LostReplyError, UnreachableError, TimeoutError) as error:
            if held is None or not good:
                raise
            log.warning(
                "the credential that we have is used", target=target, error=str(error) or "no answer yet"
            )
            return held

    def _fresh(self, credential: Credential) -> bool:
        return credential.expires - self._clock.now() > MARGIN


def _gone(error: NotFoundError) -> SliceGoneError:
    where = {"method": error.method, "authority": error.authority, "log_url": error.log_url}
    return SliceGoneError(str(error.args[0]), code=error.code, **where)
