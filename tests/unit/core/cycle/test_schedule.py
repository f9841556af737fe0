"""When a step is due."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cycle.schedule import BACKOFF_LIMIT, Key, Schedule
from agent.core.errors import ConfigError

A, B = "urn:a", "urn:b"


def make(order=("one", "two", "per"), cms=(A, B), **kwargs):
    arguments = {
        "intervals": {"one": 100},
        "triggers": {"one": ["two"], "per": ["one", "per2"]},
        "retry_interval": 30,
        "cm_steps": ["per", "per2"],
        "cms": cms,
        "default_interval": 60,
    }
    return Schedule(order, **{**arguments, **kwargs})


def due(schedule, now):
    return [key for key in schedule.keys if schedule.is_due(key, now)]


def run(schedule, key, now):
    assert schedule.begin(key)
    schedule.succeed(key, now)


ONE, TWO = Key("one"), Key("two")


def test_everything_is_due_at_first_in_order_and_once_for_each_cm():
    assert due(make(), 0.0) == [ONE, TWO, Key("per", A), Key("per", B)]


def test_a_step_is_due_again_after_its_interval_or_the_default_one():
    schedule = make(triggers={})
    for key in schedule.keys:
        run(schedule, key, 1000.0)
    assert due(schedule, 1059.9) == []
    assert due(schedule, 1060.0) == [TWO, Key("per", A), Key("per", B)]
    assert ONE in due(schedule, 1100.0)
    assert schedule.next_due(schedule.keys) == 1060.0


def test_a_trigger_makes_others_due_at_once():
    schedule = make()
    run(schedule, TWO, 0.0)
    run(schedule, ONE, 0.0)
    assert schedule.is_due(TWO, 0.0)


def test_a_trigger_of_one_cm_leaves_the_other_cm_alone():
    schedule = make(order=("per", "per2"))
    for key in schedule.keys:
        run(schedule, key, 0.0)
    run(schedule, Key("per2", A), 0.0)
    run(schedule, Key("per2", B), 0.0)
    run(schedule, Key("per", A), 0.0)
    assert due(schedule, 0.0) == [Key("per2", A)]


def test_a_failing_step_backs_off_alone_and_recovers_at_once():
    schedule = make(triggers={})
    delays = []
    for _ in range(8):
        schedule.begin(ONE)
        delays.append(schedule.fail(ONE, 0.0))
    assert delays == [30, 60, 120, 240, 480, 480, 480, 480]
    assert schedule.is_due(TWO, 0.0)
    assert schedule.failures(ONE) == 8
    run(schedule, ONE, 0.0)
    assert schedule.failures(ONE) == 0
    schedule.begin(ONE)
    assert schedule.fail(ONE, 0.0) == 30


def test_a_fault_that_passes_waits_the_shortest_time():
    schedule = make()
    for _ in range(5):
        schedule.begin(ONE)
        assert schedule.fail(ONE, 0.0, grow=False) == 30


def test_a_woken_step_is_due_whatever_it_waited_for():
    schedule = make()
    schedule.begin(ONE)
    schedule.fail(ONE, 0.0)
    run(schedule, Key("per", A), 0.0)
    schedule.wake(["one", "per", "unknown"], 1.0)
    assert {ONE, Key("per", A)} <= set(due(schedule, 1.0))


def test_a_step_that_is_woken_while_it_runs_runs_again():
    schedule = make()
    schedule.begin(ONE)
    assert not schedule.is_due(ONE, 5.0)
    assert not schedule.begin(ONE)
    schedule.wake(["one"], 5.0)
    schedule.succeed(ONE, 6.0)
    assert schedule.is_due(ONE, 6.0)


def test_a_step_that_is_woken_while_it_runs_and_fails_is_tried_again_at_once():
    schedule = make(triggers={})
    for _ in range(8):
        schedule.begin(ONE)
        schedule.fail(ONE, 0.0)
    schedule.begin(ONE)
    schedule.wake(["one"], 5.0)
    assert schedule.fail(ONE, 6.0) == 0
    assert schedule.is_due(ONE, 6.0)


@pytest.mark.parametrize("grow", [True, False])
def test_a_step_that_fails_and_is_woken_each_time_does_not_run_without_a_pause(grow):
    schedule = make(triggers={})
    delays = []
    for _ in range(6):
        schedule.begin(ONE)
        schedule.wake(["one"], 0.0)
        delays.append(schedule.fail(ONE, 0.0, grow=grow))
    assert delays == [0, 30, 0, 30, 0, 30]
    schedule.begin(ONE)
    assert schedule.fail(ONE, 0.0) == 480, "nobody woke it: it backs off as before"


def test_a_wake_before_a_run_does_not_count_for_the_run_after_it():
    schedule = make(triggers={})
    schedule.wake(["one"], 0.0)
    schedule.begin(ONE)
    assert schedule.fail(ONE, 0.0) == 30


def test_a_step_can_be_brought_forward_and_not_put_off():
    schedule = make(triggers={})
    run(schedule, ONE, 0.0)
    schedule.no_later("one", 500.0)
    assert schedule.next_due([ONE]) == 100.0
    schedule.no_later("one", 20.0)
    assert schedule.next_due([ONE]) == 20.0
    schedule.begin(ONE)
    schedule.no_later("one", 45.0)
    schedule.succeed(ONE, 20.0)
    assert schedule.next_due([ONE]) == 45.0, "brought forward by its own run"


def test_what_has_to_be_done_by_a_certain_time_does_not_wait_for_the_longest_back_off():
    schedule = make(triggers={})
    for _ in range(4):
        schedule.begin(ONE)
        assert schedule.fail(ONE, 0.0) >= 30
    schedule.begin(ONE)
    schedule.no_later("one", 145.0)
    assert schedule.fail(ONE, 100.0) == 45
    schedule.begin(ONE)
    schedule.no_later("one", 145.0)
    assert schedule.fail(ONE, 150.0) == 30, "what is late is tried as often as anything that fails"
    assert schedule.next_due([ONE]) == 180.0


def test_a_step_can_be_brought_forward_before_its_first_run():
    schedule = make(triggers={})
    schedule.no_later("one", 50.0)
    assert schedule.is_due(ONE, 0.0)
    run(schedule, ONE, 0.0)
    assert schedule.next_due([ONE]) == 100.0, "the run that came sooner has done it"


def test_waking_at_one_cm_wakes_what_runs_once_in_all_too():
    schedule = make(triggers={})
    for key in schedule.keys:
        run(schedule, key, 0.0)
    schedule.wake((step for step in ("two", "per", "one")), 1.0, cm=B)
    assert due(schedule, 1.0) == [ONE, TWO, Key("per", B)]


def test_nothing_is_due_next_while_all_is_running():
    schedule = make()
    for key in schedule.keys:
        schedule.begin(key)
    assert schedule.next_due(schedule.keys) == math.inf


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_an_interval_that_is_none_is_refused(seconds):
    with pytest.raises(ConfigError, match="one"):
        make(intervals={"one": seconds})
    with pytest.raises(ConfigError, match="interval of retry_interval: more than 0 seconds is expected"):
        make(retry_interval=seconds)


def test_an_interval_may_be_shorter_than_a_second():
    schedule = make(intervals={"one": 0.5}, triggers={})
    run(schedule, ONE, 0.0)
    assert schedule.next_due([ONE]) == 0.5


def test_a_step_is_written_with_its_cm():
    assert str(Key("per", A)) == "per at urn:a"
    assert str(ONE) == "one"


@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["ok", "fail", "busy", "wake", "pass"]), st.integers(0, 3), st.floats(0, 200)
        ),
        max_size=40,
    )
)
def test_no_step_starves_and_none_waits_longer_than_its_interval_or_the_longest_back_off(acts):
    schedule = make()
    now = 0.0
    for act, number, seconds in acts:
        key = schedule.keys[number]
        now += seconds
        match act:
            case "wake":
                schedule.wake([key.step], now)
                assert schedule.is_due(key, now)
            case "ok" | "fail" | "busy" if schedule.is_due(key, now):
                schedule.begin(key)
                if act == "ok":
                    schedule.succeed(key, now)
                else:
                    schedule.fail(key, now, grow=act == "fail")
                assert not schedule.is_due(key, now) or act == "ok"
        for each in schedule.keys:
            assert schedule.next_due([each]) <= now + max(100, 30 * BACKOFF_LIMIT)
