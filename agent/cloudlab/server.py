"""Our slice at Cloudlab: ``ProtoGeniServer`` is the framework's ``SliceServer`` over ProtoGENI."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

import structlog

from agent.cloudlab.accounts import UserKeys, named
from agent.cloudlab.api import ComponentManager, SliceAuthority
from agent.cloudlab.credential_cache import PATIENCE, CredentialCache
from agent.cloudlab.credentials import Credential
from agent.cloudlab.deletion import Deletion
from agent.cloudlab.foresight import Foresight
from agent.cloudlab.identity import Identity
from agent.cloudlab.orphans import Orphans
from agent.cloudlab.phases import before_the_request
from agent.cloudlab.shared_answer import SharedAnswer
from agent.cloudlab.transport import Transport
from agent.core.errors import (
    AlreadyExistsError,
    BadArgumentsError,
    BusyError,
    LostReplyError,
    NotFoundError,
    UnreachableError,
)
from agent.core.model import AdvertisedNode, Orphan, Sliver, SliverStatus
from agent.core.ports import Clock, CredentialStore

log = structlog.get_logger()

DELETE_TIMEOUT = 900.0
DELETE_POLL = 5.0
T = TypeVar("T")


class ProtoGeniServer:
    """Implements ``agent.core.ports.SliceServer``. Safe for many threads.

    There is one writer per slice: calls that take the slice's lock at a CM wait for each other here, reads of
    the manifest do not. That lock is held while this CM is asked, and none while the SA is.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        slice_urn: str,
        sa: SliceAuthority,
        cms: Sequence[ComponentManager],
        transport: Transport,
        clock: Clock,
        extra_keys: Sequence[str] = (),
        urls: Mapping[str, str] = MappingProxyType({}),
        project_urn: str = "",
        slivers: Mapping[str, str] = MappingProxyType({}),
        delete_timeout: float = DELETE_TIMEOUT,
        delete_poll: float = DELETE_POLL,
        store: CredentialStore | None = None,
    ) -> None:
        """Join the parts; ``agent.cloudlab.connect`` makes them from settings.

        Args:
            identity: who we are.
            slice_urn: URN of our slice.
            sa: where the slice is registered.
            cms: where machines are borrowed, the preferred one first.
            transport: what ``sa`` and ``cms`` call with.
            clock: time.
            extra_keys: SSH public keys for new machines besides the user's at Cloudlab.
            urls: URN of a CM -> where it is called, to find the reservation system beside it.
            project_urn: URN of the project that the slice is in; "" for none.
            slivers: CM -> URN of the sliver that it had when it was last heard.
            delete_timeout: seconds that ``delete_sliver`` waits for the CM to be done.
            delete_poll: seconds between two looks in that wait.
            store: keeps slice credentials over a restart.
        """
        self.identity = identity
        self._sa = sa
        self._cms = {cm.urn: cm for cm in cms}
        self._locks = {urn: threading.Lock() for urn in self._cms}
        self._last_slivers = dict(slivers)
        self._transport = transport
        self._clock = clock
        self._credentials = CredentialCache(sa, slice_urn, clock, store)
        self._orphans = Orphans(self._credentials, clock)
        self._project_urn = project_urn
        self._foresight = Foresight(transport, urls, self._for_reservations)
        self._new_accounts = SharedAnswer(self._ask_accounts, clock, "keys")
        self._known_accounts: Sequence[UserKeys] | None = None
        self._extra_keys = tuple(extra_keys)
        self._delete_timeout = delete_timeout
        self._delete_poll = delete_poll

    @property
    def slice_urn(self) -> str:
        """URN of the slice that the agent keeps."""
        return self._credentials.slice_urn

    @property
    def cms(self) -> Sequence[str]:
        """URNs of the CMs, in order of preference."""
        return tuple(self._cms)

    @property
    def email(self) -> str:
        """Mail address in the user's certificate; "" if it has none."""
        return self.identity.email

    def credential_expiries(self) -> dict[str, datetime]:
        """Return when the credentials end that we hold now, by target: "self" and "slice"."""
        return self._credentials.expiries()

    def close(self) -> None:
        """End every call and every wait at once; later calls raise ``UnreachableError``."""
        self._transport.close()

    def find_slice(self) -> datetime | None:
        """Return until when the slice lasts at the SA, or None when there is no such slice."""
        try:
            return self._credentials.fetch_slice().expires
        except NotFoundError:
            return None

    def create_slice(self, expires: datetime) -> datetime:
        """Register the slice; return until when it lasts.

        Raises:
            AlreadyExistsError: the name is taken, and not by us.
        """
        try:
            credential = self._credentials.with_self(
                lambda own: self._sa.register(own, self._credentials.slice_urn, expires)
            )
        except (LostReplyError, AlreadyExistsError) as error:
            # An earlier call may have done it: then the slice is ours and its credential tells.
            log.info("slice looked up after Register", error=str(error))
            if (found := self.find_slice()) is None:
                raise
            return found
        self._credentials.keep_slice(credential)
        return credential.expires

    def renew_slice(self, expires: datetime) -> datetime:
        """Extend the slice at the SA; return the granted time. Renew here before any CM."""
        try:
            renewed = self._credentials.with_slice(lambda c: self._sa.renew_slice(c, expires))
        except LostReplyError as error:
            log.info("slice looked up after RenewSlice", error=str(error))
            found = self.find_slice()
            if found is None or found < expires.replace(microsecond=0):
                raise
            return found
        self._credentials.keep_slice(renewed)
        return renewed.expires

    def orphans(self) -> dict[str, Orphan]:
        """Return CM -> its sliver whose slice is gone at the SA, as far as calls have shown it."""
        return self._orphans.found()

    def find_sliver(self, cm: str) -> Sliver | None:
        """Read the manifest without taking a lock; None when this CM holds nothing for us.

        Raises:
            SliceGoneError: the SA knows no such slice, and we have no older credential.
        """
        manager = self._manager(cm)

        def look(credential: Credential) -> Sliver | None:
            try:
                return manager.resolve(credential, self._last_slivers.get(cm, ""))
            except NotFoundError:
                return None

        sliver = self._orphans.read(cm, look)
        self._remember(cm, sliver)
        return sliver

    def create_sliver(self, cm: str, rspec: str) -> Sliver:
        """Ask for a first set of machines, with the user's SSH keys on them.

        Raises:
            SliceGoneError: the SA knows no such slice; the CM was not asked.
            AlreadyExistsError: this CM holds a sliver for us.
            InsufficientNodesError: the machines cannot be placed.
            LostReplyError: it may have been made: the manifest tells.
        """
        manager = self._manager(cm)
        with before_the_request():
            keys = self._keys()
        _, sliver = self._alone(cm, lambda c: manager.create_sliver(c, rspec, keys), makes=True)
        self._remember(cm, sliver)
        return sliver

    def renew_sliver(self, cm: str, expires: datetime) -> datetime:
        """Extend the sliver, at most to the slice's end; return the granted time.

        Raises:
            NotFoundError: this CM holds nothing for us.
            RefusedError: a rule of the site, such as a machine that is promised to others (it is named).
        """
        manager = self._manager(cm)

        # The slice may have been renewed by another hand since we fetched the credential that we hold.
        self._credentials.look_for_longer(expires)

        def renew(credential: Credential) -> datetime:
            wanted = min(expires, credential.expires)
            try:
                return manager.renew_slice(credential, wanted)
            except LostReplyError as error:
                log.info("renewing again: a repeat is harmless", cm=cm, error=str(error))
                return manager.renew_slice(credential, wanted)

        return self._alone(cm, renew)

    def find_short_types(
        self, cm: str, held: Mapping[str, int], begin: datetime, end: datetime
    ) -> Collection[str]:
        """Ask which types are short where a sliver is renewed; none where its site does not tell."""
        return self._foresight.find_short(cm, held, begin, end)

    def delete_sliver(self, cm: str) -> None:
        """Give every machine of this CM back and wait until the CM holds nothing for us.

        Boots that are under way are ended.

        Raises:
            BusyError: the CM holds the slice's lock, or makes an image of a machine.
            CloudlabError: with ``begun``, the CM may be at it, and its end was not seen: it held the sliver
                all the time that we waited, or could not be asked any more.
        """
        manager = self._manager(cm)
        deletion = Deletion(
            cm=cm,
            ask=lambda cancel: self._alone(cm, lambda c: manager.delete_slice(c, cancel=cancel)),
            is_there=lambda: self.find_sliver(cm) is not None,
            monotonic=self._clock.monotonic,
            pause=lambda: self._transport.pause(self._delete_poll),
            timeout=self._delete_timeout,
        )
        deletion.carry_out()

    def sliver_status(self, cm: str) -> SliverStatus | None:
        """Return the state of each machine; None when this CM holds nothing for us.

        Raises:
            BusyError: at once, while the CM works for the slice: ask again later.
            CloudlabError: also with code 2 when a machine of the slice was taken: the manifest tells more.
        """
        manager = self._manager(cm)

        def look(credential: Credential) -> SliverStatus | None:
            try:
                return manager.sliver_status(credential)
            except NotFoundError:
                return None

        return self._alone(cm, look)

    def add_nodes(self, cm: str, nodes: Mapping[str, Mapping[str, object]]) -> Sliver:
        """Add machines: client_id -> fields of ``GeniCMV2 AddNodes``. All or nothing; not idempotent.

        Raises:
            LostReplyError: they may have been added: the manifest tells.
            NotFoundError: this CM holds nothing for us; nothing was sent.
            SliceGoneError: the SA knows no such slice; nothing was sent.
            EarlierSliceError: the sliver's slice is gone at the SA: nothing is added to it.
        """
        manager = self._manager(cm)
        urn = self._sliver_urn(cm, "AddNodes")
        return self._alone(cm, lambda c: manager.add_nodes(c, urn, nodes), makes=True)

    def delete_nodes(self, cm: str, client_ids: Sequence[str]) -> Sliver:
        """Give machines back. All or nothing; not idempotent.

        Raises:
            LostReplyError: they may have been given back: the manifest tells.
            NotFoundError: one is not in the manifest, or this CM holds nothing for us.
        """
        manager = self._manager(cm)
        urn = self._sliver_urn(cm, "DeleteNodes")
        return self._alone(cm, lambda c: manager.delete_nodes(c, urn, client_ids))

    def discover(self, cm: str, *, available: bool) -> tuple[AdvertisedNode, ...]:
        """List the CM's machines that can be borrowed whole: only the free ones, or all."""
        listed = self._advertised(cm, available=available)
        return tuple(node for node in listed if node.available or not available)

    def survey(self, cm: str) -> tuple[AdvertisedNode, ...]:
        """List the free machines, flagged as available, and those reserved to the slice, flagged as not."""
        return self._advertised(cm, available=True)

    def _advertised(self, cm: str, *, available: bool) -> tuple[AdvertisedNode, ...]:
        """Ask for what a CM advertises: a slice is told what it may have, others what anybody may."""
        manager = self._manager(cm)

        def look(credential: Credential) -> tuple[AdvertisedNode, ...]:
            return manager.discover_resources(credential, available=available)

        if self._credentials.holds_slice:
            with suppress(NotFoundError):
                return self._credentials.with_slice(look)
        return self._credentials.with_self(look)

    def _alone(self, cm: str, call: Callable[[Credential], T], *, makes: bool = False) -> T:
        """Make a call that takes the slice's lock at a CM, once no other is under way there.

        The SA is never asked while others wait for that. With ``makes`` it has to have the slice.
        """

        def in_turn(credential: Credential) -> T:
            with self._locks[cm]:
                return call(credential)

        return self._orphans.make(cm, in_turn) if makes else self._orphans.act(cm, in_turn)

    def _manager(self, cm: str) -> ComponentManager:
        if (manager := self._cms.get(cm)) is None:
            raise BadArgumentsError("no such CM in [cloudlab] cms", authority=cm)
        return manager

    def _remember(self, cm: str, sliver: Sliver | None) -> None:
        self._orphans.saw(cm, sliver.urn if sliver else "")
        if sliver is not None:
            self._last_slivers[cm] = sliver.urn

    def _sliver_urn(self, cm: str, method: str) -> str:
        """Return the sliver's URN; look first where it is unknown, for these calls leave a lock behind."""
        with before_the_request():
            if not self._orphans.sliver_urn(cm) and self.find_sliver(cm) is None:
                raise NotFoundError("this CM holds no sliver for us", method=method, authority=cm)
        return self._orphans.sliver_urn(cm)

    def _for_reservations(self) -> Credential:
        """Fetch the credential by which a reservation system knows whose machines they are."""
        if not self._project_urn:
            return self._credentials.with_self(lambda own: own)
        return self._credentials.with_self(
            lambda own: self._sa.get_project_credential(own, self._project_urn)
        )

    def public_keys(self, *, added: bool = False) -> frozenset[str]:
        """Tell the SSH public keys that new machines are given, each as ``TYPE BASE64``.

        Args:
            added: they are added to another's sliver, which has the keys that it was made with
                (``GeniCMV2 AddNodes`` takes none).
        """
        users = self._accounts() if added else self._keys()
        return frozenset(" ".join(key.split()[:2]) for user in users for key in user.keys)

    def _accounts(self) -> list[UserKeys]:
        """Ask the SA for the users' keys; where it is down or hangs, those that it told last have to do."""
        known = self._known_accounts
        try:
            return list(self._new_accounts.get(None if known is None else PATIENCE))
        except (BusyError, LostReplyError, UnreachableError, TimeoutError) as error:
            if known is None:
                raise
            log.warning("new machines are given the keys of before", error=str(error) or "no answer yet")
            return list(known)

    def _ask_accounts(self) -> Sequence[UserKeys]:
        told = self._credentials.with_self(self._sa.get_keys)
        self._known_accounts = accounts = [named(account, self.identity.urn) for account in told]
        return accounts

    def _keys(self) -> list[UserKeys]:
        accounts = self._accounts()
        if not self._extra_keys:
            return accounts
        urn = str(self.identity.urn)
        mine = next((a for a in accounts if a.urn == urn), UserKeys(urn, self.identity.urn.id, ()))
        known = (*mine.keys, *(k for k in self._extra_keys if k not in mine.keys))
        return [*(a for a in accounts if a is not mine), UserKeys(mine.urn, mine.login, known)]
