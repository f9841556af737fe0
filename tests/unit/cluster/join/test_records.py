"""The Slurm records of machines that are gone."""

from dataclasses import replace
from datetime import timedelta

from agent.cluster.join.records import Records
from agent.cluster.moment import Moment
from agent.cluster.reasons import KEPT, TAKEN, taken_from
from agent.cluster.settings.join import JoinSettings
from agent.core.events import JobLost
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node
from agent.slurm.reservation import Reservation
from tests.unit.cluster.conftest import NOW, Events, Slurm, a_desk, a_machine, a_moment, settings_with

CLOUD = JoinSettings(mode="cloud", predeclared="pc[1-6]")


def slurm_with(*names: str) -> Slurm:
    return Slurm(*(Node(name, "IDLE") for name in names))


def starting(slurm: Slurm, join: JoinSettings | None = None, events: Events | None = None) -> Records:
    """One that knows of no machine that is gone."""
    return Records(a_desk(settings_with(join=join), events=events), slurm)


def records(slurm: Slurm, join: JoinSettings | None = None) -> Records:
    """One that knows that every machine is gone."""
    made = starting(slurm, join)
    for name in slurm.nodes:
        made.lose(name, name, keeps=join is not None and join.mode == "cloud")
    return made


def downs(slurm: Slurm) -> list[list[str]]:
    return [names for what, *names in slurm.acts if what == "set_down"]


def test_the_record_of_a_machine_that_is_gone_is_dropped() -> None:
    slurm = slurm_with("pc1", "pc2")
    gone = records(slurm)
    assert gone.left() == 2
    gone.step(ours=())
    assert slurm.nodes == {}
    assert gone.left() == 0


def test_a_machine_that_came_back_keeps_its_record() -> None:
    slurm = slurm_with("pc1")
    records(slurm).step(ours=("pc1",))
    assert slurm.nodes["pc1"].state == "IDLE"


def test_jobs_that_lost_their_machine_are_handed_over_to_who_lets_them_start() -> None:
    slurm, desk = slurm_with("pc1"), a_desk()
    slurm.jobs = [Job("1", "RUNNING", nodes=frozenset({"pc1"}))]
    gone = Records(desk, slurm)
    gone.lose("pc1", "pc1")
    gone.step(ours=())
    assert [job.id for job in desk.losses.take()] == ["1"]
    assert desk.bell.is_set()


def test_jobs_that_still_run_there_are_told_at_once() -> None:
    slurm = slurm_with("pc1")
    slurm.jobs = [Job("1", "RUNNING", nodes=frozenset({"pc1"}))]
    gone = records(slurm)
    gone.step(ours=())
    assert slurm.nodes["pc1"].reason == TAKEN
    slurm.jobs = []
    gone.step(ours=())
    assert slurm.nodes == {}


def test_a_record_stays_down_while_a_job_completes_elsewhere_that_may_have_run_there() -> None:
    slurm = slurm_with("pc1", "pc2")
    slurm.jobs = [Job("1", "COMPLETING", nodes=frozenset({"pc9"})), Job("2", "COMPLETING")]
    gone = records(slurm)
    gone.step(ours=())
    gone.step(ours=())
    assert slurm.nodes["pc1"].state == "DOWN"
    assert downs(slurm) == [["pc1"], ["pc2"]]
    slurm.jobs = [Job("2", "COMPLETING")]
    gone.step(ours=())
    assert slurm.nodes.keys() == {"pc1", "pc2"}
    slurm.jobs = [Job("2", "PENDING"), Job("3", "COMPLETING", nodes=frozenset({"pc9"}))]
    gone.step(ours=())
    assert slurm.nodes == {}


def test_a_record_that_was_set_down_under_a_requeued_job_stays_until_that_has_started_again() -> None:
    slurm = slurm_with("pc1")
    gone = records(slurm)
    slurm.jobs = [Job("1", "COMPLETING", nodes=frozenset({"pc1"}))]
    gone.step(ours=())
    slurm.jobs = [Job("1", "PENDING")]
    gone.step(ours=())
    assert slurm.nodes["pc1"].state == "DOWN"
    slurm.jobs = [Job("1", "RUNNING", nodes=frozenset({"pc9"}))]
    gone.step(ours=())
    assert slurm.nodes == {}


