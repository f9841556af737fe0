"""The delete commands on many machines: side by side, bounded, the earliest deadline first."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.cleaner import LEAST_TIME, Cleaner, time_limit
from agent.cluster.drain.nodes import LeaveNode
from agent.cluster.reasons import DrainCause
from agent.cluster.settings.drain import DrainSettings
from agent.core.ports import Host, HostResult
from tests.unit.cluster.conftest import NOW, a_desk, settings_with


def leave(node: str, seconds: float = 900) -> LeaveNode:
    return LeaveNode(node, DrainCause.REVOKED, NOW + timedelta(seconds=seconds), "empty")


class Machines:
    """Machines whose commands hang until they are told to end."""

    def __init__(self, fan_out: int, *, hang: bool = True) -> None:
        self.lock = threading.Lock()
        self.began: list[str] = []
        self.most = 0
        self.running = 0
        self.full = threading.Semaphore(0)
        self.go_on = threading.Event()
        if not hang:
            self.go_on.set()
        self.done: list[str] = []
        self.all_done = threading.Semaphore(0)
        self.fail: set[str] = set()
        desk = a_desk(settings_with(drain=DrainSettings(cleanup_fan_out=fan_out)))
        self.cleaner = Cleaner(desk, self.run, self.finished)

    def run(self, action: LeaveNode, timeout: float) -> HostResult:
        node = action.node
        assert timeout > 0
        with self.lock:
            self.began.append(node)
            self.running += 1
            self.most = max(self.most, self.running)
        self.full.release()
        assert self.go_on.wait(30)
        with self.lock:
            self.running -= 1
        if node in self.fail:
            self.fail.discard(node)
            raise ValueError(node)
        return HostResult(Host(node, "", ""), "")

    def finished(self, action: LeaveNode, _: HostResult) -> None:
        with self.lock:
            self.done.append(action.node)
        self.all_done.release()


def test_two_hundred_machines_are_cleaned_up_side_by_side_but_never_more_than_the_fan_out() -> None:
    machines = Machines(16)
    names = [f"pc{n}" for n in range(200)]
    for name in names:
        machines.cleaner.put(leave(name))
    for _ in range(16):
        assert machines.full.acquire(timeout=30)
    machines.go_on.set()
    for _ in names:
        assert machines.all_done.acquire(timeout=30)
    assert machines.most == 16
    assert sorted(machines.done) == sorted(names)


def test_the_earliest_deadline_is_next() -> None:
    machines = Machines(1)
    machines.cleaner.put(leave("first"))
    assert machines.full.acquire(timeout=30)
    machines.cleaner.put(leave("late", 800))
    machines.cleaner.put(leave("soon", 100))
    machines.go_on.set()
    for _ in range(3):
        assert machines.all_done.acquire(timeout=30)
    assert machines.began == ["first", "soon", "late"]


def test_a_fault_over_one_machine_costs_the_others_nothing_and_it_is_tried_again() -> None:
    machines = Machines(1)
    machines.fail = {"bad"}
    machines.cleaner.put(leave("bad", 100))
    machines.cleaner.put(leave("good", 200))
    machines.go_on.set()
    assert machines.all_done.acquire(timeout=30)
    machines.cleaner.put(leave("bad", 100))
    assert machines.all_done.acquire(timeout=30)
    assert machines.done == ["good", "bad"]


def test_a_machine_for_which_no_thread_can_be_started_waits_for_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machines = Machines(1, hang=False)
    with monkeypatch.context() as crowded:
        crowded.setattr("agent.core.threads.errand", refuse)
        machines.cleaner.put(leave("pc1", 100))
    assert machines.began == []
    machines.cleaner.put(leave("pc1", 100))
    assert machines.all_done.acquire(timeout=30)
    assert machines.done == ["pc1"]


def refuse(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_a_node_that_is_revoked_anew_is_left_anew_even_if_nobody_looked_in_between() -> None:
    machines = Machines(1, hang=False)
    again = replace(leave("pc1"), begun=NOW + timedelta(seconds=9))
    for action, count in ((replace(again, begun=NOW), 1), (again, 2)):
        # Until its thread has put that down, the node counts as being worked on.
        while len(machines.done) < count:
            machines.cleaner.put(action)
    for other in ("pc2", "pc3"):
        machines.cleaner.put(leave(other))
        while other not in machines.done:
            assert machines.all_done.acquire(timeout=30)
        machines.cleaner.put(again)
    assert machines.done == ["pc1", "pc1", "pc2", "pc3"]


def test_another_machine_of_the_same_node_name_is_left_anew() -> None:
    machines = Machines(1, hang=False)
    for count, sliver in enumerate(("1", "2"), start=1):
        while len(machines.done) < count:
            machines.cleaner.put(replace(leave("pc1"), slivers=frozenset({sliver})))
    assert machines.done == ["pc1", "pc1"]


@given(st.integers(0, 500), st.integers(1, 64), st.floats(0, 4000))
def test_even_if_all_machines_hang_the_last_one_is_through_before_the_deadline(
    waiting: int, workers: int, left: float
) -> None:
    settings = DrainSettings()
    deadline = NOW + timedelta(seconds=left)
    now, needed = NOW, 0.0
    while waiting >= 0:
        limit = time_limit(deadline, now, waiting, settings, workers)
        now += timedelta(seconds=limit)
        needed += 0.0 if limit > LEAST_TIME else LEAST_TIME
        waiting -= workers
    assert (now - deadline).total_seconds() <= needed + 1e-3
