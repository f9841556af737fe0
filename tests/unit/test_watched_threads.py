"""Every thread of the agent is watched: each loop goes on after an unexpected fault, or the process ends."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.core import threads
from agent.core.cycle.lanes import Cycle, Outcome
from agent.core.cycle.schedule import Key, Schedule
from agent.core.events import Event, EventKind
from agent.core.ports import SystemClock
from agent.core.threads import Fault
from agent.page.server import PageServer, PageSettings
from agent.slurm.choice import Choice
from agent.slurm.primary import Lookout
from agent.slurm.rechooser import Rechooser
from agent.tell.mail import Mailer, MailSettings
from tests.unit.cluster.drain.conftest import Bench, Slurm

AGENT = Path(__file__).parents[2] / "agent"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ERRANDS = {
    *("aside", "reload", "ending", "run-times"),
    *("cloudlab-call", "ssh", "ssh-stderr", "taken", "delete"),
    *("leave-", "join-", "lease-", "at-", "asking-", "revocations", "ledger-", "slurm-"),
}
"""Threads that do one thing: whoever waits for it has a time limit, or does it again."""
LOOPS = {"lookout", "rechooser", "drainer", "mail", "page-look", "cycle-"}
RELIED_ON = {"manager", "admin", "page", "callback-server", "metrics"}


def threads_made() -> set[tuple[str, str]]:
    """Return (how, beginning of the name) of each thread that a module of the agent makes."""
    found = set()
    for path in AGENT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("threads."):
                how = ast.unparse(node.func).removeprefix("threads.")
                if how in {"errand", "keep", "rely"}:
                    found.add((how, beginning(node.args[0])))
    return found


def beginning(name: ast.expr) -> str:
    if isinstance(name, ast.JoinedStr):
        name = name.values[0]
    return str(name.value) if isinstance(name, ast.Constant) else "delete"


def test_every_thread_is_one_of_these() -> None:
    assert threads_made() == {
        *(("errand", name) for name in ERRANDS),
        *(("keep", name) for name in LOOPS),
        *(("rely", name) for name in RELIED_ON),
    }


def test_no_thread_is_made_in_another_way() -> None:
    makers = [path for path in AGENT.rglob("*.py") if "threading.Thread(" in path.read_text()]
    assert makers == [AGENT / "core/threads.py"]


class Once:
    """Ends a thread when it is first called, and tells when it is called again."""

    def __init__(self) -> None:
        self.called = threading.Event()
        self.called_again = threading.Event()

    def __call__(self, *_: Any, **__: Any) -> Any:
        if self.called.is_set():
            self.called_again.set()
            return ""
        self.called.set()
        raise SystemExit("nothing of ours catches it")


@dataclass
class StubPost:
    """Mail that goes nowhere."""

    send: Once
    settings: MailSettings
    recipient: str = "ada@example.net"


def lookout(once: Once, _: pytest.MonkeyPatch) -> Callable[[], object]:
    part = Lookout(once, lambda: None, "head1", 0.01)
    part.start()
    return part.stop


def rechooser(once: Once, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    monkeypatch.setattr("agent.slurm.rechooser._INTERVAL", 0.01)
    backend: Any = None
    chosen = Choice("cli", backend)
    part = Rechooser(chosen, lambda: chosen, lambda: None, lambda: once() or NOON, 1, SystemClock())
    part.start()
    return part.stop


def mail(once: Once, _: pytest.MonkeyPatch) -> Callable[[], object]:
    post: Any = StubPost(once, MailSettings(host="mail", min_interval=0.01))
    part = Mailer(post)
    part.start()
    event = Event(NOON, EventKind.FATAL, "", "the manager ended")
    part.record(event)
    assert once.called.wait(20)
    part.record(event)
    return lambda: part.stop(20)


def drainer(once: Once, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    part = Bench(Slurm([])).drainer
    monkeypatch.setattr(part, "tick", once)
    part.start()
    return lambda: part.stop(20)


class Source:
    """What a page is made of."""

    def __init__(self, look: Once) -> None:
        self.look = look

    def view(self) -> Any:
        raise NotImplementedError


def page_look(once: Once, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    monkeypatch.setattr("agent.page.server.LOOK_EVERY", 0.01)
    part = PageServer(PageSettings(enabled=True, port=0), Source(once), SystemClock())
    part.start()
    return part.stop


def lane(once: Once, _: pytest.MonkeyPatch) -> Callable[[], object]:
    waits: dict[str, Any] = {"triggers": {}, "retry_interval": 0.01, "default_interval": 0.01}
    first = threading.Event()

    def perform(_: Key) -> Outcome:
        if first.is_set():
            once()
        first.set()
        return Outcome.DONE

    part = Cycle(Schedule(["one"], {}, cm_steps=(), cms=(), **waits), SystemClock(), perform, str)
    part.start()
    threads.errand("forever", part.forever)
    return part.stop


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Fault]]:
    monkeypatch.setattr("agent.core.threads.FIRST_PAUSE", 0.001)
    faults: list[Fault] = []
    with threads.listening(faults.append):
        yield faults


@pytest.mark.parametrize("begin", [lookout, rechooser, mail, drainer, page_look, lane])
def test_a_loop_goes_on_after_an_unexpected_fault(
    begin: Callable[[Once, pytest.MonkeyPatch], Callable[[], object]],
    told: list[Fault],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = Once()
    stop = begin(once, monkeypatch)
    try:
        assert once.called_again.wait(20)
    finally:
        stop()
    [fault] = told
    assert isinstance(fault.error, SystemExit)
    assert not fault.is_fatal
