"""`--wait`: until it is so, until it cannot be any more, or until the time is over."""

import json
import re
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cli.waiting import wait_for_empty, wait_for_machines, wait_for_none
from agent.core.errors import AgentError, BusyError, RefusedError
from agent.core.settings import LeaseSettings
from tests.unit.admin.conftest import machine


@pytest.fixture
def soon(rig):
    """Do something while a command waits: as soon as it has looked."""
    threads = []

    def do(act, *, looks_at="nodes"):
        def work():
            looked = threading.Event()
            before = getattr(rig.questions, looks_at)

            def look(**which):
                looked.set()
                return before(**which)

            setattr(rig.questions, looks_at, look)
            assert looked.wait(60)
            act()
            rig.record("admin", "", "something happened")

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
    soon(lambda: rig.manager.orders.resume(machine(2), "bob"))
    with pytest.raises(AgentError, match="pc102: back in service; `esagent events pc102` tells why"):
        wait_for_empty(rig.socket, ["pc102"], 60, gone=False)


def test_a_wait_that_takes_too_long_ends_with_a_code_of_its_own(rig) -> None:
    told = rig.ask("drain", "pc101", "--wait", "--timeout", "0.2s", code=5)
    assert "not so within 0.2 s; it goes on" in told.stderr


def test_a_released_machine_is_waited_for_until_it_is_gone(rig, soon, monkeypatch) -> None:

    def give_back():
        monkeypatch.setattr(rig.cloudlab, "machines", ())
        for _ in range(2):
            rig.manager.ensure_sliver()
            rig.manager.clock.time += timedelta(seconds=15)

    soon(give_back)
    told = rig.ask("release", "pc102", "--wait", "--timeout", "60", "--json")
    assert json.loads(told.stdout)["nodes"] == ["pc102"]
    assert told.stderr.endswith("1/1 empty\n")


def test_growth_is_waited_for_until_the_wish_ends(rig, soon) -> None:
    rig.ask("grow", "1")
    soon(lambda: rig.manager.orders.withdraw_growth("bob"))
    with pytest.raises(AgentError, match="the wish has ended with 3 of 4 machines"):
        wait_for_machines(rig.socket, 4, 60)
    wait_for_machines(rig.socket, 3, 60)


def test_a_renewal_is_waited_for_until_every_lease_is_renewed(rig, soon) -> None:
    soon(rig.manager.renew, looks_at="status")
    told = rig.ask("renew", "--wait", "--timeout", "60")
    assert told.stdout.startswith("the lease is being renewed")
    assert re.fullmatch(r"2/2 renewed until 20\S+Z", told.stderr.splitlines()[-1])


def test_leases_that_last_longer_than_asked_for_are_as_good_as_renewed(rig, soon) -> None:
    rig.manager.lease = LeaseSettings(duration="10h")
    soon(rig.manager.renew, looks_at="status")
    told = rig.ask("renew", "--wait", "--timeout", "60")
    assert re.fullmatch(r"2/2 renewed until 20\S+Z", told.stderr.splitlines()[-1])
    assert rig.cloudlab.renewed == []


def test_a_renewal_that_cloudlab_refuses_ends_the_wait_with_its_words_each_time(rig, soon) -> None:
    def refuse(cm, expires):
        raise RefusedError("Could not extend: pc102 is reserved for project other")

    rig.cloudlab.renew_sliver = refuse

    def try_it():
        with suppress(RefusedError):
            rig.manager.renew()

    for _ in range(2):
        soon(try_it, looks_at="status")
        with pytest.raises(AgentError, match=r"the sliver .* and no longer: .*reserved for project other"):
            rig.ask("renew", "--wait", "--timeout", "60")


def test_a_renewal_that_met_a_busy_site_is_still_wanted_at_the_next_try(rig, soon) -> None:
    renew = rig.cloudlab.renew_sliver

    def busy(cm, expires):
        rig.cloudlab.renew_sliver = renew
        raise BusyError("come back later")

    rig.cloudlab.renew_sliver = busy

    def try_twice():
        with suppress(BusyError):
            rig.manager.renew()
        rig.manager.renew()

    soon(try_twice, looks_at="status")
    assert "2/2 renewed" in rig.ask("renew", "--wait", "--timeout", "60").stderr


def test_a_teardown_that_somebody_ends_is_waited_for_no_longer(rig) -> None:
    assert (
        "0/3 giving back: 3 draining\n" in rig.ask("teardown", "--yes", "-w", "--timeout", "0", code=5).stderr
    )
    rig.ask("unpause")
    with pytest.raises(AgentError, match="growth is allowed again, with 3 machines held"):
        wait_for_none(rig.socket, 3, 60)
