"""How Slurm is read, and since when things are so by the readings so far."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.desk import Desk
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import History
from agent.cluster.reader import Reader, look_back
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.errors import SlurmDownError
from agent.slurm.model import Job, JobEnd, Node
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import Scheduling, Unit
from tests.unit.cluster.conftest import NOW, Slurm, a_machine, a_moment, a_slice, settings_with

BOOTED = NOW - timedelta(hours=3)


def seen_after(seconds: float, *nodes: Node, earlier: History | None, joined: bool = True) -> History:
    """Look back from a reading; pc1 is ours, or it is not known yet that it is."""
    machines = [a_machine(1)] if joined else []
    now = NOW + timedelta(seconds=seconds)
    return look_back(a_moment(*nodes, machines=machines, now=now, history=earlier))


def test_a_restart_of_the_agent_begins_no_time_anew() -> None:
    long_ago, lately = NOW - timedelta(seconds=1200), NOW - timedelta(seconds=500)
    first = seen_after(
        0, Node("pc1", "IDLE", booted=long_ago, last_busy=lately), Node("pc2", "IDLE"), earlier=None
    )
    assert first.idle_since == {"pc1": lately, "pc2": NOW}
    assert first.joined_since == {"pc1": long_ago}
    assert seen_after(60, Node("pc1", "IDLE"), earlier=first).idle_since == {"pc1": lately}


def test_a_machine_of_ours_that_the_manifest_tells_later_was_there_all_the_same() -> None:
    there = Node("pc1", "IDLE", booted=NOW - timedelta(seconds=1200))
    first = seen_after(0, there, earlier=None, joined=False)
    assert seen_after(60, there, earlier=first).joined_since == {"pc1": there.booted}


def test_a_node_that_comes_later_is_idle_and_joined_from_then_on() -> None:
    first = seen_after(0, earlier=None)
    came = NOW + timedelta(seconds=60)
    later = seen_after(60, Node("pc1", "IDLE", booted=NOW - timedelta(hours=9), last_busy=NOW), earlier=first)
    assert (later.idle_since, later.joined_since) == ({"pc1": came}, {"pc1": came})


LONG_AGO = NOW - timedelta(hours=9)
RECORD = Node("pc1", "IDLE", booted=LONG_AGO, last_busy=LONG_AGO)


def looked_at(seconds: float, node: Node, sliver: str, earlier: History | None) -> History:
    """Look back from a reading with this node, behind which is this machine."""
    machines = [replace(a_machine(1), sliver_id=f"urn:sliver+{sliver}")] if sliver else []
    now = NOW + timedelta(seconds=seconds)
    return look_back(a_moment(node, machines=machines, now=now, history=earlier))


@pytest.mark.parametrize("between", ["2", ""])
def test_another_machine_behind_a_node_begins_all_its_time_anew(between: str) -> None:
    first = looked_at(0, RECORD, "1", None)
    assert (first.idle_since, first.joined_since) == ({"pc1": LONG_AGO}, {"pc1": LONG_AGO})
    second = looked_at(60, RECORD, between, first)
    third = looked_at(120, RECORD, "2", second)
    came = NOW + timedelta(seconds=60 if between else 120)
    assert (third.idle_since, third.joined_since) == ({"pc1": came}, {"pc1": came})
    assert looked_at(180, RECORD, "2", third) == third


def test_a_machine_that_came_new_while_the_agent_was_down_was_not_held_before_the_start() -> None:
    left = Drain("pc1", DrainCause.SURPLUS, slivers=frozenset({"1"})).reason
    drained = replace(RECORD, flags=frozenset({"DRAIN"}), reason=left)
    assert looked_at(0, drained, "1", None).joined_since == {"pc1": LONG_AGO}
    first = looked_at(0, drained, "2", None)
    assert (first.joined_since, first.found) == ({"pc1": NOW}, frozenset())
    lifted = looked_at(60, RECORD, "2", first)
    assert lifted.joined_since == {"pc1": NOW}
    assert lifted.idle_since == {"pc1": NOW + timedelta(seconds=60)}


def test_it_was_not_either_where_its_cm_was_silent_at_the_start() -> None:
    left = Drain("pc1", DrainCause.ADMIN, who="ada", why="x", slivers=frozenset({"1"})).reason
    drained = replace(RECORD, flags=frozenset({"DRAIN"}), reason=left)
    first = looked_at(0, drained, "", None)
    heard = looked_at(60, drained, "2", first)
    assert heard.joined_since == {"pc1": NOW + timedelta(seconds=60)}
    assert looked_at(120, RECORD, "2", heard).joined_since == heard.joined_since


def test_a_node_in_service_whose_reason_was_for_an_earlier_machine_begins_anew_too() -> None:
    left = Drain("pc1", DrainCause.SURPLUS, slivers=frozenset({"1"})).reason
    first = looked_at(0, replace(RECORD, reason=left), "2", None)
    assert (first.idle_since, first.joined_since) == ({"pc1": NOW}, {"pc1": NOW})


def test_a_node_that_was_drained_meanwhile_is_idle_from_its_return_on() -> None:
    busy = {"last_busy": NOW - timedelta(hours=1)}
    first = seen_after(0, Node("pc1", "IDLE", **busy), earlier=None)
    drained = seen_after(60, Node("pc1", "IDLE", flags=frozenset({"DRAIN"}), **busy), earlier=first)
    assert drained.idle_since == {}
    back = seen_after(120, Node("pc1", "IDLE", **busy), earlier=drained)
    assert back.idle_since == {"pc1": NOW + timedelta(seconds=120)}


def test_a_time_in_the_future_counts_as_now() -> None:
    ahead = {"booted": NOW + timedelta(hours=1), "last_busy": NOW + timedelta(hours=1)}
    first = seen_after(0, Node("pc1", "IDLE", **ahead), earlier=None)
    assert (first.idle_since, first.joined_since) == ({"pc1": NOW}, {"pc1": NOW})


def test_before_slurm_was_read_nothing_is_added_to_what_is_known():
    known = History({"pc1": NOW})
    assert look_back(a_moment(snapshot=None, history=known)) is known
    assert look_back(a_moment(snapshot=None, history=None)) == History()


@pytest.mark.parametrize(
    "busy",
    [Node("pc1", "MIXED"), Node("pc1", "IDLE", frozenset({"COMPLETING"})), Node("pc1", "DOWN")],
)
def test_a_node_with_a_job_or_out_of_use_is_not_idle_and_is_joined_all_the_same(busy):
    found = seen_after(60, busy, earlier=seen_after(0, Node("pc1", "IDLE"), earlier=None))
    assert (found.idle_since, found.joined_since) == ({}, {"pc1": NOW})


def test_a_node_that_was_busy_is_idle_from_the_reading_on_that_sees_it():
    first = seen_after(0, Node("pc1", "ALLOCATED"), earlier=None)
    idle = Node("pc1", "IDLE", last_busy=NOW)
    assert seen_after(60, idle, earlier=first).idle_since == {"pc1": NOW + timedelta(seconds=60)}


def test_a_node_that_is_gone_is_forgotten():
    first = seen_after(0, Node("pc1", "IDLE"), earlier=None)
    later = seen_after(60, earlier=first)
    assert (later.idle_since, later.joined_since, later.found) == ({}, {}, {"pc1"})


def test_what_is_found_at_work_was_joined_at_its_boot_and_what_is_not_was_joined_now():
    """A record that an earlier machine of the same name left says nothing of the new one."""
    for state, flags, since in (
        ("IDLE", "DRAIN", BOOTED),
        ("DOWN", "", NOW),
        ("IDLE", "NOT_RESPONDING", NOW),
    ):
        node = Node("pc1", state, frozenset({flags} - {""}), booted=BOOTED)
        assert seen_after(0, node, earlier=None).joined_since == {"pc1": since}


def test_since_when_jobs_wait_and_nodes_are_out_of_service_is_remembered_too():
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="a,b")
    earlier = History(waiting_since={"1": NOW - timedelta(1)}, forsaken_since={"a": NOW - timedelta(1)})
    jobs = [Job(number, "PENDING", reason="Resources") for number in "12"]
    out = [Node(name, "DOWN", reason="ResumeTimeout reached") for name in "ab"]
    found = look_back(a_moment(*out, jobs=jobs, settings=settings_with(join=join), history=earlier))
    assert found.waiting_since == {"1": NOW - timedelta(1), "2": NOW}
    assert found.forsaken_since == {"a": NOW - timedelta(1), "b": NOW}


class Site:
    """A reader of a Slurm in which pc1 is ours."""

    def __init__(self, clock, ledger, *nodes, **drain):
        self.slurm = Slurm(*nodes, clock=clock)
        self.desk = Desk(settings_with(drain=DrainSettings(**drain)), clock, ledger)
        self.memory = Memory(self.desk, lambda: a_slice(a_machine(1)), ledger)
        self.limited = ["main"]
        self.reader = Reader(self.desk, self.memory, self.slurm, lambda: frozenset(self.limited))


def test_what_is_read_is_remembered_with_the_time_since_when_it_is_so(clock, ledger):
    site = Site(clock, ledger, Node("pc1", "IDLE"))
    moment = site.reader.read()
    assert moment == site.memory.now()
    assert (moment.joined, moment.history.idle_since, moment.limited) == ({"pc1"}, {"pc1": NOW}, frozenset())
    clock.advance(60)
    assert site.reader.read().history.idle_since == {"pc1": NOW}


def test_how_slurm_chooses_nodes_is_in_the_moment(clock, ledger):
    site = Site(clock, ledger, Node("pc1", "IDLE"))
    assert site.reader.read().scheduling is None
    clock.advance(60)
    site.slurm.scheduled = Scheduling(Unit.CORE)
    assert site.reader.read().scheduling == site.memory.now().scheduling == Scheduling(Unit.CORE)


def test_reservations_are_read_where_somebody_may_want_room(clock, ledger):
    assert Site(clock, ledger, Node("pc1", "IDLE")).reader.read().reservations is None
    queue, emptied, at_least = (Site(clock, ledger, Node("pc1", "IDLE")) for _ in range(3))
    queue.slurm.jobs = [Job("7", "PENDING")]
    emptied.memory.chosen.choose(a_machine(1))
    at_least.desk.settings = settings_with(DemandSettings(min_nodes=1))
    for site in (queue, emptied, at_least):
        assert site.reader.read().reservations == ()


def test_a_place_for_a_job_is_known_only_where_reservations_are(clock, ledger):
    one, main = timedelta(hours=1), ("main",)
    nodes = [Node(f"pc{n}", state, cpus=4, partitions=main) for n, state in ((1, "ALLOCATED"), (2, "IDLE"))]
    site = Site(clock, ledger, *nodes)
    job = Job("7", "RUNNING", nodes=frozenset({"pc1"}), partitions=main, time_limit=one)
    site.slurm.jobs = [job]
    moment = site.reader.read()
    find, asked = site.memory.foresight().find_places, (["pc1"], {}, DemandSettings())
    assert find(moment.snapshot, [job], *asked) == ()
    site.memory.chosen.choose(a_machine(1))
    assert find(site.reader.read().snapshot, [job], *asked) == {"7"}
    starts = NOW + timedelta(minutes=30)
    soon = Reservation("r", frozenset({"pc2"}), starts, starts + one)
    site.slurm.reserved = {"r": soon}
    assert find(site.reader.read().snapshot, [job], *asked) == frozenset()


def test_a_look_in_between_reads_nodes_and_jobs_and_leaves_the_history_alone(clock, ledger):
    site = Site(clock, ledger, Node("pc1", "IDLE"))
    history = site.reader.read().history
    clock.advance(60)
    site.slurm.nodes["pc1"] = Node("pc1", "ALLOCATED")
    moment = site.reader.look_again()
    assert (moment.nodes["pc1"].state, moment.history) == ("ALLOCATED", history)


def test_limited_partitions_are_read_where_nodes_are_fenced(clock, ledger):
    site = Site(clock, ledger, fence=True)
    assert site.reader.read().limited == {"main"}
    site.limited.clear()
    assert site.reader.read().limited == frozenset()


@pytest.mark.parametrize("read", ["read", "look_again"])
def test_what_was_known_stays_while_slurm_is_down(clock, ledger, read):
    site = Site(clock, ledger, Node("pc1", "IDLE"))
    before = site.reader.read()
    site.slurm.fault = SlurmDownError("no answer")
    with pytest.raises(SlurmDownError):
        getattr(site.reader, read)()
    assert site.memory.now() == before


def test_a_reading_that_a_newer_one_overtook_changes_neither_nodes_nor_history(clock, ledger):
    site = Site(clock, ledger, Node("pc1", "IDLE"))
    ask, newer = site.slurm.snapshot, []

    def be_overtaken():
        old = ask()
        site.slurm.snapshot = ask
        clock.advance(60)
        site.slurm.nodes["pc1"] = replace(site.slurm.nodes["pc1"], state="ALLOCATED")
        newer.append(site.reader.read())
        return old

    site.slurm.snapshot = be_overtaken
    assert site.reader.read() == newer[0] == site.memory.now()
    assert newer[0].nodes["pc1"].state == "ALLOCATED"


@pytest.mark.parametrize(("foresight", "learnt"), [("history", (50.0,)), ("limits", ())])
def test_how_long_jobs_run_is_learnt_where_foresight_goes_by_it(clock, ledger, foresight, learnt):
    site = Site(clock, ledger, Node("pc1", "MIXED"), foresight=foresight)
    job = Job("7", "RUNNING", user="eve", name="fit", nodes=frozenset({"pc1"}), started=NOW)
    site.slurm.jobs = [job]
    end = JobEnd("COMPLETED", ended=NOW + timedelta(seconds=50))
    site.slurm.endings = lambda ids: dict.fromkeys(ids, end)
    site.reader.read()
    clock.advance(60)
    site.slurm.jobs = []
    site.reader.read()
    assert site.memory.foresight().run_times(job) == learnt


def test_the_drains_are_looked_at_when_a_node_has_come_that_may_get_a_fence(clock, ledger):
    rung = []
    for fence in (False, True):
        site = Site(clock, ledger, Node("n1", "IDLE"), fence=fence)
        for name in ("n1", "pc1", "pc1"):
            site.slurm.nodes[name] = Node(name, "IDLE")
            site.desk.bell.clear()
            site.reader.read()
            rung.append(site.desk.bell.is_set())
    assert rung == [False, False, False, False, True, False]


def test_the_drains_are_looked_at_while_a_node_waits_for_its_fence(clock, ledger):
    site = Site(clock, ledger, Node("pc1", "IDLE", frozenset({"DRAIN"})), fence=True)
    for _ in range(2):
        site.desk.bell.clear()
        site.reader.read()
        assert site.desk.bell.is_set()
