"""Which way in to Slurm is taken."""

import pytest

from agent.core.errors import ConfigError
from agent.core.ports import CommandResult, Host, SystemClock
from agent.slurm.choice import choose, slurm_commands
from agent.slurm.reservation import Reservation
from agent.slurm.settings import SlurmSettings


class Commands:
    """Stands for the way in through Slurm's commands."""

    def reservations(self) -> tuple[Reservation, ...]:
        return ()


class Shell:
    """Notes on which machines it is asked to run something."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []

    def execute(self, host: Host, command: str, *, timeout: float, max_output: int) -> CommandResult:
        self.hosts.append(host)
        return CommandResult(0, b"", b"")


@pytest.mark.parametrize(
    ("host", "login", "user"),
    [("head", "", "root"), ("head", "eve", "eve"), ("slurm@head", "eve", "slurm")],
)
def test_commands_on_a_head_node_are_run_as_the_user_who_is_named_nearest(
    host: str, login: str, user: str
) -> None:
    shell = Shell()
    commands = slurm_commands(SlurmSettings(host=host), SystemClock(), shell, login)
    assert commands.reservations() == ()
    assert shell.hosts == [Host("head", "head", user)]


def test_the_way_in_that_is_asked_for_is_taken() -> None:
    commands, clock = Commands(), SystemClock()
    assert choose(SlurmSettings(backend="cli"), clock, commands).backend is commands  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rest_url"):
        choose(SlurmSettings(backend="rest"), clock, commands)  # type: ignore[arg-type]


def test_auto_takes_the_commands_where_nothing_else_works_and_says_why() -> None:
    commands = Commands()
    settings = SlurmSettings(rest_url="unix:/nowhere/rest.sock", host="head")
    choice = choose(settings, SystemClock(), commands)  # type: ignore[arg-type]
    assert (choice.name, choice.backend) == ("cli", commands)
    assert [remark.partition(":")[0] for remark in choice.passed_over] == ["not pyslurm", "not rest"]
    assert "it is cli until another one is seen to work" in choice.remarks[0]
    choice.close()
