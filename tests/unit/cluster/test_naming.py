"""What machines are called in Slurm: bound to the machine, and no two alike."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.naming import name_machines
from agent.cluster.settings.join import JoinSettings
from agent.core.model import KnownAs
from agent.slurm.model import Node
from tests.unit.cluster.conftest import UTAH, WISC, a_machine

BY_NODE_ID, BY_CLIENT_ID = JoinSettings(), JoinSettings(node_name="client_id")
CLOUD = JoinSettings(mode="cloud")
PC1, TWIN = a_machine(1), replace(a_machine(1, WISC), client_id="node-7", sliver_id="urn:wisc+7")


def named(*machines, settings=BY_NODE_ID, bound=(), nodes=(), taken=()):
    known = name_machines(
        machines,
        settings,
        bound={(each.machine.cm, each.machine.client_id): each for each in bound},
        nodes={node.name: node for node in nodes},
        taken=taken,
    )
    return [known[machine.key].name for machine in machines]


def known_as(machine, name, mode="dynamic"):
    return KnownAs(machine.key, name, mode)


def test_a_new_machine_is_called_as_the_settings_say():
    assert named(PC1) == ["pc1"]
    assert named(PC1, settings=BY_CLIENT_ID) == ["node-1"]


def test_what_a_machine_joined_as_stays_whatever_the_settings_say_since():
    bound = known_as(PC1, "pc1")
    for settings in (BY_CLIENT_ID, CLOUD):
        known = name_machines([PC1], settings, bound={(UTAH, "node-1"): bound}, nodes={})
        assert known == {PC1.key: bound}


def test_it_stays_though_a_manifest_has_no_sliver_id_any_more_or_has_one_now():
    nameless = replace(PC1, sliver_id="")
    assert named(nameless, settings=BY_CLIENT_ID, bound=[known_as(PC1, "pc1")]) == ["pc1"]
    assert named(PC1, settings=BY_CLIENT_ID, bound=[known_as(nameless, "pc1")]) == ["pc1"]


@pytest.mark.parametrize("other", [{"sliver_id": "urn:sliver+9"}, {"node_id": "pc9"}])
def test_another_machine_of_its_client_id_is_called_as_the_settings_say_now(other):
    assert named(replace(PC1, **other), settings=BY_CLIENT_ID, bound=[known_as(PC1, "pc1")]) == ["node-1"]


def test_of_two_racks_machines_of_one_name_the_second_is_told_by_its_site():
    assert named(PC1, TWIN) == ["pc1", "pc1-wisc"]


def test_one_that_has_the_name_keeps_it_though_another_stands_in_front():
    assert named(PC1, TWIN, bound=[known_as(TWIN, "pc1")]) == ["pc1-utah", "pc1"]


def test_one_whose_cm_is_silent_keeps_its_name_from_others():
    assert named(TWIN, bound=[known_as(PC1, "pc1")]) == ["pc1-wisc"]


def test_one_in_whose_place_there_is_another_machine_keeps_its_name_from_nobody():
    again = replace(PC1, client_id="node-5", sliver_id="urn:sliver+5")
    assert named(again, bound=[known_as(PC1, "pc1")]) == ["pc1"]


def test_no_name_of_a_node_that_is_not_ours_is_given():
    assert named(PC1, taken={"pc1"}) == ["pc1-utah"]
    assert named(PC1, taken={"pc1", "pc1-utah", "pc1-utah-example-net"}) == ["pc1-2"]


def test_where_it_was_forgotten_a_node_of_slurm_at_its_address_tells_what_it_joined_as():
    at_work = Node("pc1", "MIXED", address=PC1.address)
    assert named(PC1, settings=BY_CLIENT_ID, nodes=[at_work]) == ["pc1"]
    assert named(PC1, settings=BY_CLIENT_ID, nodes=[replace(at_work, address="10.9.9.9")]) == ["node-1"]
    assert named(PC1, settings=BY_CLIENT_ID, nodes=[at_work, Node("node-1", "IDLE")]) == ["node-1"]


@given(
    machines=st.lists(
        st.builds(
            lambda n, client, cm, sliver: replace(a_machine(n, cm), client_id=client, sliver_id=sliver),
            *(
                st.integers(1, 3),
                st.sampled_from("abc"),
                st.sampled_from([UTAH, WISC]),
                st.sampled_from(["", "s"]),
            ),
        ),
        unique_by=lambda machine: (machine.cm, machine.client_id),
    ),
    first=st.sampled_from([BY_NODE_ID, BY_CLIENT_ID]),
    then=st.sampled_from([BY_NODE_ID, BY_CLIENT_ID]),
    staying=st.data(),
)
def test_no_two_have_one_name_and_none_changes_it(machines, first, then, staying):
    before = name_machines(machines[:3], first, bound={}, nodes={})
    assert len({known.name for known in before.values()}) == len(machines[:3])
    bound = {(key.cm, key.client_id): known for key, known in before.items()}
    after = name_machines(machines, then, bound=bound, nodes={})
    assert len({known.name for known in after.values()}) == len(machines)
    assert {key: after[key] for key in before} == before
