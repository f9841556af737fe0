"""Machines by each of their names, and what is none."""

import pytest

from agent.admin.names import resolve
from agent.core.errors import AgentError
from agent.core.model import SliverNode


def test_an_unknown_name_is_told_with_the_nearest_ones(rig) -> None:
    with pytest.raises(AgentError) as refused:
        rig.call("POST", "/v1/drain", {"nodes": ["pc102", "pc1011"], "reason": "x"})
    assert "pc1011 is not one of our machines: they are pc[101-103]; did you mean pc101" in str(refused.value)
    assert rig.manager.memory.wishes().drains == {}


@pytest.mark.parametrize("word", ["pc[101-102]", "node-1,pc102", "node-[1-2]"])
def test_a_machine_goes_by_each_of_its_names_and_by_node_sets_of_them(rig, word: str) -> None:
    assert sorted(resolve([word], rig.manager.memory.now().machines, {})) == ["pc101", "pc102"]


@pytest.mark.parametrize("word", ["ctl", "pc900", "pc101,ctl"])
def test_a_machine_of_the_slice_that_is_not_ours_is_told_as_such(rig, word: str) -> None:
    ctl = SliverNode("ctl", "pc900", "urn:cm", "s900")
    with pytest.raises(AgentError, match="is a machine of the slice that is not ours: it is left alone"):
        resolve([word], rig.manager.memory.now().machines, {"ctl": ctl})


@pytest.mark.parametrize("word", ["pc[101", "pc[3-1]", "pc[]", "pc101]"])
def test_what_is_no_node_set_is_refused(rig, word: str) -> None:
    with pytest.raises(AgentError):
        resolve([word], rig.manager.memory.now().machines, {})
