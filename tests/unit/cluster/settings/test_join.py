"""What a machine is called, and which templates are mistakes."""

import pytest
from pydantic import ValidationError

from agent.cluster.settings.join import JoinSettings, node_name
from agent.core.model import SliverNode

MACHINE = SliverNode(
    "node-1", "pc100", "urn:cm", "urn:sliver+1", "d430", "10.0.0.1", "pc100.site.net", "esagent"
)
SETTINGS = JoinSettings()


def test_the_node_name_is_the_node_id_or_the_client_id() -> None:
    assert node_name(MACHINE, SETTINGS) == "pc100"
    assert node_name(MACHINE, JoinSettings(node_name="client_id")) == "node-1"


@pytest.mark.parametrize(
    "template",
    [
        "{node_name:lan-0}",
        "{address:lan 0}",
        "{address!r:lan-0}",
        "{nodename}",
        "{}",
        "{0}",
        "{node_id.x}",
        "{node_id!r}",
        "{node_id:>5}",
        "awk '{print}'",
        "{node_id",
    ],
)
def test_a_wrong_template_is_an_error_when_it_is_loaded(template: str) -> None:
    with pytest.raises(ValidationError, match="a brace of the shell is written twice"):
        JoinSettings(commands=(template,))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"power_nodes": "a"}, "are expected with it"),
        ({"mode": "cloud", "node_name": "client_id", "power_nodes": "a["}, "power_nodes"),
        (
            {"mode": "cloud", "node_name": "client_id", "power_nodes": "a[1-2]", "predeclared": "a[2-3]"},
            "a2 is in predeclared too",
        ),
    ],
)
def test_power_nodes_that_cannot_work_are_a_fault_of_the_settings(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        JoinSettings.model_validate(given)


def test_the_lans_in_which_a_machine_needs_an_address_are_told() -> None:
    assert JoinSettings().lans == ()
    settings = JoinSettings(
        address="lan-0",
        commands=("a {address} {address:control} {address:lan-1}",),
        probe=("b {address:lan-0}",),
        leave_commands=("c {node_name} {address:lan-2}",),
    )
    assert settings.lans == ("lan-0", "lan-1", "lan-2")


def test_the_name_of_a_lan_is_one_that_a_link_can_have() -> None:
    with pytest.raises(ValidationError, match="address"):
        JoinSettings(address="lan 0")
