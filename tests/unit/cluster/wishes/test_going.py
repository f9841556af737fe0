"""What cannot be kept is said before an administrator is told that it is."""

from dataclasses import replace

import pytest

from agent.cluster.wishes.going import why_not_kept, why_not_resumed
from agent.core.model import AdminDrain, Intent, IntentKind
from agent.core.said import Revocation, Taken
from agent.slurm.model import Node
from tests.unit.cluster.conftest import NOW, UTAH, WISC, a_machine, a_moment

MACHINE = a_machine(1)
REVOKED = Revocation("pc1", "node-1", NOW, NOW, NOW)
DELETE = Intent(IntentKind.DELETE, UTAH, "node-1", NOW)
PC1 = frozenset({"pc1"})
FAILED = frozenset({MACHINE.key})


def why(facts=None, **fields) -> str:
    moment = a_moment(Node("pc1", "IDLE"), machines=[MACHINE], facts=facts, **fields)
    why = why_not_resumed(MACHINE, moment)
    assert why_not_kept(MACHINE, moment) == ("" if why.startswith("Cloudlab takes") else why)
    return why


@pytest.mark.parametrize(
    ("facts", "fields", "words"),
    [
        ({"taken": {(UTAH, "pc1"): Taken("pc1", "node-1", NOW)}}, {}, "Cloudlab took it"),
        ({"leaving": (DELETE,)}, {}, "its CM was asked to take it back"),
        ({}, {"leaving": PC1}, "its delete commands have begun"),
        ({}, {"emptied": PC1, "chosen": PC1}, "its delete commands have begun"),
        ({"revocations": {(UTAH, "pc1"): REVOKED}}, {}, "Cloudlab takes it at 2026-11-22T12:00:00Z"),
        ({}, {"hold": AdminDrain("", "teardown", "ada", NOW)}, "everything is given back (teardown by ada;"),
        ({"failed": FAILED}, {}, "it failed and is given back"),
        ({}, {"blocking": {"pc1": None}, "chosen": PC1}, "the lease is not renewed with it"),
    ],
)
def test_a_machine_that_goes_back_whatever_is_said_is_told_with_the_reason(facts, fields, words) -> None:
    assert words in why(facts, **fields)


@pytest.mark.parametrize(
    ("facts", "fields"),
    [
        ({}, {}),
        ({}, {"chosen": PC1}),
        ({}, {"hold": AdminDrain("", "pause", "ada", NOW)}),
        ({"leaving": (replace(DELETE, cm=WISC),)}, {}),
        ({"leaving": (replace(DELETE, client_id="node-2"),)}, {}),
        ({"taken": {(UTAH, "pc1"): Taken("pc1", "node-7", NOW)}}, {}),
        ({"revocations": {(UTAH, "pc1"): replace(REVOKED, client_id="node-7")}}, {}),
    ],
)
def test_a_machine_that_may_stay_is_not(facts, fields) -> None:
    assert why(facts, **fields) == ""
