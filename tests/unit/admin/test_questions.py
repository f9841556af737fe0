"""What the local API answers, over a real manager."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.errors import AgentError
from agent.core.events import PastEvent, Release
from agent.core.said import Revocation
from agent.core.views import NodeState
from agent.tell.causes import find_causes
from tests.unit.admin.conftest import CM


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
    rig.manager.memory.known.snapshot = None
    for route in ("jobs", "plan"):
        with pytest.raises(AgentError, match="Slurm was not read yet"):
            rig.call("GET", f"/v1/{route}")


# --- plan


def going(rig) -> list[str]:
    return [node["name"] for node in rig.call("GET", "/v1/plan")["nodes"] if node["goes"]]


def test_of_drained_machines_only_those_go_that_are_to_be_given_back(rig) -> None:
    rig.call("POST", "/v1/drain", {"nodes": ["pc101"], "reason": "to be kept"})
    rig.call("POST", "/v1/drain", {"nodes": ["pc103"], "release": True})
    assert going(rig) == ["pc103"]
    rig.call("POST", "/v1/teardown", {"slice": "demo"})
    assert going(rig) == ["pc101", "pc102", "pc103"]


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


def test_causes_are_found_where_slurm_and_cloudlab_name_a_machine_differently(rig) -> None:
    rig.record("revoke", "node-1")
    rig.record("drain", "pc101")
    revoked, drained = rig.call("GET", "/v1/events?subject=pc101")["events"][-2:]
    assert (drained["kind"], drained["cause"]) == ("drain", revoked["id"])


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


# --- machines that are not ours


def test_machines_that_are_not_ours_are_told_after_ours_where_they_are_asked_for(rig) -> None:
    rig.add_foreign("ctl", "pc900")
    rig.look()
    rig.value("pc900", 0.75)
    due = rig.clock.now() + timedelta(minutes=5)
    rig.manager.revocations["", "pc900"] = Revocation("pc900", "ctl", due, due, due)
    *ours, told = rig.call("GET", "/v1/nodes?all=true")["nodes"]
    assert ours == rig.call("GET", "/v1/nodes")["nodes"]
    assert [node["node"] for node in ours] == ["pc101", "pc102", "pc103"]
    assert told == {
        "node": "pc900",
        "node_id": "pc900",
        "client_id": "ctl",
        "cm": CM,
        "state": "foreign",
        "value": 0.75,
        "weight": None,
        "due": "2026-11-22T12:05:00Z",
        "asked": None,
        "jobs": [],
        "more_jobs": 0,
    }


def test_the_status_names_machines_that_are_not_ours_and_counts_none_of_them(rig) -> None:
    assert rig.call("GET", "/v1/status")["foreign"] == ""
    rig.add_foreign("ctl", "pc900")
    rig.add_foreign("nfs", "pc901")
    rig.look()
    status = rig.call("GET", "/v1/status")
    assert status["foreign"] == "2 machines of this slice are not ours: ctl, nfs"
    assert (status["machines"], status["states"]) == (3, {"joined": 3})


def test_events_of_a_machine_that_is_not_ours_are_found_by_each_of_its_names(rig) -> None:
    rig.add_foreign("ctl", "pc900")
    rig.look()
    rig.record("foreign-revoke", "pc900")
    for name in ("pc900", "ctl"):
        events = rig.call("GET", f"/v1/events?subject={name}")["events"]
        assert [e["kind"] for e in events] == ["foreign-revoke"]


def test_no_act_is_taken_for_a_machine_that_is_not_ours(rig) -> None:
    rig.add_foreign("ctl", "pc900")
    rig.look()
    for act in ("drain", "release", "resume"):
        for name in ("ctl", "pc900"):
            with pytest.raises(AgentError, match=f"{name} is a machine of the slice that is not ours"):
                rig.call("POST", f"/v1/{act}", {"nodes": [name]})
