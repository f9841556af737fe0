"""An HTTPS listener for few and short calls: one request a connection, each bounded in time and size.

cheroot does a client's TLS handshake in the thread that accepts, where one silent client would hold up all
others; here it is done by a worker, and only once the client speaks. Each connection has one time limit for
all it does.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import structlog
from cheroot import errors as cheroot_errors
from cheroot import server as cheroot_server
from cheroot.makefile import StreamReader, StreamWriter
from cheroot.ssl import Adapter

from agent.cloudlab.urn import is_public

log = structlog.get_logger()

MAX_HEADER = 16 * 1024
MAX_WAITING = 64
MAX_SILENT = 256
"""Connections that have said nothing yet; they are closed after ``request_time``."""


class TimedSocket(ssl.SSLSocket):
    """A TLS socket whose reads and writes end together at one time, however little the peer sends at once."""

    deadline: float | None = None

    def _hurry(self) -> None:
        if self.deadline is not None:
            self.settimeout(max(self.deadline - time.monotonic(), 0.001))

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands in the time that is left."""
        self._hurry()
        super().do_handshake(block)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Read in the time that is left."""
        self._hurry()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """Write in the time that is left."""
        self._hurry()
        return super().send(*args, **kwargs)


class _Tls(Adapter):
    """Wraps accepted sockets; the handshake is left to the worker."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: Any) -> Any:
        return sock

    def wrap(self, sock: Any) -> tuple[Any, dict[str, str]]:
        try:
            return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}
        except OSError as error:
            raise cheroot_errors.FatalSSLAlert(*error.args) from error

    def get_environ(self) -> dict[str, str]:
        return {}

    def makefile(self, sock: Any, mode: str = "r", bufsize: int = -1) -> Any:
        return (StreamReader if "r" in mode else StreamWriter)(sock, mode, bufsize)


class _Connection(cheroot_server.HTTPConnection):
    """A connection that lasts for one request and knows its caller."""

    caller = ""
    silent = True

    def close(self) -> None:
        self.server.silent.discard(self)
        super().close()
        # Else Python 3.13 and newer tell on stderr of what could not be sent, when they forget it.
        with suppress(OSError, ValueError):
            self.wfile.close()

    def communicate(self) -> bool:
        if not self.server.ready:
            return False
        self.socket.deadline = time.monotonic() + self.server.request_time
        try:
            self.socket.do_handshake()
        except OSError as error:
            self.server.refused(self.remote_addr, "tls", str(error))
            return False
        self.caller = _caller(self.socket.getpeercert())
        return bool(super().communicate())  # type: ignore[no-untyped-call]


def _caller(certificate: Mapping[str, Any] | None) -> str:
    """Return the last ``urn:publicid:`` among the subjectAltNames, as ProtoGENI's own server reads it."""
    names = (certificate or {}).get("subjectAltName", ())
    public = [value for kind, value in names if kind == "URI" and is_public(value)]
    return public[-1] if public else ""


class _Gateway(cheroot_server.Gateway):
    """Hands a request to the callback server and writes what it says."""

    def respond(self) -> None:
        request = self.req
        status, body = request.server.handle(request)
        request.close_connection = True
        request.status = f"{status.value} {status.phrase}".encode()
        kind = b"text/xml" if status is HTTPStatus.OK else b"text/plain"
        request.outheaders = [(b"Content-Type", kind), (b"Content-Length", str(len(body)).encode())]
        request.ensure_headers_sent()
        request.write(body)


class Listener(cheroot_server.HTTPServer):
    """cheroot, bounded.

    Args:
        address: host and port.
        context: its sockets are ``TimedSocket``.
        handle: answers a request with status and body.
        refused: told of a connection that did not get as far as a request: address, one word, reason.
        request_time: seconds that one connection may last.
    """

    ConnectionClass = _Connection
    keep_alive_conn_limit = 0
    max_request_header_size = MAX_HEADER
    request_queue_size = MAX_WAITING
    shutdown_timeout = 1

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        handle: Callable[[cheroot_server.HTTPRequest], tuple[HTTPStatus, bytes]],
        refused: Callable[[str, str, str], None],
        request_time: float,
    ) -> None:
        super().__init__(address, _Gateway, server_name="esagent")
        self.ssl_adapter = _Tls(context)
        self.handle = handle
        self.refused = refused
        self.request_time = request_time
        self.timeout = request_time  # type: ignore[assignment]
        self.silent: set[_Connection] = set()

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: Any) -> socket.socket:
        """Bind the socket, or close it."""
        try:
            socket_.bind(bind_addr)
        except OSError:
            # cheroot has not kept it yet, so nobody else could close it.
            socket_.close()
            raise
        return socket_

    def process_conn(self, conn: Any) -> None:
        """Give a connection to a worker once it speaks: a silent one would only keep the worker."""
        if conn.silent and len(self.silent) >= MAX_SILENT:
            self._crowd_out(conn, f"{MAX_SILENT} connections say nothing")
        elif conn.silent:
            conn.silent = False
            self.silent.add(conn)
            self.put_conn(conn)
        elif self.requests.qsize >= MAX_WAITING:
            self._crowd_out(conn, f"{MAX_WAITING} connections wait already")
        else:
            self.silent.discard(conn)
            super().process_conn(conn)

    def _crowd_out(self, conn: Any, reason: str) -> None:
        self.refused(conn.remote_addr, "crowded", reason)
        conn.close()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Write cheroot's words to our log."""
        log.log(level, "callback server", detail=str(msg), exc_info=traceback)