def test_slurm_is_told_which_machine_is_gone() -> None:
    slurm = slurm_with("pc1")
    slurm.jobs = [Job("1", "RUNNING", nodes=frozenset({"pc1"}))]
    reason = taken_from("pc1", a_machine(1))
    gone = starting(slurm)
    gone.lose("pc1", "pc1", reason)
    gone.step(ours=())
    assert slurm.nodes["pc1"].reason == reason
    anew = starting(slurm)
    anew.adopt(slurm.snapshot(), ours=())
    assert anew.left() == 1


def test_a_record_stays_down_while_a_pending_job_names_it() -> None:
    slurm = slurm_with("pc1")
    slurm.jobs = [Job("1", "PENDING", requested_nodes=frozenset({"pc1"}))]
    gone = records(slurm)
    gone.step(ours=())
    assert (slurm.nodes["pc1"].state, slurm.nodes["pc1"].reason) == ("DOWN", KEPT)
    slurm.jobs = []
    gone.step(ours=())
    assert slurm.nodes == {}


def test_a_record_stays_down_while_a_reservation_names_it_also_one_that_fences_it() -> None:
    slurm = slurm_with("pc1")
    slurm.reserved["r"] = Reservation(
        "r", frozenset({"pc1"}), NOW, NOW + timedelta(hours=1), frozenset({"MAINT"})
    )
    records(slurm).step(ours=())
    assert slurm.nodes["pc1"].reason == KEPT


def test_a_refusal_costs_the_other_nodes_nothing_and_is_tried_again() -> None:
    slurm = slurm_with("pc1", "pc2")
    slurm.refuses = {"pc1"}
    gone = records(slurm)
    gone.step(ours=())
    assert set(slurm.nodes) == {"pc1"}
    slurm.refuses = set()
    gone.step(ours=())
    assert slurm.nodes == {}


def test_what_an_earlier_run_left_down_is_dropped_and_nothing_else() -> None:
    slurm = slurm_with("pc1", "pc2", "pc3", "n1")
    slurm.set_down(["pc1", "pc2"], KEPT)
    slurm.set_down(["pc3"], "broken fan")
    gone = starting(slurm)
    gone.adopt(slurm.snapshot(), ours=("pc2",))
    gone.step(ours=("pc2",))
    assert set(slurm.nodes) == {"pc2", "pc3", "n1"}


def test_a_predeclared_node_stays_down_for_the_next_machine() -> None:
    slurm = slurm_with("pc1")
    gone = records(slurm, JoinSettings(mode="cloud"))
    gone.step(ours=())
    assert slurm.nodes["pc1"].state == "DOWN"


def test_predeclared_nodes_without_a_machine_are_set_down_once_and_others_are_left_alone() -> None:
    slurm = slurm_with("pc1", "pc2", "pc3", "pc4", "n1")
    slurm.set_down(["pc3"], "broken fan")
    slurm.nodes["pc4"] = replace(slurm.nodes["pc4"], flags=frozenset({"DRAIN"}), reason="mine")
    slurm.jobs = [Job("1", "RUNNING", nodes=frozenset({"pc2"}))]
    events = Events()
    kept = starting(slurm, CLOUD, events)
    for _ in range(3):
        kept.adopt(slurm.snapshot(), ours=("pc6",))
    assert downs(slurm) == [["pc3"], ["pc1", "pc5"]], "pc5 is FUTURE: Slurm does not list it"
    assert (slurm.nodes["pc3"].reason, slurm.nodes["pc4"].reason) == ("broken fan", "mine")
    slurm.jobs = []
    kept.adopt(slurm.snapshot(), ours=("pc6",))
    assert downs(slurm)[2:] == [["pc2"]]
    assert [(event.kind, event.subject) for event in events] == [("down", "pc[1-6]")] * 2


