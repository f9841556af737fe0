"""RenewSlice: how far a slice's end may be moved (protogeni.md §3.6, protogeni-2021.md §7)."""

from __future__ import annotations

from datetime import datetime

from testbed.cloudlab import dates
from testbed.cloudlab.answer import Code, RaisedError, RefusalError, busy
from testbed.cloudlab.cm.expiry import NO_TIME, check_expiry
from testbed.cloudlab.cm.gate import take_patiently
from testbed.cloudlab.cm.manager import SHUT_DOWN, TERMINATING, ComponentManager
from testbed.cloudlab.documents.credentials import Credential
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Aggregate, CmSlice, Machine
from testbed.cloudlab.wire.xmlrpc import Opaque, truthy

RENEW = frozenset({"pi", "control"})
LOCK_WAIT = 10.0
"""Simulated seconds that the newer server waits for the slice's lock."""


class RenewalMethods:
    """The method that moves a slice's end."""

    def __init__(self, cm: ComponentManager) -> None:
        self._cm = cm
        self._new = cm.site.generation >= 2021
        cm.methods["RenewSlice"] = self._renew_slice

    def _renew_slice(self, request: Request) -> str:
        code = Code.SEARCHFAILED if self._new else Code.BADARGS
        missing = RefusalError(code, "No such slice here")
        record, credential = self._cm.find_slice(request, RENEW, missing)
        if credential.target != record.urn:
            raise RefusalError(Code.ERROR, "No local slice found")
        take_patiently(self._cm, record, LOCK_WAIT, busy("slice"))
        if record.aggregate is None:
            # No experiment behind the slice: the real method dies here.
            record.lock.leave()
            raise RaisedError("slice without experiment")
        try:
            if record.shut_down:
                raise RefusalError(Code.ERROR, SHUT_DOWN)
            if record.terminating:
                raise RefusalError(Code.ERROR, TERMINATING)
            return self._renew_locked(record, record.aggregate, credential, request)
        finally:
            record.lock.free()

    def _renew_locked(
        self, record: CmSlice, aggregate: Aggregate, credential: Credential, request: Request
    ) -> str:
        self._check_machines(record, aggregate)
        if self._new and truthy(request.params.get("force")):
            words = "SetSliceExpiration: Refused force mode cause credential was too weak"
            raise RefusalError(Code.REFUSED, words)
        wanted = self._wanted(request, credential)
        if wanted == record.expires:
            return dates.gmt(record.expires)
        granted = check_expiry(
            wanted,
            credential.expires,
            self._cm.around.clock.now(),
            self._cm.rules.max_sliver_lifetime,
            alap=truthy(request.params.get("alap")),
            record=record,
        )
        if self._new and granted > record.expires:
            self._check_reservations(record, aggregate, granted)
        record.expires = dates.stored(granted)
        aggregate.credentials.clear()
        return dates.gmt(record.expires)

    def _check_machines(self, record: CmSlice, aggregate: Aggregate) -> None:
        """Refuse where one machine is set aside for somebody else; the first one is named."""
        now = self._cm.around.clock.now()
        for sliver in aggregate.nodes.values():
            machine = sliver.machine
            if _promised(machine, record) and (machine.promised_from is None or machine.promised_from <= now):
                raise RefusalError(Code.REFUSED, f"Refused cause {machine.node_id} is pre-reserved.")
            if machine.next_for:
                raise RefusalError(Code.REFUSED, f"Refused cause {machine.node_id} is sched-reserved.")

    def _wanted(self, request: Request, credential: Credential) -> datetime:
        given = request.params.get("valid_until") or request.params.get("expiration") or ""
        text = given.text if isinstance(given, Opaque) else str(given)
        if not text and self._new:
            return credential.expires
        if not text:
            raise RefusalError(Code.REFUSED, NO_TIME)
        try:
            return dates.read_date(text)
        except dates.DateError as error:
            raise RefusalError(Code.REFUSED, f"{error} at GeniCM.pm") from error

    def _check_reservations(self, record: CmSlice, aggregate: Aggregate, wanted: datetime) -> None:
        refused = "Extension refused by reservation system: "
        now = self._cm.around.clock.now()
        conflict = self._cm.reservations.conflict_of(record, wanted, now)
        if conflict is not None:
            words = conflict.words(self._cm.site.clock_offset.total_seconds())
            raise RefusalError(Code.REFUSED, refused + words)
        for sliver in aggregate.nodes.values():
            begins = sliver.machine.promised_from
            if _promised(sliver.machine, record) and begins is not None and begins < wanted:
                raise RefusalError(Code.REFUSED, f"{refused}Could not extend because of a prereserve")


def _promised(machine: Machine, record: CmSlice) -> bool:
    """Tell whether a machine is reserved in advance for another project than the slice's."""
    return bool(machine.promised_to) and machine.promised_to.lower() != record.project.lower()
