"""What machines are is remembered by hardware type, and over restarts."""

import threading
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.memory.machine_types import MachineTypes, read_shapes, write_shape
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.shape import MachineShape
from agent.core.errors import LedgerError
from agent.slurm.layout import Layout
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, Cloudlab, Slurm, a_machine, a_moment

HERE = Node("pc1", "IDLE", cpus=16, memory=64000, gres="gpu:2", layout=Layout(1, 8, 2), booted=NOW)
MOMENT = a_moment(HERE, machines=[a_machine(1)])


def again(store):
    return MachineTypes(threading.RLock(), store)


def test_what_a_machine_is_outlasts_a_restart(ledger) -> None:
    types = again(ledger)
    types.learn(MOMENT)
    assert types.known == again(ledger).known
    shape = types.known["m510"]
    assert (shape.cpus, shape.memory, shape.gres, shape.layout) == (16, 64000, "gpu:2", Layout(1, 8, 2))
    assert (shape.newest, shape.said) == (NOW, again(ledger).known["m510"].said)


def test_what_is_known_already_is_not_written_again(ledger) -> None:
    again(ledger).learn(MOMENT)
    writes, put = [], ledger.put_machine_type
    ledger.put_machine_type = lambda *row: (writes.append(row), put(*row))
    later = again(ledger)
    later.learn(replace(MOMENT, machine_types=later.known))
    assert writes == []


def test_what_cannot_be_written_is_known_and_written_later(ledger) -> None:
    put = ledger.put_machine_type

    def fail(*_row):
        raise LedgerError("full")

    types = again(ledger)
    ledger.put_machine_type = fail
    types.learn(MOMENT)
    assert types.known["m510"].cpus == 16
    assert ledger.machine_types() == {}
    ledger.put_machine_type = put
    types.learn(replace(MOMENT, machine_types=types.known))
    assert again(ledger).known == types.known


def test_words_that_cannot_be_read_are_passed_over() -> None:
    shape = MachineShape(4)
    stored = {"odd": "{", "none": "[]", "old": '{"cores": 4}', "good": write_shape(shape)}
    assert read_shapes(stored) == {"good": shape}


@given(
    st.builds(
        MachineShape,
        cpus=st.integers(1),
        gres=st.text(),
        features=st.frozensets(st.text()),
        said=st.text(),
        newest=st.datetimes(timezones=st.just(NOW.tzinfo)),
    )
)
def test_what_is_written_is_read_as_it_was(shape: MachineShape) -> None:
    found = read_shapes({"m510": write_shape(shape)})["m510"]
    assert (found, found.said, found.newest) == (shape, shape.said, shape.newest)


def test_a_reading_of_slurm_teaches_what_the_next_machine_gives(make_manager, ledger) -> None:
    demand = DemandSettings(types=(MachineType(hardware_type="m510", cpus=4),))
    site = Cloudlab(a_machine(1))
    manager = make_manager(site, Slurm(HERE), demand=demand)
    manager.get_system_state()
    (offer,) = manager.last_plan.supply.offers
    assert (offer.cpus, offer.gres) == (16, "gpu:2")
    assert manager.last_plan.growth.reasons[-1:] == (
        "[demand] says that a machine of type m510 has 4 CPUs; what came has 16: plans go by that",
    )
    assert ledger.machine_types().keys() == {"m510"}
    manager.stop()
