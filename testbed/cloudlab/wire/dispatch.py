"""From the body of a request to the body of its reply: caller, module, method, envelope, journal.

This is what protogeni-wrapper.pl does (protogeni.md §1). ``Dispatcher.answer`` is the one place through
which every call goes.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Collection, Mapping
from threading import Condition, Event

from cryptography import x509

from testbed import pki
from testbed.cloudlab import urn
from testbed.cloudlab.answer import APPLICATION, Code, FaultError, RaisedError, RefusalError
from testbed.cloudlab.clock import Clock
from testbed.cloudlab.journal import NOT_CARRIED_OUT, Call, Journal
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.method import Method, Request
from testbed.cloudlab.steering.faults import ANYWHERE, CALL_KINDS, Fault, Faults, Kind
from testbed.cloudlab.wire.doors import Doors
from testbed.cloudlab.wire.faulty import UNDONE, error_of, instead_of_reply, instead_of_work
from testbed.cloudlab.wire.https import Reply
from testbed.cloudlab.wire.xmlrpc import Opaque, decode_call, encode_fault, encode_response

_PATH = re.compile(
    r"/protogeni/xmlrpc/(?:project/(?P<project>[^/]+)/)?(?P<module>[\w-]+)(?:/(?P<version>[\d.]+))?/?",
    re.ASCII,
)
_CM_VERSIONS = frozenset({None, "2.0"})
_LONGEST_SHOWN = 160
_UNSHOWN = frozenset({"credential", "credentials", "keys", "certificate", "key"})


class Dispatcher:
    """Answers the calls to one authority, the SA or a CM."""

    def __init__(
        self,
        *,
        authority: str,
        methods: Mapping[str, Method],
        projects: Collection[str],
        doors: Doors,
        lock_of: Callable[[Request], SliceLock | None],
        mutex: Condition,
        clock: Clock,
        faults: Faults,
        stopping: Event,
        journal: Journal,
        module: str = "",
    ) -> None:
        """Take the methods of the SA or of a CM, and the ``doors`` that callers go through.

        ``lock_of`` is the lock of the slice that a call is for; ``stopping`` ends replies that are slow;
        ``module`` is another one behind the same doors.
        """
        self._module = module or doors.module
        self._doors = doors
        self._authority = authority
        self._methods = methods
        self._projects = projects
        self._lock_of = lock_of
        self._mutex = mutex
        self._clock = clock
        self._faults = faults
        self._stopping = stopping
        self._journal = journal
        self._log_ids = itertools.count(1)

    def is_reachable(self) -> bool:
        """Tell whether a connection that is made now comes to stand."""
        if not self._doors.is_up:
            return False
        return self._faults.strike(self._authority, ANYWHERE, {Kind.UNREACHABLE}) is None

    def answer(self, path: str, body: bytes, certificate: x509.Certificate) -> Reply | None:
        """Answer one POST; None to close the connection without a reply."""
        match = _PATH.fullmatch(path)
        if match is None:
            return Reply(b"not found\n", status=404)
        if not self._doors.is_up:
            return None
        began = time.monotonic()
        caller = ""
        method = ""
        params: Mapping[str, object] = {}
        fault: Fault | None = None
        try:
            self._doors.check_logins()
            caller, name = _caller(certificate, self._doors)
            project = self._project(match, name)
            method, arguments = decode_call(body)
            params = arguments[0] if arguments and isinstance(arguments[0], dict) else {}
            fault = self._strike(method, Request(caller, params, project))
            if fault is not None and fault.kind in UNDONE:
                code, output = NOT_CARRIED_OUT, f"not carried out: {fault.kind}"
                reply = instead_of_work(fault.kind)
            else:
                value, code, output = self._call(method, caller, project, arguments, fault)
                reply = Reply(encode_response(self._envelope(code, value, output)))
        except FaultError as error:
            code, output = error.number, error.text
            reply = Reply(encode_fault(error))
        self._journal.add(
            Call(
                time=time.time(),
                seconds=time.monotonic() - began,
                caller=caller,
                authority=self._authority,
                method=method,
                code=int(code),
                args={key: _shown(item) for key, item in params.items() if key not in _UNSHOWN},
                output=output[:_LONGEST_SHOWN],
            )
        )
        if fault is not None and fault.kind in {Kind.SLOW, Kind.SILENT}:
            self._faults.pause(fault.seconds, self._stopping)
        return reply if fault is None else instead_of_reply(fault.kind, reply)

    def _project(self, match: re.Match[str], caller: urn.Urn) -> str:
        if match["module"] != self._module:
            raise FaultError(APPLICATION, f"Invalid module: {match['module']}")
        self._doors.check_portal(caller)
        if self._module == "cm" and match["version"] not in _CM_VERSIONS:
            raise FaultError(APPLICATION, f"Invalid version {match['version']}: missing definitions")
        project = match["project"] or ""
        if project and project not in self._projects:
            raise FaultError(APPLICATION, "Could not resolve requested authority")
        return project

    def _strike(self, method: str, request: Request) -> Fault | None:
        with self._mutex:
            lock = self._lock_of(request)
            free = lock is not None and not lock.held
            kinds = CALL_KINDS if free else CALL_KINDS - {Kind.SERVER_ERROR_LOCKED}
            fault = self._faults.strike(self._authority, method, kinds)
            if lock is not None and fault is not None and fault.kind is Kind.SERVER_ERROR_LOCKED:
                lock.leave()
        return fault

    def _call(
        self, name: str, caller: str, project: str, arguments: list[object], fault: Fault | None
    ) -> tuple[object, int, str]:
        method = self._methods.get(name)
        if method is None:
            raise self._doors.words.no_such_method(name)
        params = arguments[0] if arguments else {}
        if not isinstance(params, dict):
            raise self._doors.words.died(name, 'Can\'t use string as a HASH ref while "strict refs" in use')
        error = error_of(fault, self._module, name, self._clock.now(), self._doors.words) if fault else None
        try:
            if error is not None:
                raise error
            with self._mutex:
                value = method(Request(caller, params, project))
        except RefusalError as refusal:
            return refusal.value, refusal.code, refusal.output
        except RaisedError as death:
            raise self._doors.words.died(name, str(death)) from death
        return value, Code.SUCCESS, ""

    def _envelope(self, code: int, value: object, output: str) -> dict[str, object]:
        domain = self._authority.split("+")[1]
        log_id = f"{next(self._log_ids):08x}log"
        return {
            "code": code,
            "value": value,
            "output": output,
            "protogeni_error_log": urn.make(domain, "log", log_id),
            "protogeni_error_url": f"https://www.{domain}/spewlogfile.php3?logfile={log_id}",
        }


def _caller(certificate: x509.Certificate, doors: Doors) -> tuple[str, urn.Urn]:
    """Return the URN that a certificate is for, as it is written there and in its parts."""
    doors.check_experiments()
    names = [name for name in pki.urns(certificate) if name.startswith("urn:publicid:")]
    parsed = urn.parse(names[-1]) if names else None
    if parsed is None:
        raise FaultError(APPLICATION, "Invalid certificate; no URN")
    doors.check_account(parsed)
    return names[-1], parsed


def _shown(value: object) -> object:
    """Cut an argument down to what the journal shows."""
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    text = value.text if isinstance(value, Opaque) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text)} characters)"
