"""What was tried on a machine is known until it has joined, or is gone."""

import threading
from datetime import timedelta

import pytest

from agent.cluster.memory.joins import Joins
from agent.cluster.moment import JoinRecord
from agent.cluster.settings.join import JoinSettings
from agent.cluster.shrink.departures import plan_departures
from tests.unit.cluster.conftest import NOW, a_machine, a_moment, settings_with

MACHINE, OTHER = a_machine(1), a_machine(2)


def at(seconds):
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def joins() -> Joins:
    return Joins(threading.RLock())


def record_of(joins: Joins) -> JoinRecord | None:
    return joins.records.get(MACHINE.key)


def test_attempts_and_probes_are_counted_from_the_first(joins: Joins) -> None:
    joins.begin(MACHINE, at(0), attempts=1)
    joins.end(MACHINE, at(10), "status 1")
    assert record_of(joins) == JoinRecord(at(0), at(10), attempts=1, running=False, error="status 1")
    joins.begin(MACHINE, at(40), attempts=1)
    joins.end(MACHINE, at(50), "")
    joins.begin(MACHINE, at(60), probes=1)
    assert record_of(joins) == JoinRecord(at(0), at(60), attempts=2, running=True, probes=1)


def test_a_machine_that_is_watched_is_known_since_then_and_nothing_was_tried_there(joins: Joins) -> None:
    joins.watch(MACHINE, at(0))
    assert record_of(joins) == JoinRecord(at(0), at(0), attempts=0, running=False)
    joins.begin(MACHINE, at(30), attempts=1)
    assert record_of(joins) == JoinRecord(at(0), at(30), attempts=1, running=True)


def test_what_had_been_tried_is_told_once_when_a_machine_has_joined(joins: Joins) -> None:
    joins.begin(MACHINE, at(0), attempts=1)
    joins.add_log(MACHINE, "hello\n")
    record = record_of(joins)
    assert joins.join(MACHINE) == record
    assert joins.join(MACHINE) is None
    assert (joins.records, joins.proven, joins.take_log(MACHINE)) == ({}, {MACHINE.key}, "")


def test_commands_that_end_after_their_machine_has_joined_leave_no_record(joins: Joins) -> None:
    joins.begin(MACHINE, at(0), attempts=1)
    joins.join(MACHINE)
    joins.end(MACHINE, at(9), "late")
    assert joins.records == {}


def test_a_probe_that_has_passed_is_remembered(joins: Joins) -> None:
    joins.prove(MACHINE)
    assert joins.proven == {MACHINE.key}


def test_the_end_of_what_was_printed_is_kept_and_told_once(joins: Joins) -> None:
    joins.add_log(MACHINE, "first " + "x" * 3990)
    joins.add_log(MACHINE, "the last words")
    log = joins.take_log(MACHINE)
    assert (len(log), log[-15:]) == (4000, "xthe last words")
    assert joins.take_log(MACHINE) == ""


def test_a_failed_machine_is_kept_for_as_long_as_wanted(joins: Joins) -> None:
    settings = settings_with(join=JoinSettings(keep_failed=3600))

    def keeps(seconds: float) -> bool:
        joins.see_failed([MACHINE], at(seconds))
        moment = a_moment(
            machines=[MACHINE],
            settings=settings,
            now=at(seconds),
            failed_since=joins.failed,
            facts={"failed": frozenset({MACHINE.key})},
        )
        return MACHINE in plan_departures(moment).kept

    assert keeps(0)
    assert keeps(3599)
    assert not keeps(3600)
    joins.forget(MACHINE)
    assert keeps(3600)


def test_a_machine_that_is_gone_leaves_nothing_behind_and_the_others_stay(joins: Joins) -> None:
    for machine in (MACHINE, OTHER):
        joins.begin(machine, at(0), attempts=1)
        joins.prove(machine)
        joins.add_log(machine, "hello")
        joins.see_failed([machine], at(0))
    joins.forget(MACHINE)
    assert joins.records.keys() == joins.failed.keys() == joins.proven == {OTHER.key}
    assert (joins.take_log(MACHINE), joins.take_log(OTHER)) == ("", "hello")
