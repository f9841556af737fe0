"""What the local API answers and does, over a real manager."""

import os
import pwd
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.admin.names import resolve
from agent.core.errors import AgentError
from agent.core.events import PastEvent, Release
from agent.core.model import NodeState
from agent.tell.causes import find_causes

ME = pwd.getpwuid(os.getuid()).pw_name


def test_values_come_with_the_weights_that_follow_from_them(rig) -> None:
    rig.value("pc101", 0.9)
    first, second, _ = rig.call("GET", "/v1/values")["values"]
    assert (first["node"], first["client_id"], first["value"]) == ("pc101", "node-1", 0.9)
    assert first["received"] == "2026-11-22T12:00:00Z"
    assert first["weight"] == 10
    assert first["wanted_weight"] not in {None, 10}
    assert second["value"] is None


def test_jobs_on_borrowed_machines_come_first_then_those_that_wait_with_the_reason(rig) -> None:
    running, waiting = rig.call("GET", "/v1/jobs")["jobs"]
    assert (running["job"], running["user"], running["nodes"]) == ("7", "ada", ["pc101"])
    assert running["ends"] == "2026-11-22T13:00:00Z"
    assert (waiting["job"], waiting["state"]) == ("8", "PENDING")
    assert "Dependency" in waiting["outlook"]


def test_before_slurm_was_read_the_answer_says_so(rig) -> None:
    rig.manager.known.snapshot = None
    for route in ("jobs", "plan"):
        with pytest.raises(AgentError, match="Slurm was not read yet"):
            rig.call("GET", f"/v1/{route}")


# --- names


def test_an_unknown_name_is_told_with_the_nearest_ones(rig) -> None:
    with pytest.raises(AgentError) as refused:
        rig.call("POST", "/v1/drain", {"nodes": ["pc102", "pc1011"], "reason": "x"})
    assert "pc1011 is not one of our machines: they are pc[101-103]; did you mean pc101" in str(refused.value)
    assert rig.manager.known.wishes().drains == {}


@pytest.mark.parametrize("word", ["pc[101-102]", "node-1,pc102", "node-[1-2]"])
def test_a_machine_goes_by_each_of_its_names_and_by_node_sets_of_them(rig, word: str) -> None:
    assert sorted(resolve([word], rig.manager.known.machines())) == ["pc101", "pc102"]


@pytest.mark.parametrize("word", ["pc[101", "pc[3-1]", "pc[]", "pc101]"])
def test_what_is_no_node_set_is_refused(rig, word: str) -> None:
    with pytest.raises(AgentError):
        resolve([word], rig.manager.known.machines())


# --- the words of a drain


def words_of(rig, node: str) -> tuple[str, str]:
    drain = rig.manager.known.drains()[node]
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


# --- plan


def going(rig) -> list[str]:
    return [node["name"] for node in rig.call("GET", "/v1/plan")["nodes"] if node["goes"]]


def test_of_drained_machines_only_those_go_that_are_to_be_given_back(rig) -> None:
    rig.call("POST", "/v1/drain", {"nodes": ["pc101"], "reason": "to be kept"})
    rig.call("POST", "/v1/drain", {"nodes": ["pc103"], "release": True})
    assert going(rig) == ["pc103"]
    rig.call("POST", "/v1/teardown", {"slice": "demo"})
    assert going(rig) == ["pc101", "pc102", "pc103"]


# --- release


def test_only_an_empty_machine_is_released_unless_its_jobs_are_to_be_requeued(rig) -> None:
    with pytest.raises(AgentError, match=r"pc101 has jobs on it \(7\).*--now"):
        rig.call("POST", "/v1/release", {"nodes": ["pc101", "pc102"], "reason": "x"})
    assert rig.manager.known.wishes().drains == {}
    rig.call("POST", "/v1/release", {"nodes": ["pc102"], "reason": "x"})
    rig.call("POST", "/v1/release", {"nodes": ["pc101"], "reason": "x", "now": True})
    drains = rig.manager.known.wishes().drains
    assert {name: (d.give_back, d.deadline) for name, d in drains.items()} == {
        "pc101": (True, rig.clock.now()),
        "pc102": (True, None),
    }


# --- grow


