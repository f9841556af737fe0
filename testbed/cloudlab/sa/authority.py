"""The slice authority (protogeni.md §2)."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timedelta
from threading import Condition

from testbed import pki
from testbed.cloudlab import dates, urn
from testbed.cloudlab.answer import Code, RaisedError, RefusalError, forbidden, malformed
from testbed.cloudlab.clock import Clock
from testbed.cloudlab.documents.credentials import Checker, Credential, Issuer, Subject, check_one_or_list
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.method import Method, Request
from testbed.cloudlab.sa.records import Member, SaSlice

SHORTEST = timedelta(minutes=5)
DEFAULT_LIFE = timedelta(hours=6)
LONGEST = timedelta(days=90)
CREDENTIAL_LIFE = timedelta(hours=24)
_SLICE_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]{0,17}[A-Za-z0-9]", re.ASCII)
_DATE_CHARACTERS = re.compile(r"[-\w:.+/, ]+", re.ASCII)


class SliceAuthority:
    """The SA of one domain with its projects; its methods are in ``methods``."""

    def __init__(
        self,
        *,
        domain: str,
        projects: dict[str, frozenset[str]],
        members: list[Member],
        identity: pki.Identity,
        authority: pki.CertificateAuthority,
        clock: Clock,
        mutex: Condition,
        url: str,
    ) -> None:
        self.domain = domain
        self.urn = urn.make(domain, "authority", "sa")
        self.url = url
        self.projects = projects
        """Project -> uids of those who may create experiments in it."""
        self.members = {member.urn: member for member in members}
        self.slices: dict[str, SaSlice] = {}
        self._identity = identity
        self._authority = authority
        self._clock = clock
        self._mutex = mutex
        self._issuer = Issuer(identity)
        self._checker = Checker(authority, clock)
        self._cache: dict[tuple[str, str], tuple[str, datetime]] = {}
        self.methods: dict[str, Method] = {
            "GetVersion": lambda _request: 1.01,
            "GetCredential": self._get_credential,
            "Resolve": self._resolve,
            "Register": self._register,
            "RenewSlice": self._renew_slice,
            "GetKeys": self._get_keys,
            "Remove": self._remove,
            "BindToSlice": self._bind_to_slice,
        }

    def expire(self) -> None:
        """Delete the slices that have expired (sa_daemon ExpireSlices)."""
        with self._mutex:
            now = self._clock.now()
            for record in [s for s in self.slices.values() if s.expires <= now and not s.lock.held]:
                self.forget(record)

    def make_slice(self, name: str, project: str, uid: str, expires: datetime) -> tuple[SaSlice, str]:
        """Make a slice in a user's name, as a portal does; return it with the user's credential for it.

        The caller holds the mutex.

        Raises:
            RefusalError: code 2: the name is taken.
        """
        slice_urn = urn.make(f"{self.domain}:{project}", "slice", name)
        self._check_new(slice_urn, name)
        creator = next(member for member in self.members.values() if member.user.uid == uid)
        record = self._new_slice(slice_urn, creator, expires.replace(microsecond=0))
        return record, self._credential(creator, record.subject, record.expires)

    def move_expiry(self, record: SaSlice, expires: datetime) -> None:
        """End a slice at another time, earlier too, as no call can; the caller holds the mutex."""
        record.expires = expires
        self._drop(record.urn)

    def lock_of(self, request: Request) -> SliceLock | None:
        """Return the lock of the slice that a call is for, by its urn or its credential; None without one."""
        record = self.slices.get(str(request.params.get("urn")))
        if record is None:
            try:
                record = self.slices.get(self._credentials(request)[0].target)
            except RefusalError:
                return None
        return record.lock if record else None

    def note_manager(self, slice_urn: str, cm_urn: str) -> None:
        """Take down that a CM has the slice (expire_daemon RegisterSlices)."""
        with self._mutex:
            record = self.slices.get(slice_urn)
            if record is not None and cm_urn not in record.cms:
                record.cms.append(cm_urn)

    def forget(self, record: SaSlice) -> None:
        """Drop a slice and its credentials; the caller holds the mutex."""
        del self.slices[record.urn]
        self._drop(record.urn)

    # --- methods

    def _get_credential(self, request: Request) -> str:
        member = self._member(request)
        if "credential" not in request.params and "credentials" not in request.params:
            return self._credential(
                member, Subject(self._own_urn(request), self._identity.certificate_base64), None
            )
        self._self_credential(request)
        name = self._urn_argument(request)
        if name.kind == "project":
            if urn.normal_id(name.name) not in self.projects:
                raise RefusalError(Code.SEARCHFAILED, "No such Project")
            return self._credential(member, Subject(str(name), self._identity.certificate_base64), None)
        if name.kind != "slice":
            raise RefusalError(Code.UNSUPPORTED, "Unsupported resource type")
        record = self.slices.get(request.text("urn"))
        if record is None:
            raise RefusalError(Code.SEARCHFAILED, "No such Slice")
        if member is not record.creator and member.urn not in record.members:
            raise forbidden("Not your slice!")
        with record.lock.during("slice"):
            return self._credential(member, record.subject, record.expires)

    def _resolve(self, request: Request) -> object:
        self._self_credential(request)
        name = self._name_argument(request)
        if name.kind == "slice":
            record = self._find(str(name), "No such slice registered here")
            with record.lock.during("slice"):
                return {
                    "hrn": f"{name.authority}.{name.name}",
                    "urn": record.urn,
                    "uuid": record.uuid,
                    "creator_uuid": record.creator.uuid,
                    "creator_urn": record.creator.urn,
                    "gid": record.subject.gid,
                    "component_managers": list(record.cms),
                }
        if name.kind != "user":
            raise RefusalError(Code.UNSUPPORTED, "Unsupported resource type")
        member = self.members.get(str(name))
        if member is None:
            raise RefusalError(Code.SEARCHFAILED, "No one here by that name")
        projects = [pid for pid, uids in self.projects.items() if member.user.uid in uids]
        return {
            "uid": member.user.uid,
            "hrn": f"{self.domain}.{member.user.uid}",
            "urn": member.urn,
            "uuid": member.uuid,
            "email": member.user.email,
            "gid": member.subject.gid,
            "name": member.user.name,
            "slices": [s.urn for s in self.slices.values() if s.creator is member],
            "subauthorities": {
                urn.make(f"{self.domain}:{pid}", "authority", "sa"): self.url.replace(
                    "/xmlrpc/sa", f"/xmlrpc/project/{pid}/sa"
                )
                for pid in projects
            },
            "pubkeys": [{"type": "ssh", "key": key} for key in member.ssh_keys],
        }

    def _register(self, request: Request) -> str:
        if "hrn" not in request.params and "urn" not in request.params:
            raise malformed("Missing arguments")
        self._self_credential(request)
        name = self._name_argument(request)
        own = self._own_domain(request)
        if name.authority.lower() not in {self.domain, own}:
            raise malformed("Authority mismatch")
        member = self._member(request)
        self._check_membership(member, request)
        if name.kind != "slice":
            raise RefusalError(Code.UNSUPPORTED, "Unsupported resource type")
        if not _SLICE_NAME.fullmatch(name.name):
            raise malformed(f"{name.name} is not a valid slice name")
        now = self._clock.now()
        expires = (now + DEFAULT_LIFE).replace(microsecond=0)
        if "expiration" in request.params:
            expires = dates.stored(self._new_expiry(request, now))
        taken = urn.parse(str(name))
        if taken:
            self._check_new(str(name), taken.name)
        record = self._new_slice(urn.make(own, "slice", name.name), member, expires)
        return self._credential(member, record.subject, record.expires)

    def _renew_slice(self, request: Request) -> str:
        credential = self._credentials(request)[0]
        credential.require({"pi", "bind"})
        record = self._find(credential.target, "Unknown slice for this credential")
        member = self._member(request)
        now = self._clock.now()
        expires = self._new_expiry(request, now)
        if expires < record.expires:
            raise RefusalError(Code.ERROR, "Cannot shorten slice lifetime")
        with record.lock.during("slice"):
            record.expires = dates.stored(expires)
            self._drop(record.urn)
            return self._credential(member, record.subject, record.expires)

    def _get_keys(self, request: Request) -> object:
        self._self_credential(request)
        member = self._member(request)
        keys = [{"type": "ssh", "key": key} for key in member.ssh_keys]
        if request.text("version") in {"", "0", "1"}:
            return keys
        return [{"urn": member.urn, "login": member.user.uid, "keys": keys}]

    def _remove(self, request: Request) -> int:
        self._self_credential(request)
        name = self._name_argument(request)
        if name.kind != "slice":
            raise RefusalError(Code.UNSUPPORTED, "Unsupported resource type")
        record = self._find(str(name), "No such slice")
        with record.lock.during("slice"):
            if record.expires > self._clock.now():
                raise RefusalError(Code.REFUSED, "Slice has not expired")
            self.forget(record)
        return 0

    def _bind_to_slice(self, request: Request) -> int:
        request.require("urn")
        credential = self._credentials(request)[0]
        credential.require({"pi", "bind"})
        record = self._find(credential.target, "No such slice")
        other = self.members.get(request.text("urn"))
        if other is None:
            raise RefusalError(Code.SEARCHFAILED, "No such user here")
        if not any(other.user.uid in uids for uids in self.projects.values()):
            raise forbidden("User is not a member of the project")
        with record.lock.during("slice"):
            record.members.add(other.urn)
        return 0

    # --- parts of methods

    def _check_new(self, shown: str, name: str) -> None:
        for other in self.slices:
            known = urn.parse(other)
            if known and (known.domain, known.name) == (self.domain, name):
                raise RefusalError(Code.ERROR, f"{shown} already a registered slice")

    def _own_domain(self, request: Request) -> str:
        return f"{self.domain}:{request.project}" if request.project else self.domain

    def _own_urn(self, request: Request) -> str:
        return urn.make(self._own_domain(request), "authority", "sa")

    def _member(self, request: Request) -> Member:
        member = self.members.get(request.caller)
        if member is None:
            raise forbidden("Who are you? No local record")
        self._check_membership(member, request)
        return member

    def _check_membership(self, member: Member, request: Request) -> None:
        if request.project and member.user.uid not in self.projects[request.project]:
            raise forbidden("No privilege at this authority")

    def _credentials(self, request: Request) -> list[Credential]:
        return check_one_or_list(request.params, request.caller, self._checker)

    def _self_credential(self, request: Request) -> None:
        target = urn.parse(self._credentials(request)[0].target)
        if target is None or (target.domain, target.kind, target.name) != (self.domain, "authority", "sa"):
            raise forbidden("This credential is for another target!")

    def _urn_argument(self, request: Request) -> urn.Urn:
        name = urn.parse(request.text("urn"))
        if name is None:
            raise malformed("Missing or invalid urn")
        return name

    def _name_argument(self, request: Request) -> urn.Urn:
        if "urn" in request.params:
            return self._urn_argument(request)
        hrn = request.text("hrn")
        full = urn.parse(hrn)
        if full is not None:
            return full
        if not hrn:
            raise malformed("Missing or invalid hrn")
        if "type" not in request.params:
            raise malformed("type required")
        kind = request.text("type").lower()
        name = hrn.removeprefix(f"{self.domain}.")
        authority = self._own_domain(request) if kind == "slice" else self.domain
        return urn.Urn(authority, kind, name)

    def _find(self, slice_urn: str, missing: str) -> SaSlice:
        record = self.slices.get(slice_urn)
        if record is None:
            raise RefusalError(Code.SEARCHFAILED, missing)
        return record

    def _new_expiry(self, request: Request, now: datetime) -> datetime:
        value = request.params.get("expiration")
        if not isinstance(value, str) or not value:
            raise RaisedError("expiration is not a date")
        if not _DATE_CHARACTERS.fullmatch(value):
            raise RefusalError(Code.ERROR, "Illegal valid_until in rspec")
        try:
            expires = dates.read_date(value)
        except dates.DateError as error:
            raise RaisedError(str(error)) from error
        if expires < now + SHORTEST:
            raise RefusalError(Code.ERROR, "such a short life for a slice? More time please.")
        if expires > now + LONGEST:
            raise RefusalError(Code.ERROR, "expiration is greater than the maximum slice lifetime")
        return expires

    def _new_slice(self, slice_urn: str, creator: Member, expires: datetime) -> SaSlice:
        identifier = str(uuid.uuid4())
        names = pki.Names(common_name=identifier, uris=(slice_urn, f"urn:uuid:{identifier}"))
        certificate = self._authority.certify(self._identity.key.public_key(), names)
        subject = Subject(slice_urn, pki.base64_of(certificate))
        record = SaSlice(slice_urn, identifier, creator, expires, subject, first_expires=expires)
        self.slices[slice_urn] = record
        return record

    def _credential(self, member: Member, target: Subject, expires: datetime | None) -> str:
        """Return the cached credential, or a new one when that has run out."""
        now = self._clock.now()
        kept = self._cache.get((member.urn, target.urn))
        if kept is not None and kept[1] > now:
            return kept[0]
        ends = (expires or now + CREDENTIAL_LIFE).replace(microsecond=0)
        credential = self._issuer.issue(member.subject, target, ends)
        self._cache[member.urn, target.urn] = (credential, ends)
        return credential

    def _drop(self, target: str) -> None:
        self._cache = {key: kept for key, kept in self._cache.items() if key[1] != target}
