"""The module ``cluster`` of a CM: reservations, for users whose certificate is of the right authority.

protogeni-2021.md §8.3 (GeniCluster.pm, utils/reserve).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from testbed.cloudlab import dates, urn
from testbed.cloudlab.answer import (
    OVERLOADED,
    Code,
    FaultError,
    RaisedError,
    RefusalError,
    forbidden,
    malformed,
)
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.cm.reservations import Reservation
from testbed.cloudlab.cm.timeline import Conflict
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.method import Method, Request
from testbed.cloudlab.wire.xmlrpc import Opaque, truthy

API_VERSION = 2
APPROVED_UP_TO = 128.0
"""Machine hours that nobody has to approve (reservations/approval_threshold)."""
_TYPE = re.compile(r"[-\w]+", re.ASCII)
_ROOT_ONLY = (
    "ApproveReservation",
    "CancelReservation",
    "DeleteReservation",
    "InUse",
    "PreReservations",
    "ReservationHistory",
    "ReservationIdleDetection",
    "ReservationPrediction",
    "ReservationSystemInfo",
    "SliceCheckReservation",
    "SliceIdleData",
    "SliceMaxExtension",
    "SliceUtilizationData",
)


class ClusterMethods:
    """The methods of ``cluster`` at one CM."""

    def __init__(self, cm: ComponentManager, mothers: Collection[str]) -> None:
        """Take the domains besides the CM's own whose certificates are admitted: the mother site's."""
        self._cm = cm
        self._mothers = frozenset(mothers)
        self.urn = cm.urn
        self.methods: dict[str, Method] = {
            "GetVersion": self._get_version,
            "Reserve": self._reserve,
            "Reservations": self._reservations,
            **dict.fromkeys(_ROOT_ONLY, self._root_only),
        }

    def lock_of(self, _request: Request) -> SliceLock | None:
        """No method here is for a slice."""
        return None

    # --- methods

    def _get_version(self, request: Request) -> int:
        self._check_permission(request)
        return API_VERSION

    def _root_only(self, request: Request) -> object:
        self._check_permission(request)
        raise forbidden("Only the root authority can access this interface")

    def _reserve(self, request: Request) -> object:
        self._check_permission(request)
        project = self._project(request)
        if not project:
            raise RaisedError('Can\'t call method "pid" on an undefined value')
        now = self._cm.around.clock.now().replace(microsecond=0)
        reservation = self._wanted(request, project, now)
        kind = reservation.hardware_type
        most = self._cm.rules.limits.get(kind)
        if most is not None and reservation.count > most:
            raise RefusalError(Code.REFUSED, f"Admission Control says limited to {most} nodes")
        conflict = self._cm.reservations.conflict_with(reservation, now)
        if conflict is not None:
            told = self._told(conflict)
            value = {"code": 1, "error": told["error"], "conflict": told}
            raise RefusalError(Code.REFUSED, str(told["error"]), value)
        if truthy(request.params.get("check")):
            pending = self._cm.reservations.conflict_with(reservation, now, pending=True)
            shown: dict[str, object] = {"approved": int(reservation.approved)}
            if pending is not None and not reservation.approved:
                shown["conflict"] = self._told(pending)
            return shown
        self._cm.reservations.keep(reservation)
        self._cm.around.journal.note(
            f"{project} reserved {reservation.count} {kind} at {self._cm.site.domain} from "
            f"{dates.zulu(reservation.start)} to {dates.zulu(reservation.end)}"
        )
        return {
            "idx": reservation.index,
            "uuid": reservation.identifier,
            "approved": int(reservation.approved),
        }

    def _reservations(self, request: Request) -> object:
        self._check_permission(request)
        if "credentials" not in request.params:
            raise forbidden("Only the root authority can access this interface")
        project = self._project(request)
        now = self._cm.around.clock.now()
        own = [
            one
            for one in self._cm.reservations.all()
            if (one.project == project if project else one.user == request.caller) and one.end > now
        ]
        left = {
            kind: self._cm.reservations.using(project or own[0].project, kind)
            for kind in dict.fromkeys(one.hardware_type for one in own)
        }
        found = {}
        for one in own:
            using = min(left[one.hardware_type], one.count) if one.start < now else 0
            left[one.hardware_type] -= using
            found[str(one.index)] = self._shown(one, using)
        return {"api_version": API_VERSION, "reservations": found, "prereservations": {}, "history": {}}

    # --- parts of methods

    def _check_permission(self, request: Request) -> None:
        """Admit certificates of the mother site and of the CM's own (CheckPermission)."""
        if self._cm.rules.cluster == "offline":
            raise FaultError(OVERLOADED, "CM temporarily offline; please try again later")
        caller = urn.parse(request.caller)
        domain = caller.domain if caller else ""
        if domain not in {*self._mothers, self._cm.site.domain}:
            raise forbidden("Only the Mothership or local cluster can access this interface")
        if domain != self._cm.site.domain and self._cm.rules.cluster == "forbidden":
            raise forbidden("Only Cloudlab clusters permit this interface")

    def _project(self, request: Request) -> str:
        """Return the project that the credential is for; "" for a user's own credential."""
        target = urn.parse(self._cm.check(request)[0].target)
        if target is None or target.kind not in {"project", "user"}:
            raise malformed("Not a project/user credential")
        return target.name if target.kind == "project" else ""

    def _wanted(self, request: Request, project: str, now: datetime) -> Reservation:
        if request.params.get("update"):
            return self._updated(request, project)
        for name in ("count", "end", "type"):
            if request.params.get(name) in {None, ""}:
                raise malformed(f"Missing {name}")
        kind = request.text("type")
        if not _TYPE.fullmatch(kind):
            raise malformed("Invalid type")
        if not self._cm.reservations.knows(kind):
            raise RefusalError(Code.SEARCHFAILED, "No such node/type")
        start = _date(request, "start") or now
        end = _date(request, "end") or now
        count = _count(request)
        hours = count * (end - start).total_seconds() / 3600
        return Reservation(
            index=self._cm.reservations.next_index(),
            project=project,
            user=request.caller,
            hardware_type=kind,
            count=count,
            start=start,
            end=end,
            created=now,
            approved=hours <= APPROVED_UP_TO and not truthy(request.params.get("noapprove")),
            notes=str(request.params.get("reason", "")),
        )

    def _updated(self, request: Request, project: str) -> Reservation:
        wanted = str(request.params["update"])
        kept = next(
            (one for one in self._cm.reservations.all() if wanted in {str(one.index), one.identifier}), None
        )
        if kept is None:
            raise RefusalError(Code.SEARCHFAILED, "No such reservation")
        if kept.project != project:
            raise RefusalError(Code.FORBIDDEN)
        new = replace(
            kept,
            start=_date(request, "start") or kept.start,
            end=_date(request, "end") or kept.end,
            count=_count(request) if "count" in request.params else kept.count,
        )
        grows = new.start < kept.start or new.end > kept.end or new.count > kept.count
        if kept.approved and grows:
            words = "This reservation has already been approved; you\nmay no longer expand it.\n"
            raise RefusalError(Code.REFUSED, words, {"code": 1, "error": words})
        return new

    def _told(self, conflict: Conflict) -> dict[str, object]:
        words = conflict.words(self._cm.site.clock_offset.total_seconds())
        return {"error": words, "when": dates.zulu(conflict.when), "needed": conflict.needed}

    def _shown(self, one: Reservation, using: int) -> dict[str, object]:
        user = urn.parse(one.user)
        domain = next(iter(self._mothers), self._cm.site.domain)
        return {
            "idx": one.index,
            "uuid": one.identifier,
            "project": urn.make(domain, "project", one.project),
            "pid": one.project,
            "user": one.user,
            "uid": user.name if user else "",
            "nodes": one.count,
            "type": one.hardware_type,
            "using": using,
            "created": dates.zulu(one.created),
            "start": dates.zulu(one.start),
            "end": dates.zulu(one.end),
            "notes": one.notes,
            "approved": dates.zulu(one.created) if one.approved else "",
            "history": [],
        }


def _count(request: Request) -> int:
    text = str(request.params.get("count"))
    if not text.isdecimal():
        raise malformed("Invalid count")
    return int(text)


def _date(request: Request, name: str) -> datetime | None:
    given = request.params.get(name)
    text = given.text if isinstance(given, Opaque) else str(given or "")
    if not text:
        return None
    try:
        return dates.read_date(text).replace(microsecond=0)
    except dates.DateError as error:
        raise malformed(f"{name.capitalize()} time: Could not parse date") from error
