"""Tickets: GetTicket and UpdateTicket, DeleteSliver and UpdateSliver (protogeni.md §3.9, §3.12).

Of tickets it says that they need the lock and no monitor (§1.6), that Resolve shows them (§3.4), and that
they run out after minutes. GetTicket takes the arguments of CreateSliver; RedeemTicket and ReleaseTicket have
``ticket`` in the place of ``rspec``, UpdateTicket has both. What each refuses is in GeniCMV2.pm.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from datetime import timedelta

from lxml import etree

from testbed.cloudlab import dates, urn
from testbed.cloudlab.answer import Code, RefusalError, forbidden, malformed
from testbed.cloudlab.cm.background import Background
from testbed.cloudlab.cm.creating import CREATE, new_slice
from testbed.cloudlab.cm.gate import take_idle
from testbed.cloudlab.cm.manager import SHUT_DOWN, ComponentManager
from testbed.cloudlab.cm.nodes import NodeMethods, read_accounts
from testbed.cloudlab.documents.credentials import Credential, Subject
from testbed.cloudlab.documents.request import parse_request
from testbed.cloudlab.documents.rspec import nodes_of
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Aggregate, CmSlice, Ticket

TICKET_LIFE = timedelta(minutes=10)
_UNREDEEMED = "Must release unredeemed ticket first"
_DELETE = frozenset({"pi", "control"})


class TicketMethods:
    """The methods that return tickets or take them."""

    def __init__(self, cm: ComponentManager, background: Background, nodes: NodeMethods) -> None:
        self._cm = cm
        self._background = background
        self._nodes = nodes
        self._ids = itertools.count(1)
        cm.methods["GetTicket"] = self._get_ticket
        cm.methods["UpdateTicket"] = self._update_ticket
        cm.methods["DeleteSliver"] = self._delete_sliver
        cm.methods["UpdateSliver"] = self._update_sliver
        cm.methods["RedeemTicket"] = self._redeem
        cm.methods["ReleaseTicket"] = self._release

    def _get_ticket(self, request: Request) -> str:
        request.require("slice_urn", "credentials", "rspec")
        slice_urn = urn.parse(request.text("slice_urn"))
        if slice_urn is None:
            raise malformed("Bad characters in URN")
        credential = self._cm.check(request, CREATE)[0]
        if credential.target != request.text("slice_urn"):
            raise forbidden("Credential does not match the URN")
        known = self._cm.lookup(credential)
        root = parse_request(request.text("rspec"))
        record = known or new_slice(self._cm, slice_urn, credential)
        take_idle(self._cm, record, "slice")
        try:
            if record.aggregate is not None:
                raise RefusalError(Code.REFUSED, "Cannot get a ticket for active sliver")
            if record.ticket is not None:
                raise RefusalError(Code.REFUSED, _UNREDEEMED)
            wanted = Aggregate(urn=self._cm.annotator.sliver_urn(), manifest=root)
            self._nodes.fill(record, wanted, root)
        finally:
            record.lock.free()
        self._cm.slices[record.urn] = record
        return self._issue(record, wanted, credential)

    def _update_ticket(self, request: Request) -> str:
        request.require("rspec")
        missing = RefusalError(Code.SEARCHFAILED, "Slice does not exist here")
        record, credential = self._find_slice(request, missing)
        root = parse_request(request.text("rspec"))
        take_idle(self._cm, record, "ticket")
        try:
            if record.aggregate is not None:
                raise RefusalError(Code.REFUSED, "Cannot update a ticket for active sliver")
            ticket = _presented(record, request)
            if ticket is None:
                raise RefusalError(Code.REFUSED, "Not an active ticket")
            wanted = self._extended(ticket.aggregate, root)
            self._nodes.fill(record, wanted, root)
            self._give_back(ticket.aggregate, wanted, "UpdateTicket")
        finally:
            record.lock.free()
        return self._issue(record, wanted, credential)

    def _delete_sliver(self, request: Request) -> str:
        missing = RefusalError(Code.SEARCHFAILED, "Sliver does not exist")
        record, aggregate, credential = self._find_sliver(request, _DELETE, missing)
        take_idle(self._cm, record, "resource")
        if credential.target == record.urn:
            # What deletes it looks the credential's target up once more, as a sliver.
            record.lock.free()
            raise RefusalError(Code.SEARCHFAILED, "No such sliver")
        self._cm.drop_ticket(record, "DeleteSliver")
        record.aggregate = None
        ticket = self._issue(record, aggregate, credential)
        record.lock.free()
        return ticket

    def _update_sliver(self, request: Request) -> str:
        request.require("rspec")
        missing = RefusalError(Code.BADARGS, "No slice or aggregate here")
        record, held, credential = self._find_sliver(request, CREATE, missing)
        root = parse_request(request.text("rspec"))
        wanted = self._extended(held, root)
        take_idle(self._cm, record, "resource")
        try:
            self._check_expires(record, root, credential)
            if record.ticket is not None:
                raise RefusalError(Code.REFUSED, _UNREDEEMED)
            self._nodes.fill(record, wanted, root)
        finally:
            record.lock.free()
        return self._issue(record, wanted, credential)

    def _redeem(self, request: Request) -> object:
        record, credential = self._find_slice(request, RefusalError(Code.BADARGS, "No slice here"))
        ticket = _presented(record, request)
        if ticket is None:
            raise RefusalError(Code.BADARGS, "This ticket is stale")
        if ticket.expires <= self._cm.around.clock.now():
            raise RefusalError(Code.REFUSED, "Ticket has expired")
        accounts = read_accounts(request, need_urn=self._cm.site.generation >= 2021)
        if record.shut_down:
            raise forbidden(SHUT_DOWN)
        take_idle(self._cm, record, "ticket")
        before, record.aggregate, record.ticket = record.aggregate, ticket.aggregate, None
        if before is not None:
            self._give_back(before, ticket.aggregate, "RedeemTicket")
        if accounts:
            ticket.aggregate.accounts = accounts
        self._background.start(record, ticket.aggregate, self._cm.site.timing.start)
        return [
            self._cm.sliver_credential(record, ticket.aggregate, credential),
            self._cm.manifest_text(record, ticket.aggregate),
        ]

    def _release(self, request: Request) -> int:
        record, _ = self._find_slice(request, RefusalError(Code.SEARCHFAILED, "No slice here"))
        if _presented(record, request) is not None:
            with record.lock.during("ticket"):
                self._cm.drop_ticket(record, "ReleaseTicket")
        return 0

    # --- parts of methods

    def _find_sliver(
        self, request: Request, privileges: Collection[str], missing: RefusalError
    ) -> tuple[CmSlice, Aggregate, Credential]:
        """Go through what both methods of slivers start with; the slice's credential will do as well."""
        request.require("sliver_urn", "credentials")
        wanted = request.text("sliver_urn")
        if urn.parse(wanted) is None:
            raise malformed("Bad characters in URN")
        credential = self._cm.check(request, privileges)[0]
        record = self._cm.lookup(credential)
        if record is None or record.aggregate is None:
            raise missing
        if record.aggregate.urn != wanted:
            raise forbidden("Credential does not match the URN")
        return record, record.aggregate, credential

    def _find_slice(self, request: Request, missing: RefusalError) -> tuple[CmSlice, Credential]:
        request.require("ticket")
        return self._cm.find_slice(request, CREATE, missing)

    def _extended(self, held: Aggregate, root: etree._Element) -> Aggregate:
        """Return a sliver for this request that keeps the machines of names that are held already."""
        names = {element.get("client_id") for element in nodes_of(root, self._cm.urn)}
        kept = {name: sliver for name, sliver in held.nodes.items() if name in names}
        return Aggregate(urn=held.urn, manifest=root, nodes=kept, accounts=held.accounts)

    def _give_back(self, held: Aggregate, wanted: Aggregate, cause: str) -> None:
        for name, sliver in held.nodes.items():
            if name not in wanted.nodes and sliver.reserved:
                self._cm.lives.release(sliver.machine, cause, taken=False)

    def _check_expires(self, record: CmSlice, root: etree._Element, credential: Credential) -> None:
        """Refuse an update whose end, by its rspec or else by the credential, is not the present one (2021).

        Raises:
            RefusalError: code 7; code 2 for a date that cannot be read.
        """
        if self._cm.site.generation < 2021:
            return
        text = root.get("expires")
        try:
            wanted = credential.expires if text is None else dates.read_strict_date(text)
        except dates.DateError as error:
            raise RefusalError(Code.ERROR, str(error)) from error
        if wanted != record.expires:
            raise RefusalError(Code.REFUSED, "Not allowed to change expiration when updating")

    def _issue(self, record: CmSlice, aggregate: Aggregate, credential: Credential) -> str:
        expires = (self._cm.around.clock.now() + TICKET_LIFE).replace(microsecond=0)
        owner = Subject(credential.owner, credential.owner_gid)
        target = Subject(record.urn, record.gid)
        text = self._cm.issuer.ticket(owner, target, expires, aggregate.manifest)
        name = urn.make(self._cm.site.domain, "ticket", next(self._ids))
        record.ticket = Ticket(name, text, expires, aggregate)
        return text


def _presented(record: CmSlice, request: Request) -> Ticket | None:
    """Return the slice's ticket if it is the one of the call."""
    ticket = record.ticket
    return ticket if ticket is not None and ticket.text == request.text("ticket") else None
