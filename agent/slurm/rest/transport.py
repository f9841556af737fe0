"""One request to slurmrestd: unix socket or TCP, token from a file, bounded in time and size."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.letters import read_json
from agent.slurm.json_shapes import complaints, error_numbers
from agent.slurm.settings import SlurmSettings
from agent.slurm.words import means_no_answer, printable

MAX_REPLY = 512 * 1024 * 1024
"""Bytes of a reply; 20,000 jobs in v0.0.44 are 162 MB."""
_MAX_TOKEN = 16 * 1024
_TOKEN = re.compile(r"(?:SLURM_JWT=)?([A-Za-z0-9_.=-]+)", re.ASCII)
_CHUNK = 256 * 1024
_NOT_LET_IN = frozenset({401, 403, 407, 511})
_NO_CONTROLLER = frozenset({502, 503, 504})
_UNSPECIFIED = -1
"""With status 500, all that 22.05 says of a token that it does not take, and of a controller that is off.

With ``update_time`` it says so too where some of what it was asked for is new and some is not.
"""


class UnknownPathError(SlurmRefusedError):
    """slurmrestd has no such path: it may have been replaced by one of another release."""


class Sent(TypedDict, total=False):
    """What a request carries beside method and path."""

    query: Mapping[str, str | int]
    """What follows the path."""
    body: Mapping[str, object]
    """Sent as JSON."""


@dataclass(frozen=True)
class Reply:
    """What slurmrestd answered."""

    document: Mapping[str, Any]
    """Empty where ``unchanged``."""
    unchanged: bool = False
    """Status 304: nothing is newer than the ``update_time`` of the request."""


class RestTransport:
    """Calls slurmrestd, one connection a request.

    Args:
        settings: [slurm].
        max_reply: bytes of a reply.
    """

    def __init__(self, settings: SlurmSettings, *, max_reply: int = MAX_REPLY) -> None:
        self._settings = settings
        self._max_reply = max_reply
        self._socket = settings.rest_url.removeprefix("unix:") if settings.rest_url[:5] == "unix:" else ""
        self._base = "http://localhost" if self._socket else settings.rest_url.rstrip("/")

    def call(self, method: str, path: str, **sent: Unpack[Sent]) -> Reply:
        """Send one request and read its JSON.

        Raises:
            SlurmDownError: no whole answer in time, from slurmrestd or from the controller behind it.
            UnknownPathError: it has no such path.
            SlurmRefusedError: not let in, or errors in the reply, whatever its status is.
            SlurmError: what came is no reply of slurmrestd.
        """
        what = f"slurmrestd {method} {path}"
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **self._credentials()}
        query, body = sent.get("query"), sent.get("body")
        request = requests.Request(method, self._base + path, headers, params=query, json=body)
        status, content = self._exchange(what, request.prepare())
        if status == requests.codes.not_modified:
            return Reply({}, unchanged=True)
        said = printable(content[:300].decode(errors="replace"))
        if status in _NOT_LET_IN:
            raise SlurmRefusedError(f"{what}: HTTP {status}: rest_token and rest_user are not let in: {said}")
        try:
            # Slurm copies what users typed: invalid UTF-8 and control characters are theirs.
            document = read_json(content.decode(errors="replace"), strict=False)
        except (ValueError, RecursionError) as error:
            if status in {404, 405}:
                raise UnknownPathError(f"{what}: HTTP {status}: {said}") from error
            if status in _NO_CONTROLLER:
                raise SlurmDownError(f"{what}: HTTP {status}: {said}") from error
            raise SlurmError(f"{what}: HTTP {status}, and no JSON but {said[:80]!r}") from error
        if not isinstance(document, dict):
            raise SlurmError(f"{what}: expected an object, got {said[:80]!r}")
        self._check(what, status, document, plain_read=method == "GET" and not query)
        return Reply(document)

    def _check(self, what: str, status: int, document: Mapping[str, Any], *, plain_read: bool) -> None:
        errors = complaints(document)
        if not errors and status == requests.codes.ok:
            return
        said = printable("; ".join(errors) or "no message")
        message = f"{what}: {said} (HTTP {status})"
        if status in _NO_CONTROLLER or means_no_answer(said):
            raise SlurmDownError(message)
        if status >= 500 and error_numbers(document) == {_UNSPECIFIED}:
            if self._settings.rest_token is None and plain_read:
                raise SlurmDownError(message)
            message += ": is the token in rest_token valid, and does slurmctld answer?"
        raise SlurmRefusedError(message)

    def _credentials(self) -> dict[str, str]:
        """Read the token anew: it is short-lived, and something replaces the file."""
        path = self._settings.rest_token
        if path is None:
            return {}
        return {"X-SLURM-USER-NAME": self._settings.rest_user, "X-SLURM-USER-TOKEN": read_token(path)}

    def _exchange(self, what: str, request: requests.PreparedRequest) -> tuple[int, bytes]:
        limit = self._settings.command_timeout
        deadline = time.monotonic() + limit
        try:
            try:
                return self._send(what, request, deadline)
            except requests.ConnectionError as error:
                # slurmrestd 22.05 now and then takes a new connection for a closed one of the same number
                # ("connection invalid" in its log), and drops it unread.
                if request.method != "GET" or not _was_cut_off(error) or time.monotonic() > deadline:
                    raise
                return self._send(what, request, deadline)
        except (OSError, urllib3.exceptions.HTTPError) as error:
            late = isinstance(error, requests.Timeout) or time.monotonic() > deadline
            words = f"no whole answer within {limit:g} s" if late else str(error)
            raise SlurmDownError(f"{what}: {words}") from error

    def _send(self, what: str, request: requests.PreparedRequest, deadline: float) -> tuple[int, bytes]:
        ca = self._settings.rest_ca
        with requests.Session() as session:
            session.trust_env = False
            session.mount("https://", _BoundedAdapter())
            session.mount("http://", _UnixAdapter(self._socket) if self._socket else _BoundedAdapter())
            with session.send(
                request,
                timeout=max(deadline - time.monotonic(), 0.001),
                stream=True,
                allow_redirects=False,
                verify=str(ca) if ca else True,
            ) as response:
                return response.status_code, self._receive(response, what, deadline)

    def _receive(self, response: requests.Response, what: str, deadline: float) -> bytes:
        received = bytearray()
        ended = False
        while not ended:
            # read1 returns what is there, so that a reply that comes in drops cannot outlast the deadline.
            chunk = response.raw.read1(_CHUNK, decode_content=False)
            received += chunk
            if len(received) > self._max_reply:
                raise SlurmError(f"{what}: the reply is longer than {self._max_reply} bytes")
            if time.monotonic() > deadline:
                # What looks like the end of the reply may be the end of its time.
                raise TimeoutError
            ended = not chunk
        return bytes(received)


def read_token(path: Path) -> str:
    """Read the token of [slurm] rest_token.

    Raises:
        SlurmRefusedError: the file cannot be read, or holds no token.
    """
    try:
        with path.open(encoding="ascii") as file:
            text = file.read(_MAX_TOKEN + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SlurmRefusedError(f"[slurm] rest_token: {path}: cannot be read: {error}") from error
    match = _TOKEN.fullmatch(text)
    if match is None or len(text) > _MAX_TOKEN:
        raise SlurmRefusedError(f"[slurm] rest_token: {path}: expected a token of scontrol token in it")
    return match[1]


def _was_cut_off(error: requests.ConnectionError) -> bool:
    """Tell whether the connection was made, and ended before there was an answer."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, urllib3.exceptions.ProtocolError) and isinstance(
        cause.args[-1], ConnectionResetError | BrokenPipeError
    )


