"""What becomes of nodes that are emptied, by example and by property."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.drain.jobs import CancelJob, RequeueJob, SignalJob, WarnJob
from agent.cluster.drain.nodes import DownNodes, DrainNodes, LeaveNode, UndrainNodes, job_deadlines
from agent.cluster.reasons import FAILED, JOINING, KEPT, SILENT, Drain, DrainCause, parse_reason
from agent.slurm.model import Job, Node
from tests.unit.cluster.drain.conftest import NOW, at, drained, plan, revoked, running

ROOT = Path(__file__).parents[4]


def test_all_nodes_of_one_notice_are_drained_in_one_request_with_the_deadline_in_the_reason() -> None:
    actions = plan(
        [Node("pc1", "IDLE"), Node("pc2", "MIXED")], [], [revoked("pc1", 900), revoked("pc2", 900)]
    )
    assert actions == [DrainNodes(("pc1", "pc2"), "esagent: revoked by Cloudlab, due 2026-11-22T12:15:00Z")]


def of_sliver(drain: Drain, *slivers: str) -> Drain:
    return replace(drain, slivers=frozenset(slivers))


def test_one_reason_names_the_machines_of_all_nodes_that_are_drained_with_it() -> None:
    wanted = [of_sliver(revoked(f"pc{n}", 900), str(n)) for n in (2, 1)] + [revoked("pc3", 900)]
    words = "esagent: revoked by Cloudlab, due 2026-11-22T12:15:00Z"
    actions = plan([Node(f"pc{n}", "MIXED") for n in (1, 2, 3)], [running("7", "pc1", ends=10)], wanted)
    assert actions[:2] == [
        DrainNodes(("pc3",), words),
        DrainNodes(("pc1", "pc2"), f"{words}, sliver 1 2"),
    ]
    stands = [Node(d.node, "MIXED", frozenset({"DRAIN"}), reason=f"{words}, sliver 1 2") for d in wanted[:2]]
    assert plan(stands, [], wanted[:2]) == []


def test_a_reason_stays_short_however_many_machines_are_drained() -> None:
    wanted = [of_sliver(revoked(f"pc{n}", 900), str(n)) for n in range(10, 31)]
    actions = plan([Node(d.node, "IDLE") for d in wanted], [running("7", *(d.node for d in wanted))], wanted)
    drains = [action for action in actions if isinstance(action, DrainNodes)]
    assert [len(action.nodes) for action in drains] == [10, 10, 1]
    for action in drains:
        said = parse_reason("", action.reason)
        assert said is not None
        assert said.slivers == {name.removeprefix("pc") for name in action.nodes}


@pytest.mark.parametrize("stands", [of_sliver(revoked("pc1", 900), "0"), revoked("pc1", 900)])
def test_a_reason_that_names_another_machine_or_none_is_written_anew(stands: Drain) -> None:
    wanted = of_sliver(revoked("pc1", 900), "1")
    busy = [running("7", "pc1", ends=10)]
    assert plan([drained("pc1", stands)], busy, [wanted]) == [DrainNodes(("pc1",), wanted.reason)]
    assert plan([drained("pc1", wanted)], busy, [wanted]) == []


def test_for_a_machine_that_cannot_be_told_from_others_any_reason_of_the_same_does() -> None:
    stands = of_sliver(revoked("pc1", 900), "0")
    assert plan([drained("pc1", stands)], [running("7", "pc1", ends=10)], [revoked("pc1", 900)]) == []


def test_an_empty_drained_node_is_left() -> None:
    drain = revoked("pc1", 900)
    (action,) = plan([drained("pc1", drain, "IDLE")], [], [drain])
    assert action == LeaveNode("pc1", DrainCause.REVOKED, drain.deadline, "no job is left on it")
    meant = of_sliver(drain, "1")
    assert plan([drained("pc1", meant, "IDLE")], [], [meant]) == [replace(action, slivers=meant.slivers)]


def test_a_node_that_is_idle_but_not_drained_yet_is_not_left() -> None:
    (action,) = plan([Node("pc1", "IDLE")], [], [revoked("pc1", 900)])
    assert isinstance(action, DrainNodes)


def test_a_machine_that_slurm_does_not_know_is_left_at_once() -> None:
    (action,) = plan([Node("n1", "IDLE")], [], [revoked("pc1", 900)])
    assert isinstance(action, LeaveNode)
    assert action.reason == "Slurm does not know it"


def test_a_machine_is_not_left_while_the_queue_says_that_a_job_is_on_it() -> None:
    assert plan([Node("n1", "IDLE")], [running("7", "pc1", ends=10)], [revoked("pc1", 900)]) == []


def test_an_unknown_state_word_keeps_a_node_from_being_left() -> None:
    drain = revoked("pc1", 900)
    assert plan([drained("pc1", drain, "PERFORMING")], [], [drain]) == []


def test_an_administrators_drain_empties_and_keeps_the_machine() -> None:
    drain = Drain("pc1", DrainCause.ADMIN, who="ada", why="disk")
    assert plan([Node("pc1", "MIXED")], [running("7", "pc1")], [drain]) == [
        DrainNodes(("pc1",), "esagent: drained by ada: disk")
    ]
    assert plan([drained("pc1", drain, "IDLE")], [], [drain]) == []


def test_our_drain_is_lifted_when_nobody_wants_it_and_a_foreign_one_never_is() -> None:
    ours = drained("pc1", revoked("pc1", 900), "IDLE")
    foreign = Node("pc2", "IDLE", frozenset({"DRAIN"}), reason="disk is dying")
    actions = plan([ours, foreign], [], [], ours={"pc1", "pc2"})
    assert actions == [UndrainNodes(("pc1",), down=False)]


def test_a_node_that_is_not_ours_is_never_touched() -> None:
    wanted = [revoked("n1", 10)]
    assert plan([Node("n1", "MIXED")], [running("7", "n1")], wanted, ours={"pc1"}) == []


def test_another_administrators_reason_is_not_overwritten() -> None:
    node = Node("pc1", "MIXED", frozenset({"DRAIN"}), reason="disk is dying")
    assert plan([node], [], [revoked("pc1", 900)]) == []


def test_a_deadline_that_moves_is_followed_in_the_reason_and_one_that_jitters_is_not() -> None:
    old = drained("pc1", revoked("pc1", 900))
    busy = [running("7", "pc1", ends=10)]
    assert plan([old], busy, [revoked("pc1", 904)]) == []
    (action,) = plan([old], busy, [revoked("pc1", 600)])
    assert isinstance(action, DrainNodes)
    assert action.reason.endswith("due 2026-11-22T12:10:00Z")


def test_new_words_of_an_administrator_come_into_the_reason() -> None:
    old = drained("pc1", Drain("pc1", DrainCause.ADMIN, who="ada", why="the fan"))
    new = Drain("pc1", DrainCause.ADMIN, who="bob", why="the disk too")
    assert plan([old], [], [new]) == [DrainNodes(("pc1",), "esagent: drained by bob: the disk too")]


ADA = Drain("pc1", DrainCause.ADMIN, who="ada", why="x")


@pytest.mark.parametrize(
    ("stands", "wanted"),
    [
        (ADA, Drain("pc1", DrainCause.SURPLUS)),
        (ADA, replace(ADA, give_back=True)),
        (ADA, replace(ADA, deadline=at(900))),
        (replace(ADA, deadline=at(900)), ADA),
        (replace(ADA, why="x" * 200), replace(ADA, why="x" * 199 + "y")),
    ],
)
def test_a_drain_that_is_another_by_now_is_written_anew(stands: Drain, wanted: Drain) -> None:
    busy = [running("7", "pc1")]
    assert plan([drained("pc1", stands)], busy, [stands]) == []
    assert plan([drained("pc1", stands)], busy, [wanted]) == [DrainNodes(("pc1",), wanted.reason)]


def test_words_that_are_the_same_for_long_are_the_same() -> None:
    stands, wanted = replace(ADA, why="x" * 201), replace(ADA, why="x" * 200 + "y")
    assert plan([drained("pc1", stands)], [], [wanted]) == []


def test_words_that_do_not_stand_in_the_reason_do_not_count() -> None:
    surplus = Drain("pc1", DrainCause.SURPLUS, why="nobody needs it")
    assert plan([drained("pc1", surplus)], [running("7", "pc1")], [surplus]) == []


def test_a_drain_of_ours_that_was_for_something_else_gets_the_reason_of_what_is_wanted() -> None:
    drain = revoked("pc1", 900)
    node = Node("pc1", "MIXED", frozenset({"DRAIN"}), reason=SILENT)
    assert plan([node], [running("7", "pc1", ends=10)], [drain]) == [DrainNodes(("pc1",), drain.reason)]


@pytest.mark.parametrize("why", ['the "fan"', "two  spaces ", "it's\u2028it", "x" * 2000])
def test_words_that_slurm_cannot_keep_as_they_are_are_not_written_again_and_again(why: str) -> None:
    drain = Drain("pc1", DrainCause.ADMIN, who="ada", why=why)
    kept = " ".join(drain.reason[:1000].split()).rstrip('"')
    assert plan([replace(drained("pc1", drain), reason=kept)], [], [drain]) == []


NAMES = ["n1", "pc1", "pc2", "pc3"]
states = st.sampled_from(["IDLE", "MIXED", "ALLOCATED", "DOWN", "UNKNOWN", "PERFORMING"])
flags = st.frozensets(st.sampled_from(["DRAIN", "COMPLETING", "NOT_RESPONDING"]))
reasons = st.sampled_from(["", "disk", revoked("x", 50).reason, "esagent: nonsense"])
seconds = st.integers(-1000, 5000)
nodes_st = st.fixed_dictionaries(
    {n: st.builds(Node, st.just(n), states, flags, reason=reasons) for n in NAMES}
)
jobs_st = st.lists(
    st.builds(
        Job,
        id=st.integers(1, 99).map(str),
        state=st.sampled_from(["RUNNING", "PENDING", "COMPLETING", "SUSPENDED"]),
        nodes=st.frozensets(st.sampled_from(NAMES), min_size=1),
        ends=st.none() | seconds.map(at),
    ),
    unique_by=lambda j: j.id,
)
causes = st.sampled_from(DrainCause)
wanted_st = st.dictionaries(st.sampled_from(NAMES), st.tuples(causes, seconds)).map(
    lambda chosen: {
        n: Drain(n, c, at(s) if c is DrainCause.REVOKED else None, who="ada", why="x")
        for n, (c, s) in chosen.items()
    }
)


@given(nodes_st, jobs_st, wanted_st, st.frozensets(st.sampled_from(NAMES[1:])), st.booleans())
def test_whatever_slurm_says_only_our_own_empty_nodes_are_left_and_only_jobs_at_risk_are_ended(
    nodes, jobs, wanted, ours, may_requeue
) -> None:
    actions = plan(
        nodes.values(),
        jobs,
        wanted.values(),
        ours=ours,
        requeueable={j.id: may_requeue for j in jobs},
        signalled={},
        warned=(),
    )
    ended = [a.job.id for a in actions if isinstance(a, RequeueJob | CancelJob)]
    assert len(ended) == len(set(ended)), "a job is ended once"
    for action in actions:
        match action:
            case DrainNodes(names, _) | UndrainNodes(names, _) | DownNodes(names, _, _):
                assert set(names) <= ours
            case LeaveNode(name, _, _, _):
                assert name in ours
                assert not any(name in j.nodes and j.state != "PENDING" for j in jobs)
                assert nodes[name].drained
            case WarnJob(job, _):
                assert not may_requeue
            case RequeueJob(job, _) | CancelJob(job, _) | SignalJob(job):
                deadlines = [wanted[n].deadline for n in job.nodes & ours if n in wanted]
                assert any(d is not None and (d - NOW).total_seconds() <= 600 for d in deadlines)
                assert job.state in {"RUNNING", "SUSPENDED"}


def test_a_machine_that_is_gone_is_told_to_slurm_at_once_if_jobs_are_on_it() -> None:
    gone, empty = Drain("pc1", DrainCause.TAKEN), Drain("pc2", DrainCause.TAKEN)
    job = running("7", "pc1")
    actions = plan([Node("pc1", "MIXED"), Node("pc2", "IDLE")], [job], [gone, empty])
    reason = "esagent: taken by Cloudlab"
    assert actions == [DrainNodes(("pc1", "pc2"), reason), DownNodes(("pc1",), reason, (job,))]
    down = Node("pc1", "DOWN", frozenset({"DRAIN"}), reason=reason)
    assert plan([down], [], [gone]) == []
    assert plan([down], [job], [gone]) == [], "Slurm has been told"


def test_of_many_machines_that_are_gone_each_lost_job_is_told_once() -> None:
    gone = [of_sliver(Drain(f"pc{n}", DrainCause.TAKEN), str(n)) for n in range(10, 21)]
    one, wide = running("7", "pc10"), running("8", "pc10", "pc20")
    others = [running(f"9{n}", f"pc{n}") for n in range(11, 20)]
    nodes = [Node(d.node, "MIXED") for d in gone]
    downs = [a for a in plan(nodes, [one, wide, *others], gone) if isinstance(a, DownNodes)]
    assert [len(action.nodes) for action in downs] == [10, 1]
    assert sorted(job.id for action in downs for job in action.lost) == sorted(
        job.id for job in (one, wide, *others)
    )
    assert downs[1] == DownNodes(("pc20",), gone[-1].reason, ())


def test_a_job_that_completes_on_a_machine_that_is_gone_is_not_lost() -> None:
    gone = Drain("pc1", DrainCause.TAKEN)
    job = replace(running("7", "pc1"), state="COMPLETING")
    assert plan([drained("pc1", gone)], [job], [gone]) == [DownNodes(("pc1",), gone.reason, ())]


def test_jobs_are_seen_to_on_our_nodes_whose_machines_are_not_gone() -> None:
    drains = {"pc1": revoked("pc1", 900), "pc2": Drain("pc2", DrainCause.TAKEN), "n1": revoked("n1", 900)}
    assert job_deadlines(drains, {"pc1", "pc2"}) == {"pc1": at(900)}


def test_a_machine_that_is_ours_after_all_comes_back_from_down() -> None:
    for flags in (frozenset({"DRAIN"}), frozenset()):
        down = Node("pc1", "DOWN", flags, reason=Drain("pc1", DrainCause.TAKEN).reason)
        assert plan([down], [], [], ours={"pc1"}) == [UndrainNodes(("pc1",), down=True)]


def test_a_node_that_is_in_service_has_no_drain_to_lift_whatever_reason_it_still_has() -> None:
    assert plan([Node("pc1", "IDLE", reason=revoked("pc1", 900).reason)], [], [], ours={"pc1"}) == []


def test_a_node_that_is_down_until_its_machine_joins_stays_so() -> None:
    for reason in ("esagent: no machine behind it", "esagent: its machine joins"):
        down = Node("pc1", "DOWN", frozenset({"CLOUD"}), reason=reason)
        assert plan([down], [], [], ours={"pc1"}) == []


def test_a_drain_by_hand_is_not_lifted_though_its_words_begin_like_ours() -> None:
    for words in ("esagent: flaky disk, ask bob", "esagent: revoked", "esagent: "):
        node = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=words)
        assert plan([node], [], [], ours={"pc1"}) == []
        assert plan([node], [], [Drain("pc1", DrainCause.ADMIN, who="ada", why="x")], ours={"pc1"}) == []


def test_a_drain_of_ours_is_lifted_whatever_it_was_for() -> None:
    for words in (JOINING, KEPT, f"{FAILED}none free", Drain("pc1", DrainCause.ADMIN, who="ada").reason):
        node = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason=words.strip())
        assert plan([node], [], [], ours={"pc1"}) == [UndrainNodes(("pc1",), down=False)]


def test_a_drain_of_a_machine_that_heard_nothing_of_us_is_lifted() -> None:
    script = (ROOT / "contrib/slurm-plugin/esagent-orphan").read_text()
    (words,) = re.findall(r'Reason="(.*)"', script)
    node = Node("pc1", "MIXED", frozenset({"DRAIN"}), reason=words)
    assert plan([node], [], [], ours={"pc1"}) == [UndrainNodes(("pc1",), down=False)]


def test_an_administrator_may_take_a_drain_over_and_have_the_machine_given_back() -> None:
    drain = Drain("pc1", DrainCause.ADMIN, who="ada", why="x", give_back=True, takes_over=True)
    foreign = Node("pc1", "IDLE", frozenset({"DRAIN"}), reason="disk is dying")
    first, second = plan([foreign], [], [drain])
    assert first == DrainNodes(("pc1",), "esagent: drained by ada, to be given back: x")
    assert isinstance(second, LeaveNode)
    assert parse_reason("pc1", drain.reason) == replace(drain, takes_over=False)


def test_a_drain_whose_time_has_not_come_leaves_the_node_to_the_scheduler() -> None:
    drain = replace(revoked("pc1", 900), since=at(100))
    assert plan([Node("pc1", "IDLE")], [], [drain]) == []
    assert plan([drained("pc1", drain)], [], [drain]) == [UndrainNodes(("pc1",), down=False)]
    (action,) = plan([Node("pc1", "IDLE")], [], [drain], now=at(100))
    assert isinstance(action, DrainNodes)


def completing(job_id: str, *nodes: str) -> Job:
    return replace(running(job_id, *nodes), state="COMPLETING")


SILENT_NODE = frozenset({"DRAIN", "NOT_RESPONDING", "COMPLETING"})


@pytest.mark.parametrize(
    ("left", "flags", "is_given_up"),
    [
        (61, SILENT_NODE, False),
        (60, SILENT_NODE, True),
        (-5, SILENT_NODE, True),
        (60, SILENT_NODE - {"NOT_RESPONDING"}, False),
        (15, SILENT_NODE - {"NOT_RESPONDING"}, True),
    ],
    ids=["early", "kill-lead", "too-late", "epilog", "last-moment"],
)
def test_a_node_whose_jobs_are_over_and_whose_slurmd_is_silent_is_given_up_at_the_kill_lead(
    left: float, flags: frozenset[str], is_given_up: bool
) -> None:
    drain = revoked("pc1", left)
    node = Node("pc1", "IDLE", flags, reason=drain.reason)
    downs = [a for a in plan([node], [completing("7", "pc1")], [drain]) if isinstance(a, DownNodes)]
    assert [(a.nodes, a.reason, a.lost) for a in downs] == [(("pc1",), drain.reason, ())] * is_given_up


def test_a_node_is_given_up_though_slurm_tells_no_nodes_of_the_job_that_completes_there() -> None:
    drain = revoked("pc1", 60)
    node = Node("pc1", "IDLE", SILENT_NODE, reason=drain.reason)
    (down,) = plan([node], [completing("7")], [drain])
    assert isinstance(down, DownNodes)
    gone = Drain("pc1", DrainCause.TAKEN)
    taken = replace(node, reason=gone.reason)
    assert plan([taken], [completing("7")], [gone]) == [DownNodes(("pc1",), gone.reason)]


def test_a_node_on_which_a_job_still_runs_is_not_given_up() -> None:
    drain = revoked("pc1", 60)
    node = Node("pc1", "MIXED", SILENT_NODE, reason=drain.reason)
    assert plan([node], [completing("7", "pc1"), running("8", "pc1", ends=10)], [drain]) == []


@pytest.mark.parametrize(
    "drain",
    [
        Drain("pc1", DrainCause.ADMIN, at(0), "ada", "disk"),
        Drain("pc1", DrainCause.SURPLUS),
        Drain("pc1", DrainCause.REVOKED, at(600)),
    ],
    ids=["stays", "no-deadline", "in-time"],
)
def test_a_silent_node_whose_machine_nobody_takes_now_is_left_to_slurm(drain: Drain) -> None:
    node = Node("pc1", "IDLE", SILENT_NODE, reason=drain.reason)
    assert plan([node], [completing("7", "pc1")], [drain]) == []


def test_a_node_that_was_given_up_is_left() -> None:
    drain = revoked("pc1", 50)
    node = Node("pc1", "DOWN", frozenset({"DRAIN", "NOT_RESPONDING"}), reason=drain.reason)
    assert [type(a) for a in plan([node], [], [drain])] == [LeaveNode]


def test_a_machine_whose_revocation_may_be_withdrawn_is_left_only_at_the_kill_lead() -> None:
    for left, leaves in ((61, False), (60, True)):
        drain = replace(revoked("pc1", left), unconfirmed=True)
        assert bool(plan([drained("pc1", drain, "IDLE")], [], [drain])) is leaves


def test_a_node_that_reboots_is_not_given_back_to_the_scheduler() -> None:
    """Slurm 24.11 leaves an older reason where it is."""
    reason = f"{Drain('pc1', DrainCause.ADMIN, who='ada', why='disk').reason} : reboot issued"
    for state in ("DOWN", "IDLE"):
        node = Node("pc1", state, frozenset({"DRAIN", "REBOOT_ISSUED"}), reason=reason)
        assert plan([node], [], [], ours={"pc1"}) == []
