"""From a ready machine to a Slurm node."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.join.commands import join_commands
from agent.cluster.join.plan import JoinPlan, JoinRecord, plan_joins
from agent.cluster.settings.join import JoinSettings
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MACHINE = SliverNode(
    "node-1", "pc100", "urn:cm", "urn:sliver+1", "d430", "10.0.0.1", "pc100.site.net", "esagent"
)
SETTINGS = JoinSettings(timeout=300, retry_interval=30, attempts=3)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def plan(node: Node | None = None, record: JoinRecord | None = None, *jobs: Job) -> JoinPlan:
    nodes = {} if node is None else {node.name: node}
    history = {} if record is None else {MACHINE.sliver_id: record}
    return plan_joins([MACHINE], Snapshot(NOW, nodes, jobs), history, SETTINGS, NOW)


def words(made: JoinPlan) -> str:
    return " ".join(
        kind
        for kind, steps in (
            ("start", made.start),
            ("joined", made.joined),
            ("failed", made.failed),
            ("watch", made.watch),
        )
        if steps
    )


def test_a_ready_machine_that_slurm_does_not_know_is_joined() -> None:
    (step,) = plan().start
    assert (step.node, step.name) == (MACHINE, "pc100")
    assert "nothing of it" in step.reason


@pytest.mark.parametrize(
    ("state", "flags", "outcome"),
    [
        ("IDLE", {"DYNAMIC_NORM"}, "joined"),
        ("MIXED", set(), "joined"),
        ("ALLOCATED", set(), "joined"),
        ("IDLE", {"DRAIN"}, "joined"),
        ("IDLE", {"MAINTENANCE", "RESERVED"}, "joined"),
        ("IDLE", {"A_FLAG_OF_TOMORROW"}, "joined"),
        ("IDLE", {"NOT_RESPONDING"}, "watch"),
        ("DOWN", {"DRAIN"}, "watch"),
        ("UNKNOWN", set(), "watch"),
        ("IDLE", {"CLOUD", "POWERED_DOWN"}, "watch"),
    ],
)
def test_joined_is_what_slurm_says(state: str, flags: set[str], outcome: str) -> None:
    assert words(plan(Node("pc100", state, frozenset(flags)))) == outcome


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (JoinRecord(ago(10), ago(10), 1, running=True), ""),
        (JoinRecord(ago(10), ago(10), 1, running=False), ""),
        (JoinRecord(ago(40), ago(30), 1, running=False), "start"),
        (JoinRecord(ago(100), ago(29), 3, running=False), ""),
        (JoinRecord(ago(100), ago(30), 3, running=False), "failed"),
        (JoinRecord(ago(100), ago(30), 3, running=True), ""),
        (JoinRecord(ago(300), ago(1), 1, running=True), "failed"),
    ],
)
def test_a_join_is_waited_for_repeated_and_given_up(record: JoinRecord, outcome: str) -> None:
    assert words(plan(None, record)) == outcome


def test_a_node_whose_slurmd_is_away_for_a_moment_is_watched_and_joined_anew_only_if_it_stays_away() -> None:
    away = Node("pc100", "IDLE", frozenset({"NOT_RESPONDING"}))
    assert words(plan(away)) == "watch"
    assert words(plan(away, JoinRecord(ago(29), ago(29), 0, running=False))) == ""
    assert words(plan(away, JoinRecord(ago(30), ago(30), 0, running=False))) == "start"
    assert words(plan(Node("pc100", "IDLE"), JoinRecord(ago(29), ago(29), 0, running=False))) == "joined"


def test_the_last_error_is_told() -> None:
    record = JoinRecord(ago(40), ago(30), 1, running=False, error="'slurmd -Z': status 1")
    (step,) = plan(None, record).start
    assert step.reason == "attempt 2 of 3: Slurm says nothing of it; last error: 'slurmd -Z': status 1"
    (step,) = plan(None, replace(record, attempts=3)).failed
    assert "'slurmd -Z': status 1" in step.reason


def test_a_node_that_holds_jobs_but_does_not_answer_is_left_alone() -> None:
    silent = Node("pc100", "MIXED", frozenset({"NOT_RESPONDING"}))
    old = JoinRecord(ago(9999), ago(9999), 9, running=False)
    assert plan(silent, old, Job("1", "RUNNING", nodes=frozenset({"pc100"}))) == JoinPlan()


def test_a_machine_that_came_again_starts_anew() -> None:
    history = {"urn:sliver+0": JoinRecord(ago(9999), ago(9999), 9, running=False)}
    assert words(plan_joins([MACHINE], Snapshot(NOW, {}, ()), history, SETTINGS, NOW)) == "start"


PROBED = SETTINGS.model_copy(update={"probe": ("test -d /scratch",)})


def probing(record: JoinRecord | None, *jobs: Job, proven: tuple[str, ...] = ()) -> str:
    history = {} if record is None else {MACHINE.sliver_id: record}
    seen = Snapshot(NOW, {"pc100": Node("pc100", "IDLE")}, jobs)
    made = plan_joins([MACHINE], seen, history, PROBED, NOW, proven=proven)
    return words(made) or ("probe" if made.probe else "")


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (None, "probe"),
        (JoinRecord(ago(9), ago(1), 1, running=False), "probe"),
        (JoinRecord(ago(9), ago(1), 1, running=True), ""),
        (JoinRecord(ago(9), ago(1), 1, running=False, probes=1), ""),
        (JoinRecord(ago(99), ago(30), 1, running=False, probes=1), "probe"),
        (JoinRecord(ago(99), ago(30), 1, running=False, probes=3), "failed"),
        (JoinRecord(ago(300), ago(1), 1, running=True, probes=1), "failed"),
    ],
)
def test_a_machine_that_slurm_has_at_work_has_joined_once_its_probe_has_passed(
    record: JoinRecord | None, outcome: str
) -> None:
    assert probing(record) == outcome
    assert probing(record, proven=(MACHINE.sliver_id,)) == "joined"


def test_a_machine_that_runs_jobs_is_probed_where_we_joined_it_and_not_where_an_earlier_run_did() -> None:
    job = Job("1", "RUNNING", nodes=frozenset({"pc100"}))
    assert probing(None, job) == "joined"
    assert probing(JoinRecord(ago(9), ago(1), 1, running=False), job) == "probe"


def test_a_node_that_we_set_down_for_want_of_a_machine_is_joined_at_once() -> None:
    assert words(plan(Node("pc100", "DOWN", reason="esagent: no machine behind it"))) == "start"
    assert words(plan(Node("pc100", "DOWN", reason="broken fan"))) == "watch"


def test_cloud_mode_starts_slurmd_for_a_predeclared_node_and_wakes_one_that_sleeps() -> None:
    settings = JoinSettings(mode="cloud")
    assert join_commands(MACHINE, settings)[-1] == "slurmd -b -N pc100"
    asleep = Snapshot(NOW, {"pc100": Node("pc100", "IDLE", frozenset({"CLOUD", "POWERED_DOWN"}))}, ())
    assert words(plan_joins([MACHINE], asleep, {}, settings, NOW)) == "start"
