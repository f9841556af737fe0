"""Which machines may be given back, and when that is left to the reply to a notice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.memory.hold import PAUSE
from agent.cluster.moment import History
from agent.cluster.reasons import TEARDOWN
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.shrink.departures import DeparturePlan, are_near, is_given_back, plan_departures
from agent.core.model import AdminDrain, CmTeardown
from agent.core.said import Revocation
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, UTAH, a_machine, a_moment, settings_with

NOTICED = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
BY_REPLY = DrainSettings()
BY_DELETE = DrainSettings(release="delete")


def at(seconds: float) -> datetime:
    return NOTICED + timedelta(seconds=seconds)


def revocation(deadline: float, last_notice: float = 0.0, *, releasable: bool = True) -> Revocation:
    return Revocation("pc1", "node-1", at(deadline), NOTICED, at(last_notice), releasable)


def test_a_machine_that_is_not_empty_is_never_given_back() -> None:
    busy = revocation(600, 590, releasable=False)
    assert not is_given_back(busy, BY_REPLY)
    assert not is_given_back(busy, BY_DELETE)


def test_with_release_delete_a_machine_is_given_back_as_soon_as_it_is_empty() -> None:
    assert is_given_back(revocation(600), BY_DELETE)


def test_an_empty_machine_waits_for_the_next_notice() -> None:
    assert not is_given_back(revocation(600, 480), BY_REPLY)


def test_a_machine_that_is_empty_after_the_last_notice_is_given_back() -> None:
    assert is_given_back(revocation(600, 540), BY_REPLY)


def test_a_machine_that_a_reply_has_offered_is_left_to_cloudlab() -> None:
    assert not is_given_back(replace(revocation(600, 540), offered=True), BY_REPLY)


@given(wait=st.floats(1, 7200), interval=st.floats(10, 300), emptied=st.floats(0, 0.999))
def test_an_empty_machine_is_told_to_cloudlab_before_its_deadline(
    wait: float, interval: float, emptied: float
) -> None:
    empty_at = wait * emptied
    settings = DrainSettings(notice_interval=interval)
    notices = [n * interval for n in range(int(wait / interval) + 1) if n * interval < wait]
    offered = any(notice >= empty_at for notice in notices)
    last_before = max(notice for notice in notices if notice <= empty_at)
    assert offered or is_given_back(revocation(wait, last_before), settings)


@pytest.mark.parametrize(("left", "given_back"), [(90, True), (91, False)])
def test_the_next_notice_is_waited_for_up_to_one_and_a_half_intervals(left: float, given_back: bool) -> None:
    settings = DrainSettings(notice_interval=60)
    assert is_given_back(revocation(600, 600 - left), settings) is given_back


def test_a_machine_that_goes_anyway_does_not_wait_for_notices_that_have_stopped() -> None:
    """A withdrawn revocation ends at its deadline, which may be hours away."""
    give_back = {("", "pc1"): AdminDrain("pc1", "disk", "ada", NOW, give_back=True)}
    anyway = [
        {"hold": held(TEARDOWN)},
        {"teardowns": {UTAH: CmTeardown(UTAH, "ada", NOW)}},
        {"admin": give_back},
        {"chosen": PC1, "blocking": {"pc1": None}},
        {"chosen": PC1, "leaving": PC1},
    ]
    for last_heard, releasable in ((-91, True), (-90, True), (-91, False)):
        said = replace(revocation(7200, last_heard, releasable=releasable), noticed=NOW)
        facts = {"revocations": {"pc1": said}}
        for why in anyway:
            is_due = last_heard == -91 and releasable
            assert departures(DRAINED, facts=facts, **why).empty == (a_machine(1),) * is_due, why
        keep = {("", "pc1"): replace(give_back["", "pc1"], give_back=False)}
        for why in ({}, {"admin": keep}, {"hold": held(PAUSE)}):
            assert departures(DRAINED, facts=facts, **why).empty == ()


IDLE = Node("pc1", "IDLE")
DRAINED = Node("pc1", "IDLE", frozenset({"DRAIN"}))
ON_IT = Job("1", "COMPLETING", nodes=frozenset({"pc1"}))
PC1 = frozenset({"pc1"})
FAILED = {"failed": frozenset({"urn:sliver+1"})}


def departures(*nodes: Node, **fields) -> DeparturePlan:
    """Plan with the machine pc1, which is node-1."""
    return plan_departures(a_moment(*nodes, **{"machines": [a_machine(1)], **fields}))


def held(reason: str) -> AdminDrain:
    return AdminDrain("", reason, "ada", NOW)


def test_a_surplus_machine_that_is_emptied_goes() -> None:
    plan = departures(DRAINED, chosen=PC1, emptied=PC1)
    assert plan == DeparturePlan(empty=(a_machine(1),))
    assert plan.machines == (a_machine(1),)


@pytest.mark.parametrize(
    ("node", "job", "goes"),
    [
        (DRAINED, None, True),
        (None, None, True),
        (Node("pc1", "DOWN"), None, True),
        (DRAINED, ON_IT, False),
        (None, ON_IT, False),
        (IDLE, None, False),
        (Node("pc1", "MIXED"), None, False),
    ],
)
@pytest.mark.parametrize("part", ["empty", "failed"])
def test_no_machine_goes_on_which_slurm_has_a_job_or_could_start_one(
    node: Node | None, job: Job | None, goes: bool, part: str
) -> None:
    why = {"facts": FAILED} if part == "failed" else {"chosen": PC1, "emptied": PC1}
    plan = departures(*[node] if node else [], jobs=[job] if job else [], **why)
    assert getattr(plan, part) == ((a_machine(1),) if goes else ())


def test_a_job_elsewhere_keeps_no_machine() -> None:
    elsewhere = replace(ON_IT, nodes=frozenset({"pc2"}))
    assert departures(DRAINED, jobs=[elsewhere], chosen=PC1, emptied=PC1).machines == (a_machine(1),)


def test_nothing_goes_before_slurm_was_read() -> None:
    assert departures(snapshot=None, chosen=PC1, emptied=PC1, facts=FAILED) == DeparturePlan()


def test_a_machine_that_is_emptied_and_wanted_again_stays() -> None:
    assert departures(DRAINED, emptied=PC1).empty == ()
    assert departures(DRAINED, chosen=PC1).empty == ()
    assert departures(DRAINED, emptied=PC1, hold=held(PAUSE)).empty == ()


def test_in_a_teardown_all_go_that_are_emptied() -> None:
    assert departures(DRAINED, emptied=PC1, hold=held(TEARDOWN)).empty == (a_machine(1),)
    assert departures(DRAINED, hold=held(TEARDOWN)).empty == ()


def test_what_is_emptied_and_not_ours_any_more_is_not_given_back() -> None:
    assert departures(DRAINED, machines=[], chosen=PC1, emptied=PC1) == DeparturePlan()


def test_a_revoked_machine_that_is_empty_goes_by_our_own_word_where_no_notice_will_come() -> None:
    revoked = {"revocations": {"pc1": revocation(600)}}
    by_delete = settings_with(drain=BY_DELETE)
    assert departures(DRAINED, settings=by_delete, facts=revoked).empty == (a_machine(1),)
    assert departures(DRAINED, facts=revoked).empty == ()
    assert departures(IDLE, settings=by_delete, facts=revoked).empty == ()


def test_a_revocation_of_an_earlier_stay_of_a_machine_gives_the_new_one_not_back() -> None:
    earlier = {"revocations": {"pc1": replace(revocation(600), client_id="node-9")}}
    moment = a_moment(
        DRAINED, machines=[a_machine(1)], settings=settings_with(drain=BY_DELETE), facts=earlier
    )
    assert plan_departures(moment) == DeparturePlan()
    assert not are_near(moment)


def test_a_machine_that_failed_is_kept_for_a_person_to_look_at_for_a_while() -> None:
    keep = settings_with(join=JoinSettings(keep_failed=60))
    machine = (a_machine(1),)
    for ago, failed, kept in ((60, machine, ()), (59, (), machine)):
        since = {a_machine(1).key: NOW - timedelta(seconds=ago)}
        plan = departures(DRAINED, settings=keep, facts=FAILED, failed_since=since)
        assert (plan.failed, plan.kept, plan.machines) == (failed, kept, failed)
    assert departures(DRAINED, settings=keep, facts=FAILED).kept == machine
    assert departures(DRAINED, facts=FAILED).failed == machine


TRUSTED = {"unexplained": frozenset({"urn:sliver+1"}), "failed": frozenset({"urn:sliver+1"})}


@pytest.mark.parametrize(
    ("after", "facts", "found", "goes"),
    [
        (899, {}, (), False),
        (900, {}, (), True),
        (899, {"unexplained": frozenset()}, (), True),
        (899, {}, ("pc1",), True),
    ],
)
def test_what_is_ours_by_its_name_alone_stays_for_min_hold_since_the_start(
    after: float, facts: dict[str, object], found: tuple[str, ...], goes: bool
) -> None:
    made = plan_departures(
        a_moment(
            Node("pc1", "DOWN"),
            machines=(a_machine(1),),
            facts={**TRUSTED, **facts},
            history=History(found=frozenset(found)),
            started=NOW - timedelta(seconds=after),
        )
    )
    assert (bool(made.failed), bool(made.kept)) == (goes, not goes)


def test_it_stays_too_while_nothing_was_read_that_could_tell_more() -> None:
    made = plan_departures(
        a_moment(Node("pc1", "DOWN"), machines=(a_machine(1),), facts=TRUSTED, history=None, started=NOW)
    )
    assert made.kept == (a_machine(1),)


def test_a_machine_that_failed_and_is_surplus_goes_once() -> None:
    plan = departures(DRAINED, chosen=PC1, emptied=PC1, facts=FAILED)
    assert (plan.failed, plan.empty, plan.machines) == ((a_machine(1),), (a_machine(1),), (a_machine(1),))


@pytest.mark.parametrize(
    ("fields", "near"),
    [
        ({}, False),
        ({"chosen": PC1}, False),
        ({"emptied": PC1}, True),
        ({"facts": FAILED}, True),
        ({"facts": {"revocations": {"pc1": revocation(600, 540)}}}, True),
        ({"facts": {"revocations": {"pc1": revocation(600)}}}, False),
    ],
)
def test_slurm_is_read_again_when_a_machine_may_go_as_soon_as_it_is_idle(fields, near: bool) -> None:
    assert are_near(a_moment(IDLE, machines=[a_machine(1)], **fields)) is near


NAMES = st.frozensets(st.sampled_from(["pc1", "pc2", "pc3"]))
NODES = st.lists(
    st.builds(
        Node,
        st.sampled_from(["pc1", "pc2", "pc3"]),
        st.sampled_from(["IDLE", "MIXED", "DOWN"]),
        st.sampled_from([frozenset(), frozenset({"DRAIN"})]),
    ),
    unique_by=lambda node: node.name,
)
HOLDS = st.sampled_from([None, held(PAUSE), held(TEARDOWN)])


@given(NODES, NAMES, NAMES, NAMES, NAMES, HOLDS)
def test_what_goes_is_ours_and_out_of_the_reach_of_jobs(nodes, busy, chosen, emptied, failed, hold) -> None:
    machines = [a_machine(n) for n in (1, 2)]
    facts = {"failed": frozenset(m.key for m in machines if m.node_id in failed)}
    jobs = [Job("1", "RUNNING", nodes=busy)]
    known = {"chosen": chosen, "emptied": emptied, "hold": hold, "facts": facts}
    moment = a_moment(*nodes, machines=machines, jobs=jobs, **known)
    plan = plan_departures(moment)
    open_to_jobs = busy | {node.name for node in nodes if node.usable}
    for machine in plan.machines:
        assert machine in machines
        assert machine.node_id not in open_to_jobs
    assert are_near(moment) or not plan.machines
