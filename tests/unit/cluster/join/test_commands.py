"""The commands that join a machine and clean it up."""

from dataclasses import replace

import pytest

from agent.cluster.join.commands import join_commands, leave_commands
from agent.cluster.settings.join import JoinSettings
from agent.core.errors import ConfigError
from agent.core.model import SliverNode

MACHINE = SliverNode(
    "node-1", "pc100", "urn:cm", "urn:sliver+1", "d430", "10.0.0.1", "pc100.site.net", "esagent"
)
SETTINGS = JoinSettings()


def test_placeholders_are_filled() -> None:
    settings = JoinSettings(
        node_name="client_id",
        commands=(
            "a {node_name} {node_id} {client_id} {address} {hostname} {hardware_type} {username}",
            "${{HOME}}",
        ),
        leave_commands=("umount /scratch/{node_id}",),
    )
    assert join_commands(MACHINE, settings) == (
        "a node-1 pc100 node-1 10.0.0.1 pc100.site.net d430 esagent",
        "${HOME}",
    )
    assert leave_commands(MACHINE, settings) == ("umount /scratch/pc100",)


def test_a_missing_value_is_an_empty_word() -> None:
    settings = JoinSettings(commands=("a {address} b",))
    assert join_commands(replace(MACHINE, address=""), settings) == ("a '' b",)


def test_the_defaults_can_be_filled() -> None:
    assert join_commands(MACHINE, SETTINGS)[-1] == 'slurmd -Z -N pc100 --conf "Feature=pc100"'
    assert leave_commands(MACHINE, SETTINGS)


@pytest.mark.parametrize("value", ["$(reboot)", "a b", "a;b", "a'b", 'a"b', "a\nb", "`x`", "a\\b"])
def test_a_value_that_a_shell_could_act_on_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="hostname"):
        join_commands(replace(MACHINE, hostname=value), JoinSettings(commands=('echo "{hostname}"',)))
