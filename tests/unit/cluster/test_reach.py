"""How commands reach a machine, and that they reach no machine of others."""

import pytest

from agent.cluster.desk import Desk
from agent.cluster.reach import Reach
from agent.core.model import SliverNode
from agent.core.ports import Host, HostResult
from tests.unit.cluster.conftest import UTAH, Shell, a_machine, settings_with

MACHINE = SliverNode("node-1", "pc1", UTAH, "urn:sliver+7", "m510", "10.0.0.1", "pc1.site.net", "ada")


class Timed(Shell):
    def run(self, hosts, *, timeout):
        self.timeout = timeout
        return super().run(hosts, timeout=timeout)


@pytest.fixture
def make_reach(clock, ledger):
    def make(shell=None, *, ours=True, **settings):
        desk = Desk(settings_with(**settings), clock, ledger)
        return Reach(desk, shell or Shell(), lambda machine: ours)

    return make


def test_the_login_is_that_of_the_manifest_unless_the_settings_name_one(make_reach):
    assert make_reach().host(MACHINE) == Host("pc1", "10.0.0.1", "ada", life="7")
    assert make_reach(ssh_user="bob").host(MACHINE).username == "bob"


def test_a_machine_without_an_address_is_reached_by_its_name(make_reach):
    unaddressed = SliverNode("node-1", "pc1", UTAH, "urn:sliver+7", hostname="pc1.site.net")
    assert make_reach().host(unaddressed).address == "pc1.site.net"


def test_each_stay_of_a_machine_is_a_life_of_its_own(make_reach):
    first, again = a_machine(1), SliverNode("node-1", "pc1", UTAH, "urn:sliver+2", "m510", "10.0.0.1")
    reach = make_reach()
    assert (reach.host(first).life, reach.host(again).life) == ("1", "2")


def test_commands_run_on_a_machine_of_ours_within_their_time(make_reach):
    shell = Timed()
    result = make_reach(shell).run(MACHINE, ["true", "false"], 9)
    assert (result.ok, result.host.name) == (True, "pc1")
    assert (shell.ran, shell.timeout) == ([("pc1", ("true", "false"))], 9)


def test_nothing_runs_on_a_machine_that_is_not_ours(make_reach):
    shell = Shell()
    reach = make_reach(shell, ours=False)
    result = reach.run(MACHINE, ["true"], 9)
    assert result == HostResult(reach.host(MACHINE), "", "it is not ours any more")
    assert not result.ok
    assert shell.ran == []


def test_the_key_of_a_machine_that_went_back_is_forgotten(make_reach):
    shell = Shell()
    make_reach(shell, ours=False).forget(MACHINE)
    assert shell.ran == [("pc1", "forget")]
