"""CreateSliver (protogeni.md §3.3, protogeni-2021.md §5)."""

from __future__ import annotations

from datetime import datetime, timedelta

from lxml import etree

from testbed.cloudlab import dates, urn
from testbed.cloudlab.answer import Code, RaisedError, RefusalError, forbidden, malformed
from testbed.cloudlab.cm.background import Background
from testbed.cloudlab.cm.expiry import check_expiry
from testbed.cloudlab.cm.gate import take_patiently
from testbed.cloudlab.cm.manager import SHUT_DOWN, ComponentManager
from testbed.cloudlab.cm.nodes import NodeMethods, read_accounts
from testbed.cloudlab.documents.credentials import Credential
from testbed.cloudlab.documents.request import parse_request
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Account, Aggregate, CmSlice
from testbed.cloudlab.steering.faults import Kind
from testbed.cloudlab.wire.xmlrpc import truthy

CREATE = frozenset({"pi", "instantiate", "bind"})
"""Privileges that make a sliver, each by itself."""
_CAP = timedelta(days=90)
_CAPPED = timedelta(hours=90)
"""The real code of 2016 mixes units: a slice that ends later than in 90 days gets 90 hours."""
_LOCK_WAIT = 10.0
"""Simulated seconds that CreateSliver waits for the lock (2021)."""
_THERE = "Must delete existing slice first"
_DEATH = "Not an ARRAY reference"


class Creation:
    """Makes a sliver, at once or after the reply."""

    def __init__(self, cm: ComponentManager, background: Background, nodes: NodeMethods) -> None:
        self._cm = cm
        self._background = background
        self._nodes = nodes
        self._newer = cm.site.generation >= 2021
        cm.methods["CreateSliver"] = self._create_sliver

    def _create_sliver(self, request: Request) -> object:
        request.require("slice_urn", "credentials", "rspec")
        text = request.text("rspec")
        slice_urn = urn.parse(request.text("slice_urn"))
        if slice_urn is None:
            raise malformed("Bad characters in URN")
        credential = self._cm.check(request, CREATE)[0]
        if credential.target != request.text("slice_urn"):
            raise RefusalError(Code.FORBIDDEN, "Credential does not match the URN")
        known = self._cm.lookup(credential)
        if known is not None:
            self._check_known(known)
        try:
            return self._create(request, new_slice(self._cm, slice_urn, credential), credential, text)
        finally:
            if known is not None:
                known.lock.free()

    def _check_known(self, record: CmSlice) -> None:
        """Take the lock of a slice that is here already, if it may get a sliver."""
        if record.aggregate is not None:
            # Before anything else, and without the lock.
            raise RefusalError(Code.REFUSED, _THERE)
        refusal = RefusalError(Code.BUSY, "slice is busy; try again later")
        if self._newer:
            refusal = RefusalError(Code.ERROR, "Internal Error locking slice")
        take_patiently(self._cm, record, _LOCK_WAIT, refusal)
        record.async_code, record.async_output = 0, ""
        if record.shut_down:
            record.lock.free()
            raise forbidden(SHUT_DOWN)
        if record.aggregate is not None or record.ticket is not None:
            record.lock.free()
            raise RefusalError(Code.REFUSED, _THERE)

    def _create(self, request: Request, record: CmSlice, credential: Credential, text: str) -> object:
        root = parse_request(text)
        self._set_expiry(record, root.get("expires"), credential)
        dies = self._cm.around.faults.strike(self._cm.urn, "CreateSliver", {Kind.SERVER_ERROR_LOCKED})
        if dies or request.params.get("keys") == []:
            # The real method dies on an empty list.
            self._die(record)
        accounts = read_accounts(request, need_urn=self._newer)
        if self._newer and truthy(request.params.get("asyncmode")):
            self._begin(record, root, accounts)
            raise RefusalError(Code.IN_PROGRESS, "Operation In Progress")
        aggregate = self._fill(record, root, accounts)
        record.lock.take("slice")
        self._cm.slices[record.urn] = record
        self._background.start(record, aggregate, self._cm.site.timing.start)
        return [
            self._cm.sliver_credential(record, aggregate, credential),
            self._cm.manifest_text(record, aggregate),
        ]

    def _die(self, record: CmSlice) -> None:
        """Die in the middle: in 2016 with the slice made and locked, since then with all taken down."""
        if self._newer:
            self._cm.slices.pop(record.urn, None)
            raise RefusalError(Code.SERVER_ERROR, f"Internal Error: {_DEATH}")
        record.lock.leave()
        self._cm.slices[record.urn] = record
        raise RaisedError(_DEATH)

    def _fill(self, record: CmSlice, root: etree._Element, accounts: tuple[Account, ...]) -> Aggregate:
        aggregate = Aggregate(urn=self._cm.annotator.sliver_urn(), manifest=root, accounts=accounts)
        self._nodes.fill(record, aggregate, root, "CreateSliver")
        record.aggregate = aggregate
        return aggregate

    def _begin(self, record: CmSlice, root: etree._Element, accounts: tuple[Account, ...]) -> None:
        """Keep the record, locked, and map it later: the reply is sent before that."""
        record.lock.take("slice")
        self._cm.slices[record.urn] = record

        def go_on() -> None:
            try:
                aggregate = self._fill(record, root, accounts)
            except RefusalError as refusal:
                record.async_code, record.async_output = int(refusal.code), refusal.output
                record.lock.free()
                return
            self._background.start(record, aggregate, self._cm.site.timing.start)

        self._background.work(record, self._cm.site.timing.mapping, go_on)

    def _set_expiry(self, record: CmSlice, text: str | None, credential: Credential) -> None:
        """Set the first expiry to the rspec's; without one it is the credential's, as far as that may be.

        Since 2021 a server cuts to its maximum what it refused before.
        """
        wanted: datetime
        if text is None:
            if not self._newer:
                return
            now = self._cm.around.clock.now()
            longest = (now + self._cm.rules.max_sliver_lifetime).replace(microsecond=0)
            wanted = min(credential.expires, longest)
        else:
            try:
                wanted = dates.read_strict_date(text)
            except dates.DateError as error:
                raise RefusalError(Code.ERROR, str(error)) from error
            wanted = check_expiry(
                wanted,
                credential.expires,
                self._cm.around.clock.now(),
                self._cm.rules.max_sliver_lifetime,
                alap=self._newer,
            )
        record.expires = record.first_expires = wanted


def new_slice(cm: ComponentManager, name: urn.Urn, credential: Credential) -> CmSlice:
    """Make the record of a slice that a CM does not know; it is not kept yet."""
    now = cm.around.clock.now()
    expires = credential.expires
    if cm.site.generation < 2021 and expires > now + _CAP:
        expires = (now + _CAPPED).replace(microsecond=0)
    project = name.authority.partition(":")[2] or name.authority.partition(".")[0]
    return CmSlice(
        urn=credential.target,
        uuid=credential.target_uuid,
        name=name.name,
        project=project,
        expires=expires,
        gid=credential.target_gid,
        first_expires=expires,
        creator=credential.owner,
    )
