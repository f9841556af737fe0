"""What `esagent check` makes of the port that Cloudlab calls, and of the key that opens machines."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agent.check.cloudlab import (
    callback_answers,
    check_callback_port,
    check_from_outside,
    check_public_key,
)
from agent.check.finding import Finding, Grade
from agent.cloudlab.callback import CallbackSettings
from agent.core.model import SliverNode
from agent.core.ports import Host, HostResult, Series

PC1 = SliverNode("node-1", "pc1", "urn:cm", "s1", address="10.0.0.1", username="ada")


def settings_of(port: int, listen: str = "127.0.0.1") -> CallbackSettings:
    none = Path("/dev/null")
    return CallbackSettings(
        listen=listen,
        port=port,
        certificate=none,
        key=none,
        ca_bundle=none,
        allowed_urns=("urn:publicid:IDN+example.net+authority+cm",),
    )


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def look(settings: CallbackSettings) -> list[Finding]:
    return list(check_callback_port(settings, is_up=callback_answers(settings, 5)))


def test_a_port_that_answers_on_loopback_is_told_as_out_of_cloudlabs_reach(listener: socket.socket) -> None:
    found = look(settings_of(port_of(listener)))
    assert [f.grade for f in found] == [Grade.WARNING, Grade.FINE]
    assert "Cloudlab cannot reach it" in found[0].seen


def test_a_port_that_is_free_is_fine_and_the_daemon_is_not_up(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert "is free; the daemon is not up" in look(settings_of(port))[-1].seen


def test_any_free_port_is_a_fault_for_cloudlab_has_to_know_it() -> None:
    (found,) = look(settings_of(0, "0.0.0.0"))
    assert found.grade is Grade.FAULT


class Machine:
    """A machine that ends the command as it is told to."""

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.asked: list[Host] = []

    def run(self, commands: Mapping[Host, Series], *, timeout: float) -> Mapping[Host, HostResult]:
        self.asked += commands
        return {host: HostResult(host, "192.0.2.7 40000 10.0.0.1 22\n", self.error) for host in commands}

    def forget(self, host: Host) -> None:
        raise AssertionError


def test_a_borrowed_machine_that_reaches_the_port_tells_at_which_address() -> None:
    machine = Machine()
    found = check_from_outside([PC1], machine, "", settings_of(12380))
    assert (found.grade, found.seen) == (Grade.FINE, "pc1 reaches 192.0.2.7 port 12380")
    assert machine.asked == [Host("pc1", "10.0.0.1", "ada")]


def test_a_borrowed_machine_that_does_not_is_warned_of() -> None:
    found = check_from_outside([PC1], Machine("status 124"), "", settings_of(12380))
    assert found.grade is Grade.WARNING
    assert "firewalls" in found.mend


def test_without_a_machine_nobody_looks_from_outside() -> None:
    assert check_from_outside([], Machine(), "", settings_of(12380)).grade is Grade.SKIPPED


def test_a_key_that_new_machines_are_not_given_is_a_fault() -> None:
    assert check_public_key("ssh-ed25519 AAAA", {"ssh-ed25519 AAAA"}).grade is Grade.FINE
    found = check_public_key("ssh-ed25519 AAAA", {"ssh-rsa BBBB"})
    assert (found.grade, "none will let us in" in found.seen) == (Grade.FAULT, True)


@pytest.mark.parametrize(
    "words",
    ["ssh-ed25519 AAAA esagent", "'ssh-ed25519 AAAA esagent'", '"ssh-ed25519 AAAA"', "ssh-ed25519 AAAA"],
)
def test_a_key_that_the_startup_command_puts_there_is_as_good(words: str) -> None:
    command = f"echo {words}|sudo tee -a /root/.ssh/authorized_keys"
    assert check_public_key("ssh-ed25519 AAAA", (), startup=command).grade is Grade.FINE
    assert check_public_key("ssh-ed25519 AA", (), startup=command).grade is Grade.FAULT


def test_in_a_slice_that_others_made_ssh_keys_do_not_help() -> None:
    found = check_public_key("ssh-ed25519 AAAA", (), is_shared=True)
    assert "[cloudlab] ssh_keys" not in found.mend
    assert "[request] startup_command" in found.mend
