"""The credentials of all slices of our slice's name: what still acts on those that the SA has no more."""

from __future__ import annotations

import threading
from datetime import datetime

import structlog

from agent.cloudlab.credentials import Credential, parse_credential
from agent.core.errors import LedgerError
from agent.core.ports import CredentialStore

log = structlog.get_logger()


class Slices:
    """Keeps the credential of each slice that lasts longest, and over a restart. Thread-safe.

    A slice that is registered anew has the same URN and another uuid, and a CM takes for what it holds for
    the older one only that one's credential (``GeniCMV2 Credential2SliceAggregate``). On the disk it is no
    secret of its own: nobody acts with it but its owner, with the private key of his certificate.

    Args:
        urn: of the slices.
        store: where they outlast a restart; None for nowhere.
    """

    def __init__(self, urn: str, store: CredentialStore | None) -> None:
        self._urn = urn
        self._store = store
        self._lock = threading.Lock()
        self._kept: dict[str, Credential] = {}
        """uuid -> credential, the one that was taken last at the end."""
        for text in store.credentials(urn) if store else ():
            try:
                credential = parse_credential(text)
            except ValueError as error:
                log.warning("a credential that was kept cannot be read", error=str(error))
            else:
                self._kept[credential.target_uuid] = credential
        self._stored = {credential.text for credential in self._kept.values()}

    def keep(self, credential: Credential, now: datetime) -> None:
        """Keep the credential of the slice as the SA has it now; drop those that have ended.

        One that lasts longer stays: a slice whose end was moved nearer has slivers that outlive it.
        """
        uuid = credential.target_uuid
        with self._lock:
            known = self._kept.pop(uuid, credential)
            credential = max(credential, known, key=lambda each: each.expires)
            self._kept[uuid] = credential
            self._kept = {each: kept for each, kept in self._kept.items() if kept.expires > now}
            is_stored = credential.text in self._stored
        if self._store is None or not uuid or is_stored:
            return
        try:
            self._store.put_credential(self._urn, uuid, credential.text, credential.expires, now)
        except LedgerError as error:
            log.warning("the slice's credential cannot be stored; tried again", error=str(error))
            return
        with self._lock:
            self._stored = {kept.text for kept in self._kept.values()} & (self._stored | {credential.text})

    def newest(self, credential: Credential) -> Credential:
        """Return the credential for the same slice that lasts longest."""
        with self._lock:
            return self._kept.get(credential.target_uuid, credential)

    def earlier(self, current: Credential | None, now: datetime) -> tuple[Credential, ...]:
        """Return those of other slices than the current one that have not ended, the newest one first."""
        with self._lock:
            kept = [credential for credential in self._kept.values() if credential.expires > now]
        return tuple(c for c in reversed(kept) if current is None or current.is_for_another(c))
