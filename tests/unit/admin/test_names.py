"""Machines by each of their names, and what is none."""

from dataclasses import replace

import pytest

from agent.admin.names import aliases, resolve
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


UTAH, WISC = "urn:utah", "urn:wisc"
TWINS = {
    "node-1": SliverNode("node-1", "pc1", UTAH, "s1"),
    "node-2": SliverNode("node-2", "pc1", WISC, "s2"),
    "node-3": SliverNode("node-3", "pc3", WISC, "s3"),
}


def test_a_name_that_two_machines_go_by_is_refused_with_the_choices() -> None:
    with pytest.raises(AgentError) as refused:
        resolve(["node-3", "pc1"], TWINS, {})
    choices = "pc1 may be node-1 (at urn:utah) or node-2 (at urn:wisc)"
    assert str(refused.value) == f"{choices}: which one is meant is said by another of its names"
    assert resolve(["node-[1-3]"], TWINS, {}) == TWINS
    assert resolve(["pc3"], TWINS, {}).keys() == {"node-3"}


def test_the_name_in_slurm_is_the_machines_own_whatever_others_are_called() -> None:
    named = {"pc1": TWINS["node-1"], "pc1-wisc": TWINS["node-2"]}
    assert resolve(["pc1"], named, {}) == {"pc1": TWINS["node-1"]}
    assert resolve(["node-2"], named, {}).keys() == {"pc1-wisc"}
    machines = {n: replace(each, node_id="pc9") for n, each in zip("ab", named.values(), strict=True)}
    choices = r"pc9 may be a \(node-1, at urn:utah\) or b \(node-2, at urn:wisc\)"
    with pytest.raises(AgentError, match=choices):
        resolve(["pc9"], machines, {})


def test_events_that_name_several_machines_are_of_none_of_them() -> None:
    assert aliases(TWINS) == {name: name for name in TWINS} | {"pc3": "node-3"}


def test_a_machine_without_a_node_id_goes_by_its_other_names() -> None:
    assert aliases({"node-1": SliverNode("node-1", "", UTAH, "s1")}) == {"node-1": "node-1"}
