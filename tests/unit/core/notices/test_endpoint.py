"""What Cloudlab may call, and what it hears: idempotent, quick, and never an error of ours."""

import math
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.notices.calls import ElasticSliceClientEndpoint
from agent.core.notices.endpoint import SimpleElasticSliceClientEndpoint
from agent.core.notices.items import MAX_WAIT


def pending(*items):
    return {
        "nodelist": [{"node_id": n, "client_id": f"node-{n}", "max_wait_time": wait} for n, wait in items]
    }


class Held(SimpleElasticSliceClientEndpoint):
    """Starts nothing by itself: the test says when a machine is empty."""

    def __init__(self, clock, **kwargs):
        super().__init__(**kwargs)
        self.clock = clock
        self.groups = []

    def start_delete(self, nodelist):
        self.groups.append([item["node_id"] for item in nodelist])


@pytest.fixture
def endpoint(clock):
    return Held(clock)


class StandingClock:
    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC)

    steady = now


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        threading.Event().wait(0.005)


OK = {"code": 0, "value": 0, "output": ""}


# --- the envelope


def test_the_stub_answers_everything_with_success():
    stub = ElasticSliceClientEndpoint()
    for call in (stub.SetResourceValues, stub.NotifyDeletePending, stub.NotifyDeleteComplete):
        assert call({"nodelist": "anything"}) == OK
    for version in (stub.GetVersion(), stub.GetVersion({"x": 1})):
        assert version["code"] == 0
        assert isinstance(version["value"], int | float)


@pytest.mark.parametrize("params", [None, 3, "x", [], {}, {"nodelist": None}, {"nodelist": {"a": 1}}])
@pytest.mark.parametrize("method", ["SetResourceValues", "NotifyDeletePending", "NotifyDeleteComplete"])
def test_a_call_without_a_list_is_refused_in_words(endpoint, method, params):
    answer = getattr(endpoint, method)(params)
    assert answer["code"] == 1
    assert "nodelist" in answer["output"]
    assert answer["value"] == 0


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["nodelist", "node_id", "client_id", "value", "max_wait_time", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    params=JUNK, method=st.sampled_from(["SetResourceValues", "NotifyDeletePending", "NotifyDeleteComplete"])
)
def test_no_call_raises_or_answers_outside_the_envelope(params, method):
    endpoint = SimpleElasticSliceClientEndpoint()
    endpoint.start_delete = lambda nodelist: None
    endpoint.nodes_taken = lambda nodelist: None
    answer = getattr(endpoint, method)(params)
    assert set(answer) == {"code", "value", "output"}
    assert None not in answer.values()


# --- resource values


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.5])
def test_values_from_0_to_1_are_kept(endpoint, clock, value):
    assert endpoint.SetResourceValues({"nodelist": [{"node_id": "pc1", "value": value, "more": 1}]}) == OK
    kept = endpoint.resource_values["", "pc1"]
    assert (kept.value, kept.received) == (float(value), clock.now())


@pytest.mark.parametrize(
    "item",
    [
        {"node_id": "pc2", "value": -0.1},
        {"node_id": "pc2", "value": 1.1},
        {"node_id": "pc2", "value": math.nan},
        {"node_id": "pc2", "value": math.inf},
        {"node_id": "pc2", "value": True},
        {"node_id": "pc2", "value": "0.5"},
        {"node_id": "pc2", "value": None},
        {"node_id": "pc2", "value": 10**5000},
        {"node_id": "pc2"},
        {"value": 0.5},
        {"node_id": "-pc2", "value": 0.5},
        {"node_id": "pc2;reboot", "value": 0.5},
        {"node_id": "pc2\n", "value": 0.5},
        {"node_id": "p" * 64, "value": 0.5},
        {"node_id": "pc2", "client_id": "$(x)", "value": 0.5},
        {"node_id": ["pc2"], "value": 0.5},
        {"node_id": 10**5000, "value": 0.5},
        {"node_id": "pc2", "client_id": ["x"], "value": 0.5},
        "pc2",
        None,
    ],
    ids=lambda item: "",
)
def test_a_bad_item_is_counted_and_costs_no_other(endpoint, item):
    good = [{"node_id": "pc1", "value": 0.25}, {"node_id": "pc3", "value": 0.75}]
    assert endpoint.SetResourceValues({"nodelist": [good[0], item, good[1]]}) == OK
    assert sorted(endpoint.resource_values) == [("", "pc1"), ("", "pc3")]
    assert endpoint.rejected["SetResourceValues"] == 1


