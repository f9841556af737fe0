"""The HTTPS server that Cloudlab calls: who may call, and what is passed on to the endpoint."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import structlog
from cheroot import server as cheroot_server
from pydantic import Field, field_validator

from agent.cloudlab import wire
from agent.cloudlab.listener import Listener, TimedSocket
from agent.cloudlab.urn import Urn, same_urn
from agent.core import threads
from agent.core.errors import ConfigError, UnavailableError
from agent.core.notices.whence import called_by
from agent.core.settings import Section

log = structlog.get_logger()

REQUEST_TIME = 10.0
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
    """What is called for Cloudlab's calls: ``agent.core.notices.endpoint.ElasticSliceClientEndpoint``.

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
        self._server = Listener(
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
        self._thread = threads.rely("callback-server", self._server.serve)
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
        with called_by(request.conn.caller):
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
    context.sslsocket_class = TimedSocket
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
