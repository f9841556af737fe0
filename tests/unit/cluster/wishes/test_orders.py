"""What administrators ask for is written down, told, and begun at once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.memory.memory import Memory
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.wishes.orders import Orders
from agent.core.errors import AgentError, LedgerError
from agent.core.model import AdminDrain, GrowOrder
from agent.core.slice.facts import SliceFacts
from tests.unit.cluster.conftest import NOW, UTAH, Events, a_desk, a_machine, a_moment, settings_with

DUE = NOW + timedelta(hours=1)
ORDER = GrowOrder(3, "ada", DUE)
WISH = AdminDrain("pc1", "disk", "ada", NOW, DUE)


class World:
    """Orders with their surroundings."""

    def __init__(self, store) -> None:
        self.events = Events()
        self.woken = []
        self.urged = 0
        self.braked = ""
        self.desk = a_desk(
            settings_with(demand=DemandSettings(max_nodes=5)), events=self.events, wake=self._wake
        )
        self.memory = Memory(self.desk, lambda: SliceFacts(braked=self.braked), store)
        self.orders = Orders(self.desk, self.memory, self._resume, self._urge)

    def looked_at(self) -> bool:
        """Tell once whether the drains are to be looked at now."""
        rings = self.desk.bell.is_set()
        self.desk.bell.clear()
        return rings

    def about(self) -> set[str]:
        """What the events concern: "" for the whole slice."""
        return {event.subject for event in self.events}

    def _wake(self, *steps):
        self.woken += steps

    def _resume(self, _who):
        was, self.braked = bool(self.braked), ""
        return was

    def _urge(self):
        self.urged += 1


@pytest.fixture
def world(ledger) -> World:
    return World(ledger)


def again(ledger) -> Memory:
    """Remember what the ledger does, as the next run of the agent."""
    return World(ledger).memory


# --- holding growth up


def test_a_pause_holds_growth_up_and_gives_nothing_back(world, ledger) -> None:
    wish = world.orders.pause("ada")
    assert wish == world.memory.hold.wish == again(ledger).hold.wish == AdminDrain("", "pause", "ada", NOW)
    assert world.memory.now().held_up == "pause by ada"
    assert world.events.words == ["ada stops growth"]
    assert world.woken == []


@pytest.mark.parametrize("earlier", ["pause", "teardown"])
def test_a_pause_does_not_take_the_place_of_an_earlier_wish(world, earlier) -> None:
    first = world.orders.pause("ada") if earlier == "pause" else world.orders.tear_down("ada", DUE)
    told = len(world.events)
    assert world.orders.pause("bob") == first == world.memory.hold.wish
    assert len(world.events) == told


def test_a_teardown_takes_the_place_of_a_pause_and_begins_at_once(world, ledger) -> None:
    world.orders.pause("ada")
    world.looked_at()
    wish = world.orders.tear_down("bob", DUE)
    assert wish == again(ledger).hold.wish == AdminDrain("", "teardown", "bob", NOW, DUE)
    assert world.looked_at()
    assert world.woken == ["delete_nodes"]
    assert world.events.words[1:] == ["bob stops growth and has every machine given back"]


def test_growth_goes_on_when_it_is_allowed_again_and_what_was_emptied_goes_back(world, ledger) -> None:
    world.orders.tear_down("ada", None)
    world.memory.chosen.leave(a_machine(1))
    world.memory.chosen.empty(a_machine(1))
    world.looked_at()
    world.woken.clear()
    assert world.orders.unpause("bob")
    assert (world.memory.hold.wish, again(ledger).hold.wish) == (None, None)
    assert world.memory.chosen.chosen == {a_machine(1).key}, "its delete commands ran: it is of no more use"
    assert world.looked_at()
    assert world.woken == ["get_system_state", "ensure_sliver", "add_nodes"]
    assert world.events.words[1:] == ["bob allows growth again"]
    assert world.about() == {""}


def test_where_nothing_holds_growth_up_there_is_nothing_to_allow(world) -> None:
    assert not world.orders.unpause("ada")
    assert (world.events, world.woken, world.looked_at()) == ([], [], False)


def test_growth_that_the_brake_stopped_is_allowed_too(world) -> None:
    world.braked = "three machines failed"
    assert world.orders.unpause("ada")
    assert world.braked == ""


# --- more machines, and a longer lease


def test_a_wish_for_more_machines_is_begun_at_once(world, ledger) -> None:
    world.orders.grow(ORDER)
    assert world.memory.growing.order == again(ledger).growing.order == ORDER
    assert world.woken == ["get_system_state", "ensure_sliver", "add_nodes"]
    assert world.events.words == ["ada wants 3 machines in service"]


def refusal(world, order=ORDER) -> str:
    with pytest.raises(AgentError) as error:
        world.orders.grow(order)
    assert world.memory.growing.order is None
    assert world.woken == []
    return str(error.value)


def test_no_more_machines_are_asked_for_while_growth_is_held_up(world) -> None:
    world.braked = "three machines failed"
    assert "three machines failed" in refusal(world)
    world.orders.pause("bob")
    assert refusal(world) == ("no machine is asked for: pause by bob (`esagent unpause` allows growth again)")


def test_slurms_power_saving_decides_alone_which_machines_come(world) -> None:
    power = JoinSettings(mode="cloud", node_name="client_id", power_nodes="pc[1-2]")
    world.desk.settings = settings_with(demand=DemandSettings(max_nodes=5), join=power)
    assert refusal(world) == "Slurm's power saving decides which machines come ([join] power_nodes)"


def test_no_more_machines_than_max_nodes_are_asked_for(world) -> None:
    assert refusal(world, GrowOrder(6, "ada", DUE)) == (
        "6 machines would be held, and [demand] max_nodes is 5"
    )
    world.orders.grow(GrowOrder(5, "ada", DUE))


def test_a_wish_for_more_machines_is_withdrawn_once(world, ledger) -> None:
    world.orders.grow(ORDER)
    assert world.orders.withdraw_growth("bob")
    assert not world.orders.withdraw_growth("bob")
    assert again(ledger).growing.order is None


def test_a_lease_is_renewed_at_the_next_moment(world) -> None:
    told = world.orders.renew("ada")
    assert (
        told == "the lease is being renewed; `esagent events` tells how that goes, and a restart forgets it"
    )
    assert (world.urged, world.woken) == (1, ["ensure_slice", "renew"])
    assert world.events.words == ["ada has the lease renewed"]
    assert world.about() == {""}


# --- single machines


def test_a_drain_is_remembered_told_and_looked_at_at_once(world, ledger) -> None:
    world.orders.drain(WISH)
    assert world.memory.drains.wishes == again(ledger).drains.wishes == {WISH.place: WISH}
    assert world.looked_at()
    assert [(e.kind, e.subject, e.message) for e in world.events] == [("admin", "pc1", "ada drains it: disk")]


def test_a_machine_is_resumed_at_once(world, ledger) -> None:
    world.orders.drain(WISH)
    world.looked_at()
    assert world.orders.resume(a_machine(1), "bob")
    assert (world.memory.drains.wishes, again(ledger).drains.wishes) == ({}, {})
    assert world.looked_at()
    assert world.events.words[1:] == ["bob resumes it"]


def settle(world, **moment) -> None:
    """Look twice at what there is, as two readings of Slurm do."""
    for _ in range(2):
        world.orders.settle(a_moment(admin=world.memory.drains.wishes, **moment))


def test_a_wish_for_an_earlier_machine_of_the_name_is_struck_and_told_once(world, ledger) -> None:
    world.memory.drains.put(replace(WISH, sliver_id="urn:sliver+0", cm=UTAH))
    settle(world, machines=[a_machine(1)])
    assert (world.memory.drains.wishes, again(ledger).drains.wishes) == ({}, {})
    message = "the drain by ada is over: it was for an earlier machine of this name (disk)"
    assert [(e.kind, e.subject, e.message) for e in world.events] == [("admin", "pc1", message)]


def test_a_wish_whose_machine_is_gone_is_struck_and_told_once(world, ledger) -> None:
    world.memory.drains.put(replace(WISH, cm=UTAH))
    settle(world)
    assert (world.memory.drains.wishes, again(ledger).drains.wishes) == ({}, {})
    assert world.events.words == ["the drain by ada is over: its machine is gone (disk)"]


def test_a_wish_of_an_older_agent_is_written_down_for_its_machine(world, ledger) -> None:
    world.memory.drains.put(WISH)
    settle(world, machines=[a_machine(1)], facts={"all_read": True})
    bound = replace(WISH, cm=UTAH, client_id="node-1", sliver_id="urn:sliver+1")
    assert world.memory.drains.wishes == again(ledger).drains.wishes == {(UTAH, "pc1"): bound}
    assert world.events == []


def test_what_was_lifted_is_remembered_over_a_restart_until_slurm_shows_nothing_of_it(world, ledger) -> None:
    world.orders.drain(replace(WISH, cm=UTAH))
    world.orders.resume(a_machine(1), "bob")
    world.orders.tear_down("ada", None)
    world.orders.unpause("bob")
    assert len(again(ledger).drains.lifted) == 1
    assert again(ledger).hold.lifted is not None
    settle(world, machines=[a_machine(1)], facts={"all_read": True})
    assert (again(ledger).drains.lifted, again(ledger).hold.lifted) == ((), None)
    assert ledger.drains() == ()


def test_a_wish_that_is_over_and_cannot_be_struck_is_struck_later(world, ledger) -> None:
    """A disk that is full holds up no reading of Slurm."""
    world.memory.drains.put(wish := replace(WISH, sliver_id="urn:sliver+0", cm=UTAH))
    remove, ledger.remove_drain = ledger.remove_drain, Full().remove_drain
    settle(world, machines=[a_machine(1)])
    assert (world.memory.drains.wishes, ledger.drains()) == ({wish.place: wish}, (wish,))
    assert world.events == []
    ledger.remove_drain = remove
    settle(world, machines=[a_machine(1)])
    assert (world.memory.drains.wishes, ledger.drains()) == ({}, ())


class Full:
    """A ledger on a disk that is full."""

    @property
    def cms(self):
        return self

    def teardowns(self):
        return ()

    def drains(self):
        return ()

    def names(self):
        return ()

    def machine_types(self):
        return {}

    def wrong(self):
        return ()

    def grow_order(self):
        return None

    def put_drain(self, _drain):
        raise LedgerError("full")

    def remove_drain(self, _cm, _node_id):
        raise LedgerError("full")

    def put_grow_order(self, _order):
        raise LedgerError("full")


@pytest.mark.parametrize(
    "ask",
    [
        lambda orders: orders.pause("ada"),
        lambda orders: orders.tear_down("ada", DUE),
        lambda orders: orders.grow(ORDER),
        lambda orders: orders.drain(WISH),
    ],
    ids=["pause", "teardown", "grow", "drain"],
)
def test_a_wish_that_cannot_be_written_down_is_neither_told_nor_begun(ask) -> None:
    world = World(Full())
    with pytest.raises(LedgerError):
        ask(world.orders)
    assert (world.events, world.woken, world.looked_at()) == ([], [], False)
