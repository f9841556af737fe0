import contextlib
import http.client
import socket
import ssl
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.cloudlab import listener
from agent.cloudlab.callback import CallbackServer, CallbackSettings, Dispatcher
from agent.core.errors import ConfigError, UnavailableError

CM_URN = "urn:publicid:IDN+cluster.example.net+authority+cm"


class Endpoint:
    """Remembers what it was called with; the value ``raise`` makes it fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.entered = threading.Event()

    def _take(self, method: str, params: Any) -> Mapping[str, object]:
        self.calls.append((method, params))
        self.entered.set()
        match params:
            case {"do": "raise"}:
                raise RuntimeError("a secret")
            case {"do": "nonsense"}:
                return {}
            case {"do": "refuse"}:
                return {"code": 1, "value": 0, "output": "a nodelist is expected"}
            case {"nodelist": items}:
                return {"code": 0, "value": items, "output": ""}
        return {"code": 0, "value": None, "output": None}

    def GetVersion(self, params: Any = None) -> Mapping[str, object]:  # noqa: N802
        return self._take("GetVersion", params)

    def SetResourceValues(self, params: Any) -> Mapping[str, object]:  # noqa: N802
        return self._take("SetResourceValues", params)

    def NotifyDeletePending(self, params: Any) -> Mapping[str, object]:  # noqa: N802
        return self._take("NotifyDeletePending", params)

    def NotifyDeleteComplete(self, params: Any) -> Mapping[str, object]:  # noqa: N802
        return self._take("NotifyDeleteComplete", params)


class Bed:
    """A running callback server, and a client for each certificate."""

    def __init__(self, pki: Any, **more: Any) -> None:
        self.pki = pki
        self.endpoint = Endpoint()
        self.seen: list[tuple[str, str]] = []
        settings = CallbackSettings(
            listen="127.0.0.1",
            port=0,
            certificate=pki.server,
            key=pki.server,
            ca_bundle=pki.ca.path,
            allowed_urns=(CM_URN,),
            max_body=10_000,
        )
        self.server = CallbackServer(
            self.endpoint, settings, observe=lambda m, w: self.seen.append((m, w)), **more
        )
        self.server.start()

    def context(self, certificate: Path | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.pki.ca.path)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certificate:
            context.load_cert_chain(certificate)
        return context

    def connect(self, certificate: Path | None) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.server.port), 10)
        return self.context(certificate).wrap_socket(raw, server_hostname="localhost")

    def post(
        self,
        body: bytes,
        certificate: Path | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> tuple[int, bytes]:
        client = http.client.HTTPSConnection(
            "localhost", self.server.port, timeout=10, context=self.context(certificate or self.pki.cm)
        )
        try:
            client.request(method, "/RPC2", body, dict(headers or {}))
            response = client.getresponse()
            return response.status, response.read()
        finally:
            client.close()

    def call(self, method: str, *params: object, certificate: Path | None = None) -> Any:
        status, body = self.post(xmlrpc.client.dumps(params, method).encode(), certificate)  # type: ignore[arg-type]
        assert status == 200, body
        return xmlrpc.client.loads(body)[0][0]

    def until_seen(self, word: tuple[str, str]) -> None:
        end = time.monotonic() + 10
        while word not in self.seen:
            assert time.monotonic() < end, self.seen
            time.sleep(0.01)


@pytest.fixture(scope="module")
def shared(pki: Any) -> Iterator[Bed]:
    bed = Bed(pki)
    yield bed
    bed.server.stop()


@pytest.fixture
def bed(shared: Bed) -> Bed:
    shared.endpoint.calls.clear()
    shared.seen.clear()
    return shared


@pytest.fixture
def lone(pki: Any) -> Iterator[Bed]:
    """A server whose clients hang up late: what it tells of them is not told in another test."""
    bed = Bed(pki)
    yield bed
    bed.server.stop()


def test_an_allowed_caller_gets_an_envelope(bed: Bed) -> None:
    nodes = [{"node_id": "pc7", "value": 1}, {"node_id": "pc8", "value": 0.25, "component_urn": "urn:x"}]
    assert bed.call("SetResourceValues", {"nodelist": nodes}) == {"code": 0, "value": nodes, "output": ""}
    assert bed.endpoint.calls == [("SetResourceValues", {"nodelist": nodes})]
    assert bed.seen == [("SetResourceValues", "ok")]


@pytest.mark.parametrize("method", ["SetResourceValues", "NotifyDeletePending", "NotifyDeleteComplete"])
def test_each_method_reaches_its_own(method: str, bed: Bed) -> None:
    bed.call(method, {"x": 1})
    assert bed.endpoint.calls == [(method, {"x": 1})]


def test_get_version_takes_no_struct_or_one(bed: Bed) -> None:
    assert bed.call("GetVersion") == {"code": 0, "value": "", "output": ""}
    bed.call("GetVersion", {})
    assert bed.endpoint.calls == [("GetVersion", None), ("GetVersion", {})]
    assert bed.call("GetVersion", {}, {})["code"] == 1


@pytest.mark.parametrize("params", [(), ({}, {}), ("text",), ([1],), (1,)])
def test_anything_but_one_struct_is_a_bad_argument(params: tuple[object, ...], bed: Bed) -> None:
    reply = bed.call("NotifyDeletePending", *params)
    assert (reply["code"], reply["value"]) == (1, 0)
    assert bed.endpoint.calls == []


def test_a_failing_endpoint_answers_in_the_envelope_and_tells_no_secret(bed: Bed) -> None:
    for what in ("raise", "nonsense"):
        reply = bed.call("NotifyDeletePending", {"do": what})
        assert reply == {"code": 2, "value": 0, "output": "internal error"}
    assert bed.seen == [("NotifyDeletePending", "error")] * 2


def test_a_refusal_of_the_endpoint_is_passed_on_and_counted(bed: Bed) -> None:
    assert bed.call("NotifyDeletePending", {"do": "refuse"})["output"] == "a nodelist is expected"
    assert bed.seen == [("NotifyDeletePending", "refused")]


@pytest.mark.parametrize(
    "method", ["Shutdown", "__init__", "GetVersion.__class__", "_take", "system.listMethods"]
)
def test_an_unknown_method_is_a_fault(method: str, bed: Bed) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        bed.call(method, {})
    assert caught.value.faultCode == -32497
    assert bed.endpoint.calls == []
    assert bed.seen == [("", "unknown_method")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"<methodCall>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><methodCall><methodName>GetVersion</methodName></methodCall>",
    ],
)
def test_garbage_is_a_fault(body: bytes, bed: Bed) -> None:
    status, reply = bed.post(body)
    assert status == 200
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(reply)
    assert caught.value.faultCode == -32700
    assert bed.endpoint.calls == []


@pytest.mark.parametrize("who", ["stranger", "unnamed"])
def test_a_caller_of_the_same_ca_with_another_name_is_forbidden(who: str, bed: Bed) -> None:
    status, _ = bed.post(xmlrpc.client.dumps(({},), "GetVersion").encode(), getattr(bed.pki, who))
    assert status == 403
    assert bed.endpoint.calls == []
    assert bed.seen == [("", "forbidden")]


@pytest.mark.parametrize("who", ["foreign", None])
def test_a_certificate_of_another_ca_or_none_is_refused_by_tls(who: str | None, lone: Bed) -> None:
    certificate = getattr(lone.pki, who) if who else None
    with pytest.raises(OSError, match=r"ALERT|alert|reset|EOF|Broken pipe"):  # noqa: PT012, SIM117
        with lone.connect(certificate) as client:
            client.sendall(b"POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
            if not client.recv(100):
                raise OSError("EOF")
    lone.until_seen(("", "tls"))
    assert lone.endpoint.calls == []
    assert lone.call("GetVersion")["code"] == 0


def test_an_old_tls_version_is_refused(lone: Bed) -> None:
    context = lone.context(lone.pki.cm)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", lone.server.port), 10) as raw,
        pytest.raises(OSError, match=r"(?i)alert"),
    ):
        context.wrap_socket(raw, server_hostname="localhost")


def test_plain_http_and_noise_do_no_harm(lone: Bed) -> None:
    for noise in (b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01\x00\xff" + b"\0" * 40, b"\xff" * 100):
        raw = socket.create_connection(("127.0.0.1", lone.server.port), 10)
        # The server may hang up before it has all.
        with contextlib.closing(raw), contextlib.suppress(OSError):
            raw.sendall(noise)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(1000):
                pass
    assert lone.call("GetVersion")["code"] == 0


def test_an_oversize_body_is_refused_unread(bed: Bed) -> None:
    with bed.connect(bed.pki.cm) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n")
        assert client.recv(1000).split()[1] == b"413"
    assert bed.seen == [("", "too_large")]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"POST / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", b"413"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_odd_requests_get_a_status_and_no_more(head: bytes, status: bytes, bed: Bed) -> None:
    with bed.connect(bed.pki.cm) as client:
        client.sendall(head)
        assert client.recv(1000).split()[1] == status
    assert bed.endpoint.calls == []
    assert bed.call("GetVersion")["code"] == 0


@pytest.mark.parametrize("politely", [True, False])
def test_a_body_that_is_cut_off_is_not_taken(politely: bool, bed: Bed) -> None:
    with bed.connect(bed.pki.cm) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n<methodCall>")
        if politely:
            with contextlib.suppress(ssl.SSLError):
                client.unwrap().close()
    bed.until_seen(("", "cut_off"))
    assert bed.endpoint.calls == []


def test_an_http_1_0_caller_is_served(bed: Bed) -> None:
    body = xmlrpc.client.dumps((), "GetVersion").encode()
    with bed.connect(bed.pki.cm) as client:
        client.sendall(b"POST /any/path HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        reply = b""
        while part := client.recv(4096):
            reply += part
    assert b"200 OK" in reply
    assert reply.endswith(b"</methodResponse>\n")


@pytest.fixture
def hurried(pki: Any) -> Iterator[Bed]:
    bed = Bed(pki, request_time=0.6)
    yield bed
    bed.server.stop()


def test_slow_clients_hold_up_nobody_and_are_cut_off(hurried: Bed) -> None:
    silent = [socket.create_connection(("127.0.0.1", hurried.server.port), 10) for _ in range(12)]
    dripping = hurried.connect(hurried.pki.cm)
    stop = threading.Event()

    def drip() -> None:
        try:
            while not stop.wait(0.05):
                dripping.sendall(b"P")
        except OSError:
            cut.set()

    cut = threading.Event()
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert hurried.call("GetVersion")["code"] == 0
        assert cut.wait(10)
        for client in silent:
            assert client.recv(10) == b""
    finally:
        stop.set()
        thread.join(5)
        dripping.close()
        for client in silent:
            client.close()


def test_connections_that_say_nothing_keep_no_worker_from_a_caller(lone: Bed) -> None:
    silent = [socket.create_connection(("127.0.0.1", lone.server.port), 10) for _ in range(100)]
    try:
        assert lone.call("GetVersion")["code"] == 0
    finally:
        for client in silent:
            client.close()


def test_connections_that_say_nothing_are_bounded(monkeypatch: pytest.MonkeyPatch, lone: Bed) -> None:
    monkeypatch.setattr(listener, "MAX_SILENT", 5)
    silent = [socket.create_connection(("127.0.0.1", lone.server.port), 10) for _ in range(6)]
    try:
        with contextlib.suppress(ConnectionResetError):
            assert silent[-1].recv(10) == b""
        assert lone.seen == [("", "crowded")]
    finally:
        for client in silent:
            client.close()


def test_stop_ends_with_clients_still_there(pki: Any) -> None:
    bed = Bed(pki)
    silent = [socket.create_connection(("127.0.0.1", bed.server.port), 10) for _ in range(15)]
    try:
        thread = threading.Thread(target=bed.server.stop)
        thread.start()
        thread.join(5)
        assert not thread.is_alive()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", bed.server.port), 1)
    finally:
        for client in silent:
            client.close()


def settings_of(pki: Any, **changes: Any) -> CallbackSettings:
    values = {
        "certificate": pki.server,
        "key": pki.server,
        "ca_bundle": pki.ca.path,
        "allowed_urns": (CM_URN,),
    }
    return CallbackSettings(**{"listen": "127.0.0.1", "port": 0, **values, **changes})


def test_bad_settings_name_what_is_wrong(pki: Any, encrypted: Callable[[str], Path], tmp_path: Path) -> None:
    for changes, message in (
        ({"key": pki.cm}, r"key .*cm\.pem: expected a PEM certificate and its unencrypted key"),
        ({"certificate": encrypted("3des"), "key": tmp_path / "encrypted.pem"}, "the key is encrypted"),
        ({"ca_bundle": tmp_path / "none"}, r"ca_bundle: .*none: expected PEM CAs"),
    ):
        with pytest.raises(ConfigError, match=message):
            CallbackServer(Endpoint(), settings_of(pki, **changes))
    with pytest.raises(ValidationError):
        settings_of(pki, allowed_urns=())
    with pytest.raises(ValidationError, match="is not a URN"):
        settings_of(pki, allowed_urns=("cm",))


def test_an_address_in_use_is_said(pki: Any, shared: Bed) -> None:
    server = CallbackServer(Endpoint(), settings_of(pki, port=shared.server.port))
    with pytest.raises(UnavailableError, match=r"cannot listen on 127\.0\.0\.1 port \d+"):
        server.start()


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_body_gets_an_answer_that_is_xml_rpc(body: bytes) -> None:
    _, word, reply = Dispatcher(Endpoint()).answer(body)
    assert word in {"malformed", "unknown_method"}
    with pytest.raises(xmlrpc.client.Fault):
        xmlrpc.client.loads(reply)
