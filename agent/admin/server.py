"""Serves the local API on a unix socket: bounded input, typed answers, and each act in the event log."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from cheroot import server as cheroot_server
from cheroot import wsgi
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from agent.admin.answers import Answer
from agent.admin.faults import explain
from agent.admin.openapi import ErrorAnswer, document
from agent.admin.peers import Peer, Permission, Permissions
from agent.admin.requests import Ask, EventsQuery
from agent.admin.routes import ROUTES, Operations, Route
from agent.admin.settings import AdminSettings
from agent.core import threads
from agent.core.errors import AgentError, UnavailableError
from agent.core.events import Event, EventKind, Request
from agent.core.letters import all_storable
from agent.core.ports import Clock, EventSink

MAX_BODY = 1 << 20
MAX_HEADER = 1 << 14
THREADS = 12
QUEUE = 128
"""Connections that wait to be taken: further ones are turned away, and the end of each job is one."""
LOCK_SUFFIX = ".lock"
"""Names the file beside the socket that a daemon holds locked, as long as it runs, however that ends."""
MOST_WAITING = 8
"""Callers that may wait for events at one time; the others are answered at once."""
_DOCUMENT = ("/v1/openapi.json", "GET")
_PERMISSION_KEYS = {
    Permission.READ: "[admin] readers, reader_groups",
    Permission.ACT: "[admin] operators, operator_groups",
}

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class _Refusal(Exception):  # noqa: N818 - an HTTP status, not an error of ours
    def __init__(self, status: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class _Connection(cheroot_server.HTTPConnection):
    """A connection that forgets what its peer did not take."""

    def close(self) -> None:
        super().close()
        # Else Python 3.13 and newer tell on stderr of what could not be sent, when they forget it.
        with suppress(OSError, ValueError):
            self.wfile.close()


class AdminServer:
    """Serves the operations.

    Args:
        settings: [admin].
        operations: what administrators see and do.
        events: where acts are told, done or refused.
        clock: time.

    Raises:
        UnavailableError: a user or a group that this machine does not know.
    """

    def __init__(
        self,
        settings: AdminSettings,
        operations: Operations,
        events: EventSink,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._operations = operations
        self._events = events
        self._clock = clock
        self._permissions = Permissions(settings)
        self._routes = {(route.path, route.method): route for route in ROUTES}
        self._document = document().encode()
        self._waiting = threading.Semaphore(MOST_WAITING)
        self._lock: int | None = None
        self._server: wsgi.Server | None = None

    def start(self) -> None:
        """Bind and serve.

        Raises:
            UnavailableError: the socket cannot be made, or another daemon has it.
        """
        path = self._settings.socket
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._take_lock()
            path.unlink(missing_ok=True)
            server = wsgi.Server(
                str(path),
                self._answer,
                numthreads=THREADS,
                request_queue_size=QUEUE,
                timeout=10,
                peercreds_enabled=True,
                server_name="esagent",
            )
            server.ConnectionClass = _Connection
            server.max_request_body_size = MAX_BODY
            server.max_request_header_size = MAX_HEADER
            server.shutdown_timeout = 1
            server.prepare()
            # Anybody may call; who may read or act is decided by who the caller is.
            path.chmod(0o666)
        except OSError as error:
            self._let_lock_go()
            raise UnavailableError(f"[admin] socket {path}: {error}") from error
        self._server = server
        threads.rely("admin", server.serve)

    def stop(self) -> None:
        """End and remove the socket."""
        self._operations.questions.let_go()
        if self._server is not None:
            self._server.stop()
            self._settings.socket.unlink(missing_ok=True)
        self._let_lock_go()

    def _take_lock(self) -> None:
        path = self._settings.socket
        self._lock = os.open(f"{path}{LOCK_SUFFIX}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError("another daemon answers on it; two never share one") from None

    def _let_lock_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _answer(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        headers: Mapping[str, str] = {}
        try:
            status, payload = "200 OK", self._dispatch(environ)
        except _Refusal as error:
            status, payload, headers = error.status, _error(error), error.headers
        except AgentError as error:
            status, payload = "409 Conflict", _error(error)
        start_response(
            status,
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(payload))),
                *headers.items(),
            ],
        )
        return [payload]

    def _dispatch(self, environ: Environ) -> bytes:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        route = self._routes.get((path, method))
        if (path, method) == _DOCUMENT:
            return self._document
        if route is None:
            raise self._no_such_call(method, path)
        peer = Peer(int(environ["X_REMOTE_UID"]), int(environ["X_REMOTE_GID"]))
        if route.may is not Permission.ACT:
            self._check(peer, route)
            return _json(self._handle(route, _ask(route, environ), peer))
        ask: Ask | None = None
        outcome = "refused"
        try:
            self._check(peer, route)
            ask = _ask(route, environ)
            answer = self._handle(route, ask, peer)
            outcome = "done"
        except (_Refusal, AgentError) as error:
            outcome = f"refused: {error}"
            raise
        finally:
            self._tell(peer, route, ask, outcome)
        return _json(answer)

    def _handle(self, route: Route, ask: Ask | None, peer: Peer) -> Answer:
        if not isinstance(ask, EventsQuery) or not ask.wait:
            return route.handle(self._operations, ask, peer.name)
        if not self._waiting.acquire(blocking=False):
            return route.handle(self._operations, ask.model_copy(update={"wait": 0}), peer.name)
        try:
            return route.handle(self._operations, ask, peer.name)
        finally:
            self._waiting.release()

    def _check(self, peer: Peer, route: Route) -> None:
        if not self._permissions.allow(peer, route.may):
            keys = _PERMISSION_KEYS[route.may]
            raise _Refusal("403 Forbidden", f"user {peer.name} is not {route.may}: see {keys}")

    def _no_such_call(self, method: str, path: str) -> _Refusal:
        known = [each for where, each in (*self._routes, _DOCUMENT) if where == path]
        if not known:
            return _Refusal("404 Not Found", f"no such call: {method} {path}")
        allowed = ", ".join(known)
        return _Refusal("405 Method Not Allowed", f"{path} takes {allowed} only", {"Allow": allowed})

    def _tell(self, peer: Peer, route: Route, ask: Ask | None, outcome: str) -> None:
        """Put an act into the event log, with the uid and what was asked."""
        asked = ask.model_dump(exclude_defaults=True) if ask else {}
        nodes = asked.pop("nodes", [])
        call = route.path.rpartition("/")[2]
        words = " ".join([call, *nodes[:20], *(f"{key}={value}" for key, value in asked.items())])
        subject = nodes[0] if len(nodes) == 1 else ""
        message = f"{peer.name} (uid {peer.uid}) asks: {words[:500]}: {outcome}"
        data = Request(peer.uid, peer.gid, call, outcome)
        self._events.record(Event(self._clock.now(), EventKind.REQUEST, subject, message, data))


def _ask(route: Route, environ: Environ) -> Ask | None:
    """Read and check what is asked.

    Raises:
        _Refusal: a field is not as it should be, or a query is no query.
    """
    model = route.body or route.query or Ask
    try:
        if route.body is not None:
            return model.model_validate_json(environ["wsgi.input"].read(MAX_BODY), strict=True)
        return model.model_validate(_fields(environ["QUERY_STRING"]))
    except ValidationError as error:
        raise _Refusal("400 Bad Request", explain(error, model)) from None


def _fields(query: str) -> dict[str, str]:
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=20)
    except ValueError as error:
        raise _Refusal("400 Bad Request", f"the query cannot be read: {error}") from None
    found: dict[str, str] = {}
    for key, value in fields:
        if key in found:
            raise _Refusal("400 Bad Request", f"{key[:100]}: it is expected once")
        found[key] = value
    return found


def _json(answer: Answer) -> bytes:
    try:
        return answer.model_dump_json().encode()
    except PydanticSerializationError:
        # A text that cannot be encoded, such as the name of a file: the others are told all the same.
        return type(answer).model_validate(all_storable(answer.model_dump())).model_dump_json().encode()


def _error(error: object) -> bytes:
    return _json(ErrorAnswer(error=str(error)))
