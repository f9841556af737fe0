"""HTTPS with client certificates: one thread per connection."""

from __future__ import annotations

import logging
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from threading import Lock, Thread
from typing import Any

from cryptography import x509


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP."""

    body: bytes
    status: int = 200
    content_type: str = "text/xml"


Application = Callable[[str, bytes, x509.Certificate], Reply | None]
"""Path, body, client certificate -> reply; None to close the connection without one."""

_HANDSHAKE_LIMIT = 10.0
_IDLE_LIMIT = 120.0
_DRAIN_LIMIT = 2.0
_LARGEST_BODY = 16 * 1024 * 1024
_log = logging.getLogger(__name__)


def server_context(cert: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """Return a TLS context (1.2 or newer) that demands a client certificate of this CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # It takes what it issued itself: user certificates of old are signed with SHA-1, and some have 1024 bits.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(cert, key)
    context.load_verify_locations(ca)
    return context


class HttpsServer(ThreadingTCPServer):
    """Listens from the moment it is made; answers from ``begin`` to ``end``."""

    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, bind: str, port: int = 0) -> None:
        try:
            super().__init__((bind, port), _Handler)
        except OSError as error:
            raise OSError(f"{bind} port {port}: cannot listen there: {error.strerror}") from error
        self.application: Application
        self._context: ssl.SSLContext
        self._admits: Callable[[], bool]
        self._thread: Thread | None = None
        self._lock = Lock()
        self._sockets: set[ssl.SSLSocket] = set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def begin(
        self, context: ssl.SSLContext, application: Application, admits: Callable[[], bool] = lambda: True
    ) -> None:
        """Start to answer; a connection that ``admits`` is against is closed at once."""
        self._context = context
        self._admits = admits
        self.application = application
        self._thread = Thread(
            name=f"https {self.port}", target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Stop: close the port and all connections, and wait for their threads."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        with self._lock:
            open_now = list(self._sockets)
        for connection in open_now:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands and serve the connection, in its own thread."""
        if not self._admits():
            return
        request.settimeout(_HANDSHAKE_LIMIT)
        try:
            connection = self._context.wrap_socket(request, server_side=True)
        except OSError as error:
            # A client without a certificate, with an expired one, or one that does not trust ours.
            _log.info("TLS handshake with %s failed: %s", client_address, error)
            return
        with self._lock:
            self._sockets.add(connection)
        try:
            connection.settimeout(_IDLE_LIMIT)
            _Handler(connection, client_address, self)
        finally:
            with self._lock:
                self._sockets.discard(connection)
            connection.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log what went wrong with one connection; the others go on."""
        if isinstance(sys.exc_info()[1], OSError):
            _log.info("connection from %s broke", client_address)
        else:
            _log.exception("a call from %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpsServer
    connection: ssl.SSLSocket

    def do_POST(self) -> None:
        """Answer one call."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BODY:
            # Chunked bodies are not read; the real servers answer an unreadable one with nothing.
            self.close_connection = True
            self._send(Reply(b""))
            self._drain()
            return
        body = self.rfile.read(int(length))
        certificate = self.connection.getpeercert(binary_form=True)
        assert certificate is not None
        reply = self.server.application(self.path, body, x509.load_der_x509_certificate(certificate))
        if reply is None:
            self.close_connection = True
        else:
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        body = reply.body
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _drain(self) -> None:
        """Read on until the client has closed: closing first could cost it the reply."""
        self.connection.settimeout(_DRAIN_LIMIT)
        try:
            while self.rfile.read1():
                continue
        except OSError:
            return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the journal has every call."""
