"""[demand]: what follows from it."""

import pytest
from pydantic import ValidationError

from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.slurm.layout import UNKNOWN, Layout


@pytest.mark.parametrize(("overlap", "most"), [(10_000, 20), (3, 13), (0, 10)])
def test_machines_that_go_are_there_beside_those_that_replace_them(overlap: int, most: int) -> None:
    assert DemandSettings(max_nodes=10, max_overlap=overlap).most_at_once == most


@pytest.mark.parametrize(
    ("told", "layout"),
    [
        ({}, UNKNOWN),
        ({"sockets": 2, "cores_per_socket": 4, "threads_per_core": 2}, Layout(2, 4, 2)),
        ({"sockets": 2, "cores_per_socket": 8, "threads_per_core": 2}, Layout(2, 8, 2)),
        ({"threads_per_core": 2}, Layout(8, 1, 2)),
        ({"sockets": 2}, Layout(2, 8, 1)),
        ({"sockets": 2, "threads_per_core": 2}, Layout(2, 4, 2)),
        ({"cores_per_socket": 4, "threads_per_core": 2}, Layout(2, 4, 2)),
        ({"system_cpus": 2, "system_memory": 500}, Layout(16, 1, 1, usable_cpus=14, system_memory=500)),
        ({"tmp_disk": 9000}, Layout(16, 1, 1, tmp_disk=9000)),
    ],
)
def test_a_layout_that_is_told_in_part_is_completed_as_slurm_conf_does(
    told: dict[str, int], layout: Layout
) -> None:
    kind = MachineType(hardware_type="c220g5", cpus=16, **told)
    one = DemandSettings(node_cpus=16, **{f"node_{name}": number for name, number in told.items()})
    assert [DemandSettings(types=(kind,)).offers()[0].layout, one.offers()[0].layout] == [layout] * 2


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            {"sockets": 2, "cores_per_socket": 4, "threads_per_core": 1},
            "cpus 16: the product of {0}sockets 2 x {0}cores_per_socket 4 x {0}threads_per_core 1",
        ),
        ({"threads_per_core": 3}, "cpus 16: a multiple of {0}threads_per_core 3 is expected"),
        ({"system_cpus": 16}, "system_cpus 16: fewer than {0}cpus 16 are expected"),
        ({"memory": 900, "system_memory": 900}, "system_memory 900: less than {0}memory 900 is expected"),
    ],
)
def test_numbers_that_no_machine_has_are_refused_by_name(told: dict[str, int], words: str) -> None:
    with pytest.raises(ValidationError) as found:
        MachineType(hardware_type="c220g5", cpus=16, **told)
    assert words.format("") in str(found.value)
    with pytest.raises(ValidationError) as found:
        DemandSettings(node_cpus=16, **{f"node_{name}": number for name, number in told.items()})
    assert f"node_{words.format('node_')}" in str(found.value)


def test_what_is_said_of_one_type_and_of_several_is_refused() -> None:
    types = (MachineType(hardware_type="c220g5"),)
    with pytest.raises(ValidationError, match="node_threads_per_core: belongs to the types"):
        DemandSettings(node_threads_per_core=2, types=types)
