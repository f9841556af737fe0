"""An SA that answers nothing keeps no call from a CM that takes what we have, and no lock is held for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.cloudlab import credential_cache
from agent.cloudlab.accounts import UserKeys
from agent.cloudlab.credentials import Credential
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.shared_answer import SharedAnswer
from agent.core.errors import CredentialExpiredError, LostReplyError, UnreservedError
from agent.core.model import Sliver, SliverStatus

UTAH, WISC = (f"urn:publicid:IDN+{site}.example.net+authority+cm" for site in ("utah", "wisc"))
SLICE = "urn:publicid:IDN+example.net+slice+demo"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


class SA:
    """Answers at once, or with ``hangs`` not before the test ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lasts = DAY
        self.hangs = False
        self.asked = 0
        self.gate = threading.Event()

    def _answer(self) -> Credential:
        self.asked += 1
        if self.hangs:
            self.gate.wait(60)
            raise LostReplyError("no whole reply in 610 s")
        return Credential(f"no. {self.asked}", SLICE, "ada", self.clock.now() + self.lasts)

    def get_credential(self) -> Credential:
        return self._answer()

    def get_slice_credential(self, own: Credential, slice_urn: str) -> Credential:
        return self._answer()

    def renew_slice(self, own: Credential, expires: datetime) -> Credential:
        return self._answer()

    def get_keys(self, own: Credential) -> tuple[UserKeys, ...]:
        self._answer()
        return (UserKeys("urn:ada", "ada", ("ssh-ed25519 AAAA",)),)


class CM:
    """Takes every call; keeps the credentials that it was shown."""

    def __init__(self, urn: str) -> None:
        self.urn = urn
        self.shown: list[str] = []
        self.refuses_expired = 0

    def _sliver(self, credential: Credential, *_: object) -> Sliver:
        self.shown.append(credential.text)
        if self.refuses_expired:
            self.refuses_expired -= 1
            raise CredentialExpiredError("expired")
        return Sliver(self.urn, f"{self.urn}+sliver", None, (), "")

    resolve = add_nodes = delete_nodes = _sliver

    def create_sliver(self, credential: Credential, *_: object) -> tuple[Credential, Sliver]:
        return credential, self._sliver(credential)

    def sliver_status(self, credential: Credential) -> SliverStatus:
        self._sliver(credential)
        return SliverStatus(self.urn, "ready", "ready", "", ())

    def renew_slice(self, credential: Credential, expires: datetime) -> datetime:
        self._sliver(credential)
        return expires

    def discover_resources(self, own: Credential, *, available: bool) -> tuple[()]:
        self._sliver(own)
        return ()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sa(clock: Clock) -> Iterator[SA]:
    made = SA(clock)
    yield made
    made.gate.set()


@pytest.fixture
def cms() -> dict[str, CM]:
    return {urn: CM(urn) for urn in (UTAH, WISC)}


