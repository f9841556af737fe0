"""The manager's own threads: waking, stopping, and one slow CM beside another."""

import signal
import threading
import time

import pytest

from agent.core import threads
from agent.core.config import ManagerConfig
from agent.core.errors import BusyError, ConfigError, FatalError
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
    monkeypatch.setattr("agent.core.cycle.first_round.FIRST_WAIT", 0.05)
    manager.gates[UTAH].clear()
    manager.start()
    until(lambda: manager.count == 1 and manager.at[WISC] == 1)
    manager.wake("at_cm", "system")
    until(lambda: manager.count == 2 and manager.at[WISC] == 2)
    assert manager.at[UTAH] == 1, "a step never runs twice at the same time"
    manager.gates[UTAH].set()
    until(lambda: manager.at[UTAH] == 2)


@pytest.mark.parametrize("first", ["ensure_slice", "get_system_state"])
def test_an_sa_or_a_slurm_that_hangs_from_the_start_holds_up_no_cm(make_bench, monkeypatch, first):
    monkeypatch.setattr("agent.core.cycle.first_round.FIRST_WAIT", 0.05)
    bench = make_bench(
        server={"cms": (UTAH, WISC)},
        manager_class=Stepping,
        config={"clock": SystemClock()},
        manage_order=[first, "at_cm", "system"],
        manage_intervals={"at_cm": 1000, "system": 1000},
    )
    manager, gate, begun = bench.manager, threading.Event(), threading.Event()
    manager.prepare()

    def hang():
        begun.set()
        gate.wait(60)

    setattr(manager, first, hang)
    manager.start()
    try:
        until(lambda: manager.at == {UTAH: 1, WISC: 1})
        if first == "ensure_slice":
            until(lambda: manager.count == 1)
        manager.wake("at_cm")
        until(lambda: manager.at == {UTAH: 2, WISC: 2})
        assert begun.is_set()
    finally:
        gate.set()
    until(lambda: manager.count == 1)
    manager.stop()


def test_the_first_round_runs_in_order(make_bench):
    ran = []

    class Noting(Stepping):
        CM_METHODS = ("at_cm", "last")

        def ensure_slice(self):
            ran.append("ensure_slice")

        def at_cm(self, cm=None):
            ran.append("at_cm")

        def system(self):
            ran.append("system")

        def last(self, cm=None):
            ran.append("last")

    bench = make_bench(
        server={"cms": (UTAH, WISC)},
        manager_class=Noting,
        config={"clock": SystemClock()},
        manage_order=["ensure_slice", "at_cm", "system", "last"],
        manage_intervals=dict.fromkeys(["ensure_slice", "at_cm", "system", "last"], 1000),
    )
    bench.manager.start()
    until(lambda: len(ran) == 6)
    bench.manager.stop()
    assert ran == ["ensure_slice", "at_cm", "at_cm", "system", "last", "last"]


def test_a_machine_is_given_up_whatever_its_cm_is_asked_meanwhile(make_bench):
    bench = make_bench(server={"pool": 3}, minthreshold=1, maxthreshold=1)
    bench.cycles(5)
    (machine,) = bench.manager.held()
    asked, gate = threading.Event(), threading.Event()

    real = bench.server.find_sliver

    def hang(cm):
        asked.set()
        gate.wait(60)
        return real(cm)

    bench.server.find_sliver = hang
    thread = threading.Thread(target=bench.manager.update_sliver_status, daemon=True)
    thread.start()
    assert asked.wait(20)
    bench.manager.give_up(machine, "the join failed")
    assert bench.manager.failed() == [machine]
    assert thread.is_alive()
    gate.set()
    thread.join(20)


def test_a_hook_that_hangs_keeps_nobody_else_who_held_the_cm(make_bench):
    bench = make_bench(server={"pool": 3}, minthreshold=1, maxthreshold=1)
    told, gate = threading.Event(), threading.Event()
    first = []

    def hang(node, status):
        first.append(node["client_id"])
        told.set()
        gate.wait(60)

    bench.cycles(2)
    bench.helper.handle_added_node = hang
    bench.clock.advance(600)
    thread = threading.Thread(target=bench.manager.update_sliver_status, daemon=True)
    thread.start()
    assert told.wait(20)
    bench.manager.give_up(bench.manager.held()[0], "the join failed")
    bench.manager.update_available()
    assert thread.is_alive(), "the hook still hangs"
    gate.set()
    thread.join(20)
    assert len(first) == 2, "the thread that tells has told this too"


def test_growth_that_a_helper_holds_up_is_left_by_the_other_cm_to_a_later_try(make_bench, monkeypatch):
    monkeypatch.setattr("agent.core.scaling.adding.TURN_WAIT", 0.05)
    bench = make_bench(server={"cms": (UTAH, WISC)}, minthreshold=2, maxthreshold=5)
    bench.manager.ensure_slice()
    asked, gate = threading.Event(), threading.Event()
    real = bench.helper.create_rspec

    def hang():
        asked.set()
        gate.wait(60)
        return real()

    bench.helper.create_rspec = hang
    thread = threading.Thread(target=lambda: bench.manager.create_sliver(UTAH), daemon=True)
    thread.start()
    assert asked.wait(20)
    with pytest.raises(BusyError, match="decided"):
        bench.manager.create_sliver(WISC)
    bench.manager.update_sliver_status(WISC)
    gate.set()
    thread.join(20)
    assert bench.server.count("create_sliver") == 1


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
