"""What is asked of each CM, with more than one type of machine."""

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.lenders import Loan, choose_loans, divide, spare_machines
from agent.cluster.moment import Moment
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.join import JoinSettings
from agent.core.model import AdvertisedNode, Share, SliverNode
from agent.core.said import ResourceValue
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import NOW, Cloudlab, Slurm, a_moment, settings_with

SMALL = MachineType(hardware_type="small", cpus=4)
BIG = MachineType(hardware_type="big", cpus=16, cms=("urn:one",))
TYPES = DemandSettings(types=(SMALL, BIG))
CMS = ("urn:one", "urn:two")


def advertised(cm: str, small: str, big: str) -> tuple[AdvertisedNode, ...]:
    kinds = [(name, "small") for name in small] + [(name, "big") for name in big]
    return tuple(
        AdvertisedNode(f"{name}{cm[-1]}", cm, available=True, hardware_types=(kind,)) for name, kind in kinds
    )


def machine(node_id: str, kind: str) -> SliverNode:
    return SliverNode(f"node-{node_id}", node_id, "urn:one", f"urn:{node_id}", kind, "", "", "")


def lending(*machines: SliverNode, demand: DemandSettings = TYPES, **facts: object) -> Moment:
    """Two CMs, each with four small machines and two big ones; half of them free, and all can be had."""
    told = {
        "cms": CMS,
        "everything": {cm: advertised(cm, "abcd", "ef") for cm in CMS},
        "free": {cm: advertised(cm, "ab", "e") for cm in CMS},
        "stays_free": 0.0,
        **facts,
    }
    return a_moment(machines=machines, settings=settings_with(demand), facts=told)


def shares(moment: Moment, growth: GrowthPlan) -> dict[tuple[str, str], int]:
    return divide(growth.wanted, spare_machines(moment), CMS)


def test_machines_are_shared_out_by_the_order_of_the_cms() -> None:
    spare = {("small", "one"): 2, ("small", "two"): 9, ("big", "two"): 1}
    assert divide({"small": 3, "big": 4}, spare, ["one", "two", "three"]) == {
        ("small", "one"): 2,
        ("small", "two"): 1,
        ("big", "two"): 1,
    }


def test_a_cm_that_has_too_few_free_is_passed_over() -> None:
    spare = {("small", "one"): -2, ("small", "two"): 1}
    assert divide({"small": 2}, spare, ["one", "two"]) == {("small", "two"): 1}


def test_each_cm_is_asked_for_what_it_has_of_a_type() -> None:
    wanted = GrowthPlan(5, wanted={"small": 3, "big": 2})
    assert shares(lending(), wanted) == {
        ("small", "urn:one"): 2,
        ("small", "urn:two"): 1,
        ("big", "urn:one"): 1,
    }


def test_a_type_that_is_left_alone_at_a_cm_is_not_asked_for_there() -> None:
    moment = lending(avoided={"urn:one": frozenset({"small"})})
    assert shares(moment, GrowthPlan(1, wanted={"small": 1})) == {("small", "urn:two"): 1}


def test_a_cm_that_said_it_has_none_can_spare_none_and_of_one_that_cannot_be_asked_it_is_not_known() -> None:
    closed = {"urn:one": "until 12:10:00Z: none are free"}
    short = lending(exhausted=frozenset(closed), closed=closed)
    assert spare_machines(short) == {
        ("small", "urn:one"): 0,
        ("big", "urn:one"): 0,
        ("small", "urn:two"): 2,
    }
    assert set(spare_machines(lending(closed=closed))) == {("small", "urn:two")}


def test_no_more_are_spared_than_there_are_of_types_that_boot() -> None:
    shares = {"urn:one": Share(5, 10), "urn:two": Share(5, 10)}
    moment = lending(demand=DemandSettings(), shares=shares, fitting={"urn:one": 0})
    assert spare_machines(moment) == {("", "urn:one"): 0, ("", "urn:two"): 5}