class _Bounded(HTTPConnection):
    """Ends when its time is over.

    The time-out of a socket begins anew with each drop of a reply, also of its headers.
    """

    _end: threading.Timer | None = None

    def connect(self) -> None:
        """Connect, and let the time run."""
        super().connect()
        self._end = threading.Timer(float(self.timeout or 0), _shut, (self.sock,))
        self._end.daemon = True
        self._end.start()

    def close(self) -> None:
        """Close the connection."""
        if self._end is not None:
            self._end.cancel()
        super().close()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        # Not by the method of a TLS socket, which is not for use beside a read.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _BoundedTls(_Bounded, HTTPSConnection):
    """The same over TLS."""


class _TcpPool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTls


class _BoundedAdapter(HTTPAdapter):
    """Sends requests over TCP, each within its time."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections of ours."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _TcpPool, "https": _TlsPool}


class _UnixSocket(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: Any) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(self.timeout)
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection


class _UnixConnection(_Bounded, _UnixSocket):
    """The same within its time."""


class _UnixPool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", maxsize=1)
        self._path = path

    def _new_conn(self) -> _UnixConnection:
        return _UnixConnection(self._path, self.timeout.connect_timeout)


class _UnixAdapter(HTTPAdapter):
    """Sends every request to one unix socket."""

    def __init__(self, path: str) -> None:
        self._pool = _UnixPool(path)
        super().__init__()

    def get_connection_with_tls_context(self, *_args: Any, **_kwargs: Any) -> _UnixPool:
        """Return the pool of the socket, whatever the URL is."""
        return self._pool

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
        super().close()