def test_a_name_of_digits_that_came_as_a_number_is_a_name(endpoint):
    endpoint.SetResourceValues({"nodelist": [{"node_id": 12, "value": 1}]})
    assert list(endpoint.resource_values) == [("", "12")]


def test_the_memory_for_values_is_bounded(endpoint, monkeypatch):
    monkeypatch.setattr("agent.core.notices.endpoint.MAX_NODES", 3)
    endpoint.SetResourceValues({"nodelist": [{"node_id": f"pc{n}", "value": 0} for n in range(3)]})
    endpoint.SetResourceValues({"nodelist": [{"node_id": "pc0", "value": 1}, {"node_id": "pc9", "value": 1}]})
    assert list(endpoint.resource_values) == [("", "pc2"), ("", "pc0"), ("", "pc9")]


# --- revocations


def test_new_machines_are_started_together_and_once(endpoint):
    assert endpoint.NotifyDeletePending(pending(("pc1", 120), ("pc2", 120))) == OK
    assert endpoint.NotifyDeletePending(pending(("pc1", 60), ("pc2", 60), ("pc3", 60))) == OK
    assert endpoint.groups == [["pc1", "pc2"], ["pc3"]]


def test_machines_are_started_one_by_one_when_asked_for(clock):
    endpoint = Held(clock, delete_in_group=False)
    endpoint.NotifyDeletePending(pending(("pc1", 120), ("pc2", 120)))
    assert endpoint.groups == [["pc1"], ["pc2"]]


def test_a_deadline_moves_as_cloudlab_moves_it_and_the_first_notice_is_kept(endpoint, clock):
    first = clock.now()
    endpoint.NotifyDeletePending(pending(("pc1", 120)))
    clock.advance(60)
    endpoint.NotifyDeletePending(pending(("pc1", 60)))
    assert endpoint.revocations["", "pc1"].deadline == first + timedelta(seconds=120)
    clock.advance(1)
    endpoint.NotifyDeletePending(pending(("pc1", 600)))
    kept = endpoint.revocations["", "pc1"]
    assert kept.deadline == clock.now() + timedelta(seconds=600)
    assert (kept.noticed, kept.last_notice) == (first, clock.now())


def test_the_earlier_deadline_of_a_machine_that_is_named_twice_counts(endpoint, clock):
    endpoint.NotifyDeletePending(pending(("pc1", 60), ("pc1", 120)))
    assert endpoint.revocations["", "pc1"].deadline == clock.now() + timedelta(seconds=60)
    assert endpoint.groups == [["pc1"]]


def test_the_answer_is_the_list_as_received_with_0_for_what_may_be_taken(endpoint):
    call = pending(("pc1", 120), ("pc2", 120.5))
    call["nodelist"].insert(1, {"node_id": "bad name", "max_wait_time": 5, "x": "kept"})
    call["nodelist"][0]["component_urn"] = "urn:x"
    assert endpoint.NotifyDeletePending(call) == OK
    endpoint.end_delete([{"node_id": "pc1"}])
    answer = endpoint.NotifyDeletePending(call)
    assert answer["code"] == 0
    assert answer["value"] == [{**call["nodelist"][0], "max_wait_time": 0}, *call["nodelist"][1:]]
    assert list(answer["value"][0]) == list(call["nodelist"][0])
    assert call["nodelist"][0]["max_wait_time"] == 120, "the caller's own list is untouched"


