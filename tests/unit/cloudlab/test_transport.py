import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.cloudlab.identity import load_identity
from agent.cloudlab.transport import Limits, Remote, Transport
from agent.core import errors

QUICK = Limits(connect=20, read=20, retry_for=20, backoff=(0.01, 0.02))
ONCE = Limits(connect=20, read=20, retry_for=0, backoff=(0.01, 0.02))

Make = Callable[..., Transport]


@pytest.fixture
def make(pki: Any, user_context: ssl.SSLContext) -> Iterator[Make]:
    made: list[Transport] = []

    def build(
        limits: Limits = QUICK, *, user: Any = None, ca: Any = None, check_hostname: bool = True, **more: Any
    ) -> Transport:
        context = user_context
        if user or ca or not check_hostname:
            identity = load_identity(user or pki.user, now=datetime.now(UTC), environ={})
            context = identity.client_context(
                ca or pki.ca.path, check_hostname=check_hostname, security_level=2
            )
        made.append(Transport(context, limits, **more))
        return made[-1]

    yield build
    for transport in made:
        transport.close()


@pytest.fixture
def remote(scripted: Any) -> Remote:
    return Remote(scripted.url, "urn:cm")


def test_a_call_is_one_struct_with_its_length(make: Make, scripted: Any, remote: Remote) -> None:
    scripted.values("fine")
    assert make().call(remote, "AddNodes", {"nodes": {"n-1": {"node": "pc7"}}}) == "fine"
    [got] = scripted.received
    assert (got.method, got.arguments) == ("AddNodes", {"nodes": {"n-1": {"node": "pc7"}}})
    assert got.path == "/protogeni/xmlrpc/cm/2.0"
    assert got.headers["content-type"] == "text/xml"
    assert int(got.headers["content-length"]) == len(got.body)
    assert "transfer-encoding" not in got.headers


@pytest.mark.parametrize(
    "trouble",
    [
        ("error", 14, "slice is busy; try again later"),
        ("error", 14, "start/restart in progress; try again later"),
        ("fault", 503, "Server is WAY too busy; please try again later"),
        ("page", b"<html>Service Unavailable</html>", 503),
    ],
)
def test_busy_and_503_are_tried_again(
    trouble: tuple[Any, ...], make: Make, scripted: Any, remote: Remote
) -> None:
    kind, *arguments = trouble
    answer = getattr(scripted, kind)(*arguments)
    scripted.answers(answer, answer, scripted.value("done"))
    seen: list[tuple[str, str, str]] = []
    transport = make(observe=lambda m, a, w, _s: seen.append((m, a, w)))
    assert transport.call(remote, "RenewSlice", {"a": 1}) == "done"
    assert len(scripted.received) == 3
    assert seen == [("RenewSlice", "urn:cm", "ok")]


def test_trying_again_has_an_end(make: Make, scripted: Any, remote: Remote) -> None:
    scripted.answers(scripted.error(14, "slice is busy"))
    seen: list[str] = []
    transport = make(ONCE, observe=lambda _m, _a, w, _s: seen.append(w))
    with pytest.raises(errors.BusyError, match=r"M at urn:cm: slice is busy \(code 14\) log https://x/log/7"):
        transport.call(remote, "M", {})
    assert len(scripted.received) == 1
    assert seen == ["busy"]


def test_a_poller_does_not_wait_while_busy(make: Make, scripted: Any, remote: Remote) -> None:
    scripted.answers(scripted.error(14, "slice is busy"))
    with pytest.raises(errors.BusyError):
        make().call(remote, "SliverStatus", {}, busy_tries=1)
    assert len(scripted.received) == 1


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (("drop",), errors.LostReplyError),
        (("cut",), errors.LostReplyError),
        (("page", b"CGI died", 500), errors.LostReplyError),
        (("page", b"gateway", 502), errors.LostReplyError),
        (("page", b"", 200), errors.MalformedReplyError),
        (("page", b"garbage", 200), errors.MalformedReplyError),
        (("page", b"<html><body>Sorry</body></html>", 200), errors.MalformedReplyError),
        (("page", b"not here", 404), errors.MalformedReplyError),
        (("page", b"by_name", 302), errors.MalformedReplyError),
        (("page", b"no", 403), errors.ForbiddenError),
        (("reply", {"value": 1, "output": ""}), errors.MalformedReplyError),
        (("reply", "text"), errors.MalformedReplyError),
        (("fault", -32600, "Internal Error executing AddNodes"), errors.CloudlabError),
        (("error", 1, "invalid credential (expired at 2031-05-04T18:00:00Z)"), errors.CredentialExpiredError),
    ],
)
def test_other_trouble_is_told_at_once_and_by_its_kind(
    trouble: tuple[Any, ...], expected: type[errors.CloudlabError], make: Make, scripted: Any, remote: Remote
) -> None:
    kind, *arguments = trouble
    answer = getattr(scripted, kind)
    scripted.answers(answer(*arguments) if arguments else answer)
    with pytest.raises(errors.CloudlabError, match="AddNodes at urn:cm: ") as caught:
        make().call(remote, "AddNodes", {"nodes": {}})
    assert type(caught.value) is expected
    assert (caught.value.method, caught.value.authority) == ("AddNodes", "urn:cm")
    assert len(scripted.received) == 1


