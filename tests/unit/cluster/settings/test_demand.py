"""[demand]: what follows from it."""

import pytest

from agent.cluster.settings.demand import DemandSettings


@pytest.mark.parametrize(("overlap", "most"), [(10_000, 20), (3, 13), (0, 10)])
def test_machines_that_go_are_there_beside_those_that_replace_them(overlap: int, most: int) -> None:
    assert DemandSettings(max_nodes=10, max_overlap=overlap).most_at_once == most