def test_it_is_remembered_which_machines_a_reply_has_offered(endpoint):
    endpoint.NotifyDeletePending(pending(("pc1", 600), ("pc2", 600)))
    endpoint.end_delete(["pc1"])
    assert not endpoint.revocations["", "pc1"].offered
    for wait in (540, 480):
        endpoint.NotifyDeletePending(pending(("pc1", wait), ("pc2", wait)))
        assert endpoint.revocations["", "pc1"].offered
    assert not endpoint.revocations["", "pc2"].offered


def test_a_call_that_names_no_releasable_machine_is_answered_plainly(endpoint):
    endpoint.NotifyDeletePending(pending(("pc1", 120)))
    endpoint.end_delete(["pc1"])
    assert endpoint.NotifyDeletePending(pending(("pc2", 120))) == OK


def test_a_release_is_not_taken_back_by_a_repeated_notice(endpoint):
    endpoint.NotifyDeletePending(pending(("pc1", 120)))
    endpoint.end_delete(["pc1"])
    for wait in (60, 30, 600):
        assert endpoint.NotifyDeletePending(pending(("pc1", wait)))["value"][0]["max_wait_time"] == 0


def test_no_time_to_wait_is_a_deadline_now(endpoint, clock):
    endpoint.NotifyDeletePending(pending(("pc1", 0)))
    assert endpoint.revocations["", "pc1"].deadline == clock.now()
    assert endpoint.groups == [["pc1"]]


@pytest.mark.parametrize(
    "wait", [-1, math.nan, math.inf, True, "60", None, MAX_WAIT * 2, 10**5000], ids=lambda w: ""
)
def test_a_time_that_is_none_is_skipped(endpoint, wait):
    endpoint.NotifyDeletePending(pending(("pc1", wait), ("pc2", 60)))
    assert list(endpoint.revocations) == [("", "pc2")]
    assert endpoint.rejected["NotifyDeletePending"] == 1


def test_complete_ends_a_revocation_and_can_come_at_any_time(endpoint):
    taken = []
    endpoint.nodes_taken = lambda nodelist: taken.extend(item["node_id"] for item in nodelist)
    done = {"nodelist": [{"node_id": "pc1"}, {"node_id": "pc1"}, {"client_id": "x"}]}
    assert endpoint.NotifyDeleteComplete(done) == OK, "unannounced"
    endpoint.NotifyDeletePending(pending(("pc1", 60)))
    assert endpoint.NotifyDeleteComplete(done) == OK
    assert endpoint.NotifyDeleteComplete(done) == OK, "twice"
    assert endpoint.revocations == {}
    assert not endpoint.has_pending_deletes()
    assert taken == ["pc1", "pc1"]
    endpoint.NotifyDeletePending(pending(("pc1", 60)))
    assert endpoint.groups == [["pc1"], ["pc1"]], "the machine came again, and is revoked again"


def test_pending_deletes_are_those_started_and_not_ended(endpoint):
    assert not endpoint.has_pending_deletes()
    endpoint.NotifyDeletePending(pending(("pc1", 60), ("pc2", 60)))
    endpoint.end_delete(["pc1", "pc9"])
    assert endpoint.has_pending_deletes()
    endpoint.end_delete(["pc2"])
    assert not endpoint.has_pending_deletes()


def test_a_start_that_fails_is_tried_again_at_the_next_notice(endpoint):
    def fail(_):
        raise RuntimeError("a fault of an override")

    start, endpoint.start_delete = endpoint.start_delete, fail
    assert endpoint.NotifyDeletePending(pending(("pc1", 60))) == OK
    endpoint.start_delete = start
    endpoint.NotifyDeletePending(pending(("pc1", 60)))
    assert endpoint.groups == [["pc1"]]


def test_the_memory_for_revocations_is_bounded(endpoint, monkeypatch):
    monkeypatch.setattr("agent.core.notices.endpoint.MAX_NODES", 2)
    endpoint.NotifyDeletePending(pending(("pc1", 60), ("pc2", 60), ("pc3", 60)))
    assert list(endpoint.revocations) == [("", "pc1"), ("", "pc2")]
    assert endpoint.groups == [["pc1", "pc2"]]


