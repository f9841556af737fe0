"""What machines are called in Slurm is remembered from their first sight until they are gone."""

import threading
from dataclasses import replace

import pytest

from agent.cluster.memory.names import Names
from agent.cluster.settings.join import JoinSettings
from agent.core.errors import LedgerError
from agent.core.model import KnownAs
from tests.unit.cluster.conftest import UTAH, a_machine

PC1, PC2 = a_machine(1), a_machine(2)
ONE, TWO = KnownAs(PC1.key, "pc1", "dynamic"), KnownAs(PC2.key, "node-2", "cloud")
BY_CLIENT_ID = JoinSettings(node_name="client_id")


@pytest.fixture
def names(ledger):
    made = Names(threading.RLock(), ledger)
    made.learn({PC1.key: ONE, PC2.key: TWO})
    return made


def again(ledger):
    return Names(threading.RLock(), ledger)


def test_what_was_written_down_outlasts_a_restart_and_nothing_else_does(names, ledger):
    names.write([PC2])
    assert again(ledger).bound == {(UTAH, "node-2"): TWO}


def test_a_machine_is_known_as_what_it_joined_as_also_when_it_is_gone_from_the_slice(names):
    assert names.as_joined(PC1, BY_CLIENT_ID) == ("pc1", BY_CLIENT_ID)
    name, settings = names.as_joined(PC2, BY_CLIENT_ID)
    assert (name, settings.mode, settings.commands) == (
        "node-2",
        "cloud",
        JoinSettings(mode="cloud").commands,
    )


def test_another_one_of_its_client_id_is_not_known_by_its_name(names):
    other = replace(PC1, sliver_id="urn:sliver+9")
    assert names.of(other) is None
    assert names.as_joined(other, BY_CLIENT_ID) == ("node-1", BY_CLIENT_ID)
    names.forget(other)
    assert names.of(PC1) == ONE


def test_what_is_forgotten_is_struck(names, ledger):
    names.write([PC1, PC2])
    names.forget(PC1)
    assert (names.of(PC1), len(again(ledger).bound)) == (None, 2)
    names.strike(ONE)
    assert again(ledger).bound == {(UTAH, "node-2"): TWO}


def test_what_went_while_the_agent_was_away_is_struck_once_its_cm_was_heard(names, ledger):
    names.write([PC1, PC2])
    later = again(ledger)
    later.learn({PC1.key: ONE})
    assert later.gone(read=(), there=()) == ()
    assert later.gone(read=(UTAH,), there=()) == (TWO,)
    assert later.bound == {(UTAH, "node-1"): ONE}
    assert len(again(ledger).bound) == 2, "Slurm may have its node"
    later.strike(TWO)
    assert later.gone(read=(UTAH,), there=()) == ()
    assert later.bound == again(ledger).bound == {(UTAH, "node-1"): ONE}


def test_the_node_of_one_whose_client_id_another_has_now_is_remembered_until_slurm_has_it_no_more(
    names, ledger
):
    names.write([PC1])
    later, other = again(ledger), replace(PC1, node_id="pc5", sliver_id="urn:sliver+5")
    later.learn({other.key: KnownAs(other.key, "pc5", "dynamic")})
    assert later.gone(read=(UTAH,), there={(UTAH, "node-1")}) == (ONE,)
    later.strike(ONE)
    assert later.gone(read=(UTAH,), there={(UTAH, "node-1")}) == ()


def test_what_may_be_there_still_is_kept(names, ledger):
    names.write([PC1])
    later = again(ledger)
    assert later.gone(read=(UTAH,), there={(UTAH, "node-1")}) == ()
    assert later.bound == {(UTAH, "node-1"): ONE}


def test_a_disk_that_is_full_costs_nothing_but_the_memory_of_the_next_run(names, ledger, monkeypatch):
    def full(_known):
        raise LedgerError("full")

    monkeypatch.setattr(ledger, "put_name", full)
    names.write([PC1])
    assert names.of(PC1) == ONE
    monkeypatch.undo()
    names.write([PC1])
    assert again(ledger).bound == {(UTAH, "node-1"): ONE}
