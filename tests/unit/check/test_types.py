"""A difference between what [demand] says of machines and what came is told by `esagent check`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.check.finding import Grade
from agent.check.types import check_types
from agent.cluster.grow.shapes import words_of
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.shape import MachineShape
from agent.slurm.layout import Layout

CAME = MachineShape(
    20,
    64000,
    "gpu:a100:2(S:0)",
    frozenset({"ssd", "fast"}),
    Layout(1, 10, 2, usable_cpus=18, system_memory=500, tmp_disk=900),
    newest=datetime(2026, 11, 22, tzinfo=UTC),
)


def told(**said: object) -> list[str]:
    demand = DemandSettings(types=(MachineType(hardware_type="c220g5", **said),))
    return [finding.seen for finding in check_types(demand, {"c220g5": CAME})]


def test_what_was_said_and_what_came_are_told_in_one_sentence() -> None:
    (words,) = told(cpus=40, memory=190000, gres="gpu:v100:1", features=["ssd", "nvme"])
    assert words == (
        "[demand] says that a machine of type c220g5 has 40 CPUs, 190000 MB of memory, gpu:v100:1, feature"
        " nvme; what came has 20, 64000, gpu:a100:2(S:0), not that feature: plans go by that"
    )


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"cpus": 20, "memory": 64000, "gres": "gpu:a100:2", "features": ["ssd"]},
        {"cpus": 20, "sockets": 1, "cores_per_socket": 10, "threads_per_core": 2, "system_cpus": 2,
         "memory": 64000, "system_memory": 500, "tmp_disk": 900},
    ],
)  # fmt: skip
def test_what_is_not_said_or_is_so_is_no_difference(said: dict[str, object]) -> None:
    assert told(**said) == ["what came is what [demand] says"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"threads_per_core": 1, "cpus": 20}, "1 threads per core"),
        ({"system_cpus": 4, "cpus": 20}, "16 CPUs for jobs"),
        ({"tmp_disk": 1000}, "1000 MB of temporary disk"),
        ({"memory": 64000, "system_memory": 100}, "100 MB of it for the system"),
    ],
)
def test_each_number_that_is_said_is_compared(said: dict[str, object], words: str) -> None:
    assert words in told(**said)[0]


def test_it_is_a_warning_that_names_the_type_and_where_to_mend_it() -> None:
    demand = DemandSettings(node_cpus=40)
    (finding,) = check_types(demand, {"m510": CAME})
    assert (finding.grade, finding.subject, finding.mend) == (
        Grade.WARNING,
        "machines",
        "correct it in [demand], or leave it so",
    )
    assert finding.seen.startswith("[demand] says that a machine has 40 CPUs; what came has 20:")


def test_before_one_has_come_and_after_settings_were_changed_nothing_is_told() -> None:
    demand = DemandSettings(node_cpus=40)
    other = words_of(DemandSettings(node_cpus=8).offers()[0])
    changed = MachineShape(20, said=other, newest=CAME.newest)
    assert list(check_types(demand, {})) == []
    assert list(check_types(demand, {"m510": changed})) == []
