"""What is asked of each CM, with more than one type of machine."""

from datetime import UTC, datetime

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.lenders import Borrowing
from agent.cluster.moment import Picture
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.model import AdvertisedNode, Intent, IntentKind, ResourceValue, Share, SliverNode
from agent.core.request.helper import AddArgs
from agent.slurm.model import Node, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SMALL = MachineType(hardware_type="small", cpus=4)
BIG = MachineType(hardware_type="big", cpus=16, cms=("urn:one",))


class Manager:
    """Two CMs, each with four small machines and two big ones; half of them free."""

    def __init__(self) -> None:
        self.cmlist = ("urn:one", "urn:two")
        self.all_nodes = {cm: advertised(cm, "abcd", "ef") for cm in self.cmlist}
        self.available = {cm: advertised(cm, "ab", "e") for cm in self.cmlist}
        self.resource_values: dict[str, ResourceValue] = {}
        self.percent_available_minimum = 0.0
        self.settings = ClusterSettings(
            DemandSettings(types=(SMALL, BIG)), WeightSettings(), DrainSettings(), JoinSettings()
        )
        self.intents: list[Intent] = []
        self.machines: list[SliverNode] = []

    def share(self, cm: str) -> Share | None:
        raise AssertionError(f"{cm}: only where one type is borrowed")

    def held(self, cm: str | None = None) -> list[SliverNode]:
        return [m for m in self.machines if cm in {None, m.cm}]

    def requested(self, cm: str | None = None) -> list[Intent]:
        return [i for i in self.intents if cm in {None, i.cm}]

    def get_add_args(self, count: int = 1) -> AddArgs:
        return {f"node-{n}": {"diskimage": "urn:image"} for n in range(1, count + 1)}


def advertised(cm: str, small: str, big: str) -> tuple[AdvertisedNode, ...]:
    kinds = [(name, "small") for name in small] + [(name, "big") for name in big]
    return tuple(
        AdvertisedNode(f"{name}{cm[-1]}", cm, available=True, hardware_types=(kind,)) for name, kind in kinds
    )


def machine(node_id: str, kind: str) -> SliverNode:
    return SliverNode(f"node-{node_id}", node_id, "urn:one", f"urn:{node_id}", kind, "", "", "")


def test_each_cm_is_asked_for_what_it_has_of_a_type() -> None:
    borrowing = Borrowing(Manager(), avoided=lambda _cm, _now: ())
    wanted = GrowthPlan(5, wanted={"small": 3, "big": 2})
    assert borrowing.shares(wanted, NOW) == {
        ("small", "urn:one"): 2,
        ("small", "urn:two"): 1,
        ("big", "urn:one"): 1,
    }


def test_a_type_that_is_left_alone_at_a_cm_is_not_asked_for_there() -> None:
    borrowing = Borrowing(Manager(), avoided=lambda cm, _now: {"small"} if cm == "urn:one" else ())
    assert borrowing.shares(GrowthPlan(1, wanted={"small": 1}), NOW) == {("small", "urn:two"): 1}


def test_each_machine_that_is_asked_for_is_a_free_one_of_its_type() -> None:
    manager = Manager()
    borrowing = Borrowing(manager, avoided=lambda _cm, _now: ())
    args = borrowing.name_machines("urn:one", {"big": 2}, 5, {})
    assert args == {"node-1": {"diskimage": "urn:image", "node": "ee"}}
    manager.intents = [Intent(IntentKind.ADD, "urn:one", "node-1", NOW)]
    picture = Picture(Snapshot(NOW, {}, ()), {})
    assert borrowing.supply(picture, (), (), NOW).coming == {"big": 1}


def test_what_has_become_ours_since_the_cm_was_read_is_not_asked_for_again() -> None:
    manager = Manager()
    manager.machines = [machine("ae", "small"), machine("ee", "big")]
    borrowing = Borrowing(manager, avoided=lambda _cm, _now: ())
    args = borrowing.name_machines("urn:one", {"small": 2, "big": 1}, 5, {})
    assert [fields["node"] for fields in args.values()] == ["be"]
    assert borrowing.shares(GrowthPlan(2, wanted={"small": 2}), NOW) == {
        ("small", "urn:one"): 1,
        ("small", "urn:two"): 1,
    }


def test_machines_that_slurm_asks_for_by_name_are_of_the_type_of_their_node() -> None:
    borrowing = Borrowing(Manager(), avoided=lambda _cm, _now: ())
    names = {"a": "small", "b": "big", "c": "small", "d": "small"}
    args = borrowing.name_machines("urn:one", {"small": 2, "big": 1}, 5, names)
    assert {name: fields["node"] for name, fields in args.items()} == {"a": "ae", "c": "be", "b": "ee"}


def test_what_is_held_is_counted_by_type_and_only_what_will_join_is_coming() -> None:
    borrowing = Borrowing(Manager(), avoided=lambda _cm, _now: ())
    machines = {name: machine(name, "big") for name in ("joined", "booting", "failed", "leaving", "down")}
    machines["odd"] = machine("odd", "odd")
    nodes = {"joined": Node("joined", "IDLE"), "down": Node("down", "DOWN")}
    picture = Picture(Snapshot(NOW, nodes, ()), machines, frozenset({"leaving"}))
    supply = borrowing.supply(picture, {"urn:failed"}, (), NOW)
    assert supply.held == {"big": 5, "?": 1}
    assert supply.coming == {"big": 2, "?": 1}
    assert supply.count == 6