def test_a_huge_reply_is_cut_off(make: Make, scripted: Any, remote: Remote) -> None:
    scripted.values("x" * 200_000)
    with pytest.raises(errors.MalformedReplyError, match="longer than 100000 bytes"):
        make(max_reply=100_000).call(remote, "M", {})


def test_a_server_that_is_not_there_is_unreachable(make: Make, scripted: Any, remote: Remote) -> None:
    scripted.close()
    with pytest.raises(errors.UnreachableError, match="refused"):
        make(ONCE).call(remote, "AddNodes", {})


def test_a_server_of_another_ca_is_unreachable_and_sees_nothing(
    make: Make, scripted: Any, remote: Remote, pki: Any
) -> None:
    scripted.values(0)
    with pytest.raises(errors.UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        make(ONCE, ca=pki.other_ca.path).call(remote, "AddNodes", {})
    assert scripted.received == []


def test_a_certificate_that_the_server_refuses_is_no_lost_reply(
    make: Make, scripted: Any, remote: Remote, pki: Any
) -> None:
    scripted.values(0)
    with pytest.raises((errors.UnreachableError, errors.LostReplyError)) as caught:
        make(ONCE, user=pki.foreign).call(remote, "AddNodes", {})
    assert scripted.received == []
    # Where the server's alert came through (it may be cut off by a reset), it is known that nothing was done.
    if "ALERT" in str(caught.value).upper():
        assert type(caught.value) is errors.UnreachableError


def test_the_host_name_is_checked_unless_told_not_to(make: Make, scripted: Any) -> None:
    by_name = Remote(scripted.url.replace("127.0.0.1", "localhost"), "urn:cm")
    scripted.values("fine")
    with pytest.raises(errors.UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        make(ONCE).call(by_name, "M", {})
    assert make(check_hostname=False).call(by_name, "M", {}) == "fine"


def test_a_bad_argument_is_told_before_anything_is_sent(make: Make, scripted: Any, remote: Remote) -> None:
    with pytest.raises(errors.BadArgumentsError, match=r"M at urn:cm: arguments\['x'\]: bool cannot be sent"):
        make().call(remote, "M", {"x": True})
    assert scripted.received == []


def test_a_slow_reply_is_a_lost_one(make: Make, scripted: Any, remote: Remote) -> None:
    release = threading.Event()
    scripted.answers(lambda _handler, _got: release.wait(20))
    try:
        with pytest.raises(errors.LostReplyError):
            make(Limits(connect=5, read=0.2, retry_for=0)).call(remote, "AddNodes", {})
    finally:
        release.set()


def test_a_reply_that_drips_is_lost_when_its_whole_time_is_over(
    make: Make, scripted: Any, remote: Remote
) -> None:
    release = threading.Event()

    def drip(handler: Any, _got: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not release.wait(0.05):
            handler.wfile.write(b" ")

    scripted.answers(drip)
    try:
        with pytest.raises(errors.LostReplyError, match=r"no whole reply in 0\.6 s"):
            make(Limits(connect=0.3, read=0.3, retry_for=0)).call(remote, "AddNodes", {})
    finally:
        release.set()


def ends_within(call: Callable[[], object], begun: threading.Event, transport: Transport) -> BaseException:
    """Run a call, close the transport once it has begun, and return what the call raised."""
    caught: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except errors.CloudlabError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(20)
    transport.close()
    thread.join(20)
    assert not thread.is_alive()
    return caught[0]


def test_close_ends_a_call_in_flight(make: Make, scripted: Any, remote: Remote) -> None:
    begun, release = threading.Event(), threading.Event()

    def hang(_handler: Any, _got: Any) -> None:
        begun.set()
        release.wait(20)

    scripted.answers(hang)
    transport = make()
    try:
        error = ends_within(lambda: transport.call(remote, "AddNodes", {}), begun, transport)
    finally:
        release.set()
    assert type(error) is errors.LostReplyError
    assert "stopping" in str(error)


def test_close_ends_a_wait_between_two_attempts(make: Make, scripted: Any, remote: Remote) -> None:
    begun = threading.Event()

    def sleep(seconds: float) -> None:
        begun.set()
        transport._closed.wait(seconds)

    scripted.answers(scripted.error(14, "slice is busy"))
    transport = make(Limits(retry_for=600, backoff=(300, 300)), sleep=sleep)
    error = ends_within(lambda: transport.call(remote, "M", {}), begun, transport)
    assert type(error) is errors.UnreachableError


def test_a_closed_transport_refuses_calls(make: Make, scripted: Any, remote: Remote) -> None:
    transport = make()
    transport.close()
    with pytest.raises(errors.UnreachableError, match="stopping"):
        transport.call(remote, "M", {})
    assert scripted.received == []


def test_calls_of_many_threads_do_not_disturb_each_other(make: Make, scripted: Any, remote: Remote) -> None:
    def echo(handler: Any, got: Any) -> None:
        scripted.value(got.arguments["n"])(handler, got)

    scripted.answers(echo)
    transport = make()
    got: dict[int, object] = {}

    def run(n: int) -> None:
        got[n] = transport.call(remote, "M", {"n": n})

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == {n: n for n in range(8)}
