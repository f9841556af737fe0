"""What we hold and what can be had, by type."""

from agent.cluster.grow.supply import OTHER_TYPE, count_supply, type_of
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.core.model import AdvertisedNode, Intent, IntentKind, Share, SliverNode
from agent.core.said import Taken
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_machine, a_moment, settings_with

SMALL = MachineType(hardware_type="small", cpus=4)
BIG = MachineType(hardware_type="big", cpus=16, cms=(UTAH,))
TYPES = settings_with(DemandSettings(types=(SMALL, BIG)))


def machine(node_id: str, kind: str) -> SliverNode:
    return SliverNode(f"node-{node_id}", node_id, UTAH, f"urn:{node_id}", kind)


def asked(client_id: str, cm: str = UTAH) -> Intent:
    return Intent(IntentKind.ADD, cm, client_id, NOW)


def test_what_is_held_is_counted_by_type_and_only_what_will_join_is_coming() -> None:
    machines = [machine(name, "big") for name in ("joined", "booting", "failed", "leaving", "down")]
    nodes = Node("joined", "IDLE"), Node("down", "DOWN")
    facts = {"failed": frozenset({"urn:failed"}), "taken": {"leaving": Taken("leaving", "", NOW)}}
    moment = a_moment(*nodes, machines=[*machines, machine("odd", "odd")], settings=TYPES, facts=facts)
    supply = count_supply(moment)
    assert supply.held == {"big": 5, "?": 1}
    assert supply.coming == {"big": 2, "?": 1}
    assert (supply.going, supply.count) == ({"big": 1}, 5), "Cloudlab has taken one"


def test_a_drained_machine_is_not_coming_and_one_whose_slurmd_is_silent_is() -> None:
    nodes = Node("pc1", "IDLE", frozenset({"DRAIN"})), Node("pc2", "IDLE", frozenset({"NOT_RESPONDING"}))
    supply = count_supply(a_moment(*nodes, machines=[a_machine(1), a_machine(2)]))
    assert (supply.held, supply.coming) == ({"": 2}, {"": 1})


def test_a_machine_that_was_asked_for_is_of_the_type_that_was_asked_for() -> None:
    intents = (asked("node-1"), asked("node-2"))
    moment = a_moment(settings=TYPES, facts={"requested": intents}, asked_types={(UTAH, "node-1"): "big"})
    supply = count_supply(moment)
    assert supply.held == supply.coming == {"big": 1, "small": 1}


def test_a_machine_that_should_have_come_by_now_counts_as_held_and_no_job_waits_for_it() -> None:
    overdue = frozenset({(UTAH, "node-1")})
    supply = count_supply(a_moment(facts={"requested": (asked("node-1"),), "overdue": overdue}))
    assert (supply.count, supply.coming) == (1, {})


def test_a_machine_that_was_asked_for_as_a_type_that_is_borrowed_no_more_counts_as_another() -> None:
    asked_types = {(UTAH, "node-1"): "gone"}
    facts = {"requested": (asked("node-1"),)}
    assert count_supply(a_moment(settings=TYPES, facts=facts, asked_types=asked_types)).held == {"?": 1}


def test_a_machine_that_was_asked_for_and_is_seen_counts_once() -> None:
    intents = (asked("node-1"), asked("node-1", WISC))
    supply = count_supply(a_moment(machines=[a_machine(1)], facts={"requested": intents}))
    assert supply.count == 2


def test_what_the_cms_can_spare_is_summed_up_by_type_and_none_owes_another() -> None:
    shares = {UTAH: Share(1, 10), WISC: Share(8, 10)}
    moment = a_moment(facts={"cms": (UTAH, WISC), "shares": shares, "stays_free": 0.5})
    assert count_supply(moment).spare == {"": 3}
    free = {UTAH: (AdvertisedNode("pc9", UTAH, ("big",), available=True),)}
    moment = a_moment(settings=TYPES, facts={"free": free, "everything": free, "stays_free": 0.0})
    assert count_supply(moment).spare == {"big": 1, "small": 0}


def test_surplus_that_may_go_back_into_service_is_told() -> None:
    moment = a_moment(
        machines=(machine("pc1", "small"), machine("pc2", "small"), machine("pc3", "small")),
        chosen=frozenset({"pc1", "pc2", "pc3"}),
        emptied=frozenset({"pc2"}),
        blocking={"pc3": None},
    )
    assert count_supply(moment).returnable == {"pc1"}


def test_a_node_resumes_that_we_drained_and_that_nobody_wants_empty_any_more() -> None:
    drain, surplus = frozenset({"DRAIN"}), Drain("", DrainCause.SURPLUS).reason
    nodes = (
        Node("pc1", "IDLE", drain, reason=surplus),
        Node("pc2", "IDLE", drain, reason=surplus),
        Node("pc3", "IDLE", drain, reason="broken fan"),
        Node("pc4", "IDLE", reason=surplus),
        Node("pc5", "IDLE"),
    )
    machines = [a_machine(n) for n in range(1, 6)]
    assert count_supply(a_moment(*nodes, machines=machines, chosen=frozenset({"pc2"}))).resuming == {"pc1"}


def test_it_is_not_counted_what_power_saving_lacks() -> None:
    assert count_supply(a_moment()).lacking is None


def test_where_one_type_is_borrowed_every_machine_is_of_it() -> None:
    assert type_of(machine("pc1", "odd"), DemandSettings()) == ""
    assert type_of(machine("pc1", "odd"), TYPES.demand) == OTHER_TYPE
    assert type_of(machine("pc1", "big"), TYPES.demand) == "big"


def test_what_no_manifest_shows_and_may_be_held_counts_and_is_not_counted_on() -> None:
    doubted = (machine("1", "big"), SliverNode("node-2", "", UTAH, "urn:2"))
    unseen = {(UTAH, "node-1"), (UTAH, "node-2"), (WISC, "node-3"), (WISC, "node-4"), (WISC, "node-5")}
    facts = {"doubted": doubted, "unseen": frozenset(unseen), "requested": (asked("node-5", WISC),)}
    moment = a_moment(settings=TYPES, facts=facts, asked_types={(WISC, "node-3"): "big"})
    supply = count_supply(moment)
    assert supply.held == {"big": 2, "small": 3}
    assert supply.coming == {"small": 1}


def test_which_partitions_a_type_comes_into_is_known_once_one_of_it_has_joined() -> None:
    machines = [machine("a", "big"), machine("b", "big"), machine("c", "small")]
    nodes = Node("a", "IDLE", partitions=("main",)), Node("b", "IDLE", partitions=("gpu",)), Node("c", "DOWN")
    supply = count_supply(a_moment(*nodes, machines=machines, settings=TYPES))
    assert supply.partitions == {"big": {"main", "gpu"}}
