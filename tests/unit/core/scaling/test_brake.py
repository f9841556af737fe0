"""Growth stops when new machines fail one after the other; nothing else does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from agent.core.config import CycleSettings
from agent.core.events import Failures, PastEvent
from agent.core.manager import SimpleElasticSliceManager
from agent.core.model import SliverNode
from agent.core.scaling.brake import Brake, GrowthBrake
from agent.core.views import AgentView
from agent.tell.metrics import Metrics
from tests.unit.core.scaling.conftest import FakeOffice

ONE, TWO, THREE = "urn:one", "urn:two", "urn:three"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
RULES = {"most": 3, "first": 600.0, "limit": 3000.0}


NEW = SliverNode("node-1", "pc1", "urn:cm", "s1")


class Trials:
    """Stands for the inventory."""

    def __init__(self, *nodes, asked=None):
        self.nodes, self.asked = nodes, asked

    def is_asked(self, since):
        return self.asked is not None and self.asked >= since

    def unproven(self, since):
        return list(self.nodes)


def at(seconds):
    return START + timedelta(seconds=seconds)


def stopped():
    brake = Brake()
    for n in range(3):
        brake = brake.failed(at(n), "it did not boot", **RULES)
    return brake


# --- the decision


def test_failures_in_a_row_stop_growth():
    brake = Brake()
    for n in range(2):
        brake = brake.failed(at(n), "it did not boot", **RULES)
        assert brake.allowance(at(n), coming=False) is None
    brake = brake.failed(at(2), "it did not boot", **RULES)
    assert brake.allowance(at(2), coming=False) == 0
    assert (brake.in_a_row, brake.since) == (3, at(2))


def test_a_machine_that_works_ends_the_row():
    brake = Brake()
    for n in range(20):
        brake = brake.failed(at(n), "it did not boot", **RULES)
        if n % 2:
            brake = brake.worked()
        assert brake.stopped is None


def test_one_machine_is_asked_for_after_the_pause_and_only_one():
    brake = stopped()
    assert brake.allowance(at(601), coming=False) == 0
    assert brake.allowance(at(602), coming=False) == 1
    assert brake.allowance(at(602), coming=True) == 0
    asked = brake.asked(at(700))
    assert asked.allowance(at(701), coming=False) == 0
    assert asked.allowance(at(1300), coming=False) == 1, "a probe that came to nothing is repeated"
    assert asked.worked().allowance(at(701), coming=False) is None


def test_a_probe_that_fails_lengthens_the_pause_up_to_its_limit():
    brake, now, pauses = stopped(), 2.0, []
    for _ in range(5):
        now += brake.stopped.delay
        assert brake.allowance(at(now), coming=False) == 1
        brake = brake.asked(at(now)).failed(at(now), "it did not boot", **RULES)
        pauses.append(brake.stopped.delay)
    assert pauses == [1200, 2400, 3000, 3000, 3000]
    assert brake.since == at(2), "it has been stopped all the time"


def test_machines_that_were_asked_for_before_do_not_lengthen_the_pause():
    brake = stopped()
    late = brake.failed(at(100), "it did not boot", **RULES)
    assert late.stopped == brake.stopped
    assert late.in_a_row == 4


@pytest.mark.parametrize("seconds", [602, 700])
def test_one_that_fails_after_the_pause_lengthens_it_like_a_probe(seconds):
    late = stopped().failed(at(seconds), "it did not boot", **RULES)
    assert late.stopped.delay == 1200
    assert late.stopped.until == at(seconds + 1200)


def test_growth_that_is_stopped_stays_so_when_more_failures_are_allowed():
    late = stopped().failed(at(700), "it did not boot", **{**RULES, "most": 9})
    assert late.stopped.delay == 1200


def test_asking_while_growth_goes_on_changes_nothing():
    assert Brake().asked(START) == Brake()


ACTS = st.lists(
    st.tuples(st.sampled_from(["failed", "worked", "ask"]), st.floats(0, 5000), st.booleans()), max_size=60
)


@given(acts=ACTS, most=st.integers(1, 5))
def test_while_growth_is_stopped_there_is_one_probe_a_pause_and_pauses_never_shrink(acts, most):
    rules = {**RULES, "most": most}
    brake, now, row, last_ask = Brake(), 0.0, 0, None
    for act, seconds, coming in acts:
        now += seconds
        before = brake
        if act == "failed":
            row += 1
            brake = brake.failed(at(now), "it did not boot", **rules)
        elif act == "worked":
            row = 0
            brake = brake.worked()
        else:
            allowed = brake.allowance(at(now), coming=coming)
            assert allowed in (None, 0, 1)
            if allowed == 1:
                assert not coming
                assert last_ask is None or now - last_ask >= RULES["first"] - 1e-3
                brake, last_ask = brake.asked(at(now)), now
        assert brake.in_a_row == row
        assert (brake.stopped is not None) == (row >= most)
        if brake.stopped is None:
            last_ask = None
        elif before.stopped is not None:
            assert before.stopped.delay <= brake.stopped.delay <= RULES["limit"]


# --- a restart


def past(seconds, kind, message="", **data):
    return PastEvent(at(seconds), kind, "", message, data)


def test_a_restart_goes_on_with_the_pause_that_was_told():
    told = [past(0, "growth_stopped", failures=3, reason="pc2: it hangs")]
    brake = Brake.after(told, first=600.0, limit=3000.0)
    assert (brake.in_a_row, brake.stopped.reason, brake.since) == (3, "pc2: it hangs", START)
    assert brake.allowance(at(599), coming=False) == 0
    assert brake.allowance(at(600), coming=False) == 1
    told += [past(700, "probe"), past(800, "probe_failed", failures=4, reason="pc3: it hangs")]
    brake = Brake.after(told, first=600.0, limit=3000.0)
    assert (brake.stopped.delay, brake.stopped.until, brake.since) == (1200, at(2000), START)
    assert Brake.after([*told, past(900, "growth_resumed")], first=600.0, limit=3000.0) == Brake()


def test_what_an_older_agent_told_is_enough():
    """It wrote no reason, and none but the stop had data; what came first may have been dropped since."""
    brake = Brake.after([past(0, "probe_failed", "growth stays stopped: pc2")], first=600.0, limit=3000.0)
    assert (brake.stopped.reason, brake.stopped.until) == ("growth stays stopped: pc2", at(600))
    assert Brake.after([past(0, "probe")], first=600.0, limit=3000.0) == Brake()


@given(acts=ACTS)
def test_after_a_restart_the_brake_is_as_it_was_left(acts):
    office, settings, told = FakeOffice(), CycleSettings(growth_stop_after=2), []
    brake = GrowthBrake(settings, office.desk, Trials())
    for act, seconds, _ in acts:
        office.advance(seconds)
        office.told.clear()
        if act == "failed":
            brake.failed("pc1", "it hangs", ONE)
        elif act == "worked":
            brake.worked("pc1")
        elif brake.allowance() != 0:
            brake.asked(1, ONE)
        told += [
            PastEvent(office.time, kind.value, subject, message, vars(data[0]) if data else {})
            for kind, subject, message, *data in office.told
        ]
    again = GrowthBrake(settings, office.desk, Trials(), told)
    assert (again.words(), again.allowance()) == (brake.words(), brake.allowance())


# --- who is waited for


def is_probed(office, trials, may_prove=bool):
    brake = GrowthBrake(CycleSettings(growth_stop_after=1, boot_timeout="40m"), office.desk, trials)
    brake.may_prove = may_prove
    brake.failed("pc9", "it hangs", ONE)
    office.advance(600)
    return brake.allowance() == 1


def test_a_probe_waits_for_what_may_still_come_or_prove_itself(office):
    assert is_probed(office, Trials())
    assert not is_probed(office, Trials(asked=office.time))
    assert not is_probed(office, Trials(NEW))


def test_a_probe_waits_for_no_machine_that_cannot_prove_itself(office):
    assert is_probed(office, Trials(NEW), lambda nodes: nodes != [NEW])


def test_a_probe_waits_no_longer_for_a_lost_request_than_a_boot_takes(office):
    long_ago = office.time - timedelta(minutes=31)
    assert is_probed(office, Trials(asked=long_ago))


# --- what is told of it


def test_each_turn_of_it_is_told(office):
    settings = CycleSettings(growth_stop_after=2, growth_probe_after="10m")
    brake = GrowthBrake(settings, office.desk, Trials())
    brake.worked("pc0")
    brake.asked(3, ONE)
    brake.failed("pc1", "it hangs", ONE)
    assert (office.told, brake.words()) == ([], "")
    brake.failed("pc2", "it hangs", ONE)
    why = "pc2: it hangs; a probe after 12:10:00Z"
    stops = "growth stops: 2 new machines in a row failed, the last one"
    assert office.told.pop() == ("growth_stopped", "", f"{stops} {why}", Failures(2, "pc2: it hangs"))
    assert brake.words() == f"growth is stopped since 2026-11-22T12:00:00Z: {why}"
    brake.failed("pc3", "it hangs", ONE)
    assert office.told == []
    office.advance(600)
    assert brake.allowance() == 1
    brake.asked(1, ONE)
    assert office.told.pop() == ("probe", "", "asks for 1 as a probe, while growth is stopped")
    assert brake.words().endswith("pc2: it hangs; a probe is under way")
    brake.failed("pc4", "it hangs", ONE)
    why = "pc4: it hangs; a probe after 12:30:00Z"
    assert office.told.pop() == (
        "probe_failed",
        "pc4",
        f"growth stays stopped: {why}",
        Failures(4, "pc4: it hangs"),
    )
    assert office.woken == []
    brake.worked("pc5")
    assert office.told.pop() == ("growth_resumed", "pc5", "growth goes on: pc5 booted and is of use")
    assert tuple(office.woken) == ("ensure_sliver", "add_nodes")
    assert (brake.words(), brake.allowance()) == ("", None)


def test_while_growth_is_stopped_the_cm_that_was_tried_longest_ago_is_probed_first(office):
    brake = GrowthBrake(CycleSettings(growth_stop_after=1), office.desk, Trials(), cms=(ONE, TWO, THREE))
    brake.asked(2, ONE)
    assert (brake.turns(), brake.before(TWO)) == ((ONE, TWO, THREE), ()), "the preferred one comes first"
    brake.failed("pc1", "it hangs", ONE)
    assert (brake.turns(), brake.before(THREE)) == ((TWO, THREE, ONE), (TWO,))
    brake.asked(1, TWO)
    assert (brake.turns(), brake.before(ONE)) == ((THREE, ONE, TWO), (THREE,))
    brake.passed(THREE)
    assert brake.turns() == (ONE, TWO, THREE)
    brake.passed(ONE)
    assert brake.before(ONE) == (TWO, THREE)
    brake.worked("pc2")
    assert (brake.turns(), brake.before(ONE)) == ((ONE, TWO, THREE), ())


def test_a_probe_that_was_refused_is_due_as_before(office):
    brake = GrowthBrake(CycleSettings(growth_stop_after=1), office.desk, Trials(), cms=(ONE, TWO))
    brake.failed("pc1", "it hangs", ONE)
    office.advance(600)
    for cm in (TWO, ONE):
        assert brake.allowance() == 1
        brake.asked(1, cm)
        assert brake.allowance() == 0
        brake.refused()
    assert brake.allowance() == 1
    assert "a probe after" in brake.words()
    brake.worked("pc2")
    brake.refused()
    assert brake.allowance() is None


def test_growth_that_somebody_resumes_is_told(office):
    brake = GrowthBrake(CycleSettings(growth_stop_after=1), office.desk, Trials(NEW))
    assert not brake.resume("ada")
    assert (office.told, office.woken) == ([], [])
    brake.failed("pc1", "it hangs", ONE)
    office.advance(600)
    assert brake.allowance() == 0, "a machine has yet to prove itself"
    assert brake.resume("ada")
    assert office.told[1:] == [("growth_resumed", "", "growth goes on: ada wants it")]
    assert office.woken == ["ensure_sliver", "add_nodes"]


# --- the manager


@pytest.fixture
def braked(make_bench):
    """Growth of a manager whose machines fail, but for the first, of a type of which one always works."""
    bench = make_bench(
        server={"pool": 40, "types": ("a", "b", "c", "d", "e", "f")},
        config={"cycle": CycleSettings(boot_timeout="10m", growth_probe_after="20m", growth_stop_after=3)},
        minthreshold=6,
        maxthreshold=6,
        enable_delete=True,
    )
    bench.server.boots.extend(["well"] + ["fails"] * 5)
    bench.cycles(10)
    return bench


def test_growth_stops_and_says_so_everywhere(braked):
    [event] = braked.events.of("growth_stopped")
    assert "3 new machines in a row failed" in event.message
    assert "its status is failed" in event.message
    assert braked.manager.brake.words().startswith("growth is stopped since 2026-11-22T12:")
    braked.manager.wake("add_nodes")
    assert "growth is stopped" in braked.manager.manage_once()
    assert "growth is stopped" in braked.manager.said
    asked = braked.server.count("add_nodes")
    braked.cycles(10)
    assert braked.server.count("add_nodes") == asked
    assert len(braked.manager.held()) == 1


def test_failed_machines_go_back_and_the_lease_is_renewed_while_growth_is_stopped(braked):
    assert len(braked.server.returned) == 5
    before = braked.server.slice_expires
    braked.server.faults["add_nodes", None].extend(["insufficient"] * 100)
    braked.cycles(10, seconds=3600)
    assert braked.manager.brake.words()
    assert braked.server.slice_expires > before
    assert braked.manager.slice_expires > braked.clock.now()


def test_a_probe_that_works_lets_growth_go_on(braked):
    braked.cycles(40)
    assert braked.events.kinds()["probe"] == 1
    assert "booted and is of use" in braked.events.of("growth_resumed")[0].message
    assert braked.manager.brake.words() == ""
    assert len(braked.server.machines()) == 6


def test_a_probe_that_fails_is_repeated_after_a_longer_pause(braked):
    braked.server.boots.extend(["fails", "fails"])
    asked = []
    real = braked.server.add_nodes

    def watched(cm, nodes):
        asked.append((braked.clock.now(), len(nodes)))
        return real(cm, nodes)

    braked.server.add_nodes = watched
    braked.cycles(300)
    assert [count for _, count in asked[:3]] == [1, 1, 1]
    first, second, third = (when for when, _ in asked[:3])
    assert (third - second) > (second - first) >= timedelta(minutes=40)
    assert braked.events.kinds()["probe_failed"] == 2
    assert braked.manager.brake.words() == ""


def test_growth_is_resumed_by_hand(braked):
    assert braked.manager.resume_growth("ada")
    assert not braked.manager.resume_growth("ada")
    assert "ada wants it" in braked.events.of("growth_resumed")[0].message
    braked.cycles(3)
    assert braked.server.machines()[1:], "it asks at once"


def test_exactly_count_machines_are_none_while_one_is_probed(braked):
    braked.clock.advance(1800)
    asked = braked.server.count("add_nodes")
    braked.manager.add_nodes(count=2)
    assert braked.server.count("add_nodes") == asked
    braked.manager.add_nodes(count=1)
    assert braked.server.count("add_nodes") == asked + 1


def test_of_a_dict_the_first_is_the_probe(make_bench):
    class Exact(SimpleElasticSliceManager):
        def should_add_nodes(self, count=0, cm=None):
            return {f"w{n}": {} for n in range(3)}

    bench = make_bench(manager_class=Exact, manage_order=["ensure_slice", "update_sliver_status"])
    bench.manager.create_sliver()
    bench.cycles(4)
    for n in range(3):
        bench.manager.brake.failed(f"pc{n}", "it did not join", ONE)
    bench.clock.advance(600)
    bench.manager.add_nodes()
    assert [m.client_id for m in bench.server.machines()] == ["node-1", "w0"]


def test_a_machine_that_was_of_use_and_fails_later_says_nothing_about_new_ones(make_bench):
    bench = make_bench(helper={"num_pcs": 4}, minthreshold=0, maxthreshold=4)
    bench.cycles(5)
    for node in bench.manager.held():
        bench.manager.give_up(node, "its disk died")
    assert bench.events.of("growth_stopped") == []


def restarted(make_bench, bench, **config):
    """Make the manager that follows, of a server whose machines are there already."""
    said = {"clock": bench.clock, "holdings": bench.config.holdings, "intents": bench.config.intents}
    return make_bench(server=bench.server, config={**said, **config}, minthreshold=0, maxthreshold=4)


def test_a_machine_that_was_ready_before_a_restart_tells_nothing_of_new_ones(make_bench):
    bench = make_bench(helper={"num_pcs": 2}, minthreshold=0, maxthreshold=4)
    bench.cycles(5)
    again = restarted(make_bench, bench)
    for n in range(3):
        again.manager.brake.failed(f"pc{n}", "it did not join", ONE)
    again.manager.manage_once(force=True)
    assert len(again.manager.inventory.with_fate("ready")) == 2
    again.clock.advance(600)
    assert again.manager.brake.allowance() == 1, "nobody waits for them to prove themselves"
    for node in again.manager.held():
        again.manager.prove(node)
    assert again.manager.brake.words(), "that they are of use is no news"
    assert again.events.of("growth_resumed") == []


def test_a_machine_that_was_starting_at_a_restart_is_on_trial_after_it(make_bench):
    bench = make_bench(helper={"num_pcs": 1}, minthreshold=0, maxthreshold=4)
    bench.cycles(2)
    assert len(bench.server.machines()) == 1
    again = restarted(make_bench, bench)
    for n in range(3):
        again.manager.brake.failed(f"pc{n}", "it did not join", ONE)
    again.manager.manage_once()
    again.cycles(3)
    assert len(again.events.of("growth_resumed")) == 1


def test_a_manager_may_ask_more_of_a_machine_than_to_boot(make_bench):
    class Joining(SimpleElasticSliceManager):
        def machine_booted(self, node):
            pass

    bench = make_bench(manager_class=Joining, helper={"num_pcs": 4}, minthreshold=0, maxthreshold=4)
    bench.cycles(5)
    assert bench.manager.inventory.unproven(bench.clock.now() - timedelta(hours=1))
    for node in bench.manager.held()[:3]:
        bench.manager.give_up(node, "it did not join")
    assert bench.events.kinds()["growth_stopped"] == 1
    bench.manager.prove(bench.manager.held()[3])
    assert bench.events.kinds()["growth_resumed"] == 1


@pytest.mark.parametrize(("words", "figure"), [("", "0.0"), ("growth is stopped since ...", "1.0")])
def test_a_stopped_growth_is_a_figure(words, figure):
    metrics = Metrics()
    view = AgentView((), 0, None, {}, {}, growth_stopped=words)
    metrics.watch(lambda: view, START, dict)
    assert f"esagent_growth_stopped {figure}" in generate_latest(metrics.registry).decode()
