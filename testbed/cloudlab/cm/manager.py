"""A component manager: its records, what its methods start with, and sliver credentials.

protogeni.md §3.1, §3.10.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from threading import Condition

from testbed import pki
from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RefusalError, forbidden, malformed
from testbed.cloudlab.clock import Clock, Pace
from testbed.cloudlab.cm.life import Lives
from testbed.cloudlab.cm.misprints import as_told
from testbed.cloudlab.cm.reservations import Reservations
from testbed.cloudlab.cm.rules import Rules
from testbed.cloudlab.documents import manifest
from testbed.cloudlab.documents.credentials import Checker, Credential, Issuer, Subject, check_list
from testbed.cloudlab.journal import Journal
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.method import Method, Request
from testbed.cloudlab.room import MachineRoom
from testbed.cloudlab.sites import Site
from testbed.cloudlab.state import Aggregate, CmSlice, Machine, NodeSliver
from testbed.cloudlab.status import FREE_EVENTS
from testbed.cloudlab.steering.faults import Faults
from testbed.cloudlab.workers import Workers

CREDENTIAL_LIFE = timedelta(hours=24)
READ = frozenset({"pi", "info"})
SHUT_DOWN = "Slice has been shutdown"
TERMINATING = "Slice is marked for termination"
RSPEC_VERSIONS = ("0.1", "0.2", "2", "3", "PG 0.1", "PG 0.2", "PG 2")


@dataclass(frozen=True)
class Surroundings:
    """What all CMs of a simulator share."""

    authority: pki.CertificateAuthority
    clock: Clock
    pace: Pace
    room: MachineRoom
    journal: Journal
    faults: Faults
    workers: Workers
    mutex: Condition
    """Guards the records of the SA and of all CMs; notified when a slice goes."""


class ComponentManager:
    """One site's CM: its records and the methods in ``methods``, to which other parts add theirs."""

    def __init__(
        self, site: Site, names: Mapping[str, str], identity: pki.Identity, around: Surroundings
    ) -> None:
        """Make the CM of a site; ``names`` are its machines' names on this computer, by node_id."""
        self.site = site
        self.urn = site.urn
        self.around = around
        self.slices: dict[str, CmSlice] = {}
        self.lives = Lives(
            site.urn,
            site.timing,
            around.pace,
            around.room,
            around.journal,
            around.faults,
            around.workers,
            around.mutex,
        )
        events = itertools.cycle(sorted(FREE_EVENTS - {"ALWAYSUP"}))
        self.machines = {
            node_id: Machine(
                node_id=node_id,
                name=names[node_id],
                hardware_type=site.type_of(node_id),
                node_class=site.node_class,
                address=around.room.address(names[node_id]),
                event=next(events),
                event_time=int(time.time()),
                generation=site.generation,
            )
            for node_id in site.machines
        }
        self.rules = Rules(site.generation, site.max_sliver_lifetime)
        self.reservations = Reservations(site, self.machines, self.slices)
        self._next_id = itertools.count(4001)
        self.annotator = manifest.Annotator(
            site.domain, site.urn, lambda: next(self._next_id), generation=site.generation
        )
        self.gid = identity.certificate_base64
        """The CM's certificate."""
        self.issuer = Issuer(identity)
        self._checker = Checker(around.authority, around.clock)
        self.methods: dict[str, Method] = {
            "GetVersion": self._get_version,
            "GetSliver": self._get_sliver,
        }

    # --- what every method starts with

    def check(self, request: Request, privileges: Collection[str] = ()) -> list[Credential]:
        """Check the credentials of a call, and that the first one grants one of the privileges, if given."""
        credentials = check_list(request.params, request.caller, self._checker)
        if privileges:
            credentials[0].require(privileges)
        return credentials

    def find_slice(
        self, request: Request, privileges: Collection[str], missing: RefusalError, *, parse_urn: bool = True
    ) -> tuple[CmSlice, Credential]:
        """Go through the prologue of a slice method: arguments, URN, credentials, privilege, lookup, match.

        The credential is the slice's or the sliver's. Returns the slice and the first credential.

        Raises:
            RefusalError: codes 1 and 3 as in protogeni.md §3, or ``missing``.
        """
        request.require("slice_urn", "credentials")
        slice_urn = request.text("slice_urn")
        if parse_urn and urn.parse(slice_urn) is None:
            raise malformed("Bad characters in URN")
        credential = self.check(request, privileges)[0]
        record = self.lookup(credential)
        if record is None:
            raise missing
        if record.urn != slice_urn:
            raise forbidden("Credential does not match the URN")
        return record, credential

    def lock_of(self, request: Request) -> SliceLock | None:
        """Return the lock of the slice that a call names; None when it names none that is here."""
        record = self.slices.get(str(request.params.get("slice_urn")))
        return record.lock if record else None

    def lookup(self, credential: Credential) -> CmSlice | None:
        """Find the slice that a slice or sliver credential is for (GeniCMV2 Credential2SliceAggregate).

        Raises:
            RefusalError: code 1, the slice here is an earlier one of that URN.
        """
        record = self.named(credential)
        if record is not None and record.urn == credential.target and credential.target_uuid != record.uuid:
            raise RefusalError(Code.BADARGS, "Duplicate slice URN already exists here")
        return record

    def named(self, credential: Credential) -> CmSlice | None:
        """Find the slice whose URN, or whose sliver's URN, a credential names: be it an earlier one of it.

        Resolve and DiscoverResources compare URNs and nothing else (GeniCMV2 Resolve, GeniCM
        DiscoverResourcesAux).
        """
        if (record := self.slices.get(credential.target)) is not None:
            return record
        holds = (s for s in self.slices.values() if s.aggregate and s.aggregate.urn == credential.target)
        return next(holds, None)

    def sliver_credential(self, record: CmSlice, aggregate: Aggregate, credential: Credential) -> str:
        """Return the sliver credential: cached, and good for 24 hours whatever the slice's expiry."""
        now = self.around.clock.now()
        kept = aggregate.credentials.get(credential.owner)
        if kept is None or kept[1] <= now:
            ends = (now + CREDENTIAL_LIFE).replace(microsecond=0)
            owner = Subject(credential.owner, credential.owner_gid)
            # The sliver has no certificate of its own here: the slice's stands for it.
            target = Subject(aggregate.urn, record.gid)
            kept = self.issuer.issue(owner, target, ends), ends
            aggregate.credentials[credential.owner] = kept
        return kept[0]

    def manifest_text(self, record: CmSlice, aggregate: Aggregate) -> str:
        """Return the manifest, with the expiry of this moment, and as wrong as faults want it.

        One of 2021 changes without a call: when a machine has booted, it tells the image.
        """
        if self.site.generation >= 2021:
            up = [
                n.client_id for n in aggregate.nodes.values() if (n.state, n.status) == ("started", "ready")
            ]
            image = urn.make(self.site.domain, "image", self.site.images[0])
            manifest.note_images(aggregate.manifest, self.urn, up, image)
        return manifest.text(as_told(aggregate, self.urn, self.around.faults), record.expires)

    def drop_slice(self, record: CmSlice, cause: str) -> None:
        """Take all machines out of a slice and forget it."""
        self.drop_ticket(record, cause)
        if record.aggregate is not None:
            self._release(record.aggregate.nodes.values(), cause)
        self.slices.pop(record.urn, None)
        self.around.mutex.notify_all()

    def drop_ticket(self, record: CmSlice, cause: str) -> None:
        """Forget a slice's ticket, and give back the machines that only the ticket holds."""
        if record.ticket is None:
            return
        kept = record.aggregate.nodes.values() if record.aggregate else ()
        self._release((s for s in record.ticket.aggregate.nodes.values() if s not in kept), cause)
        record.ticket = None

    def _release(self, slivers: Iterable[NodeSliver], cause: str) -> None:
        for sliver in slivers:
            if sliver.reserved:
                self.lives.release(sliver.machine, cause, taken=False)

    def expire(self) -> None:
        """Tear down what has expired, as far as no lock is in the way (expire_daemon)."""
        with self.around.mutex:
            now = self.around.clock.now()
            for machine in self.machines.values():
                if machine.promised_from is not None and machine.promised_from <= now:
                    machine.promised_from = None
            for record in self.slices.values():
                if record.ticket is not None and record.ticket.expires <= now and not record.lock.held:
                    self.drop_ticket(record, "ticket expired")
            for record in list(self.slices.values()):
                if record.expires <= now and not record.lock.held and not record.locked_down:
                    self.drop_slice(record, "expired")

    # --- methods

    def _get_version(self, _request: Request) -> object:
        return {
            "api": 2,
            "level": 1,
            "input_rspec": list(RSPEC_VERSIONS),
            "output_rspec": 2,
            "ad_rspec": list(RSPEC_VERSIONS),
        }

    def _get_sliver(self, request: Request) -> str:
        missing = RefusalError(Code.SEARCHFAILED, "No slice or aggregate here")
        record, credential = self.find_slice(request, READ, missing)
        if record.aggregate is None:
            raise missing
        with record.lock.during("resource"):
            return self.sliver_credential(record, record.aggregate, credential)
