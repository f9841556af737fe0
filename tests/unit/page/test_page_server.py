"""The status page over real sockets: what is answered, to whom, and how often the daemon is asked for it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.core.errors import ConfigError, UnavailableError
from agent.page.model import PageView
from agent.page.server import MAX_HEADER, THREADS, PageServer, PageSettings, is_ours


class SetClock:
    """A clock that stands."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 12, tzinfo=UTC)

    steady = now

    def monotonic(self) -> float:
        return self.seconds


class Source:
    """Counts how often it is asked."""

    def __init__(self, make: Callable[[], PageView]) -> None:
        self.make = make
        self.views = 0
        self.looked = threading.Event()

    def look(self) -> None:
        self.looked.set()

    def view(self) -> PageView:
        self.views += 1
        return self.make()


@pytest.fixture
def source(page_view) -> Source:
    return Source(page_view)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def server(source: Source, clock: SetClock) -> Iterator[PageServer]:
    server = PageServer(PageSettings(enabled=True, port=0), source, clock, request_time=60)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def impatient(source: Source, clock: SetClock) -> Iterator[PageServer]:
    server = PageServer(PageSettings(enabled=True, port=0), source, clock, request_time=0.5)
    server.start()
    yield server
    server.stop()


def address(server: PageServer) -> tuple[str, int]:
    match = re.fullmatch(r"http://([\d.]+):(\d+)/", server.address)
    assert match is not None
    return match[1], int(match[2])


def ask(server: PageServer, method: str = "GET", path: str = "/", body: bytes | None = None):
    connection = http.client.HTTPConnection(*address(server), timeout=20)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_the_page_comes_with_a_policy_that_allows_its_own_style_and_nothing_else(server: PageServer) -> None:
    status, headers, body = ask(server)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    style = re.search(r"<style>(.*)</style>", body.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def test_head_has_the_same_head_and_no_body(server: PageServer) -> None:
    _, of_get, page = ask(server)
    status, of_head, body = ask(server, "HEAD")
    assert (status, body) == (200, b"")
    assert of_head["Content-Length"] == of_get["Content-Length"] == str(len(page))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(server: PageServer, source: Source, method: str) -> None:
    status, headers, _ = ask(server, method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert source.views == 0


@pytest.mark.parametrize("path", ["/favicon.ico", "/../etc/passwd", "/v1/status", "/%2e%2e/"])
def test_there_is_one_page_and_nothing_beside_it(server: PageServer, path: str) -> None:
    status, headers, body = ask(server, path=path)
    assert (status, body) == (404, b"the status page is /\n")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9816",
        "localhost:9816",
        "[::1]:9816",
        "10.0.0.7",
        "head.example.org",
        "",
        "HEAD.example.org.",
    ],
)
def test_an_address_and_our_own_names_are_ours(host: str) -> None:
    assert is_ours(host, {"localhost", "head.example.org"})


@pytest.mark.parametrize(
    "host", ["evil.example:9816", "localhost.evil.example", "[::1", "127.0.0.1.evil.example"]
)
def test_another_name_that_leads_here_is_not(server: PageServer, source: Source, host: str) -> None:
    assert not is_ours(host, {"localhost", "head.example.org"})
    connection = http.client.HTTPConnection(*address(server), timeout=20)
    connection.request("GET", "/", headers={"Host": host})
    assert connection.getresponse().status == 421
    connection.close()
    assert source.views == 0


def test_many_who_ask_cost_the_daemon_one_look(server: PageServer, source: Source, clock: SetClock) -> None:
    for _ in range(10):
        assert ask(server)[0] == 200
    assert source.views == 1
    clock.seconds += 3
    ask(server)
    assert source.views == 2


def test_the_states_are_looked_at_without_anybody_asking(server: PageServer, source: Source) -> None:
    assert source.looked.wait(20)
    assert source.views == 0


def test_a_body_and_a_head_that_are_too_large_are_refused(server: PageServer) -> None:
    assert ask(server, "GET", body=b"x" * 100_000)[0] == 413
    assert ask(server, path="/" + "x" * 2 * MAX_HEADER)[0] in {413, 414}


def test_those_who_hold_every_thread_are_cut_off(impatient: PageServer) -> None:
    slow = [socket.create_connection(address(impatient), timeout=20) for _ in range(2 * THREADS)]
    try:
        for peer in slow:
            peer.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        for peer in slow:
            while peer.recv(4096):
                pass  # an error's words may come before the end
    finally:
        for peer in slow:
            peer.close()


def test_garbage_costs_nobody_else(server: PageServer) -> None:
    with socket.create_connection(address(server), timeout=20) as rude:
        rude.sendall(b"\x00\xff not http\r\n\r\n")
        rude.recv(1000)
    assert ask(server)[0] == 200


def test_a_page_that_cannot_be_made_is_an_error_and_the_next_one_is_served(
    server: PageServer, source: Source, page_view
) -> None:
    def fail() -> PageView:
        raise RuntimeError("no view")

    source.make = fail
    assert ask(server)[0] == 500
    source.make = page_view
    assert ask(server)[0] == 200


def test_it_can_be_served_on_a_unix_socket(tmp_path: Path, source: Source, clock: SetClock) -> None:
    path = tmp_path / "page.sock"
    for _ in range(2):  # a socket that an earlier run left does not stand in the way
        server = PageServer(PageSettings(enabled=True, listen=str(path)), source, clock)
        server.start()
        assert server.address == str(path)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(20)
            peer.connect(str(path))
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert peer.recv(15).startswith(b"HTTP/1.1 200")
        server.stop()
        assert not path.exists()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))


def test_a_file_that_is_no_socket_is_left_alone_and_named(
    tmp_path: Path, source: Source, clock: SetClock
) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    server = PageServer(PageSettings(enabled=True, listen=str(path)), source, clock)
    with pytest.raises(ConfigError, match="precious"):
        server.start()
    server.stop()
    assert path.read_text() == "data"


def test_an_address_that_is_taken_is_named(server: PageServer, source: Source, clock: SetClock) -> None:
    host, port = address(server)
    second = PageServer(PageSettings(enabled=True, listen=host, port=port), source, clock)
    with pytest.raises(UnavailableError, match=r"\[page\] cannot listen on 127.0.0.1"):
        second.start()
    second.stop()
