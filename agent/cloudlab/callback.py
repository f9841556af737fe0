"""The HTTPS server that Cloudlab calls: who may call, and what is passed on to the endpoint.

cheroot does a client's TLS handshake in the thread that accepts, where one silent client would hold up all
others; here it is done by the worker, and each connection has one time limit for all it does.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import structlog
from cheroot import errors as cheroot_errors
from cheroot import server as cheroot_server
from cheroot.makefile import StreamReader, StreamWriter
from cheroot.ssl import Adapter
from pydantic import Field, field_validator

from agent.cloudlab import wire
from agent.cloudlab.urn import Urn, is_public, same_urn
from agent.core.errors import ConfigError, UnavailableError
from agent.core.settings import Section

log = structlog.get_logger()

REQUEST_TIME = 10.0
MAX_HEADER = 16 * 1024
MAX_WAITING = 64
_LENGTH = re.compile(rb"[0-9]{1,12}")

_SUCCESS, _BAD_ARGUMENTS, _ERROR = 0, 1, 2
_NOT_XML_RPC, _NO_SUCH_METHOD = -32700, -32497

Observe = Callable[[str, str], None]
"""Takes the method ("" where none is known) and the outcome in one word."""


class CallbackSettings(Section):
    """Where Cloudlab calls us, and who may."""

    # Cloudlab calls from outside: on loopback no revocation would arrive and machines would be lost with
    # their jobs. Everybody but the allowed callers is turned away by their certificate.
    listen: str = Field("0.0.0.0", description="address to listen on; Cloudlab must be able to reach it")  # noqa: S104
    port: int = Field(12380, ge=0, le=65535, description="port to listen on; 0 takes any free one")
    certificate: Path = Field(description="PEM file with this server's certificate, and its chain if any")
    key: Path = Field(description="PEM file with its private key, not encrypted")
    ca_bundle: Path = Field(description="PEM file with the CAs that callers' certificates must chain to")
    allowed_urns: tuple[str, ...] = Field(
        min_length=1, description="URNs that may call, as the callers' certificates name them"
    )
    max_body: int = Field(2**20, ge=1024, le=2**26, description="most bytes of a call")
    tls_security_level: int = Field(
        2, ge=0, le=5, description="OpenSSL's security level; old 1024-bit keys and SHA-1 need 1 or 0"
    )

    @field_validator("allowed_urns")
    @classmethod
    def _are_urns(cls, urns: tuple[str, ...]) -> tuple[str, ...]:
        for urn in urns:
            Urn.parse(urn)
        return urns


class ClientEndpoint(Protocol):
    """What is called for Cloudlab's calls: ``agent.core.endpoint.ElasticSliceClientEndpoint``.

    Each takes the call's struct and returns ``{code, value, output}``; it must be quick.
    """

    def GetVersion(self, params: Any = None) -> Mapping[str, object]:  # noqa: N802
        """Tell the API's version."""

    def SetResourceValues(self, params: Any) -> Mapping[str, object]:  # noqa: N802
        """Take resource values."""

    def NotifyDeletePending(self, params: Any) -> Mapping[str, object]:  # noqa: N802
        """Take a revocation."""

    def NotifyDeleteComplete(self, params: Any) -> Mapping[str, object]:  # noqa: N802
        """Take the end of a revocation."""


