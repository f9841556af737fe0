"""What is asked of a CM, what is written down and told of it, and what holds it up."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.core.config import CycleSettings, MemoryIntents
from agent.core.errors import (
    AlreadyExistsError,
    BadArgumentsError,
    CloudlabError,
    ConfigError,
    InsufficientNodesError,
    LostReplyError,
)
from agent.core.estimates import ForJobs
from agent.core.events import OfJobs
from agent.core.model import AdvertisedNode, Intent, IntentKind, Lan, LanPort, Place, Sliver
from agent.core.ports import Clock
from agent.core.request.helper import AddArgs
from agent.core.request.rspec import RequestNode, build_request, request_client_ids
from agent.core.said import ResourceValue
from agent.core.scaling.adding import Growth
from agent.core.scaling.placement import Placement
from agent.core.settings import LeaseSettings
from agent.core.slice.at_work import AtWork
from agent.core.slice.ending import Endings
from agent.core.slice.intents import Intents
from agent.core.slice.machines import MachineBook

CM, OTHER = "urn:cm", "urn:other"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NO_MACHINES = InsufficientNodesError("not enough nodes", code=26)
PAUSED = f"nothing is asked of urn:cm until 12:10:00Z: {NO_MACHINES}"
FEWER = f"1 are asked for, not 2, until 12:10:00Z: {NO_MACHINES}"
NONE = f"no more are asked for until 12:10:00Z: {NO_MACHINES}"


class FakeManager:
    """Wants what a test says; its helper calls machines w1, w2 and so on."""

    def __init__(self) -> None:
        self.resource_values: dict[Place, ResourceValue] = {}
        self.wanted: int | AddArgs | None = 2
        self.asked: list[tuple[int, str | None]] = []
        self.request = build_request([RequestNode("node-1"), RequestNode("node-2")])
        self.reserved: list[set[str]] = []
        self.lans: tuple[str, ...] = ()
        self.types: dict[str, str] = {}
        self.jobs: tuple[str, ...] = ()
        self.is_fixed = False
        self.released: list[str] = []

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        self.asked.append((count, cm))
        return self.wanted

    def should_create_sliver(self, cm: str) -> bool:
        return bool(self.wanted) and cm != CM

    def request_for(self, cm: str) -> str:
        assert cm == CM
        assert self.reserved, "the helper is to know the names in use"
        return self.request

    def get_add_args(self, count: int = 1) -> AddArgs:
        assert self.reserved, "the helper is to know the names in use"
        return {f"w{n}": {} for n in range(1, count + 1)}

    def reserve_names(self, names: Iterable[str]) -> None:
        self.reserved.append(set(names))

    def lans_of_added(self) -> Sequence[str]:
        return self.lans

    def wants_machine(self, cm: str) -> bool:
        return bool(self.wanted)

    def asked_for(self, cm: str, client_ids: Sequence[str]) -> ForJobs:
        return ForJobs.of(self.jobs)

    def type_asked(self, cm: str, client_id: str) -> str:
        return self.types.get(client_id, "")

    def can_ask_for_fewer(self) -> bool:
        return not self.is_fixed

    def release_names(self, names: Iterable[str]) -> None:
        self.released += names


class FakeOffers:
    def __init__(self) -> None:
        self.available: Mapping[str, tuple[AdvertisedNode, ...]] = {}


class FakeHoldings:
    def __init__(self) -> None:
        self.silent: tuple[str, ...] = ()

    def unknown(self) -> tuple[str, ...]:
        return self.silent


class FakeSlivers:
    """One CM, with a sliver and a machine, that does as it is told unless a test says otherwise."""

    def __init__(self, clock: Clock) -> None:
        self.intents = Intents(MemoryIntents(), clock, 900)
        self.holdings = FakeHoldings()
        self.in_use = {"Taken"}
        self.has_sliver = True
        self.in_doubt = False
        self.lost = False
        self.fault: CloudlabError | None = None
        self.strikes = False
        """A fault leaves nothing in flight."""
        self.calls: list[tuple[Any, ...]] = []
        self.lans: tuple[Lan, ...] = ()
        self.book = MachineBook()
        self.expires: dict[str, datetime] = {}
        self.at_work: Any = None

    def read(self, cm: str) -> Sliver | None:
        assert cm == CM
        sliver = Sliver(CM, "sliver", None, (), "<rspec/>", lans=self.lans) if self.has_sliver else None
        self.book.slivers[cm] = sliver
        return sliver

    def holds(self, _cm: str) -> bool:
        return self.has_sliver

    def waits_for_another_look(self, _cm: str) -> bool:
        return self.in_doubt

    def why_no_more(self, _cm: str) -> str:
        return ""

    def has_lost(self, _cm: str) -> bool:
        return self.lost

    def names(self, cm: str | None = None) -> set[str]:
        return self.in_use if cm in {None, CM} else set()

    def never_ours(self, _names: Iterable[str]) -> list[str]:
        return []

    def create(self, cm: str, rspec: str, asked: tuple[Intent, ...]) -> None:
        self._do("create", cm, rspec, asked)

    def add(self, cm: str, args: AddArgs, asked: tuple[Intent, ...]) -> None:
        self._do("add", cm, args, asked)

    def _do(self, call: str, cm: str, what: object, asked: tuple[Intent, ...]) -> None:
        assert set(asked) <= set(self.intents.in_flight(IntentKind.ADD, cm)), "it is written down before"
        self.calls.append((call, cm, what))
        if self.fault:
            if self.strikes:
                self.intents.strike(asked)
            raise self.fault


class FakeBrake:
    def __init__(self) -> None:
        self.allowed: int | None = None
        self.stopped = ""
        self.counts: list[int] = []
        self.refusals = 0
        self.turns_given = 0
        self.sooner: tuple[str, ...] = ()

    def allowance(self) -> int | None:
        return self.allowed

    def asked(self, count: int, cm: str) -> None:
        assert cm in {CM, OTHER}
        self.counts.append(count)

    def refused(self) -> None:
        self.refusals += 1

    def passed(self, cm: str) -> None:
        assert cm in {CM, OTHER}
        self.turns_given += 1

    def before(self, cm: str) -> tuple[str, ...]:
        assert cm in {CM, OTHER}
        return self.sooner

    def words(self) -> str:
        return self.stopped


class FakeLife:
    def __init__(self) -> None:
        self.closed = ""
        self.why_gone: list[str] = []

    def why_closed(self, _cm: str) -> str:
        return self.closed

    def gone(self, why: str, *, told: bool) -> None:
        assert told
        self.why_gone.append(why)


class Bench:
    def __init__(self, office: Any, nodetype: str | None = None) -> None:
        self.office, self.manager, self.brake = office, FakeManager(), FakeBrake()
        self.slivers, self.offers, self.life = FakeSlivers(office), FakeOffers(), FakeLife()
        self.slivers.at_work = AtWork(office.desk, grace=30, limit=2400)
        self.placement = Placement(CycleSettings(type_backoff="10m"), nodetype)
        self.growth = Growth(
            office.desk,
            self.manager,
            self.slivers,  # type: ignore[arg-type]
            self.offers,  # type: ignore[arg-type]
            self.placement,
            self.brake,  # type: ignore[arg-type]
            Endings(office.desk, dict, tuple, LeaseSettings, lambda _: (), dict),
            (),
            self.life,  # type: ignore[arg-type]
            pause=30,
        )
        self.askable = self.growth.askable

    def create(self, *, wanted: bool = True) -> None:
        self.growth.create(CM, lambda cm: wanted and cm == CM)

    @property
    def calls(self) -> list[tuple[Any, ...]]:
        return self.slivers.calls

    @property
    def intents(self) -> list[str]:
        return sorted(i.client_id for i in self.slivers.intents.in_flight(IntentKind.ADD, CM))


@pytest.fixture
def bench(office: Any) -> Bench:
    return Bench(office)


@pytest.fixture
def bare(bench: Bench) -> Bench:
    """A CM that has no sliver yet."""
    bench.slivers.has_sliver = False
    bench.slivers.in_use = set()
    return bench


# --- a new sliver


def test_a_sliver_is_made_with_the_request_of_the_helper(bare: Bench) -> None:
    bare.create()
    assert bare.calls == [("create", CM, bare.manager.request)]
    assert bare.intents == ["node-1", "node-2"]
    assert bare.brake.counts == [2]
    assert bare.office.told == [("create", CM, "asks for a sliver with node-1, node-2")]
    assert bare.office.notes == []


def test_a_sliver_is_made_where_there_is_none(bare: Bench) -> None:
    bare.growth.ensure(CM, lambda _: True)
    assert [call for call, *_ in bare.calls] == ["create"]
    bare.slivers.intents.strike(bare.slivers.intents.in_flight())
    bare.slivers.has_sliver = True
    bare.growth.ensure(CM, lambda _: True)
    assert len(bare.calls) == 1


def test_no_sliver_is_made_while_it_is_not_known_what_others_hold(bare: Bench) -> None:
    bare.slivers.holdings.silent = (OTHER, "urn:third")
    bare.growth.ensure(CM, lambda _: True)
    assert bare.calls == []
    assert bare.office.notes == ["no machine is asked for: what urn:other, urn:third holds is not known yet"]


def test_no_sliver_is_made_while_an_earlier_request_may_take_effect(bare: Bench) -> None:
    bare.slivers.intents.declare(IntentKind.ADD, CM, ["node-1"])
    bare.create()
    assert bare.calls == []
    assert bare.office.notes == ["no new sliver at urn:cm: an earlier request may still take effect"]


@pytest.mark.parametrize("kind", [IntentKind.DELETE, IntentKind.ADD])
def test_other_requests_hold_no_sliver_up(bare: Bench, kind: IntentKind) -> None:
    bare.slivers.intents.declare(kind, CM if kind is IntentKind.DELETE else OTHER, ["node-1"])
    bare.create()
    assert len(bare.calls) == 1


def test_no_sliver_is_made_that_is_not_wanted(bare: Bench) -> None:
    bare.create(wanted=False)
    assert (bare.calls, bare.office.notes) == ([], [])


def test_no_sliver_is_made_while_growth_is_stopped(bare: Bench) -> None:
    bare.brake.allowed, bare.brake.stopped = 0, "growth is stopped"
    bare.create()
    assert (bare.calls, bare.office.notes) == ([], ["growth is stopped"])
    bare.brake.allowed = 1
    bare.create()
    assert len(bare.calls) == 1, "the whole request is the probe"


def told_of(bench: Bench, kind: str) -> list[str]:
    return [message for told, _, message, *_ in bench.office.told if told == kind]


def test_a_first_request_that_is_refused_is_made_smaller_and_then_left_for_a_while(bare: Bench) -> None:
    bare.slivers.fault, bare.slivers.strikes = NO_MACHINES, True
    for _ in range(3):
        bare.create()
    assert [request_client_ids(request, CM) for _, _, request in bare.calls] == [
        ("node-1", "node-2"),
        ("node-1",),
    ]
    assert told_of(bare, "insufficient") == [FEWER, NONE]
    assert bare.office.notes == [PAUSED]
    bare.office.advance(600)
    bare.slivers.fault = None
    bare.create()
    assert len(request_client_ids(bare.calls[2][2], CM)) == 2, "all of it is tried again"


def test_a_document_that_is_refused_is_left_for_a_while_as_a_whole(bare: Bench) -> None:
    bare.manager.is_fixed = True
    bare.slivers.fault, bare.slivers.strikes = NO_MACHINES, True
    bare.create()
    bare.create()
    assert len(bare.calls) == 1
    fixed = "the request is a document of 2 machines, and is asked for as a whole or not at all"
    assert told_of(bare, "insufficient") == [f"nothing is asked until 12:10:00Z: {NO_MACHINES}; {fixed}"]
    assert bare.manager.released == [], "the names are the document's own"
    bare.office.advance(600)
    bare.slivers.fault = None
    bare.create()
    assert bare.placement.pause(CM, "", bare.office.time, "again").delay == 600, "it began anew"


def test_a_sliver_that_is_there_already_is_no_fault_once_it_was_read(bare: Bench) -> None:
    bare.slivers.fault = AlreadyExistsError("Must delete existing slice first", code=7)
    with pytest.raises(AlreadyExistsError):
        bare.create()
    bare.slivers.intents.strike(bare.slivers.intents.in_flight())
    bare.slivers.has_sliver = True
    bare.create()
    assert len(bare.calls) == 2


def test_a_request_without_a_machine_at_the_cm_is_refused(bare: Bench) -> None:
    bare.manager.request = build_request([])
    with pytest.raises(ConfigError) as refusal:
        bare.create()
    assert str(refusal.value) == "the helper's request asks for no machine at urn:cm"
    assert (bare.calls, bare.intents, bare.brake.counts) == ([], [], [])


def test_for_which_jobs_machines_are_asked_for_is_told(bench: Bench) -> None:
    bench.manager.jobs = ("7", "8", "9", "10", "11", "12", "13")
    bench.growth.add(CM, 0)
    message = "asks for 2 more: w1, w2; for jobs 7, 8, 9, 10, 11 and 2 more"
    assert bench.office.told == [("add", CM, message, OfJobs("7 8 9 10 11", 2))]


# --- more machines


def test_as_many_machines_are_added_as_are_wanted(bench: Bench) -> None:
    bench.growth.add(CM, 0)
    assert bench.manager.asked == [(0, CM)]
    assert bench.calls == [("add", CM, {"w1": {}, "w2": {}})]
    assert bench.intents == ["w1", "w2"]
    assert bench.brake.counts == [2]
    assert bench.manager.reserved == [{"Taken"}]
    assert bench.office.told == [("add", CM, "asks for 2 more: w1, w2")]
    assert bench.office.notes == []


def test_the_manager_hears_how_many_are_asked_for(bench: Bench) -> None:
    bench.growth.add(CM, 3)
    assert bench.manager.asked == [(3, CM)]


@pytest.mark.parametrize("wanted", [0, None, False, {}])
def test_nothing_is_asked_for_when_nothing_is_wanted(bench: Bench, wanted: Any) -> None:
    bench.manager.wanted = wanted
    bench.growth.add(CM, 0)
    assert (bench.calls, bench.office.told, bench.brake.counts) == ([], [], [])


def test_a_dict_is_passed_on_as_it_is(bench: Bench) -> None:
    bench.manager.wanted = {"gpu-1": {"node": "pc7"}, "W_2": {}}
    bench.growth.add(CM, 0)
    assert bench.calls == [("add", CM, {"gpu-1": {"node": "pc7"}, "W_2": {}})]


@pytest.mark.parametrize("wanted", [-1, "two", 1.5])
def test_an_answer_that_is_none_is_refused(bench: Bench, wanted: Any) -> None:
    bench.manager.wanted = wanted
    with pytest.raises(ConfigError) as refusal:
        bench.growth.add(CM, 0)
    expected = f"should_add_nodes: a count, dict, None or False is expected, not {wanted!r}"
    assert str(refusal.value) == expected
    assert bench.calls == []


def test_a_name_that_no_machine_can_have_is_refused(bench: Bench) -> None:
    bench.manager.wanted = {"w1": {}, "w.2": {}}
    with pytest.raises(ConfigError) as refusal:
        bench.growth.add(CM, 0)
    assert str(refusal.value) == "client_id 'w.2': [-A-Za-z0-9_]{1,32} is expected"
    assert (bench.calls, bench.intents) == ([], [])


def test_a_name_that_is_in_use_is_refused_however_it_is_written(bench: Bench) -> None:
    bench.manager.wanted = {"tAKEN": {}}
    with pytest.raises(ConfigError) as refusal:
        bench.growth.add(CM, 0)
    assert str(refusal.value) == "client_id 'tAKEN' is in use at urn:cm"
    assert bench.calls == []


def test_nothing_is_added_where_there_is_no_sliver(bench: Bench) -> None:
    bench.slivers.has_sliver = False
    bench.growth.add(CM, 0)
    assert bench.calls == []
    assert bench.office.notes == ["no machine is added at urn:cm: there is no sliver, or it was not read yet"]


def test_nothing_is_added_before_a_machine_that_is_not_ours_is_deleted(bench: Bench) -> None:
    bench.slivers.lost = True
    bench.growth.add(CM, 0)
    assert bench.calls == []
    assert bench.office.notes == [
        "no machine is added at urn:cm before one that is not ours any more is deleted"
    ]


def test_nothing_is_added_while_it_is_not_known_what_others_hold(bench: Bench) -> None:
    bench.slivers.holdings.silent = (OTHER,)
    bench.growth.add(CM, 0)
    assert bench.calls == []
    assert bench.office.notes == ["no machine is asked for: what urn:other holds is not known yet"]


def test_a_cm_that_has_too_few_is_asked_for_fewer_and_then_left_for_a_while(bench: Bench) -> None:
    bench.slivers.fault, bench.slivers.strikes = NO_MACHINES, True
    for _ in range(3):
        bench.growth.add(CM, 0)
    assert [len(args) for _, _, args in bench.calls] == [2, 1]
    assert told_of(bench, "insufficient") == [FEWER, NONE]
    assert bench.office.notes == [PAUSED]
    assert bench.manager.released == ["w1", "w2", "w1"], "no name is lost"
    bench.office.advance(600)
    bench.slivers.fault = None
    bench.growth.add(CM, 0)
    assert len(bench.calls[2][2]) == 2


def test_nothing_is_released_of_what_may_still_come(bench: Bench) -> None:
    bench.slivers.fault = NO_MACHINES
    bench.growth.add(CM, 0)
    bench.slivers.fault, bench.slivers.strikes = LostReplyError("read timed out"), True
    bench.office.advance(601)
    with pytest.raises(LostReplyError):
        bench.growth.add(CM, 0)
    assert bench.manager.released == []


def test_a_named_machine_that_somebody_else_took_has_the_free_ones_read_again(bench: Bench) -> None:
    bench.slivers.fault = BadArgumentsError("Physical node pc1 is not available", code=1)
    with pytest.raises(BadArgumentsError):
        bench.growth.add(CM, 0)
    assert bench.office.woken == ["ensure_sliver", "add_nodes", "update_available"]


def test_another_fault_is_the_callers(bench: Bench) -> None:
    bench.slivers.fault = CloudlabError("Error", code=2)
    with pytest.raises(CloudlabError):
        bench.growth.add(CM, 0)
    assert (bench.office.woken, bench.office.told[1:]) == (["ensure_sliver", "add_nodes"], [])


def test_what_a_cm_refuses_is_no_probe_and_what_may_still_come_is(bench: Bench) -> None:
    bench.slivers.fault = LostReplyError("read timed out")
    with pytest.raises(LostReplyError):
        bench.growth.add(CM, 0)
    assert bench.brake.refusals == 0
    bench.slivers.intents.strike(bench.slivers.intents.in_flight())
    bench.slivers.fault, bench.slivers.strikes = NO_MACHINES, True
    bench.growth.add(CM, 0)
    assert bench.brake.refusals == 1


def test_a_probe_is_left_to_the_cm_whose_turn_it_is(bench: Bench) -> None:
    bench.brake.allowed, bench.brake.sooner = 1, (OTHER,)
    bench.growth.add(CM, 0)
    assert bench.calls == []
    assert bench.office.notes == [f"the probe is asked of {OTHER}, not of {CM}, which was tried last"]
    bench.askable.leave_alone(OTHER, "it is silent")
    bench.growth.add(CM, 0)
    assert len(bench.calls) == 1, "whose turn it is cannot be asked"


def test_a_cm_that_asks_for_nothing_has_had_its_turn(bench: Bench) -> None:
    bench.manager.wanted = None
    bench.growth.add(CM, 0)
    assert (bench.calls, bench.brake.turns_given) == ([], 1)


def test_no_sliver_is_asked_for_once_nothing_is_wanted_any_more(bare: Bench) -> None:
    bare.manager.request = ""
    bare.create()
    assert (bare.calls, bare.intents, bare.brake.turns_given) == ([], [], 1)


def test_machines_are_named_where_the_type_matters_and_what_finds_none_is_told(office: Any) -> None:
    bench = Bench(office, nodetype="a")
    free = tuple(AdvertisedNode(f"pc{n}", CM, ("pc", "a"), True) for n in (1, 2))
    bench.offers.available = {CM: free, OTHER: ()}
    bench.manager.resource_values = {("", "pc1"): ResourceValue("pc1", 0.5, NOW)}
    bench.growth.add(CM, 0)
    assert bench.calls == [("add", CM, {"w1": {"node": "pc2"}, "w2": {"node": "pc1"}})]
    assert bench.office.notes == []
    bench.offers.available = {CM: free[:1]}
    bench.growth.add(CM, 0)
    assert bench.calls[1:] == [("add", CM, {"w1": {"node": "pc1"}})]
    assert bench.office.notes == ["1 of 2 machines at urn:cm find a free one of their type"]


# --- while growth is stopped


def test_one_machine_is_the_probe(bench: Bench) -> None:
    bench.brake.allowed = 1
    bench.growth.add(CM, 0)
    assert bench.calls == [("add", CM, {"w1": {}})]
    assert bench.brake.counts == [1]
    bench.manager.wanted = {"x1": {}, "x2": {}}
    bench.growth.add(CM, 1)
    assert bench.calls[1:] == [("add", CM, {"x1": {}})]


def test_fewer_than_are_allowed_are_as_many_as_are_wanted(bench: Bench) -> None:
    bench.brake.allowed = 5
    bench.growth.add(CM, 2)
    assert bench.calls == [("add", CM, {"w1": {}, "w2": {}})]


@pytest.mark.parametrize(("allowed", "count"), [(0, 0), (0, 1), (1, 2)])
def test_nothing_is_added_beyond_what_the_brake_allows(bench: Bench, allowed: int, count: int) -> None:
    bench.brake.allowed, bench.brake.stopped = allowed, "growth is stopped"
    bench.growth.add(CM, count)
    assert (bench.calls, bench.manager.asked) == ([], [])
    assert bench.office.notes == ["growth is stopped"]


def test_what_two_cms_ask_for_is_decided_one_after_the_other(bench: Bench) -> None:
    """Each sees the intents of the other: the thresholds hold."""
    inside, meanwhile = [], []
    plan = bench.manager.should_add_nodes

    def decide(count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        inside.append(cm)
        if len(inside) == 1:
            other = threading.Thread(target=bench.growth.add, args=(OTHER, 0), daemon=True)
            other.start()
            other.join(0.2)
            meanwhile.append(len(inside))
        return plan(count, cm)

    bench.manager.should_add_nodes = decide  # type: ignore[method-assign]
    bench.growth.add(CM, 0)
    assert meanwhile == [1]


# --- LANs


def a_lan(*addresses: str, netmask: str = "255.255.255.0") -> Lan:
    return Lan("lan-0", tuple(LanPort("lan-0", address, netmask) for address in addresses))


def test_added_machines_are_told_addresses_in_a_lan_that_the_manifest_of_now_has(bench: Bench) -> None:
    bench.manager.lans = ("lan-0",)
    bench.manager.wanted = {"a": {"lans": ["lan-0"]}, "b": {"lans": ["lan-0"]}}
    bench.slivers.lans = (a_lan("10.10.1.1"),)
    bench.growth.add(CM, 0)
    [(_, _, args)] = bench.calls
    assert [fields["lans"][0]["address"] for fields in args.values()] == ["10.10.1.2", "10.10.1.3"]


def test_a_lan_that_is_not_there_is_told_before_the_helper_is_asked_for_names(bench: Bench) -> None:
    bench.manager.lans = ("lan-0",)
    with pytest.raises(ConfigError, match="LAN 'lan-0' is not in the slice at urn:cm"):
        bench.growth.add(CM, 0)
    assert (bench.calls, bench.intents, bench.manager.reserved) == ([], [], [])


def test_a_lan_that_is_not_there_matters_only_while_a_machine_is_wanted(bench: Bench) -> None:
    bench.manager.lans, bench.manager.wanted = ("lan-0",), None
    bench.growth.add(CM, 0)
    assert (bench.calls, bench.manager.asked) == ([], [])


def test_no_machine_is_added_where_the_sliver_has_gone(bench: Bench) -> None:
    bench.manager.lans = ("lan-0",)
    bench.slivers.read = lambda _cm: None  # type: ignore[method-assign]
    bench.growth.add(CM, 0)
    assert (bench.calls, bench.manager.asked) == ([], [])


def test_a_full_lan_is_told_before_the_helper_is_asked_for_names(bench: Bench) -> None:
    bench.manager.lans = ("lan-0",)
    bench.slivers.lans = (a_lan("10.0.0.1", "10.0.0.2", netmask="255.255.255.252"),)
    with pytest.raises(ConfigError, match=r"too few free addresses in 10.0.0.0/30: 0"):
        bench.growth.add(CM, 0)
    assert (bench.calls, bench.manager.asked) == ([], [])


def test_an_address_is_given_once_while_its_machine_may_still_come(bench: Bench) -> None:
    bench.manager.lans = ("lan-0",)
    bench.slivers.lans = (a_lan("10.10.1.1"),)

    def address_of(client_id: str) -> str:
        bench.manager.wanted = {client_id: {"lans": ["lan-0"]}}
        bench.growth.add(CM, 0)
        return str(bench.calls[-1][2][client_id]["lans"][0]["address"])

    assert address_of("a") == "10.10.1.2"
    assert address_of("b") == "10.10.1.3", "the first one is in no manifest yet"
    bench.slivers.intents.strike(bench.slivers.intents.in_flight())
    assert address_of("c") == "10.10.1.2", "they did not come"


def test_no_more_machines_are_added_than_have_addresses_in_a_lan(bench: Bench) -> None:
    bench.manager.lans = ("lan-0",)
    bench.manager.wanted = {name: {"lans": ["lan-0"]} for name in "abc"}
    bench.slivers.lans = (a_lan("10.0.0.1", netmask="255.255.255.252"),)
    bench.growth.add(CM, 0)
    [(_, _, args)] = bench.calls
    assert args == {"a": {"lans": [{"name": "lan-0", "address": "10.0.0.2", "netmask": "255.255.255.252"}]}}
    bench.slivers.intents.strike(bench.slivers.intents.in_flight())
    with pytest.raises(ConfigError, match=r"too few free addresses in 10.0.0.0/30: 1"):
        bench.growth.add(CM, 2)
    assert len(bench.calls) == 1


def test_a_lan_does_not_loosen_the_brake(bench: Bench) -> None:
    bench.manager.lans, bench.brake.allowed = ("lan-0",), 1
    bench.manager.wanted = {name: {"lans": ["lan-0"]} for name in "abc"}
    bench.slivers.lans = (a_lan("10.10.1.1"),)
    bench.growth.add(CM, 0)
    assert [len(args) for _, _, args in bench.calls] == [1]
