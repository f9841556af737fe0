"""Serves the status page: GET and HEAD of one address, to anybody who can reach it.

The page is made at most once in ``KEEP_FOR`` seconds, however many ask: the daemon's locks are not theirs.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from cheroot import server as cheroot_server
from cheroot import wsgi
from pydantic import Field

from agent.core import threads
from agent.core.errors import ConfigError, UnavailableError
from agent.core.ports import Clock
from agent.core.settings import Section
from agent.page.model import PageView
from agent.page.render import STYLE_HASH, render

log = structlog.get_logger()

KEEP_FOR = 2.0
"""Seconds that a page is served again."""
LOOK_EVERY = 5.0
"""Seconds between two looks at the machines' states, for the course over time."""
REQUEST_TIME = 10.0
"""Seconds that one connection may last."""
THREADS = 4
MAX_WAITING = 32
MAX_HEADER = 8 * 1024
MAX_BODY = 1024
"""Bytes of a body, which nobody needs to send."""

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What a browser may load for this page: nothing, and of styles its own."""
_GUARDS = [
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]


class PageSettings(Section):
    """A page for people's browsers: read only, and without a login."""

    enabled: bool = Field(False, description="whether the status page is served")
    listen: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address that it is served on, or the path of a unix socket for a web server in front",
    )
    port: int = Field(9816, ge=0, le=65535, description="its port; 0 lets the system choose")


class Source(Protocol):
    """What the page is made of."""

    def look(self) -> None:
        """Remember how things stand, for the course over time."""

    def view(self) -> PageView:
        """Return what the page shows now."""


class PageServer:
    """Serves the page on threads of its own.

    Args:
        settings: the section [page].
        source: what the page is made of.
        clock: time.
        request_time: seconds that one connection may last.
    """

    def __init__(
        self, settings: PageSettings, source: Source, clock: Clock, *, request_time: float = REQUEST_TIME
    ) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._request_time = request_time
        self._tcp = not settings.listen.startswith("/")
        self._names = {name.lower() for name in ("localhost", settings.listen, socket.gethostname())}
        self._lock = threading.Lock()
        self._page = b""
        self._made: float | None = None
        self._ending = threading.Event()
        self._server: _Server | None = None
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        """Where it is served: ``http://127.0.0.1:9816/``, or the path of the socket."""
        assert self._server is not None
        bound = self._server.bind_addr
        if not isinstance(bound, tuple):
            return str(bound)
        host, port = bound[:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def start(self) -> None:
        """Listen, and serve from now on.

        Raises:
            ConfigError: the address is no place for a socket.
            UnavailableError: the address cannot be used.
        """
        listen = self._settings.listen
        path = None if self._tcp else Path(listen)
        if path is not None and path.exists() and not path.is_socket():
            raise ConfigError(f"[page] cannot listen on {listen}: it is there, and no socket")
        try:
            address = listen if path else (listen, self._settings.port)
            server = _Server(address, self._answer, self._request_time)
            server.prepare()
            if path is not None:
                # As with the local API: what is told here anybody on this machine may read.
                path.chmod(0o666)
        except OSError as error:
            raise UnavailableError(f"[page] cannot listen on {listen}: {error}") from error
        self._server = server
        self._threads = [
            threads.rely("page", server.serve),
            threads.keep("page-look", self._keep_looking, self._ending.is_set),
        ]

    def stop(self) -> None:
        """Stop listening; connections in progress are cut after a second."""
        self._ending.set()
        if self._server is not None:
            self._server.stop()
            for thread in self._threads:
                thread.join(2)
            if not self._tcp:
                Path(self._settings.listen).unlink(missing_ok=True)

    def _keep_looking(self) -> None:
        while not self._ending.is_set():
            self._source.look()
            self._ending.wait(LOOK_EVERY)

    def _answer(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        kind, more = "text/plain; charset=utf-8", []
        if method not in {"GET", "HEAD"}:
            status, body = "405 Method Not Allowed", b"only GET and HEAD\n"
            more = [("Allow", "GET, HEAD")]
        elif self._tcp and not is_ours(environ.get("HTTP_HOST", ""), self._names):
            status, body = (
                "421 Misdirected Request",
                b"ask for the page by an address or this machine's name\n",
            )
        elif path != "/":
            status, body = "404 Not Found", b"the status page is /\n"
        else:
            status, body, kind = "200 OK", self._newest(), "text/html; charset=utf-8"
        length = str(len(body))
        start_response(status, [("Content-Type", kind), ("Content-Length", length), *_GUARDS, *more])
        return [] if method == "HEAD" else [body]

    def _newest(self) -> bytes:
        with self._lock:
            now = self._clock.monotonic()
            if self._made is None or now - self._made >= KEEP_FOR:
                self._page = render(self._source.view()).encode("utf-8", "replace")
                self._made = now
            return self._page


def is_ours(host: str, names: Collection[str]) -> bool:
    """Tell whether a Host header has an address, or one of our names, or nothing.

    A web site may let its own name point to this address, and read the page through a browser that can reach
    it; the browser then still says that name.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    try:
        ip_address(name)
    except ValueError:
        return not name or name in names
    return True


class _Connection(cheroot_server.HTTPConnection):
    """A connection that ends after a time, however slowly its peer speaks."""

    def communicate(self) -> bool:
        limit = threading.Timer(self.server.request_time, self._cut)
        limit.daemon = True
        limit.start()
        try:
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            limit.cancel()

    def close(self) -> None:
        super().close()
        # Else Python 3.13 and newer tell on stderr of what could not be sent, when they forget it.
        with suppress(OSError, ValueError):
            self.wfile.close()

    def _cut(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("a connection to the page was over already", error=str(error))


class _Server(wsgi.Server):
    """cheroot, bounded."""

    ConnectionClass = _Connection
    keep_alive_conn_limit = 0
    max_request_header_size = MAX_HEADER
    max_request_body_size = MAX_BODY
    shutdown_timeout = 1

    def __init__(
        self,
        address: str | tuple[str, int],
        answer: Callable[[Environ, StartResponse], list[bytes]],
        request_time: float,
    ) -> None:
        super().__init__(
            address,
            answer,
            numthreads=THREADS,
            timeout=math.ceil(request_time),
            request_queue_size=MAX_WAITING,
            accepted_queue_size=MAX_WAITING,
            accepted_queue_timeout=1,
            server_name="esagent",
        )
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

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        log.log(level, "status page", detail=str(msg), exc_info=traceback)
