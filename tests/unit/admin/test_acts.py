"""What the local API does, over a real manager."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.errors import AgentError, LedgerError
from agent.core.settings import LeaseSettings
from tests.unit.admin.conftest import ME, machine

# --- the words of a drain


def words_of(rig, node: str) -> tuple[str, str]:
    drain = rig.manager.memory.wishes().drains[node]
    return drain.who, drain.why


@pytest.mark.parametrize("again", ["drain", "release"])
def test_an_earlier_drains_words_stay_where_the_next_one_has_none(rig, again: str) -> None:
    rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "reason": "the fan is broken"})
    rig.call("POST", f"/v1/{again}", {"nodes": ["pc[102-103]"]})
    assert words_of(rig, "pc102") == (ME, "the fan is broken")
    assert words_of(rig, "pc103") == (ME, "administrator")
    rig.call("POST", f"/v1/{again}", {"nodes": ["pc102"], "reason": "the disk too"})
    assert words_of(rig, "pc102") == (ME, "the disk too")


def test_the_words_of_somebody_elses_drain_stay_when_it_is_taken_over_without_any(rig) -> None:
    drained = replace(rig.slurm.nodes["pc102"], flags=frozenset({"DRAIN"}), reason="bad dimm\n in slot 3")
    rig.slurm.nodes["pc102"] = drained
    rig.look()
    rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "force": True})
    assert words_of(rig, "pc102") == (ME, "bad dimm in slot 3")
    rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "reason": "moved", "force": True})
    assert words_of(rig, "pc102") == (ME, "moved")


# --- release


def test_only_an_empty_machine_is_released_unless_its_jobs_are_to_be_requeued(rig) -> None:
    with pytest.raises(AgentError, match=r"pc101 has jobs on it \(7\).*--now"):
        rig.call("POST", "/v1/release", {"nodes": ["pc101", "pc102"], "reason": "x"})
    assert rig.manager.memory.wishes().drains == {}
    rig.call("POST", "/v1/release", {"nodes": ["pc102"], "reason": "x"})
    rig.call("POST", "/v1/release", {"nodes": ["pc101"], "reason": "x", "now": True})
    drains = rig.manager.memory.wishes().drains
    assert {name: (d.give_back, d.deadline) for name, d in drains.items()} == {
        "pc101": (True, rig.clock.now()),
        "pc102": (True, None),
    }


# --- resume, and what cannot be kept


def test_a_machine_that_was_to_be_given_back_is_kept_when_it_is_resumed_in_time(rig) -> None:
    rig.call("POST", "/v1/release", {"nodes": ["pc102"]})
    rig.manager.memory.chosen.choose(machine(2))
    assert rig.call("POST", "/v1/resume", {"nodes": ["pc102"]})["nodes"] == ["pc102"]
    assert rig.manager.memory.wishes().drains == {}


def test_no_machine_is_called_resumed_or_kept_that_is_then_given_back(rig) -> None:
    rig.call("POST", "/v1/release", {"nodes": ["pc[102-103]"]})
    rig.manager.memory.chosen.leave(machine(2))
    for act in ("resume", "drain"):
        with pytest.raises(AgentError, match=r"pc102 cannot be .*: it is being given back, and its delete"):
            rig.call("POST", f"/v1/{act}", {"nodes": ["pc[102-103]"]})
    wish = rig.manager.memory.drains.of(machine(3))
    assert wish is not None, "nothing was done"
    assert wish.give_back
    rig.call("POST", "/v1/release", {"nodes": ["pc102"]})


@pytest.mark.parametrize("act", ["resume", "drain"])
def test_an_order_that_comes_too_late_while_it_is_written_down_is_not_called_done(rig, act: str) -> None:
    rig.call("POST", "/v1/release", {"nodes": ["pc102"]})
    put = rig.ledger.put_drain

    def meanwhile(wish):
        rig.manager.memory.chosen.leave(machine(2))
        put(wish)

    rig.ledger.put_drain = meanwhile
    with pytest.raises(AgentError, match="too late for pc102"):
        rig.call("POST", f"/v1/{act}", {"nodes": ["pc102"]})


def test_a_disk_that_is_full_is_told_and_leaves_all_as_it_was(rig) -> None:
    rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "reason": "fan"})
    before = rig.manager.memory.now().admin

    def full(*_):
        raise LedgerError("the ledger cannot be written: database or disk is full")

    for name in ("put_drain", "remove_drain", "put_grow_order", "remove_grow_order"):
        setattr(rig.ledger, name, full)
    orders = {
        "drain": {"nodes": ["pc102"], "reason": "disk"},
        "release": {"nodes": ["pc102"]},
        "resume": {"nodes": ["pc102"]},
        "grow": {"count": 1},
        "pause": None,
        "teardown": {"slice": "demo"},
    }
    for act, body in orders.items():
        with pytest.raises(AgentError, match="disk is full"):
            rig.call("POST", f"/v1/{act}", body)
    moment = rig.manager.memory.now()
    assert (moment.admin, moment.hold, moment.order) == (before, None, None)


# --- grow


def test_machines_are_wanted_in_addition_until_they_are_in_service(rig) -> None:
    answer = rig.call("POST", "/v1/grow", {"count": 1})
    assert (answer["growing"]["machines"], answer["growing"]["in_service"]) == (4, 3)
    rig.look()
    assert rig.manager.last_plan.growth.count == 1
    assert rig.call("GET", "/v1/status")["growing"]["machines"] == 4
    rig.add_machine(4)
    rig.look()
    assert rig.call("GET", "/v1/status")["growing"] is None
    assert "is fulfilled: 4 of 4 machines are in service" in rig.told("admin")[-1].message


def test_a_wish_ends_when_its_time_is_over(rig) -> None:
    rig.call("POST", "/v1/grow", {"count": 1, "within": 60})
    rig.clock.time += timedelta(seconds=59)
    rig.look()
    assert rig.manager.memory.growing.order is not None
    rig.clock.time += timedelta(seconds=1)
    rig.look()
    assert rig.manager.memory.growing.order is None
    assert "its time is over: 3 of 4" in rig.told("admin")[-1].message


def test_a_wish_outlasts_a_restart_and_ends_by_the_same_rules(rig) -> None:
    rig.call("POST", "/v1/grow", {"count": 1})
    rig.begin()
    rig.look()
    assert rig.manager.last_plan.growth.count == 1
    growing = rig.questions.status().growing
    assert (growing.machines, growing.in_service, growing.until) == (
        4,
        3,
        rig.clock.now() + timedelta(hours=1),
    )
    rig.add_machine(4)
    rig.look()
    rig.begin()
    rig.look()
    assert rig.questions.status().growing is None
    assert [event.message for event in rig.told("admin")][1:] == [
        f"the wish of {growing.who} is fulfilled: 4 of 4 machines are in service"
    ]


def test_growing_is_refused_beyond_max_nodes_and_while_growth_is_held_up(rig) -> None:
    with pytest.raises(AgentError, match=r"6 machines would be held, and .* max_nodes is 5"):
        rig.call("POST", "/v1/grow", {"count": 3})
    rig.call("POST", "/v1/pause")
    with pytest.raises(AgentError, match="no machine is asked for: pause by"):
        rig.call("POST", "/v1/grow", {"count": 1})
    with pytest.raises(AgentError, match="nobody has asked"):
        rig.call("POST", "/v1/grow", {"count": 0})


# --- renew


def test_a_lease_that_has_enough_left_is_renewed_to_its_full_length_when_asked_and_once(rig) -> None:
    rig.manager.renew()
    assert rig.cloudlab.renewed == []
    assert "being renewed" in rig.call("POST", "/v1/renew")["growth"]
    rig.manager.renew()
    full = rig.clock.now() + timedelta(days=1)
    assert [expires for _, expires in rig.cloudlab.renewed] == [full, full]
    rig.manager.renew()
    assert len(rig.cloudlab.renewed) == 2


def test_an_administrator_has_the_lease_renewed_where_the_agent_never_does(rig) -> None:
    rig.manager.lease = LeaseSettings(renew="never")
    rig.clock.time += timedelta(hours=10)
    rig.manager.renew()
    assert rig.cloudlab.renewed == []
    rig.call("POST", "/v1/renew")
    rig.manager.renew()
    assert [where for where, _ in rig.cloudlab.renewed] == ["sa", rig.cloudlab.cms[0]]