class CallbackServer:
    """Serves Cloudlab's calls on threads of its own.

    Args:
        endpoint: what answers.
        settings: the section [callback].
        observe: told of each call's end: method and outcome in one word.
        request_time: seconds that one connection may last.

    Raises:
        ConfigError: a certificate, key or bundle cannot be used.
    """

    def __init__(
        self,
        endpoint: ClientEndpoint,
        settings: CallbackSettings,
        *,
        observe: Observe | None = None,
        request_time: float = REQUEST_TIME,
    ) -> None:
        self._settings = settings
        self._observe = observe
        self._dispatcher = Dispatcher(endpoint)
        self._server = _Server(
            (settings.listen, settings.port), _context(settings), self._handle, self._refused, request_time
        )
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.bind_addr[1])

    def start(self) -> None:
        """Listen, and serve from now on.

        Raises:
            UnavailableError: the address cannot be used.
        """
        try:
            self._server.prepare()
        except OSError as error:
            where = f"{self._settings.listen} port {self._settings.port}"
            raise UnavailableError(f"[callback] cannot listen on {where}: {error}") from error
        self._thread = threading.Thread(target=self._server.serve, name="callback-server", daemon=True)
        self._thread.start()
        log.info("callback server listens", address=self._settings.listen, port=self.port)

    def stop(self) -> None:
        """Stop listening; calls in progress are cut after a second."""
        self._server.stop()
        if self._thread is not None:
            self._thread.join(2)

    def _handle(self, request: cheroot_server.HTTPRequest) -> tuple[HTTPStatus, bytes]:
        length = request.inheaders.get(b"Content-Length", b"")
        if request.method != b"POST":
            return self._turn_away(request, HTTPStatus.METHOD_NOT_ALLOWED, "not_post")
        if request.chunked_read or not _LENGTH.fullmatch(length):
            return self._turn_away(request, HTTPStatus.LENGTH_REQUIRED, "no_length")
        if int(length) > self._settings.max_body:
            return self._turn_away(request, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large")
        # Read even what is refused: an unread body would reset the connection before the answer is seen.
        try:
            body = request.rfile.read(int(length))
        except OSError as error:
            log.info("reading a call's body failed", address=request.conn.remote_addr, error=str(error))
            body = b""
        if len(body) < int(length):
            return self._turn_away(request, HTTPStatus.BAD_REQUEST, "cut_off")
        if not self._allowed(request.conn.caller):
            return self._turn_away(request, HTTPStatus.FORBIDDEN, "forbidden")
        method, word, reply = self._dispatcher.answer(body)
        log.debug("call from Cloudlab", method=method, outcome=word, caller=request.conn.caller)
        self._count(method, word)
        return HTTPStatus.OK, reply

    def _allowed(self, caller: str) -> bool:
        return any(same_urn(caller, urn) for urn in self._settings.allowed_urns)

    def _turn_away(
        self, request: cheroot_server.HTTPRequest, status: HTTPStatus, word: str
    ) -> tuple[HTTPStatus, bytes]:
        log.warning(
            "call turned away", outcome=word, caller=request.conn.caller, address=request.conn.remote_addr
        )
        self._count("", word)
        return status, f"{status.phrase}\n".encode()

    def _refused(self, address: str, word: str, reason: str) -> None:
        """Take note of a connection that did not get as far as a request."""
        log.warning("connection turned away", outcome=word, address=address, reason=reason)
        self._count("", word)

    def _count(self, method: str, word: str) -> None:
        if self._observe is not None:
            self._observe(method, word)


class Dispatcher:
    """One XML-RPC call to one method of the endpoint, and its answer; no network."""

    def __init__(self, endpoint: ClientEndpoint) -> None:
        self._get_version = endpoint.GetVersion
        # A table, so that no remote string ever picks an attribute.
        self._methods: dict[str, Callable[[Any], Mapping[str, object]]] = {
            "SetResourceValues": endpoint.SetResourceValues,
            "NotifyDeletePending": endpoint.NotifyDeletePending,
            "NotifyDeleteComplete": endpoint.NotifyDeleteComplete,
        }

    def answer(self, body: bytes) -> tuple[str, str, bytes]:
        """Return the method ("" where it is not ours), the outcome in one word, and the XML of the reply."""
        try:
            method, params = wire.decode_call(body)
        except ValueError as error:
            log.warning("call cannot be read", error=str(error))
            return "", "malformed", wire.encode_fault(_NOT_XML_RPC, "error decoding RPC")
        if method == "GetVersion":
            if len(params) > 1:
                return (
                    method,
                    "bad_arguments",
                    _envelope(_BAD_ARGUMENTS, 0, "expected no more than one struct"),
                )
            return method, *_run(method, lambda: self._get_version(*params))
        handler = self._methods.get(method)
        if handler is None:
            log.warning("call of an unknown method", method=method[:64])
            return "", "unknown_method", wire.encode_fault(_NO_SUCH_METHOD, "no such method")
        if len(params) != 1 or not isinstance(params[0], dict):
            return method, "bad_arguments", _envelope(_BAD_ARGUMENTS, 0, "expected one struct")
        return method, *_run(method, lambda: handler(params[0]))


def _run(method: str, call: Callable[[], Mapping[str, object]]) -> tuple[str, bytes]:
    try:
        envelope = call()
        code = envelope["code"]
        reply = _envelope(code, envelope.get("value", 0), envelope.get("output", ""))
    except Exception:  # Cloudlab gets its envelope whatever happens in there
        log.exception("the endpoint failed", method=method)
        return "error", _envelope(_ERROR, 0, "internal error")
    return ("ok" if code == _SUCCESS else "refused"), reply


def _envelope(code: object, value: object, output: object) -> bytes:
    return wire.encode_reply({"code": code, "value": value, "output": output})


def _context(settings: CallbackSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _TimedSocket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_ciphers(f"DEFAULT:@SECLEVEL={settings.tls_security_level}")
    # One call a connection: nobody comes back to resume one.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    try:
        context.load_verify_locations(cafile=settings.ca_bundle)
    except OSError as error:
        raise ConfigError(f"[callback] ca_bundle: {settings.ca_bundle}: expected PEM CAs: {error}") from error
    try:
        context.load_cert_chain(settings.certificate, settings.key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"[callback] certificate {settings.certificate}, key {settings.key}: "
            f"expected a PEM certificate and its unencrypted key: {error}"
        ) from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted")


class _TimedSocket(ssl.SSLSocket):
    """A TLS socket whose reads and writes end together at one time, however little the peer sends at once."""

    deadline: float | None = None

    def _hurry(self) -> None:
        if self.deadline is not None:
            self.settimeout(max(self.deadline - time.monotonic(), 0.001))

    def do_handshake(self, block: bool = False) -> None:
        self._hurry()
        super().do_handshake(block)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._hurry()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
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


class _Server(cheroot_server.HTTPServer):
    """cheroot, bounded."""

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

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: Any) -> socket.socket:
        try:
            socket_.bind(bind_addr)
        except OSError:
            # cheroot has not kept it yet, so nobody else could close it.
            socket_.close()
            raise
        return socket_

    def process_conn(self, conn: Any) -> None:
        if self.requests.qsize >= MAX_WAITING:
            self.refused(conn.remote_addr, "crowded", f"{MAX_WAITING} connections wait already")
            conn.close()
        else:
            super().process_conn(conn)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        log.log(level, "callback server", detail=str(msg), exc_info=traceback)
