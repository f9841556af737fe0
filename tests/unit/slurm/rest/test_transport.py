"""One request to slurmrestd, against servers that answer in every bad way."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.slurm.rest.transport import RestTransport, UnknownPathError
from agent.slurm.settings import SlurmSettings

Answer = Callable[[socket.socket], None]


class Server:
    """Takes each request and then does to the connection what the test says."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Answer = lambda _: None
        self.requests: list[str] = []
        self.stopped = threading.Event()


@contextmanager
def serving(base: type[socketserver.BaseServer], address: object, url: str) -> Iterator[Server]:
    server = Server(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with self.request.makefile("rb") as request:
                lines = list(iter(request.readline, b"\r\n"))
                lengths = [int(line[15:]) for line in lines if line.lower().startswith(b"content-length:")]
                server.requests.append(b"".join([*lines, request.read(sum(lengths))]).decode())
            try:
                server.answer(self.request)
            except OSError:
                server.stopped.set()

    class Threads(socketserver.ThreadingMixIn, base):  # type: ignore[misc,valid-type]
        daemon_threads = True

    with Threads(address, Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        if not url:
            server.url = "http://{}:{}".format(*listener.server_address)
        yield server
        server.stopped.set()
        listener.shutdown()
        thread.join()


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "tcp":
        place = serving(socketserver.TCPServer, ("127.0.0.1", 0), "")
    else:
        path = tmp_path / "rest.sock"
        place = serving(socketserver.UnixStreamServer, str(path), f"unix:{path}")
    with place as server:
        yield server


def transport(
    server: Server, *, limit: float = 30, max_reply: int = 1 << 20, **settings: object
) -> RestTransport:
    merged = {"rest_url": server.url, "command_timeout": limit, **settings}
    return RestTransport(SlurmSettings.model_validate(merged), max_reply=max_reply)


def http(status: str, body: bytes, kind: str = "application/json", length: int | None = None) -> Answer:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


def test_a_reply_is_read_whatever_bytes_users_typed(server: Server) -> None:
    server.answer = http("200 OK", b'{"errors": [], "name": "ev\xffil\x1b[2J\n"}')
    document = transport(server).call("GET", "/slurm/v0.0.38/jobs", query={"update_time": 7}).document
    assert document["name"] == "ev\ufffdil\x1b[2J\n"
    assert server.requests[0].startswith("GET /slurm/v0.0.38/jobs?update_time=7 HTTP/1.1\r\n")


def test_nothing_new_is_no_document(server: Server) -> None:
    server.answer = http("304 Not Modified", b"")
    reply = transport(server).call("GET", "/slurm/v0.0.38/jobs")
    assert (reply.unchanged, dict(reply.document)) == (True, {})


def error(**fields: object) -> dict[str, object]:
    return {"errors": [fields], "nodes": []}


BAD_ANSWERS = [
    ("200 OK", error(error="Bad", error_number=9), SlurmRefusedError, r"Bad \(9\)"),
    ("200 OK", error(description="Socket timed out on send/recv operation"), SlurmDownError, "timed out"),
    ("500 X", error(error="Invalid node name specified", errno=2018), SlurmRefusedError, "2018"),
    ("500 X", error(error="Unspecified error", errno=-1), SlurmDownError, "Unspecified"),
    ("500 X", {}, SlurmRefusedError, "no message"),
    ("502 X", error(description="Unable to contact slurm controller"), SlurmDownError, "Unable"),
    ("504 X", {"errors": []}, SlurmDownError, "504"),
    ("511 X", error(error_number=1007), SlurmRefusedError, "not let in"),
    ("401 X", "Authentication failure", SlurmRefusedError, "not let in"),
    ("404 X", "Unable find requested URL.", UnknownPathError, "Unable find"),
    ("405 X", "Requested REST method is not defined", UnknownPathError, "not defined"),
    ("502 X", "<html>bad gateway</html>", SlurmDownError, "502"),
    ("302 X", "<html>elsewhere</html>", SlurmError, "no JSON"),
    ("200 OK", "<html>hello</html>", SlurmError, "no JSON but '<html>"),
    ("200 OK", "", SlurmError, "no JSON"),
    ("200 OK", "[1, 2]", SlurmError, "expected an object"),
    ("200 OK", "[" * 100_000, SlurmError, "no JSON"),
    ("200 OK", '{"jobs": [', SlurmError, "no JSON"),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), BAD_ANSWERS)
def test_what_is_no_good_answer_is_an_error(
    server: Server, status: str, body: object, kind: type[SlurmError], words: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    server.answer = http(status, content.encode())
    with pytest.raises(kind, match=words):
        transport(server).call("GET", "/slurm/v0.0.44/nodes")


def test_what_22_05_does_not_specify_may_be_a_token_that_it_does_not_take(
    server: Server, tmp_path: Path
) -> None:
    token = tmp_path / "slurm.jwt"
    token.write_text("SLURM_JWT=a.b.c\n")
    server.answer = http("500 X", json.dumps(error(error="Unspecified error", errno=-1)).encode())
    with pytest.raises(SlurmRefusedError, match="rest_token"):
        transport(server, rest_token=token).call("GET", "/slurm/v0.0.38/nodes")
    for unclear in (lambda t: t.call("POST", "/x"), lambda t: t.call("GET", "/x", query={"update_time": 1})):
        with pytest.raises(SlurmRefusedError, match="does slurmctld answer"):
            unclear(transport(server))


def test_a_cut_reply_is_no_reply(server: Server) -> None:
    server.answer = http("200 OK", b'{"errors": []}', length=400)
    with pytest.raises(SlurmDownError, match=r"slurmrestd GET /x"):
        transport(server).call("GET", "/x")


def test_a_connection_that_ends_without_a_word_is_no_reply(server: Server) -> None:
    with pytest.raises(SlurmDownError):
        transport(server).call("GET", "/x")


def test_a_question_that_was_cut_off_is_asked_once_more(server: Server) -> None:
    server.answer = lambda _: setattr(server, "answer", http("200 OK", b'{"errors": []}'))
    assert transport(server).call("GET", "/x").document == {"errors": []}
    assert len(server.requests) == 2


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1), ("DELETE", 1)])
def test_what_changes_something_is_never_sent_again(server: Server, method: str, times: int) -> None:
    with pytest.raises(SlurmDownError, match=r"slurmrestd [A-Z]+ /x: .*Connection aborted"):
        transport(server).call(method, "/x")
    assert len(server.requests) == times


