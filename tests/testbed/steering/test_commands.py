"""Faults, locks and revocations from the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.cloudlab.steering.control import SteeringError, ask


def run(cloudlab, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(cloudlab.directory)])
    return result.exit_code, result.output


@pytest.fixture
def holding(cloudlab, ada):
    """A simulator in which pc100 is held as node-1; the lock is free."""
    ada.register().create()
    ada.unlocked("GetSliver")
    return cloudlab


def test_faults_are_switched_on_listed_and_cleared(cloudlab, ada):
    assert run(cloudlab, "fault", "AddNodes", "busy", "--times", "3") == (0, "AddNodes: busy, 3 to come\n")
    run(cloudlab, "fault", "GetVersion", "slow", "--seconds", "0", "--at", "sa")
    code, output = run(cloudlab, "faults")
    assert (code, output.splitlines()) == (
        0,
        ["AddNodes: busy, 3 to come", f"GetVersion: slow, 1 to come at {cloudlab.sa.urn}"],
    )
    ada.sa("GetVersion")
    (fault,) = json.loads(run(cloudlab, "faults", "--json")[1])
    assert (fault["place"], fault["kind"], fault["left"]) == ("AddNodes", "busy", 3)
    assert run(cloudlab, "clear-faults") == (0, "faults cleared: 1\n")
    assert run(cloudlab, "faults") == (0, "")
    words = run(cloudlab, "journal")[1]
    assert "slow strikes GetVersion at sa of example.net, 0 to come" in words


def test_a_fault_that_makes_no_sense_is_refused_with_the_choice(cloudlab):
    code, output = run(cloudlab, "fault", "AddNodes", "tired")
    assert (code, "unknown fault 'tired'; there are busy, " in output) == (1, True)


@pytest.mark.parametrize(
    "command",
    [
        {"do": "fault"},
        {"do": "fault", "place": "AddNodes", "kind": "busy", "times": 1.5, "at": "", "seconds": 5},
        {"do": "fault", "place": "AddNodes", "kind": "busy", "times": True, "at": "", "seconds": 5},
        {"do": "fault", "place": "AddNodes", "kind": "busy", "times": 1, "at": None, "seconds": 5},
        {"do": "promise", "node": "pc100"},
    ],
)
def test_rubbish_on_the_socket_is_refused(shared, command):
    with pytest.raises(SteeringError):
        ask(shared.directory, command)


def test_a_lock_left_held_is_freed(holding, ada):
    """§1.5."""
    assert run(holding, "unlock") == (0, "no lock was left held\n")
    holding.fault("SliverStatus", "server-error-locked")
    with pytest.raises(Exception, match="Internal Error executing SliverStatus"):
        ada.call("SliverStatus")
    code, output = run(holding, "unlock")
    assert (code, output.startswith("freed "), ada.slice_urn in output) == (0, True, True)
    ada.ok("SliverStatus")


def test_a_forced_revocation_takes_the_machine_at_once(holding):
    """§6.3: 0 seconds."""
    assert run(holding, "revoke", "pc100", "--in", "0") == (0, "pc100: taken in 0 s\n")
    holding.journal.wait_for(lambda: not holding.machines()[0].slice_urn)
    assert [entry.cause for entry in holding.journal.held("pc100")] == ["revoked"]


def test_a_withdrawn_revocation_leaves_the_machine(holding):
    """§6.3: absence from later calls, and nothing else."""
    run(holding, "revoke", "pc100", "--in", "300")
    assert holding.machines()[0].deadline is not None
    assert run(holding, "withdraw", "pc100") == (0, "pc100: not taken\n")
    machine = holding.machines()[0]
    assert (machine.deadline, machine.client_id) == (None, "node-1")
    assert run(holding, "withdraw", "pc100")[0] == 1


def test_a_machine_reserved_in_advance_blocks_the_renewal(holding, ada):
    """§3.6."""
    said = (0, "pc100: reserved in advance for other\n")
    assert run(holding, "promise", "pc100", "--project", "other") == said
    answer = ada.unlocked("RenewSlice", valid_until="2031-05-04T18:00:00Z")
    assert (answer["code"], answer["output"]) == (7, "Refused cause pc100 is pre-reserved.")
    run(holding, "promise", "pc100", "--project", "")
    answer = ada.call("RenewSlice", valid_until="2031-05-04T18:00:00Z")
    assert "pre-reserved" not in answer["output"]