def telling(slurm: Slurm, join: JoinSettings | None = None) -> tuple[Records, list[str]]:
    """One that knows that every machine is gone, and what it notes."""
    noted: list[str] = []
    gone = Records(a_desk(settings_with(join=join), note=noted.append), slurm)
    for name in slurm.nodes:
        gone.lose(name, name, keeps=join is not None and join.mode == "cloud")
    return gone, noted


def test_what_is_gone_from_slurm_or_is_ours_again_is_settled_and_the_rest_goes_on() -> None:
    slurm = slurm_with("pc1", "pc2", "pc3")
    gone = records(slurm)
    del slurm.nodes["pc1"]
    gone.step(ours=("pc2",))
    assert (set(slurm.nodes), gone.left()) == ({"pc2"}, 0)
    gone.step(ours=())
    assert (slurm.reads, slurm.acts) == (1, [("delete_nodes", "pc3")])


def test_it_is_told_what_becomes_of_the_record_of_a_machine_that_is_gone() -> None:
    slurm = slurm_with("pc1", "pc2", "pc3", "pc4")
    slurm.jobs = [
        Job("1", "RUNNING", nodes=frozenset({"pc1"})),
        Job("2", "PENDING", requested_nodes=frozenset({"pc2"})),
    ]
    slurm.refuses = {"pc3"}
    gone, noted = telling(slurm)
    gone.step(ours=())
    assert noted == [
        "pc1 is gone with jobs on it: Slurm was told",
        "the record of pc2 stays, down: job 2 asks for it by name",
        "pc3 stays in Slurm for now: pc3: Invalid node name specified",
        "pc4 is gone from Slurm",
    ]
    assert gone.left() == 3


def test_a_record_that_stays_is_set_down_once_with_our_reason_whatever_it_said_before() -> None:
    slurm = Slurm(
        Node("pc1", "DOWN", reason="Not responding"),
        Node("pc2", "IDLE", reason=KEPT),
        Node("pc3", "DOWN", reason=KEPT),
    )
    slurm.jobs = [Job("1", "PENDING", requested_nodes=frozenset(slurm.nodes))]
    gone = records(slurm)
    for _ in range(2):
        gone.step(ours=())
    assert downs(slurm) == [["pc1"], ["pc2"]]
    assert {(node.state, node.reason) for node in slurm.nodes.values()} == {("DOWN", KEPT)}


def test_the_record_of_a_predeclared_node_is_settled_and_one_that_sleeps_is_not_touched() -> None:
    slurm = Slurm(
        Node("pc1", "IDLE", frozenset({"POWERED_DOWN"})),
        Node("pc2", "IDLE", frozenset({"POWERING_DOWN"})),
        Node("pc3", "IDLE"),
    )
    gone, noted = telling(slurm, CLOUD)
    gone.step(ours=())
    assert (downs(slurm), gone.left()) == ([["pc3"]], 0)
    assert slurm.nodes["pc3"].reason == KEPT
    assert noted == ["pc3 has no machine any more; its record stays"]


def test_a_node_that_sleeps_and_is_not_predeclared_is_dropped() -> None:
    slurm = Slurm(Node("pc1", "IDLE", frozenset({"POWERED_DOWN"})))
    records(slurm).step(ours=())
    assert slurm.nodes == {}


def test_of_an_earlier_run_only_what_it_left_down_itself_is_taken_for_gone() -> None:
    slurm = Slurm(
        Node("pc1", "DOWN", reason=TAKEN),
        Node("pc2", "IDLE", reason=KEPT),
        Node("pc3", "DOWN", reason="broken fan"),
        Node("pc4", "DOWN", reason=KEPT),
    )
    gone = starting(slurm)
    gone.adopt(slurm.snapshot(), ours=("pc4",))
    assert gone.left() == 1
    gone.step(ours=("pc4",))
    assert set(slurm.nodes) == {"pc2", "pc3", "pc4"}


def test_a_refusal_to_set_predeclared_nodes_down_is_noted_and_tried_again() -> None:
    slurm = slurm_with("pc1")
    slurm.refuses = {"pc1"}
    gone, noted = telling(slurm, CLOUD)
    gone.adopt(slurm.snapshot(), ours=())
    assert noted == ["[join] predeclared: pc1: Invalid node name specified"]
    slurm.refuses = set()
    gone.adopt(slurm.snapshot(), ours=())
    assert downs(slurm) == [["pc1"]]


