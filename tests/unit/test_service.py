"""Whatever the daemon does, a signal is heard and the init system told."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sdnotify

from agent import service as module
from agent.core import threads
from agent.service import ENDS, AskedToEndError, Service, ThreadLostError
from agent.signals import SignalWaiter


class Init:
    """Stands for systemd."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)

    def hear(self) -> bytes:
        return self.socket.recv(200)


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Init]:
    init = Init(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield init
    init.socket.close()


@pytest.fixture
def service(init: Init) -> Iterator[Service]:
    assert init
    notifier = sdnotify.SystemdNotifier()
    with SignalWaiter(*ENDS, signal.SIGHUP) as signals:
        yield Service(signals, notifier)
    notifier.socket.close()


def test_what_is_done_gives_its_value_or_raises(service: Service) -> None:
    assert service.do(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        service.do(lambda: 1 / 0)


@pytest.mark.parametrize("number", sorted(ENDS))
def test_work_that_hangs_is_left_when_the_process_is_to_end(
    service: Service, init: Init, number: int
) -> None:
    gate = threading.Event()

    def hang() -> None:
        os.kill(os.getpid(), number)
        gate.wait(60)

    with pytest.raises(AskedToEndError):
        service.do(hang)
    gate.set()
    assert service.ending
    assert init.hear() == b"STOPPING=1"


def test_a_sighup_during_work_is_heard_after_it(service: Service) -> None:
    service.do(lambda: os.kill(os.getpid(), signal.SIGHUP))
    assert service.wait(20) == {signal.SIGHUP}


def test_the_init_system_is_asked_for_patience_until_it_is_up_and_the_watchdog_told_then(
    service: Service, init: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BEAT", 0.01)
    heard: list[bytes] = []

    def work() -> None:
        heard.append(init.hear())

    service.do(work)
    service.ready()
    while (word := init.hear()) != b"READY=1":
        assert word == b"EXTEND_TIMEOUT_USEC=30000000"
    service.do(work)
    assert heard == [b"EXTEND_TIMEOUT_USEC=30000000", b"WATCHDOG=1"]


def test_a_thread_that_the_process_relies_on_ends_it(service: Service) -> None:
    with threads.listening(service.take):
        threads.errand("clean", lambda: 1 / 0).join(20)
        assert service.wait(0) == frozenset()
        threads.rely("server", lambda: 1 / 0).join(20)
        with pytest.raises(ThreadLostError, match="the thread server ended unexpectedly"):
            service.wait(20)