def test_a_given_lock_is_the_one_that_is_used():
    lock = threading.RLock()
    endpoint = SimpleElasticSliceClientEndpoint(rlock=lock)
    assert endpoint.rlock is lock


# --- cleaning up by itself


class Cleaner:
    def __init__(self, commands):
        self.commands = commands
        self.deleted = []

    def get_delete_commands(self, nodelist):
        return self.commands(nodelist) if callable(self.commands) else self.commands

    def handle_deleted_node(self, node):
        self.deleted.append(node["node_id"])


def test_the_delete_commands_run_before_a_machine_is_released(tmp_path):
    out = tmp_path / "out"
    commands = [f"echo first >> {out}", "exit 3", f"sleep 0.1; echo second >> {out}"]
    endpoint = SimpleElasticSliceClientEndpoint(helper=Cleaner(commands))
    endpoint.NotifyDeletePending(pending(("pc1", 60)))
    until(lambda: not endpoint.has_pending_deletes())
    assert out.read_text() == "first\nsecond\n"
    assert endpoint.NotifyDeletePending(pending(("pc1", 30)))["value"][0]["max_wait_time"] == 0


@pytest.mark.parametrize("commands", [None, [], lambda _: 1 / 0, ["exit 1"]])
def test_a_machine_is_released_whatever_the_commands_do(commands):
    endpoint = SimpleElasticSliceClientEndpoint(helper=Cleaner(commands))
    endpoint.NotifyDeletePending(pending(("pc1", 60)))
    until(lambda: not endpoint.has_pending_deletes())


def test_the_commands_get_no_longer_than_the_deadline_leaves():
    endpoint = SimpleElasticSliceClientEndpoint(helper=Cleaner(["sleep 60"]))
    endpoint.NotifyDeletePending(pending(("pc1", 0)))
    until(lambda: not endpoint.has_pending_deletes())


def test_a_helper_hears_once_that_a_machine_was_taken():
    cleaner = Cleaner([])
    endpoint = SimpleElasticSliceClientEndpoint(helper=cleaner)
    for _ in range(3):
        endpoint.NotifyDeleteComplete(pending(("pc1", 0)))
    endpoint.NotifyDeleteComplete(pending(("pc2", 0)))
    until(lambda: sorted(cleaner.deleted) == ["pc1", "pc2"])


def revoked(endpoint):
    return {revocation.node_id for revocation in endpoint.revocations.values()}


@given(
    calls=st.lists(
        st.tuples(
            st.sampled_from(["pending", "complete", "end", "wait"]),
            st.lists(st.tuples(st.sampled_from(["pc1", "pc2", "pc3"]), st.integers(0, 300)), max_size=4),
        ),
        max_size=20,
    )
)
def test_any_order_of_calls_starts_once_a_notice_and_releases_only_what_ended(calls):
    endpoint = Held(StandingClock())
    ended = set()
    for kind, items in calls:
        names = {n for n, _ in items}
        match kind:
            case "pending":
                before = len([n for g in endpoint.groups for n in g])
                new = names - revoked(endpoint)
                answer = endpoint.NotifyDeletePending(pending(*items))
                assert len([n for g in endpoint.groups for n in g]) - before == len(new)
                listed = answer["value"] or []
                assert bool(listed) == bool(names & ended)
                for (n, wait), item in zip(items, listed, strict=bool(listed)):
                    assert item["max_wait_time"] == (0 if n in ended else wait)
            case "complete":
                endpoint.NotifyDeleteComplete(pending(*items))
                ended -= names
                assert not names & revoked(endpoint)
            case "end":
                ended |= names & revoked(endpoint)
                endpoint.end_delete(list(names))
        assert endpoint.has_pending_deletes() == bool(revoked(endpoint) - ended)