def test_a_part_of_each_type_stays_free_for_others() -> None:
    assert spare_machines(lending(stays_free=0.5)) == {
        ("small", "urn:one"): 0,
        ("big", "urn:one"): 0,
        ("small", "urn:two"): 0,
    }
    assert spare_machines(lending(stays_free=0.25))["small", "urn:two"] == 1


def test_what_was_not_read_at_a_cm_is_not_known_to_be_free() -> None:
    one = {"urn:one": advertised("urn:one", "a", "e")}
    assert set(spare_machines(lending(free=one))) == {("small", "urn:one"), ("big", "urn:one")}
    assert set(spare_machines(lending(everything=one))) == {("small", "urn:one"), ("big", "urn:one")}


def test_where_one_type_is_borrowed_the_share_of_each_cm_counts() -> None:
    moment = lending(demand=DemandSettings(), shares={"urn:two": Share(5, 10)}, stays_free=0.2)
    assert spare_machines(moment) == {("", "urn:two"): 3}


def test_each_machine_that_is_asked_for_is_a_free_one_of_its_type(make_manager) -> None:
    assert choose_loans(lending(), "urn:one", {"big": 2}, 5) == (Loan("big", "ee"),)
    manager, slurm = managed(make_manager)
    slurm.jobs = [Job("1", "PENDING", reason="Resources", cpus=16)]
    manager.get_system_state()
    (asked,) = manager.should_add_nodes(0, "urn:one").values()
    assert asked["node"] == "ee"
    assert set(manager.memory.now().asked_types.items()) == {(("urn:one", "node-1"), "big")}


def test_no_more_machines_are_chosen_than_are_asked_for_and_the_least_wanted_come_first() -> None:
    moment = lending(values={"ae": ResourceValue("ae", 0.9, NOW)})
    assert choose_loans(moment, "urn:one", {"small": 1, "big": 1}, 1) == (Loan("small", "be"),)
    assert choose_loans(moment, "urn:one", {"small": 2, "big": 1}, 3) == (
        *(Loan("small", node_id) for node_id in ("be", "ae")),
        Loan("big", "ee"),
    )


def test_a_machine_of_several_types_is_asked_for_once() -> None:
    both = [AdvertisedNode(node_id, "urn:one", ("small", "big"), available=True) for node_id in ("aa", "ab")]
    moment = lending(free={"urn:one": tuple(both)})
    chosen = choose_loans(moment, "urn:one", {"small": 1, "big": 2}, 3)
    assert chosen == (Loan("small", "aa"), Loan("big", "ab"))


def test_nothing_is_chosen_at_a_cm_that_was_not_read() -> None:
    assert choose_loans(lending(free={}), "urn:one", {"small": 1}, 1) == ()


def test_machines_that_slurm_asks_for_by_name_are_of_the_type_of_their_node(make_manager) -> None:
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="a,b,c,d")
    manager, slurm = managed(make_manager, join=join)
    waking = frozenset({"CLOUD", "POWERING_UP"})
    slurm.nodes = {name: Node(name, "MIXED", waking, cpus=16 if name == "b" else 4) for name in "abcd"}
    manager.get_system_state()
    args = manager.should_add_nodes(0, "urn:one")
    assert {name: fields["node"] for name, fields in args.items()} == {"a": "ae", "c": "be", "b": "ee"}


def managed(make_manager, **sections):
    """A manager of the CM that has machines of both types."""

    class Advertising(Cloudlab):
        def discover(self, cm, *, available):
            return advertised(cm, "ab", "e") if available else advertised(cm, "abcd", "ef")

    slurm = Slurm()
    demand = TYPES.model_copy(update={"grow_after": 0})
    manager = make_manager(Advertising(cms=("urn:one",)), slurm, demand=demand, **sections)
    manager.percent_available_minimum = 0.0
    return manager, slurm
