"""One XML-RPC call to an SA or a CM: TLS, time limits, typed errors, retries.

What matters most is told apart without guessing: an error raised before the first byte of the request's body
left is ``UnreachableError`` (nothing was carried out), one after it is ``LostReplyError`` (look before
repeating).
"""

from __future__ import annotations

import io
import ssl
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

import requests
import structlog
import tenacity
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from agent.cloudlab import wire
from agent.cloudlab.envelope import fault_error, open_envelope, outcome
from agent.core import threads
from agent.core.errors import (
    BadArgumentsError,
    BusyError,
    CloudlabError,
    ForbiddenError,
    LostReplyError,
    MalformedReplyError,
    UnreachableError,
)

log = structlog.get_logger()

MAX_REPLY = 64 * 2**20
_CHUNK = 2**16
_HEADERS = {
    "Content-Type": "text/xml",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "esagent",
}
# TLS 1.3 tells that our certificate is refused only where the reply is read: nothing was carried out.
_REFUSED_IN_HANDSHAKE = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "ACCESS_DENIED")

Observe = Callable[[str, str, str, float], None]
"""Takes method, authority, outcome in one word, and seconds with all retries."""


@dataclass(frozen=True)
class Remote:
    """Where an SA or CM is called, and its URN."""

    url: str
    authority: str


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds.

    Attributes:
        connect: until TCP and TLS stand.
        read: from then until the whole reply is here.
        retry_for: how long a call is repeated while the server is busy or cannot be reached.
        backoff: least and greatest time between two attempts.
    """

    connect: float = 10
    read: float = 600
    retry_for: float = 30
    backoff: tuple[float, float] = (1, 5)


class Transport:
    """Calls methods of SAs and CMs. Safe for many threads; each call has a connection of its own.

    Args:
        context: TLS settings with our certificate and the roots that we trust.
        limits: time limits.
        max_reply: most bytes of a reply.
        observe: told of each call's end.
        sleep: waits between attempts; by default a wait that ``close`` ends.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        limits: Limits = Limits(),
        *,
        max_reply: int = MAX_REPLY,
        observe: Observe | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._context = context
        self._limits = limits
        self._max_reply = max_reply
        self._observe = observe
        self._closed = threading.Event()
        self._sleep = sleep or self._closed.wait
        self._lock = threading.Lock()
        self._in_flight: set[Future[tuple[int, bytes]]] = set()

    def call(
        self,
        remote: Remote,
        method: str,
        arguments: Mapping[str, object] | None = None,
        *,
        busy_tries: int = 0,
    ) -> object:
        """Call a method; return the ``value`` of its reply.

        Args:
            remote: whom to call.
            method: such as ``AddNodes``.
            arguments: the one struct that methods take; None for a method without.
            busy_tries: how often to call at most while the server says busy; 0 for as often as the limit has
                room for.

        Raises:
            CloudlabError: the subclass that tells what the caller may do next.
        """
        try:
            request = wire.encode_call(method, arguments)
        except ValueError as error:
            raise BadArgumentsError(str(error), method=method, authority=remote.authority) from error
        least, most = self._limits.backoff
        attempts = tenacity.Retrying(
            sleep=self.pause,
            stop=tenacity.stop_before_delay(self._limits.retry_for),
            wait=tenacity.wait_exponential_jitter(initial=least, max=most, jitter=least),
            retry=lambda state: _is_passing(state, busy_tries),
            before_sleep=_log_retry,
            reraise=True,
        )
        start = time.monotonic()
        word = "error"
        try:
            value: object = attempts(self._attempt, remote, method, request)
            word = "ok"
        except CloudlabError as error:
            word = outcome(error)
            log.debug("call failed", method=method, authority=remote.authority, error=str(error))
            raise
        finally:
            if self._observe is not None:
                self._observe(method, remote.authority, word, time.monotonic() - start)
        return value

    def pause(self, seconds: float) -> None:
        """Wait, unless the agent is stopping.

        Raises:
            UnreachableError: ``close`` was called.
        """
        self._sleep(seconds)
        if self._closed.is_set():
            raise UnreachableError("the agent is stopping")

    def close(self) -> None:
        """End every wait at once: calls in flight raise, later calls are refused."""
        with self._lock:
            self._closed.set()
            for future in self._in_flight:
                future.cancel()

    def _attempt(self, remote: Remote, method: str, request: bytes) -> object:
        try:
            status, body = self._exchange(remote, request)
            return self._read(status, body, method, remote.authority)
        except CloudlabError as error:
            error.method, error.authority = method, remote.authority
            raise

    def _read(self, status: int, body: bytes, method: str, authority: str) -> object:
        if status == requests.codes.service_unavailable:
            raise UnreachableError("HTTP 503", code=status)
        if status in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise ForbiddenError(f"HTTP {status}: our certificate is not let in", code=status)
        if status >= requests.codes.server_error:
            raise LostReplyError(f"HTTP {status}", code=status)
        if status != requests.codes.ok:
            raise MalformedReplyError(f"HTTP {status} instead of an XML-RPC reply: is the URL right?")
        try:
            reply = wire.decode_reply(body)
        except xmlrpc.client.Fault as fault:
            raise fault_error(fault, method=method, authority=authority) from fault
        except ValueError as error:
            raise MalformedReplyError(f"{error}; it begins {body[:80]!r}") from error
        return open_envelope(reply, method=method, authority=authority)

    def _exchange(self, remote: Remote, request: bytes) -> tuple[int, bytes]:
        """Send and receive on a thread of its own, so that neither a slow server nor a stop is waited for."""
        body = _Body(request)
        future: Future[tuple[int, bytes]] = Future()
        with self._lock:
            if self._closed.is_set():
                raise UnreachableError("the agent is stopping")
            self._in_flight.add(future)
        limit = self._limits.connect + self._limits.read
        try:
            threads.errand("cloudlab-call", lambda: self._work(future, remote.url, body))
            return future.result(limit)
        except (CancelledError, TimeoutError) as error:
            if not future.cancel():
                return future.result()
            words = "the agent is stopping" if self._closed.is_set() else f"no whole reply in {limit:g} s"
            raise (LostReplyError if body.abandon() else UnreachableError)(words) from error
        finally:
            with self._lock:
                self._in_flight.discard(future)

    def _work(self, future: Future[tuple[int, bytes]], url: str, body: _Body) -> None:
        reply: tuple[int, bytes] | None = None
        failure: CloudlabError | None = None
        try:
            reply = self._post(url, body)
        except CloudlabError as error:
            failure = error
        except (OSError, urllib3.exceptions.HTTPError) as error:
            kind = LostReplyError if body.started and not _refused_in_handshake(error) else UnreachableError
            failure = kind(_cause(error))
            failure.__cause__ = error
        except Exception as error:  # noqa: BLE001 - the caller waits for this thread, whatever happens in it
            failure = (LostReplyError if body.started else CloudlabError)(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
        if not future.set_running_or_notify_cancel():
            return
        if failure is not None:
            future.set_exception(failure)
        elif reply is not None:
            future.set_result(reply)

    def _post(self, url: str, body: _Body) -> tuple[int, bytes]:
        with requests.Session() as session:
            session.trust_env = False
            session.mount("https://", _Adapter(self._context))
            with session.post(
                url,
                data=body,
                headers=_HEADERS,
                timeout=(self._limits.connect, self._limits.read),
                stream=True,
                allow_redirects=False,
            ) as response:
                received = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    received += chunk
                    if len(received) > self._max_reply:
                        raise MalformedReplyError(f"the reply is longer than {self._max_reply} bytes")
                return response.status_code, bytes(received)


class _Body(io.BytesIO):
    """A request's body that knows when the first of it was taken to be sent."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._guard = threading.Lock()
        self._abandoned = False
        self.started = False

    def read(self, size: int | None = -1, /) -> bytes:
        with self._guard:
            if self._abandoned:
                raise OSError("nobody waits for this call any more")
            self.started = True
        return super().read(size)

    def abandon(self) -> bool:
        """Send nothing from now on; return whether sending had begun."""
        with self._guard:
            self._abandoned = True
            return self.started


class _Adapter(HTTPAdapter):
    """Uses our TLS settings as they are."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._tls = context
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        kwargs["ssl_context"] = self._tls
        if not self._tls.check_hostname:
            # Otherwise urllib3 checks the name itself.
            kwargs["assert_hostname"] = False
        super().init_poolmanager(*args, **kwargs)

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Leave the trust to the context: requests would add the roots of the public web to it."""


def _is_passing(state: tenacity.RetryCallState, busy_tries: int) -> bool:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, BusyError):
        return not busy_tries or state.attempt_number < busy_tries
    return isinstance(error, UnreachableError)


def _log_retry(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    wait = round(state.next_action.sleep, 1) if state.next_action else 0
    log.info("call again", attempt=state.attempt_number, wait_seconds=wait, error=str(error))


def _chain(error: BaseException) -> list[BaseException]:
    """List an error and what caused it, outermost first; urllib3 keeps some causes in ``args`` only."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        inner = next((a for a in found.args if isinstance(a, BaseException)), None)
        found = found.__cause__ or found.__context__ or inner
    return chain


def _cause(error: BaseException) -> str:
    root = _chain(error)[-1]
    return f"{type(root).__name__}: {root}"


def _refused_in_handshake(error: BaseException) -> bool:
    reasons = [(e.reason or "").upper() for e in _chain(error) if isinstance(e, ssl.SSLError)]
    return any("ALERT" in r and any(part in r for part in _REFUSED_IN_HANDSHAKE) for r in reasons)
