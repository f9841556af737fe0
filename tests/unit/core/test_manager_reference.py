"""What the reference says of the manager's methods and arguments, where no other file shows it."""

import re
import threading

import pytest

from agent.core.errors import ConfigError
from agent.core.events import EventKind
from agent.core.manager import SimpleElasticSliceManager

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"


def test_the_slice_and_the_sliver_can_be_made_by_hand(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)})
    bench.manager.create_slice()
    bench.manager.create_sliver(cm=WISC)
    assert bench.manager.slice_expires == bench.server.slice_expires
    assert [m.cm for m in bench.server.machines()] == [WISC]
    bench.manager.create_sliver()
    assert {m.cm for m in bench.server.machines()} == {UTAH, WISC}


def test_what_is_there_is_not_made_again(make_bench):
    bench = make_bench()
    for _ in range(2):
        bench.manager.ensure_slice()
        bench.manager.ensure_sliver()
    assert (bench.server.count("create_slice"), bench.server.count("create_sliver")) == (1, 1)


@pytest.mark.parametrize(
    ("step", "call"),
    [
        ("ensure_sliver", "find_sliver"),
        ("update_sliver_status", "sliver_status"),
        ("update_available", "discover"),
        ("update_all", "discover"),
        ("add_nodes", "add_nodes"),
        ("delete_nodes", "delete_nodes"),
    ],
)
def test_a_step_at_one_cm_calls_no_other(make_bench, step, call):
    class Willing(SimpleElasticSliceManager):
        def should_add_nodes(self, count=0, cm=None):
            return 1

        def should_delete_nodes(self, cm=None):
            return [n.client_id for n in self.held(cm)][:1]

    bench = make_bench(
        server={"cms": (UTAH, WISC)}, manager_class=Willing, helper={"num_pcs": 2}, enable_delete=True
    )
    bench.manager.create_sliver()
    bench.server.calls.clear()
    getattr(bench.manager, step)(cm=WISC)
    assert bench.server.count(call, WISC) >= 1
    assert {cm for _, cm, _ in bench.server.calls} == {WISC}


def test_a_machine_is_being_deleted_while_the_call_is_under_way(make_bench):
    bench = make_bench(helper={"num_pcs": 2})
    bench.manager.create_sliver()
    bench.manager.give_up(bench.manager.held()[1], "it did not join")
    seen = []
    real = bench.server.delete_nodes

    def watched(cm, client_ids):
        ask = bench.manager.is_deleting
        seen.append((ask(), ask("node-2"), ask("node-1"), ask("node-2", cm=UTAH)))
        return real(cm, client_ids)

    bench.server.delete_nodes = watched
    bench.manager.delete_nodes()
    assert seen == [(True, True, False, True)]
    assert not bench.manager.is_deleting()


def test_a_machine_is_being_added_until_it_is_ready(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(1)
    assert bench.manager.is_adding("node-1", cm=UTAH)
    assert not bench.manager.is_adding("node-2")
    bench.cycles(4)
    assert not bench.manager.is_adding()


class Counting(SimpleElasticSliceManager):
    """Two steps that count their runs; the first may fail."""

    broken = False

    def __init__(self, *args, **kwargs):
        self.runs = {"first": 0, "second": 0}
        super().__init__(*args, **kwargs)

    def first(self):
        self.runs["first"] += 1
        if self.broken:
            raise ZeroDivisionError

    def second(self):
        self.runs["second"] += 1


def counting(make_bench, **kwargs):
    return make_bench(manager_class=Counting, manage_order=["first", "second"], **kwargs)


def test_a_step_runs_at_its_interval_and_without_one_at_the_default(make_bench):
    bench = counting(make_bench, manage_intervals={"first": 20})
    bench.cycles(12, seconds=10)
    assert bench.manager.runs == {"first": 6, "second": 2}


def test_a_step_that_went_well_makes_those_due_that_it_triggers(make_bench):
    bench = counting(
        make_bench,
        manage_intervals={"first": 20, "second": 1000},
        method_reset_triggers={"first": ["second"]},
    )
    bench.cycles(12, seconds=10)
    assert bench.manager.runs == {"first": 6, "second": 6}


def test_a_step_that_failed_is_tried_again_after_the_retry_interval(make_bench):
    bench = counting(make_bench, manage_intervals={"first": 1000}, retry_interval=30)
    bench.manager.broken = True
    bench.cycles(1, seconds=29)
    bench.cycles(1, seconds=1)
    assert bench.manager.runs["first"] == 1
    bench.manager.broken = False
    bench.cycles(1)
    assert bench.manager.runs["first"] == 2


def test_all_state_of_a_manager_is_behind_one_lock_that_its_owner_may_hold(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(5)
    node = bench.manager.held()[0]
    asked = threading.Event()
    answered = threading.Event()

    def call():
        asked.set()
        bench.manager.SetResourceValues({"nodelist": [{"node_id": node.node_id, "value": 0.7}]})
        answered.set()

    with bench.manager.rlock:
        thread = threading.Thread(target=call)
        thread.start()
        assert asked.wait(10)
        assert bench.manager.held() == [node], "the holder itself may go on"
        assert bench.manager.resource_values == {}
        assert not answered.is_set()
    thread.join(10)
    assert bench.manager.resource_values[node.place].value == 0.7


def test_free_and_all_machines_are_read_apart(make_bench):
    bench = make_bench(server={"pool": 3}, maxthreshold=1)
    bench.manager.create_sliver()
    bench.manager.update_available()
    bench.manager.update_all()
    assert len(bench.manager.available[UTAH]) == 2
    assert len(bench.manager.all_nodes[UTAH]) == 3


def test_the_system_is_read_before_machines_are_asked_for_and_written_after(make_bench):
    did = []

    class Linked(SimpleElasticSliceManager):
        def get_system_state(self):
            did.append("get")

        def add_nodes(self, count=0, cm=None):
            did.append("add")
            super().add_nodes(count, cm)

        def set_system_state(self):
            did.append("set")

    make_bench(manager_class=Linked).manager.manage_once()
    assert did == ["get", "add", "set"]


@pytest.mark.parametrize(("email", "mailed"), [(True, 1), (False, 0)])
def test_events_are_handed_to_the_mail_only_where_it_is_wanted(make_bench, email, mailed):
    class Mail:
        def __init__(self):
            self.events = []

        def record(self, event):
            self.events.append(event)

    mail = Mail()
    bench = make_bench(config={"mail": mail}, email=email)
    bench.manager.tell(EventKind.LEASE, "", "the slice was not renewed")
    assert len(mail.events) == mailed
    assert len(bench.events.events) == 1, "the ledger has it in any case"


@pytest.mark.parametrize("answer", ["seven", 2.5, ["node-1"], -1])
def test_an_answer_of_should_add_nodes_that_says_nothing_is_named(make_bench, answer):
    class Odd(SimpleElasticSliceManager):
        def should_add_nodes(self, count=0, cm=None):
            return answer

    bench = make_bench(manager_class=Odd)
    bench.manager.create_sliver()
    with pytest.raises(ConfigError, match=re.escape(f"None or False is expected, not {answer!r}")):
        bench.manager.add_nodes()
    assert bench.server.count("add_nodes", UTAH) == 0