def test_machines_are_wanted_in_addition_until_they_are_in_service(rig) -> None:
    answer = rig.call("POST", "/v1/grow", {"count": 1})
    assert (answer["growing"]["machines"], answer["growing"]["in_service"]) == (4, 3)
    rig.look()
    assert rig.manager.growth.count == 1
    assert rig.call("GET", "/v1/status")["growing"]["machines"] == 4
    rig.add_machine(4)
    rig.look()
    assert rig.call("GET", "/v1/status")["growing"] is None
    assert "is fulfilled: 4 of 4 machines are in service" in rig.told("admin")[-1].message


def test_a_wish_ends_when_its_time_is_over(rig) -> None:
    rig.call("POST", "/v1/grow", {"count": 1, "within": 60})
    rig.clock.time += timedelta(seconds=59)
    rig.look()
    assert rig.manager.orders.growing is not None
    rig.clock.time += timedelta(seconds=1)
    rig.look()
    assert rig.manager.orders.growing is None
    assert "its time is over: 3 of 4" in rig.told("admin")[-1].message


def test_a_wish_outlasts_a_restart_and_ends_by_the_same_rules(rig) -> None:
    rig.call("POST", "/v1/grow", {"count": 1})
    rig.begin()
    rig.look()
    assert rig.manager.growth.count == 1
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


# --- events


def test_events_of_a_machine_are_found_by_each_of_its_names_and_among_others(rig) -> None:
    rig.record("revoke", "pc101")
    rig.record("requeue", "pc101,pc102")
    rig.record("drain", "pc103")
    for name in ("pc101", "node-1"):
        events = rig.call("GET", f"/v1/events?subject={name}")["events"]
        assert [e["kind"] for e in events] == ["adopted", "revoke", "requeue"]


def test_why_a_machine_was_taken_is_told_as_a_chain(rig) -> None:
    for kind in ("revoke", "drain", "requeue", "leave", "release", "gone"):
        rig.record(kind, "pc9", data=Release(3, None))
    events = rig.call("GET", "/v1/events?subject=pc9")["events"]
    kinds = {e["id"]: e["kind"] for e in events}
    chain = {e["kind"]: kinds.get(e["cause"]) for e in events}
    assert chain == {
        "revoke": None,
        "drain": "revoke",
        "requeue": "drain",
        "leave": "drain",
        "release": "leave",
        "gone": "release",
    }
    assert events[0]["data"] == {"margin_seconds": 3, "drain_seconds": None}


def test_a_cause_is_the_newest_of_the_same_machine_and_never_later(rig) -> None:
    now = rig.clock.now()
    told = [
        ("drain", "a"),
        ("revoke", "b"),
        ("revoke", "a"),
        ("admin", "a"),
        ("drain", "a,b"),
        ("drain", "c"),
    ]
    numbered = [
        (number, PastEvent(now, kind, subject, "", {})) for number, (kind, subject) in enumerate(told)
    ]
    assert find_causes(numbered) == {4: 3}


def test_what_comes_after_an_event_is_told_in_order_and_without_gaps(rig) -> None:
    last = rig.call("GET", "/v1/events")["last"]
    for number in range(5):
        rig.record("drain", f"pc{number}")
    seen = []
    while found := rig.call("GET", f"/v1/events?after={last}&newest=2"):
        if not found["events"]:
            break
        seen += [e["subject"] for e in found["events"]]
        last = found["last"]
    assert seen == [f"pc{number}" for number in range(5)]


def test_a_follower_whose_ledger_was_begun_anew_goes_on_from_its_end(rig) -> None:
    rig.record("drain", "pc1")
    answer = rig.call("GET", "/v1/events?after=123456")
    assert answer["events"] == []
    assert answer["last"] == rig.ledger.last_event()


# --- the settings


def test_the_settings_in_force_are_told_with_their_file(rig) -> None:
    answer = rig.call("GET", "/v1/config")
    assert answer["path"] == "/etc/esagent/agent.conf"
    assert answer["settings"]["demand"] == {"max_nodes": 5}


def test_a_draining_node_is_told_by_state_and_by_drain(rig) -> None:
    rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "reason": "disk", "deadline": 60})
    rig.slurm.nodes["pc102"] = replace(rig.slurm.nodes["pc102"], flags=frozenset({"DRAIN"}))
    rig.look()
    (record,) = [n for n in rig.call("GET", "/v1/nodes")["nodes"] if n["node"] == "pc102"]
    assert (record["state"], record["due"]) == (NodeState.DRAINED, "2026-11-22T12:01:00Z")
    (drain,) = rig.call("GET", "/v1/drains")["drains"]
    assert (drain["node"], drain["cause"], drain["why"]) == ("pc102", "admin", "disk")