@pytest.fixture
def server(sa: SA, cms: dict[str, CM], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> ProtoGeniServer:
    monkeypatch.setattr(credential_cache, "PATIENCE", 0.1)
    monkeypatch.setattr("agent.cloudlab.server.PATIENCE", 0.1)
    made = ProtoGeniServer(
        identity=cast("Any", SimpleNamespace(urn="urn:ada", email="")),
        slice_urn=SLICE,
        sa=cast("Any", sa),
        cms=cast("Any", list(cms.values())),
        transport=cast("Any", SimpleNamespace(close=sa.gate.set, pause=lambda _: None)),
        clock=clock,
    )
    made.find_slice()
    made.public_keys()
    return made


def aside(call: Callable[[], object]) -> threading.Thread:
    """Begin a call that is expected to hang."""

    def work() -> None:
        with_error: object = None
        try:
            call()
        except LostReplyError as error:
            with_error = error
        assert with_error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def every_call(server: ProtoGeniServer, cm: str) -> None:
    server.find_sliver(cm)
    server.create_sliver(cm, "<rspec/>")
    server.sliver_status(cm)
    server.add_nodes(cm, {"node-1": {}})
    server.delete_nodes(cm, ["node-1"])
    server.renew_sliver(cm, NOON + DAY / 2)
    server.discover(cm, available=True)


def hanging(sa: SA, *calls: Callable[[], object]) -> list[threading.Thread]:
    """Have the SA hang, with these calls at it."""
    sa.hangs = True
    before = sa.asked
    threads = [aside(call) for call in calls]
    while sa.asked < before + len(calls):
        threading.Event().wait(0.005)
    return threads


def test_with_a_fresh_credential_every_cm_takes_every_call(
    server: ProtoGeniServer, sa: SA, cms: dict[str, CM]
) -> None:
    at_it = hanging(sa, server.find_slice, lambda: server.renew_slice(NOON + DAY))
    for cm in (UTAH, WISC):
        every_call(server, cm)
    assert all(thread.is_alive() for thread in at_it), "the SA still hangs"
    assert len(cms[UTAH].shown) == len(cms[WISC].shown) == 7


def test_a_credential_that_is_good_for_minutes_is_used_while_the_sa_hangs(
    server: ProtoGeniServer, sa: SA, cms: dict[str, CM], clock: Clock
) -> None:
    clock.time += DAY - timedelta(minutes=2)
    sa.hangs = True
    for cm in (UTAH, WISC):
        every_call(server, cm)
    assert not sa.gate.is_set()


def test_a_sliver_is_renewed_as_far_as_the_credential_reaches(
    server: ProtoGeniServer, sa: SA, clock: Clock
) -> None:
    sa.hangs = True
    assert server.renew_sliver(UTAH, NOON + 2 * DAY) == NOON + DAY
    sa.hangs, sa.lasts = False, 3 * DAY
    sa.gate.set()
    while server.renew_sliver(UTAH, NOON + 2 * DAY) != NOON + 2 * DAY:
        threading.Event().wait(0.005)


def test_a_cm_that_finds_its_credential_expired_holds_up_neither_the_other_nor_its_manifest(
    server: ProtoGeniServer, sa: SA, cms: dict[str, CM]
) -> None:
    server.find_sliver(UTAH)
    cms[UTAH].refuses_expired = 1
    (at_it,) = hanging(sa, lambda: server.delete_nodes(UTAH, ["node-1"]))
    every_call(server, WISC)
    every_call(server, UTAH)
    assert at_it.is_alive()


def test_what_an_sa_answers_late_does_not_take_the_place_of_what_it_said_since(
    server: ProtoGeniServer, sa: SA, clock: Clock, cms: dict[str, CM]
) -> None:
    answered = threading.Event()
    real = sa.get_slice_credential

    def late(own: Credential, slice_urn: str) -> Credential:
        credential = real(own, slice_urn)
        answered.set()
        sa.gate.wait(60)
        return credential

    sa.get_slice_credential = late  # type: ignore[method-assign]
    thread = threading.Thread(target=server.find_slice, daemon=True)
    thread.start()
    assert answered.wait(20)
    server.renew_slice(NOON + DAY)
    newest = f"no. {sa.asked}"
    sa.gate.set()
    thread.join(20)
    server.find_sliver(UTAH)
    assert cms[UTAH].shown == [newest]


def test_threads_that_need_a_credential_ask_for_it_once(
    server: ProtoGeniServer, sa: SA, clock: Clock
) -> None:
    clock.time += 2 * DAY
    before = sa.asked
    real, gate = sa.get_slice_credential, threading.Event()

    def slow(own: Credential, slice_urn: str) -> Credential:
        gate.wait(20)
        return real(own, slice_urn)

    sa.get_slice_credential = slow  # type: ignore[method-assign]
    threads = [threading.Thread(target=server.find_sliver, args=(cm,)) for cm in (UTAH, WISC, UTAH, WISC)]
    for thread in threads:
        thread.start()
    while sa.asked == before:
        threading.Event().wait(0.005)
    gate.set()
    for thread in threads:
        thread.join(20)
    # One that found no credential just before the answer came may ask again just after.
    assert sa.asked - before in {2, 3}, "one self credential and one of the slice"


def test_each_who_waits_gets_a_fault_of_his_own(clock: Clock) -> None:
    gate = threading.Event()

    def ask() -> None:
        gate.wait(20)
        raise UnreservedError("gone", node_id="pc1", code=2)

    shared = SharedAnswer(ask, clock, "question")
    faults: list[UnreservedError] = []

    def wait() -> None:
        with pytest.raises(UnreservedError, match="gone") as caught:
            shared.get()
        faults.append(caught.value)

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(20)
    faults[0].begun = True
    assert (faults[1].begun, faults[1].node_id, faults[1].code) == (None, "pc1", 2)