def test_garbage_is_no_reply(server: Server) -> None:
    server.answer = lambda connection: connection.sendall(b"\x00\xff\x16garbage\r\n\r\n")
    with pytest.raises(SlurmDownError):
        transport(server).call("GET", "/x")


def test_a_reply_has_a_largest_size(server: Server) -> None:
    server.answer = http("200 OK", b" " * 2000)
    with pytest.raises(SlurmError, match="longer than 1000 bytes"):
        transport(server, max_reply=1000).call("GET", "/x")


def test_a_server_that_says_nothing_is_waited_for_a_limited_time(server: Server) -> None:
    server.answer = lambda _: server.stopped.wait(20) and None
    with pytest.raises(SlurmDownError, match=r"no whole answer within 0\.2 s"):
        transport(server, limit=0.2).call("GET", "/x")


def test_a_reply_that_comes_in_drops_is_waited_for_a_limited_time(server: Server) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not server.stopped.wait(0.05):
            connection.sendall(b" ")

    server.answer = drip
    with pytest.raises(SlurmDownError, match=r"within 0\.3 s"):
        transport(server, limit=0.3).call("GET", "/x")


@pytest.mark.parametrize("start", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nX-Drops: "])
def test_headers_that_come_in_drops_are_waited_for_a_limited_time(server: Server, start: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(start)
        while not server.stopped.wait(0.05):
            connection.sendall(b".")

    server.answer = drip
    with pytest.raises(SlurmDownError, match=r"no whole answer within 0\.3 s"):
        transport(server, limit=0.3).call("GET", "/x")


@pytest.mark.parametrize("url", ["unix:/nowhere/rest.sock", "http://127.0.0.1:1"])
def test_a_slurmrestd_that_is_off_is_down(url: str) -> None:
    with pytest.raises(SlurmDownError, match="slurmrestd GET /x"):
        transport(Server(url)).call("GET", "/x")


def test_the_token_is_read_again_when_its_file_changes(server: Server, tmp_path: Path) -> None:
    server.answer = http("200 OK", b"{}")
    token = tmp_path / "slurm.jwt"
    client = transport(server, rest_token=token, rest_user="agent")
    for text, sent in (("SLURM_JWT=ey.first\n", "ey.first"), ("ey.second", "ey.second")):
        token.write_text(text)
        client.call("GET", "/x")
        assert f"X-SLURM-USER-TOKEN: {sent}\r\n" in server.requests[-1]
        assert "X-SLURM-USER-NAME: agent\r\n" in server.requests[-1]


@pytest.mark.parametrize("content", [b"", b"two words", b"a\r\nX-Evil: 1", b"\xff", b"x" * 20000 + b"!"])
def test_a_file_that_holds_no_token_is_named(server: Server, tmp_path: Path, content: bytes) -> None:
    token = tmp_path / "slurm.jwt"
    token.write_bytes(content)
    with pytest.raises(SlurmRefusedError, match=r"rest_token: .*slurm\.jwt"):
        transport(server, rest_token=token).call("GET", "/x")
    assert server.requests == []


def test_a_body_is_json(server: Server) -> None:
    server.answer = http("200 OK", b"{}")
    transport(server).call("POST", "/slurm/v0.0.44/nodes/", body={"name": ["n[1-2]"], "weight": 7})
    assert "Content-Type: application/json\r\n" in server.requests[0]
    assert server.requests[0].endswith('{"name": ["n[1-2]"], "weight": 7}')
