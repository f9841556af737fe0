"""From a ready machine to a Slurm node."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent.cluster.join.commands import join_commands
from agent.cluster.join.plan import JoinPlan, plan_joins
from agent.cluster.moment import JoinRecord
from agent.cluster.settings.join import JoinSettings
from agent.core.model import AdminDrain, LanPort, MachineId
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, a_machine, a_moment, settings_with

MACHINE = a_machine(100)
SETTINGS = JoinSettings(timeout=300, retry_interval=30, attempts=3)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def plan(
    node: Node | None = None,
    record: JoinRecord | None = None,
    *jobs: Job,
    of: MachineId = MACHINE.key,
    settings: JoinSettings = SETTINGS,
    **fields,
) -> JoinPlan:
    """Plan for a machine that has booted; the record is of the machine of this key."""
    return plan_joins(
        a_moment(
            *([node] if node else []),
            jobs=jobs,
            settings=settings_with(join=settings),
            joins={of: record} if record else {},
            **{"machines": [MACHINE], "facts": {"ready": frozenset({MACHINE.key})}, **fields},
        )
    )


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


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "start"),
        (JoinRecord(ago(60), ago(60), 1, running=True, anew=True), ""),
        (JoinRecord(ago(60), NOW, 1, running=False, anew=True), ""),
        (JoinRecord(ago(60), NOW, 1, running=False, error="refused", anew=True), ""),
        (JoinRecord(ago(60), ago(5), 1, running=False, error="refused", anew=True), ""),
        (JoinRecord(ago(60), ago(40), 1, running=False, error="refused", anew=True), "start"),
        (JoinRecord(ago(400), ago(40), 1, running=False, error="refused", anew=True), "failed"),
        (JoinRecord(ago(60), ago(5), 1, running=False, anew=True), "joined"),
        (JoinRecord(ago(60), ago(5), 1, running=True), "joined"),
    ],
)
def test_what_slurm_says_of_an_earlier_machines_node_joins_no_new_one(record, expected) -> None:
    node = Node("pc100", "IDLE", frozenset({"DYNAMIC_NORM"}), address="10.9.9.9")
    facts = {"ready": frozenset({MACHINE.key}), "fresh": frozenset({MACHINE.key})}
    began = frozenset({(MACHINE.cm, MACHINE.client_id)}) if record else frozenset()
    made = plan(node, record, facts=facts, began=began)
    assert words(made) == expected
    assert all(step.anew for step in made.start)


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


def test_a_machine_that_is_left_alone_keeps_no_other_from_its_join() -> None:
    machines = [a_machine(n) for n in (1, 2, 3)]
    ready = frozenset({"urn:sliver+2", "urn:sliver+3"})
    silent = Node("pc2", "MIXED", frozenset({"NOT_RESPONDING"}))
    job = Job("1", "RUNNING", nodes=frozenset({"pc2"}))
    made = plan_joins(a_moment(silent, machines=machines, jobs=[job], facts={"ready": ready}))
    assert [step.name for step in made.start] == ["pc3"]


def test_a_machine_whose_node_slurm_forgot_while_a_job_holds_it_is_left_alone() -> None:
    settings = SETTINGS.model_copy(update={"mode": "cloud"})
    held = Job("1", "RUNNING", nodes=frozenset({"pc100"}))
    assert plan(None, None, held, settings=settings) == JoinPlan()


@pytest.mark.parametrize(
    ("mode", "flag", "outcome"),
    [("cloud", "POWERING_UP", "start"), ("cloud", "NOT_RESPONDING", ""), ("dynamic", "POWERING_UP", "")],
)
def test_a_job_that_waits_for_its_predeclared_node_to_wake_keeps_no_machine_from_joining(
    mode: str, flag: str, outcome: str
) -> None:
    settings = SETTINGS.model_copy(update={"mode": mode})
    waking, job = Node("pc100", "MIXED", frozenset({flag})), Job("1", "RUNNING", nodes=frozenset({"pc100"}))
    assert words(plan(waking, None, job, settings=settings)) == outcome


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (JoinRecord(ago(300), ago(1), 1, running=True), "not joined within 5m; Slurm says nothing of it"),
        (
            JoinRecord(ago(100), ago(30), 3, running=False),
            "not joined after 3 attempts; Slurm says nothing of it",
        ),
        (
            JoinRecord(ago(100), ago(30), 4, running=False, error="status 1"),
            "not joined after 4 attempts; Slurm says nothing of it; last error: status 1",
        ),
    ],
)
def test_it_is_told_why_a_machine_is_given_up(record: JoinRecord, reason: str) -> None:
    assert [step.reason for step in plan(None, record).failed] == [reason]


def test_a_machine_that_came_again_starts_anew() -> None:
    record = JoinRecord(ago(9999), ago(9999), 9, running=False)
    assert words(plan(None, record, of=replace(MACHINE, sliver_id="urn:sliver+0").key)) == "start"


def test_a_machine_that_has_not_booted_or_that_somebody_wants_empty_is_left_alone() -> None:
    assert plan(facts={}) == JoinPlan()
    assert plan(admin={("", "pc100"): AdminDrain("pc100", "disk", "ada", NOW)}) == JoinPlan()
    assert plan(Node("pc100", "IDLE"), chosen=frozenset({"pc100"})) == JoinPlan()


def test_nothing_is_joined_before_slurm_was_read() -> None:
    assert plan(snapshot=None) == JoinPlan()


PROBED = SETTINGS.model_copy(update={"probe": ("test -d /scratch",)})


def probing(record: JoinRecord | None, *jobs: Job, proven: tuple[str, ...] = ()) -> str:
    made = plan(Node("pc100", "IDLE"), record, *jobs, settings=PROBED, proven=frozenset(proven))
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
    assert probing(record, proven=(MACHINE.key,)) == "joined"


def test_a_machine_that_runs_jobs_is_probed_where_we_joined_it_and_not_where_an_earlier_run_did() -> None:
    job = Job("1", "RUNNING", nodes=frozenset({"pc100"}))
    assert probing(None, job) == "joined"
    assert probing(JoinRecord(ago(9), ago(1), 1, running=False), job) == "probe"


def test_a_node_that_we_set_down_for_want_of_a_machine_is_joined_at_once() -> None:
    assert words(plan(Node("pc100", "DOWN", reason="esagent: no machine behind it"))) == "start"
    assert words(plan(Node("pc100", "DOWN", reason="broken fan"))) == "watch"
    away = Node("pc100", "IDLE", frozenset({"NOT_RESPONDING"}), reason="esagent: no machine behind it")
    assert words(plan(away)) == "watch"


def test_cloud_mode_starts_slurmd_for_a_predeclared_node_and_wakes_one_that_sleeps() -> None:
    settings = JoinSettings(mode="cloud")
    assert join_commands(MACHINE, "pc100", settings)[-1] == "slurmd -b -N pc100"
    asleep = Node("pc100", "IDLE", frozenset({"CLOUD", "POWERED_DOWN"}))
    assert words(plan(asleep, settings=settings)) == "start"
    waking = replace(asleep, flags=frozenset({"CLOUD", "POWERING_UP", "NOT_RESPONDING"}))
    assert words(plan(waking, settings=settings)) == "start"
    away = replace(asleep, flags=frozenset({"CLOUD", "NOT_RESPONDING"}))
    assert words(plan(away, settings=settings)) == "watch"


ON_A_LAN = replace(MACHINE, lans=(LanPort("lan-0", "10.10.1.5"), LanPort("lan-1", "10.10.2.5")))


@pytest.mark.parametrize(
    ("address", "seen", "told"),
    [
        ("lan-0", "10.0.0.100", ["10.10.1.5"]),
        ("lan-1", "10.10.1.5", ["10.10.2.5"]),
        ("lan-0", "10.10.1.5", []),
        ("control", "10.10.1.5", []),
        ("lan-9", "10.0.0.100", []),
    ],
)
def test_slurm_is_told_another_address_only_in_a_lan_that_is_set(
    address: str, seen: str, told: list[str]
) -> None:
    node = Node("pc100", "IDLE", frozenset({"DYNAMIC_NORM"}), address=seen)
    made = plan(node, settings=SETTINGS.model_copy(update={"address": address}), machines=[ON_A_LAN])
    assert [place for _, place in made.readdress] == told
    assert words(made) == "joined"


def test_slurm_is_told_no_address_of_a_node_that_is_not_at_work() -> None:
    node = Node("pc100", "DOWN", address="10.0.0.100")
    made = plan(node, settings=SETTINGS.model_copy(update={"address": "lan-0"}), machines=[ON_A_LAN])
    assert made.readdress == ()


REBOOTING = Node("pc100", "DOWN", frozenset({"DRAIN", "REBOOT_ISSUED"}), reason="Reboot ASAP : reboot issued")
LATE = JoinRecord(ago(400), ago(100), attempts=3, running=False)


@pytest.mark.parametrize("node", [REBOOTING, Node("pc100", "IDLE", frozenset({"REBOOT_REQUESTED"}))])
def test_a_machine_that_somebody_reboots_through_slurm_is_waited_for_and_not_failed(node: Node) -> None:
    for record in (None, LATE):
        assert words(plan(node, record)) == "watch", "its time begins when it is back"
    assert words(plan(node, replace(LATE, running=True))) == ""


def test_a_machine_that_did_not_come_back_from_a_reboot_is_joined_anew() -> None:
    given_up = Node("pc100", "DOWN", reason="reboot requested : reboot issued : reboot timed out")
    seen = JoinRecord(ago(31), ago(31), attempts=0, running=False)
    assert words(plan(given_up, seen)) == "start"


def test_a_node_that_shall_be_down_after_its_reboot_waits_for_a_person() -> None:
    down = Node("pc100", "DOWN", reason="reboot requested : reboot issued : reboot complete")
    assert words(plan(down, LATE)) == ""


def test_the_reboot_of_an_earlier_machine_holds_up_no_new_one() -> None:
    fresh = {"ready": frozenset({MACHINE.key}), "fresh": frozenset({MACHINE.key})}
    seen = JoinRecord(ago(31), ago(31), attempts=0, running=False)
    assert words(plan(REBOOTING, seen, facts=fresh)) == "start"
    began = frozenset({(MACHINE.cm, MACHINE.client_id)})
    assert words(plan(REBOOTING, seen, facts=fresh, began=began)) == "watch"


@pytest.mark.parametrize("attempts", [1, 3])
def test_while_slurm_is_not_read_a_machine_is_neither_tried_again_nor_given_up(attempts: int) -> None:
    """Slurm hangs: what it said before the last attempt is no word against the machine."""
    record = JoinRecord(ago(200), ago(100), attempts=attempts, running=False)
    assert words(plan(None, record, read=ago(101))) == ""
    assert words(plan(None, record, read=ago(99))) == ("failed" if attempts == 3 else "start")
