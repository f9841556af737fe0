"""`--wait`: until it is so, until it cannot be any more, or until the time is over."""

import json
import threading
from dataclasses import replace

import pytest

from agent.cli.waiting import wait_for_empty, wait_for_machines
from agent.core.errors import AgentError


@pytest.fixture
def soon(rig):
    """Do something while a command waits: as soon as it has looked a second time."""
    threads = []

    def do(act):
        def work():
            looked = threading.Event()
            before = rig.administration.nodes

            def nodes():
                looked.set()
                return before()

            rig.administration.nodes = nodes
            assert looked.wait(60)
            act()
            rig.record("test", "", "something happened")

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield do
    for thread in threads:
        thread.join(60)


def drained(rig, name: str) -> None:
    rig.slurm.nodes[name] = replace(rig.slurm.nodes[name], state="IDLE", flags=frozenset({"DRAIN"}))
    rig.look()


def test_a_drain_is_waited_for_and_each_step_is_told_where_there_is_no_terminal(rig, soon) -> None:
    soon(lambda: drained(rig, "pc102"))
    told = rig.ask("drain", "pc102", "--wait", "--timeout", "60")
    assert told.stdout == "draining: pc102\n"
    assert told.stderr == "0/1 emptying pc102\n1/1 empty\n"


def test_a_drain_that_is_undone_ends_the_wait_with_a_word(rig, soon) -> None:
    rig.ask("drain", "pc102")
    soon(lambda: rig.manager.orders.resume("pc102", "bob"))
    with pytest.raises(AgentError, match="pc102: back in service; `esagent events pc102` tells why"):
        wait_for_empty(rig.socket, ["pc102"], 60, gone=False)


def test_a_wait_that_takes_too_long_ends_with_a_code_of_its_own(rig) -> None:
    told = rig.ask("drain", "pc101", "--wait", "--timeout", "0.2s", code=5)
    assert "not so within 0.2 s; it goes on" in told.stderr


def test_a_released_machine_is_waited_for_until_it_is_gone(rig, soon, monkeypatch) -> None:
    soon(lambda: monkeypatch.setattr(rig.manager.known, "machines", dict))
    told = rig.ask("release", "pc102", "--wait", "--timeout", "60", "--json")
    assert json.loads(told.stdout)["nodes"] == ["pc102"]
    assert told.stderr.endswith("1/1 empty\n")


def test_growth_is_waited_for_until_the_wish_ends(rig, soon) -> None:
    rig.ask("grow", "1")
    soon(lambda: rig.manager.orders.withdraw_growth("bob"))
    with pytest.raises(AgentError, match="the wish has ended with 3 of 4 machines"):
        wait_for_machines(rig.socket, 4, 60)
    wait_for_machines(rig.socket, 3, 60)
