"""DeleteSliver and UpdateSliver, and the tickets that they return (protogeni.md §3.9, §3.12).

Of tickets it says that they need the lock and no monitor (§1.6), that Resolve shows them (§3.4), and that
they run out after minutes. RedeemTicket and ReleaseTicket take the arguments of CreateSliver, with ``ticket``
in the place of ``rspec``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from datetime import timedelta

from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RefusalError, forbidden, malformed, starting
from testbed.cloudlab.background import Background
from testbed.cloudlab.cm import SHUT_DOWN, ComponentManager
from testbed.cloudlab.cm_nodes import NodeMethods, read_accounts
from testbed.cloudlab.credentials import Credential, Subject
from testbed.cloudlab.documents import nodes_of, parse_request
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Aggregate, CmSlice, Ticket

TICKET_LIFE = timedelta(minutes=10)
_DELETE = frozenset({"pi", "control"})
_UPDATE = frozenset({"pi", "instantiate", "bind"})


class TicketMethods:
    """The methods that return tickets or take them."""

    def __init__(self, cm: ComponentManager, background: Background, nodes: NodeMethods) -> None:
        self._cm = cm
        self._background = background
        self._nodes = nodes
        self._ids = itertools.count(1)
        cm.methods["DeleteSliver"] = self._delete_sliver
        cm.methods["UpdateSliver"] = self._update_sliver
        cm.methods["RedeemTicket"] = self._redeem
        cm.methods["ReleaseTicket"] = self._release

    def _delete_sliver(self, request: Request) -> str:
        record, aggregate, credential = self._find_sliver(request, _DELETE)
        self._take(record, "resource")
        self._cm.drop_ticket(record, "DeleteSliver")
        record.aggregate = None
        ticket = self._issue(record, aggregate, credential)
        record.lock.free()
        return ticket

    def _update_sliver(self, request: Request) -> str:
        request.require("rspec")
        record, held, credential = self._find_sliver(request, _UPDATE)
        root = parse_request(request.text("rspec"))
        names = {element.get("client_id") for element in nodes_of(root, self._cm.urn)}
        kept = {name: sliver for name, sliver in held.nodes.items() if name in names}
        wanted = Aggregate(urn=held.urn, manifest=root, nodes=kept, accounts=held.accounts)
        self._take(record, "resource")
        try:
            self._cm.drop_ticket(record, "UpdateSliver")
            self._nodes.fill(record, wanted, root)
        finally:
            record.lock.free()
        return self._issue(record, wanted, credential)

    def _redeem(self, request: Request) -> object:
        record, ticket, credential = self._find_ticket(request)
        accounts = read_accounts(request)
        if record.shut_down:
            raise forbidden(SHUT_DOWN)
        self._take(record, "ticket")
        before, record.aggregate, record.ticket = record.aggregate, ticket.aggregate, None
        for name, sliver in before.nodes.items() if before else ():
            if name not in ticket.aggregate.nodes and sliver.reserved:
                self._cm.lives.release(sliver.machine, "RedeemTicket", taken=False)
        if accounts:
            ticket.aggregate.accounts = accounts
        self._background.start(record, ticket.aggregate, self._cm.site.timing.start)
        return [
            self._cm.sliver_credential(record, ticket.aggregate, credential),
            self._cm.manifest_text(record, ticket.aggregate),
        ]

    def _release(self, request: Request) -> int:
        record, _, _ = self._find_ticket(request)
        self._take(record, "ticket")
        self._cm.drop_ticket(record, "ReleaseTicket")
        record.lock.free()
        return 0

    # --- parts of methods

    def _find_sliver(
        self, request: Request, privileges: Collection[str]
    ) -> tuple[CmSlice, Aggregate, Credential]:
        """Go through what both sliver methods start with; the credential has to be the sliver's own."""
        request.require("sliver_urn", "credentials")
        wanted = request.text("sliver_urn")
        if urn.parse(wanted) is None:
            raise malformed("Bad characters in URN")
        credential = self._cm.check(request, privileges)[0]
        record = self._cm.lookup(credential)
        if record is not None and credential.target == record.urn:
            raise RefusalError(Code.SEARCHFAILED, "No such sliver")
        if record is None or record.aggregate is None:
            raise RefusalError(Code.SEARCHFAILED, "Sliver does not exist")
        if credential.target != wanted:
            raise forbidden("Credential does not match the URN")
        return record, record.aggregate, credential

    def _find_ticket(self, request: Request) -> tuple[CmSlice, Ticket, Credential]:
        request.require("ticket")
        missing = RefusalError(Code.SEARCHFAILED, "No slice or aggregate here")
        record, credential = self._cm.find_slice(request, _UPDATE, missing)
        ticket = record.ticket
        if ticket is None or ticket.text != request.text("ticket"):
            raise RefusalError(Code.SEARCHFAILED, "No such ticket")
        if ticket.expires <= self._cm.around.clock.now():
            raise RefusalError(Code.REFUSED, "Ticket has expired")
        return record, ticket, credential

    def _take(self, record: CmSlice, what: str) -> None:
        record.lock.take(what)
        if record.monitor:
            record.lock.free()
            raise starting()

    def _issue(self, record: CmSlice, aggregate: Aggregate, credential: Credential) -> str:
        expires = (self._cm.around.clock.now() + TICKET_LIFE).replace(microsecond=0)
        owner = Subject(credential.owner, credential.owner_gid)
        target = Subject(record.urn, record.gid)
        text = self._cm.issuer.ticket(owner, target, expires, aggregate.manifest)
        name = urn.make(self._cm.site.domain, "ticket", next(self._ids))
        record.ticket = Ticket(name, text, expires, aggregate)
        return text
