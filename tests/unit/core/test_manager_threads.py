"""The manager's own threads: waking, stopping, and one slow CM beside another."""

import signal
import threading
import time

import pytest

from agent.core import threads
from agent.core.config import ManagerConfig
from agent.core.errors import ConfigError, FatalError
from agent.core.manager import SimpleElasticSliceManager
from agent.core.ports import SystemClock

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        threading.Event().wait(0.005)


class Stepping(SimpleElasticSliceManager):
    """Steps that the test holds and counts."""

    CM_METHODS = ("at_cm",)

    def prepare(self):
        self.count = 0
        self.gates = {cm: threading.Event() for cm in self.cmlist}
        self.at = dict.fromkeys(self.cmlist, 0)
        for gate in self.gates.values():
            gate.set()

    def at_cm(self, cm=None):
        self.at[cm] += 1
        self.gates[cm].wait(30)

    def system(self):
        self.count += 1


@pytest.fixture
def manager(make_bench):
    bench = make_bench(
        server={"cms": (UTAH, WISC)},
        manager_class=Stepping,
        config={"clock": SystemClock()},
        manage_order=["at_cm", "system"],
        manage_intervals={"at_cm": 1000, "system": 1000},
    )
    bench.manager.prepare()
    yield bench.manager
    for gate in bench.manager.gates.values():
        gate.set()
    bench.manager.stop()


def test_a_woken_step_runs_at_once(manager):
    manager.start()
    until(lambda: manager.count == 1)
    manager.wake("system")
    until(lambda: manager.count == 2)
    manager.NotifyDeletePending({"nodelist": []})
    assert manager.at == {UTAH: 1, WISC: 1}


def test_a_slow_cm_holds_up_neither_the_other_cm_nor_the_system(manager):
    manager.start()
    until(lambda: manager.count == 1)
    manager.gates[UTAH].clear()
    manager.wake("at_cm")
    until(lambda: manager.at == {UTAH: 2, WISC: 2})
    for turn in range(2, 5):
        manager.wake("at_cm", "system")
        until(lambda turn=turn: manager.at[WISC] == turn + 1 and manager.count == turn)
    assert manager.at[UTAH] == 2
    manager.gates[UTAH].set()
    until(lambda: manager.at[UTAH] == 3)


def test_stop_does_not_wait_for_a_step_that_hangs(manager, monkeypatch):
    monkeypatch.setattr("agent.core.cycle.runner.STOP_TIME", 0.2)
    manager.start()
    until(lambda: manager.count == 1)
    manager.gates[UTAH].clear()
    manager.wake("at_cm")
    until(lambda: manager.at[UTAH] == 2)
    manager.stop()
    manager.wake("system")
    manager.start()
    until(lambda: manager.count >= 2)


def test_a_running_manager_is_not_started_twice(manager):
    manager.start()
    with pytest.raises(ConfigError, match="running"):
        manager.start()


def test_a_cm_that_is_slow_from_the_start_holds_up_nobody(manager, monkeypatch):
    monkeypatch.setattr("agent.core.cycle.lanes.FIRST_WAIT", 0.05)
    manager.gates[UTAH].clear()
    manager.start()
    until(lambda: manager.count == 1 and manager.at[WISC] == 1)
    manager.wake("at_cm", "system")
    until(lambda: manager.count == 2 and manager.at[WISC] == 2)
    assert manager.at[UTAH] == 1, "a step never runs twice at the same time"
    manager.gates[UTAH].set()
    until(lambda: manager.at[UTAH] == 2)


def test_a_manager_that_is_stopped_can_still_do_a_cycle_by_hand(manager):
    manager.start()
    manager.stop()
    before = manager.count
    manager.manage_once(force=True)
    assert manager.count == before + 1


def test_manage_returns_when_it_is_stopped(manager):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(manager.manage()))
    thread.start()
    until(lambda: manager.count == 1)
    manager.stop()
    thread.join(10)
    assert ended == ["stopped"]


@pytest.mark.parametrize("where", ["system", "at_cm"])
@pytest.mark.parametrize("when", [1, 2])
def test_a_fatal_error_ends_the_manager_with_its_reason(manager, where, when):
    calls = []

    def fatal(cm=None):
        calls.append(cm)
        if len([c for c in calls if c == cm]) >= when:
            raise FatalError("the slice is somebody else's")

    setattr(manager, where, fatal)
    manager.start()
    until(lambda: calls)
    manager.wake(where)
    until(lambda: manager.fatal)
    assert manager.fatal == "the slice is somebody else's"


def test_a_fatal_error_is_raised_out_of_manage(manager):
    def fatal():
        raise FatalError("no use")

    manager.system = fatal
    with pytest.raises(FatalError, match="no use"):
        manager.manage()


def test_a_users_interrupt_ends_manage_cleanly(manager):
    def interrupt():
        signal.raise_signal(signal.SIGINT)

    manager.system = interrupt
    # A shell starts what runs in its background with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert manager.manage() == "interrupted by the user"
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_manager_with_all_defaults_can_be_made(make_bench):
    bench = make_bench()
    manager = SimpleElasticSliceManager(bench.server)
    assert isinstance(ManagerConfig().clock, SystemClock)
    assert manager.cmlist == (UTAH,)
    assert manager.get_email() == "ada@example.net"


def test_two_cms_that_decide_at_the_same_time_keep_to_the_most(make_bench):
    """Each looks at what is in use and asks; the intents of one are seen by the other."""
    bench = make_bench(
        server={"cms": (UTAH, WISC), "pool": 20}, minthreshold=2, maxthreshold=5, percent_available_minimum=0
    )
    bench.manager.create_sliver()
    bench.manager.update_all()
    bench.manager.update_available()
    barrier = threading.Barrier(2)

    def add(cm):
        barrier.wait(10)
        bench.manager.add_nodes(cm=cm)

    threads = [threading.Thread(target=add, args=(cm,)) for cm in (UTAH, WISC)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(bench.server.machines()) == 5


def test_an_unexpected_error_outside_of_the_steps_ends_the_manager_and_is_told(make_bench):
    class Hasty(Stepping):
        def before_cycles(self):
            raise ZeroDivisionError("by a helper")

    bench = make_bench(manager_class=Hasty, manage_order=["system"])
    faults = []
    with threads.listening(faults.append):
        bench.manager.start()
        until(lambda: faults)
    assert bench.manager.fatal == "ZeroDivisionError: by a helper"
    assert [(fault.thread, fault.is_fatal) for fault in faults] == [("manager", True)]


def test_an_unexpected_error_at_one_cm_leaves_the_first_round_of_the_others_alone(make_bench):
    bench = make_bench(
        server={"cms": (UTAH, WISC)},
        manager_class=Stepping,
        config={"clock": SystemClock(), "observe_step": lambda *_: 1 / 0},
        manage_order=["at_cm"],
    )
    bench.manager.prepare()
    bench.manager.start()
    until(lambda: all(bench.manager.at.values()))
    until(lambda: any("cycle-" in thread.name for thread in threading.enumerate()))
    bench.manager.stop()
