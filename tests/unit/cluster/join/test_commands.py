"""The commands that join a machine and clean it up."""

from dataclasses import replace

import pytest

from agent.cluster.join.commands import join_commands, leave_commands, probe_commands
from agent.cluster.settings.join import JoinSettings
from agent.core.errors import ConfigError
from agent.core.model import LanPort, SliverNode

MACHINE = SliverNode(
    "node-1", "pc100", "urn:cm", "urn:sliver+1", "d430", "10.0.0.1", "pc100.site.net", "esagent"
)
SETTINGS = JoinSettings()


def test_placeholders_are_filled() -> None:
    settings = JoinSettings(
        commands=(
            "a {node_name} {node_id} {client_id} {address} {hostname} {hardware_type} {username}",
            "${{HOME}}",
        ),
        leave_commands=("umount /scratch/{node_id}",),
    )
    assert join_commands(MACHINE, "node-1", settings) == (
        "a node-1 pc100 node-1 10.0.0.1 pc100.site.net d430 esagent",
        "${HOME}",
    )
    assert leave_commands(MACHINE, "pc100", settings) == ("umount /scratch/pc100",)


def test_a_missing_value_is_an_empty_word() -> None:
    settings = JoinSettings(commands=("a {address} b",))
    assert join_commands(replace(MACHINE, address=""), "pc100", settings) == ("a '' b",)


def test_the_defaults_can_be_filled() -> None:
    assert join_commands(MACHINE, "pc100", SETTINGS)[-1] == 'slurmd -Z -N pc100 --conf "Feature=pc100"'
    assert leave_commands(MACHINE, "pc100", SETTINGS)


@pytest.mark.parametrize("value", ["$(reboot)", "a b", "a;b", "a'b", 'a"b', "a\nb", "`x`", "a\\b"])
def test_a_value_that_a_shell_could_act_on_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="hostname"):
        join_commands(
            replace(MACHINE, hostname=value), "pc100", JoinSettings(commands=('echo "{hostname}"',))
        )


ON_LANS = replace(MACHINE, lans=(LanPort("lan-0", "10.10.1.5"), LanPort("lan-1")))


def test_the_address_is_that_in_the_network_that_is_set_or_named() -> None:
    commands = ("a {address} {address:control} {address:lan-0} {{{address:lan-0}}}",)
    everywhere = "10.0.0.1 10.10.1.5 {10.10.1.5}"
    assert join_commands(ON_LANS, "pc100", JoinSettings(commands=commands)) == (f"a 10.0.0.1 {everywhere}",)
    there = JoinSettings(commands=commands, address="lan-0", leave_commands=commands, probe=commands)
    for fill in (join_commands, leave_commands, probe_commands):
        assert fill(ON_LANS, "pc100", there) == (f"a 10.10.1.5 {everywhere}",)


@pytest.mark.parametrize("lan", ["lan-1", "lan-2"])
def test_a_machine_without_an_address_in_a_lan_is_told_from_those_with_one(lan: str) -> None:
    words = f"machine 'node-1' has no address in LAN '{lan}'; its LANs with one are: lan-0"
    for settings in (JoinSettings(commands=(f"a {{address:{lan}}}",)), JoinSettings(address=lan)):
        with pytest.raises(ConfigError) as refusal:
            join_commands(ON_LANS, "pc100", settings)
        assert str(refusal.value) == words
    with pytest.raises(ConfigError, match="its LANs with one are: none"):
        join_commands(MACHINE, "pc100", JoinSettings(address=lan))


def test_a_machine_that_has_left_a_lan_is_cleaned_up_where_no_command_needs_it() -> None:
    assert leave_commands(MACHINE, "pc100", JoinSettings(address="lan-1", leave_commands=("true",))) == (
        "true",
    )
