"""What follows at one instant from all that is known then."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.memory.hold import PAUSE
from agent.cluster.moment import History, JoinRecord, Moment
from agent.cluster.reasons import TEARDOWN
from agent.cluster.settings.join import JoinSettings
from agent.core.model import AdminDrain, KnownAs, LanPort, SliverNode
from agent.core.slice.facts import SliceFacts
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, a_machine, a_moment, settings_with

BY_CLIENT_ID = settings_with(join=JoinSettings(node_name="client_id"))
OURS, OTHER = a_machine(1), a_machine(2)


def test_before_anything_was_read_nothing_is_known_and_nothing_is_ours() -> None:
    settings = settings_with()
    known = Moment(NOW, settings)
    assert known == Moment(
        now=NOW,
        settings=settings,
        slice=SliceFacts(),
        snapshot=None,
        reservations=None,
        history=None,
        limited=frozenset(),
        read_back=frozenset(),
        admin={},
        hold=None,
        order=None,
        chosen=frozenset(),
        emptied=frozenset(),
        blocking={},
        asked_types={},
        joins={},
        proven=frozenset(),
        failed_since={},
        started=datetime.min.replace(tzinfo=UTC),
    )
    assert (known.machines, known.nodes, known.joined, known.failed) == ({}, {}, frozenset(), frozenset())
    assert (known.held_up, known.in_service) == ("", 0)


def test_the_first_reading_tells_nothing_of_before() -> None:
    assert History() == History(
        idle_since={},
        joined_since={},
        found=frozenset(),
        machines={},
        waiting_since={},
        forsaken_since={},
    )


def test_a_join_that_begins_has_neither_been_probed_nor_failed() -> None:
    later = NOW + timedelta(seconds=9)
    begun = JoinRecord(NOW, later, 1, running=True)
    assert begun == JoinRecord(first=NOW, last=later, attempts=1, running=True, probes=0, error="")


@pytest.mark.parametrize(("settings", "name"), [(None, "pc1"), (BY_CLIENT_ID, "node-1")])
def test_a_machine_goes_by_the_name_that_the_settings_give_its_node(settings, name) -> None:
    moment = a_moment(Node(name, "IDLE"), machines=[OURS], settings=settings)
    assert (moment.name(OURS), moment.machines, moment.joined) == (name, {name: OURS}, {name})


def test_a_machine_without_a_name_is_no_node_of_ours() -> None:
    unnamed = SliverNode("node-3", "", UTAH, "urn:sliver+3")
    assert a_moment(machines=[unnamed, OURS]).machines == {"pc1": OURS}


def test_a_machine_has_joined_when_slurm_has_it_and_a_node_of_others_never() -> None:
    moment = a_moment(Node("pc1", "DOWN"), Node("head", "IDLE"), machines=[OURS, OTHER])
    assert (moment.joined, moment.nodes.keys()) == ({"pc1"}, {"pc1", "head"})


def test_a_machine_of_no_use_is_known_by_the_name_of_its_node() -> None:
    failed = frozenset({OURS.key, a_machine(9).key})
    assert a_moment(machines=[OURS, OTHER], facts={"failed": failed}).failed == {"pc1"}


def test_an_administrator_who_holds_growth_up_is_named_before_the_brake() -> None:
    hold = AdminDrain("", PAUSE, "bob", NOW)
    assert a_moment(facts={"braked": "three failed"}).held_up == "three failed"
    assert a_moment(facts={"braked": "three failed"}, hold=hold).held_up == "pause by bob"


@pytest.mark.parametrize(
    ("node", "count"),
    [
        (Node("pc1", "MIXED"), 1),
        (Node("pc1", "MIXED", frozenset({"DRAIN"})), 1),
        (Node("pc1", "DOWN"), 0),
        (Node("head", "IDLE"), 0),
    ],
)
def test_a_machine_is_in_service_while_jobs_may_start_there_or_could_until_its_drain(node, count) -> None:
    assert a_moment(node, machines=[OURS]).in_service == count


def test_machines_that_may_not_be_touched_are_there_and_not_ours() -> None:
    known = a_moment(machines=(OURS,), facts={"foreign": (OTHER,)})
    assert (set(known.machines), known.present) == ({"pc1"}, {"pc1", "pc2", "node-2"})
    assert known.foreign == {"pc2": OTHER}


@pytest.mark.parametrize(
    ("place", "named"),
    [("10.0.0.2", "cp-1"), ("10.10.1.2", "cp-1"), ("cp-1", "cp-1"), ("", "cp-1"), ("10.0.0.9", "pc2")],
)
def test_a_node_at_another_address_is_not_that_of_a_machine_of_its_name(place: str, named: str) -> None:
    theirs = replace(OTHER, client_id="cp-1", lans=(LanPort("lan-0", "10.10.1.2"),))
    known = a_moment(Node("cp-1", "IDLE", address=place), machines=(OURS,), facts={"foreign": (theirs,)})
    assert known.foreign == {named: theirs}


def test_a_machine_whose_usual_name_is_another_node_has_none() -> None:
    node = Node("pc2", "IDLE", address="10.0.0.9")
    assert a_moment(node, machines=(OURS,), facts={"foreign": (OTHER,)}).foreign == {}


def test_a_machine_that_is_not_ours_has_no_node_that_is_ours() -> None:
    settings, theirs = BY_CLIENT_ID, replace(OTHER, client_id=OURS.client_id)
    known = a_moment(machines=(OURS,), settings=settings, facts={"foreign": (theirs,)})
    assert (known.machines, known.foreign) == ({"node-1": OURS}, {})


def test_a_machine_without_a_node_id_is_present_by_its_other_name() -> None:
    unnamed = SliverNode("ctl", "", UTAH, "urn:sliver+3")
    assert a_moment(facts={"foreign": (unnamed,)}).present == {"ctl"}


@pytest.mark.parametrize(
    ("reason", "inherited"),
    [
        ("esagent: surplus, to be given back, sliver 9", {"pc1"}),
        ("esagent: surplus, to be given back, sliver 1", set()),
        ("broken fan", set()),
        ("", set()),
    ],
)
def test_what_slurm_says_of_an_earlier_machine_is_inherited(reason: str, inherited: set[str]) -> None:
    node = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=reason)
    assert a_moment(node, machines=[OURS]).inherited == inherited


def test_a_wish_is_for_the_machine_that_it_means() -> None:
    wish = AdminDrain("pc1", "disk", "ada", NOW, sliver_id=OURS.sliver_id)
    known = a_moment(machines=[OURS, OTHER], admin={("", "pc1"): wish})
    assert (known.wish_for(OURS), known.wish_for(OTHER)) == (wish, None)
    assert known.wish_for(replace(OURS, sliver_id="urn:sliver+9")) is None


def test_a_machine_that_is_not_ours_is_behind_a_node_once_its_slurmd_was_seen() -> None:
    for node, expected in (
        (Node("pc2", "IDLE", booted=NOW), {"pc1", "pc2"}),
        (Node("pc2", "IDLE", frozenset({"CLOUD"})), {"pc1"}),
        (Node("pc2", "UNKNOWN"), {"pc1", "pc2"}),
        (Node("pc2", "IDLE", frozenset({"NOT_RESPONDING"})), {"pc1", "pc2"}),
        (Node("n1", "IDLE", booted=NOW), {"pc1"}),
    ):
        assert a_moment(node, machines=(OURS,), facts={"foreign": (OTHER,)}).backed == expected


def test_what_a_silent_cm_held_is_present_by_the_name_under_which_it_joined() -> None:
    bound = {(UTAH, "node-2"): KnownAs(a_machine(2).key, "pc2-utah", "cloud")}
    silent = a_moment(bound=bound, facts={"unseen": frozenset({(UTAH, "node-2")})})
    assert (silent.present, silent.machines) == ({"pc2-utah"}, {})
    assert a_moment(bound=bound).present == set(), "it is gone"


def test_everything_is_given_back_by_a_teardown_alone() -> None:
    for reason, gives_back in ((PAUSE, False), (TEARDOWN, True)):
        assert a_moment(hold=AdminDrain("", reason, "ada", NOW)).tearing_down is gives_back
    assert a_moment().tearing_down is False


def test_one_that_a_manifest_lacks_keeps_the_name_under_which_it_joined() -> None:
    here, earlier = a_machine(1), SliverNode("node-2", "", UTAH, a_machine(2).sliver_id)
    unknown = SliverNode("node-3", "", UTAH, "urn:sliver+3")
    bound = {
        (UTAH, "node-1"): KnownAs(here.key, "pc1-utah", "dynamic"),
        (UTAH, "node-2"): KnownAs(a_machine(2).key, "pc2-utah", "dynamic"),
        (UTAH, "node-3"): KnownAs(replace(a_machine(3), sliver_id="urn:sliver+9").key, "pc3-utah", "dynamic"),
    }
    moment = a_moment(bound=bound, facts={"doubted": (here, earlier, unknown)})
    assert moment.doubted == {"pc1-utah": here, "pc2-utah": earlier, "node-3": unknown}
    assert moment.present == {"pc1-utah", "pc2-utah", "node-3"}
    assert moment.machines == {}


def test_a_node_of_another_slice_keeps_its_name_and_counts_as_there() -> None:
    known = a_moment(Node("pc1", "MIXED"), machines=(OURS,), elsewhere=frozenset({"pc1"}))
    assert known.name(OURS) == "pc1-utah"
    assert {"pc1", "pc1-utah"} <= known.present
    assert "pc1" in known.backed
    assert known.joined == frozenset()
