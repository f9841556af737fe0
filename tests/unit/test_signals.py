"""Signals wake the one who waits for them."""

import os
import signal
import subprocess
import sys

from agent.signals import SignalWaiter


def test_a_signal_is_told_by_its_number() -> None:
    with SignalWaiter(signal.SIGHUP, signal.SIGTERM) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.wait(10) == {signal.SIGHUP}
        assert signals.wait(0) == frozenset()


def test_signals_that_came_before_the_wait_are_told_together() -> None:
    with SignalWaiter(signal.SIGHUP, signal.SIGTERM) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        told: set[int] = set()
        while len(told) < 2:
            told |= signals.wait(10)
        assert told == {signal.SIGHUP, signal.SIGTERM}


def test_handlers_are_as_they_were_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalWaiter(signal.SIGTERM):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


_OTHER_THREAD = """
import signal, sys, threading
from agent.signals import SignalWaiter

with SignalWaiter(signal.SIGTERM) as signals:
    other = threading.Thread(target=threading.Event().wait, daemon=True)
    other.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("ready", flush=True)
    sys.exit(0 if signals.wait(60) == {signal.SIGTERM} else 1)
"""


def test_a_signal_that_the_kernel_gave_to_another_thread_wakes_the_waiter() -> None:
    with subprocess.Popen([sys.executable, "-c", _OTHER_THREAD], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_the_wait_ends_when_it_is_woken_and_a_signal_can_be_put_back() -> None:
    with SignalWaiter(signal.SIGHUP) as signals:
        signals.wake()
        assert signals.wait(10) == frozenset()
        signals.put_back(signal.SIGHUP)
        assert signals.wait(10) == {signal.SIGHUP}
    signals.wake()  # nobody waits any more