def test_predeclared_nodes_with_jobs_that_only_wait_for_them_are_set_down() -> None:
    slurm = slurm_with("pc1")
    slurm.jobs = [Job("1", "PENDING", nodes=frozenset({"pc1"}))]
    events = Events()
    starting(slurm, JoinSettings(mode="cloud", predeclared="pc1"), events).adopt(slurm.snapshot(), ours=())
    assert downs(slurm) == [["pc1"]]
    assert events.words == ["1 predeclared nodes have no machine: set down"]


DYNAMIC = frozenset({"DYNAMIC_NORM"})


def now(slurm: Slurm, *machines: SliverNode, **facts: object) -> Moment:
    moment = a_moment(*slurm.nodes.values(), machines=machines, facts=facts)
    return replace(moment, snapshot=slurm.snapshot())


def test_the_jobs_that_ran_there_are_told_as_lost_once_and_those_that_were_over_are_not() -> None:
    slurm = slurm_with("pc1", "pc2")
    started = NOW - timedelta(seconds=100)
    slurm.jobs = [
        Job("1", "RUNNING", nodes=frozenset({"pc1", "pc2"}), cpus=4, started=started),
        Job("2", "COMPLETING", nodes=frozenset({"pc1"})),
    ]
    events = Events()
    gone = starting(slurm, events=events)
    for name in slurm.nodes:
        gone.lose(name, name)
    gone.step(ours=())
    (lost,) = [event for event in events if event.kind == "lost"]
    assert lost.subject == "pc1,pc2"
    assert lost.data == JobLost("1", "taken", 400.0)


def test_what_a_machine_left_that_went_while_no_agent_looked_is_taken_out_with_its_jobs() -> None:
    reason = "esagent: surplus, to be given back, sliver 7"
    slurm = Slurm(Node("pc1", "MIXED", DYNAMIC | {"DRAIN"}, reason=reason))
    slurm.jobs = [Job("1", "RUNNING", nodes=frozenset({"pc1"}))]
    gone = starting(slurm)
    gone.find(now(slurm, all_read=False))
    gone.find(now(slurm, doubted=(a_machine(9),)))
    assert gone.left() == 0
    gone.find(now(slurm))
    gone.step(ours=())
    assert (slurm.nodes["pc1"].state, slurm.nodes["pc1"].reason) == (
        "DOWN",
        "esagent: taken by Cloudlab, sliver 7",
    )
    slurm.jobs = []
    gone.find(now(slurm))
    gone.step(ours=())
    assert slurm.nodes == {}


def test_a_record_that_comes_back_after_it_was_deleted_goes_again_and_a_node_at_work_stays() -> None:
    back = Node("pc1", "IDLE", DYNAMIC)
    for node, stays in (
        (back, False),
        (replace(back, state="DOWN", booted=NOW), False),
        (replace(back, booted=NOW), True),
        (replace(back, flags=frozenset()), True),
    ):
        slurm = slurm_with("pc1")
        gone = records(slurm)
        gone.step(ours=())
        slurm.nodes["pc1"] = node
        gone.find(now(slurm))
        gone.step(ours=())
        assert ("pc1" in slurm.nodes) is stays


def test_a_record_that_another_machine_has_by_now_is_not_one_that_came_back() -> None:
    slurm = slurm_with("pc1")
    gone = records(slurm)
    gone.step(ours=())
    slurm.nodes["pc1"] = Node("pc1", "IDLE", DYNAMIC)
    gone.find(now(slurm, a_machine(1)))
    gone.find(now(slurm))
    assert gone.left() == 0


def test_a_record_is_deleted_only_when_no_job_completes_there() -> None:
    slurm = Slurm(Node("pc1", "IDLE", frozenset({"COMPLETING"})))
    gone = records(slurm)
    gone.step(ours=())
    assert slurm.nodes["pc1"].state == "DOWN"
    slurm.nodes["pc1"] = Node("pc1", "DOWN", reason=TAKEN)
    gone.step(ours=())
    assert slurm.nodes == {}
