"""What identifies a machine is its own, whatever settings, CMs and manifests call it."""

import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.core.config import ManagerConfig
from agent.core.errors import UnreachableError
from agent.core.model import IntentKind, SliverStatus
from agent.core.notices.whence import called_by
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import (
    NOW,
    UTAH,
    WISC,
    Cloudlab,
    Shell,
    Slurm,
    a_machine,
    a_status,
    free_machine,
    settings_with,
)

PC1 = a_machine(1)
TWIN = replace(a_machine(1, WISC), client_id="node-7", sliver_id="urn:wisc+7", address="10.0.1.1")
CHANGES = [{"node_name": "client_id"}, {"mode": "cloud"}, {"node_name": "client_id", "mode": "cloud"}]
DYNAMIC = frozenset({"DYNAMIC_NORM"})
SURPLUS_AT_ONCE = DemandSettings(min_hold=0)


def busy(name, job="7"):
    return Job(job, "RUNNING", nodes=frozenset({name}))


def cycle(manager, times=3):
    for _ in range(times):
        manager.manage_once(force=True)
        manager.drainer.tick()


def until(true, why):
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, why
        time.sleep(0.01)


def commands(manager):
    return [command for _, series in manager._reach._shell.ran for command in series]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("by", ["reload", "restart"])
def test_a_job_outlives_a_change_of_what_machines_are_called_and_how_they_join(make_manager, change, by):
    slurm = Slurm(Node("pc1", "ALLOCATED", address=PC1.address), jobs=[busy("pc1")])
    site = Cloudlab(PC1)
    manager = make_manager(site, slurm, demand=SURPLUS_AT_ONCE)
    cycle(manager)
    if by == "reload":
        manager.desk.settings = settings_with(demand=SURPLUS_AT_ONCE, join=JoinSettings(**change))
    else:
        slurm.nodes["pc1"] = replace(slurm.nodes["pc1"], address="pc1")
        manager = make_manager(site, slurm, demand=SURPLUS_AT_ONCE, join=JoinSettings(**change))
    manager.clock.time += timedelta(hours=1)
    cycle(manager)
    assert (commands(manager), site.asked) == ([], [])
    assert [view.node for view in manager.view().nodes] == ["pc1"]
    manager.NotifyDeletePending(
        {"nodelist": [{"node_id": "pc1", "client_id": "node-1", "max_wait_time": 600}]}
    )
    cycle(manager)
    assert slurm.nodes["pc1"].draining
    assert not manager.revocations[UTAH, "pc1"].releasable, "its job runs still"


def test_the_next_machine_is_called_as_the_settings_say_now(make_manager, ledger):
    slurm, site = Slurm(Node("pc1", "IDLE")), Cloudlab(PC1)
    manager = make_manager(site, slurm)
    cycle(manager)
    assert [known.name for known in ledger.names()] == ["pc1"]
    manager.desk.settings = settings_with(join=JoinSettings(node_name="client_id"))
    site.machines = [replace(PC1, node_id="pc2", sliver_id="urn:sliver+22")]
    cycle(manager)
    assert [view.node for view in manager.view().nodes] == ["node-1"]


def test_machines_that_two_racks_call_alike_are_two_nodes_each_with_its_job(make_manager):
    slurm = Slurm(Node("pc1", "ALLOCATED"), Node("pc1-wisc", "IDLE"), jobs=[busy("pc1")])
    site = Cloudlab(PC1, TWIN, cms=(UTAH, WISC))
    manager = make_manager(site, slurm)
    cycle(manager, 1)
    assert {view.node: view.client_id for view in manager.view().nodes} == {
        "pc1": "node-1",
        "pc1-wisc": "node-7",
    }


@pytest.mark.parametrize("tells_client_id", [True, False])
def test_a_notice_of_one_leaves_the_revocation_and_the_node_of_the_other_alone(make_manager, tells_client_id):
    slurm = Slurm(Node("pc1", "ALLOCATED"), Node("pc1-wisc", "IDLE"), jobs=[busy("pc1")])
    manager = make_manager(Cloudlab(PC1, TWIN, cms=(UTAH, WISC)), slurm)
    cycle(manager, 1)

    def notice(machine, wait, method="NotifyDeletePending"):
        item = {"node_id": "pc1", "max_wait_time": wait}
        if tells_client_id:
            item["client_id"] = machine.client_id
        with called_by(machine.cm):
            return getattr(manager, method)({"nodelist": [item]})

    notice(PC1, 3600)
    notice(TWIN, 600)
    cycle(manager)
    due = {place: revocation.deadline - NOW for place, revocation in manager.revocations.items()}
    assert due == {(UTAH, "pc1"): timedelta(hours=1), (WISC, "pc1"): timedelta(minutes=10)}
    until(lambda: manager.revocations[WISC, "pc1"].releasable, "nothing is on it")
    assert not manager.revocations[UTAH, "pc1"].releasable, "its job runs still"
    assert notice(PC1, 3540)["value"] == 0
    assert notice(TWIN, 540)["value"][0]["max_wait_time"] == 0
    notice(TWIN, 0, "NotifyDeleteComplete")
    assert list(manager.revocations) == [(UTAH, "pc1")]


def test_a_late_word_of_one_that_is_gone_says_nothing_of_the_other(make_manager):
    slurm = Slurm(Node("pc1", "ALLOCATED"), jobs=[busy("pc1")])
    site = Cloudlab(PC1, TWIN, cms=(UTAH, WISC))
    manager = make_manager(site, slurm)
    cycle(manager, 1)
    site.machines = [PC1]
    cycle(manager, 4)
    manager.NotifyDeletePending(
        {"nodelist": [{"node_id": "pc1", "client_id": "node-1", "max_wait_time": 3600}]}
    )
    late = {"node_id": "pc1", "client_id": "node-7", "max_wait_time": 0}
    manager.NotifyDeletePending({"nodelist": [late]})
    manager.NotifyDeleteComplete({"nodelist": [late]})
    assert (UTAH, "pc1") in manager.revocations
    facts = manager.facts()
    assert facts.revocation_of(PC1).client_id == "node-1"
    assert not facts.is_taken(PC1)


@pytest.mark.parametrize("caller", ["", UTAH])
def test_a_word_of_an_earlier_machine_says_nothing_of_the_next_one(make_manager, ledger, caller):
    slurm = Slurm(Node("pc1", "ALLOCATED"), jobs=[busy("pc1")])
    manager = make_manager(Cloudlab(PC1), slurm)
    cycle(manager, 1)
    manager.NotifyDeletePending(
        {"nodelist": [{"node_id": "pc1", "client_id": "node-1", "max_wait_time": 3600}]}
    )
    with called_by(caller):
        manager.NotifyDeleteComplete({"nodelist": [{"node_id": "pc1", "client_id": "node-0"}]})
    facts = manager.facts()
    assert facts.revocation_of(PC1) is not None
    assert not facts.is_taken(PC1)
    cycle(manager, 2)
    assert "kept" not in {event.kind for event in ledger.events()}


def test_a_revocation_is_heeded_though_the_cm_of_the_machine_was_not_heard_since_the_start(clock, ledger):
    """Its job is not lost because the CM's API is silent: what joined as what is remembered."""
    slurm = Slurm(
        Node("pc1", "ALLOCATED"), Node("pc1-wisc", "ALLOCATED"), jobs=[busy("pc1"), busy("pc1-wisc")]
    )
    site = Cloudlab(PC1, TWIN, cms=(UTAH, WISC))

    def begin():
        config = ManagerConfig(clock=clock, events=ledger, holdings=ledger, revocations=ledger)
        parts = {"backend": slurm, "shell": Shell(), "settings": settings_with(), "wishes": ledger}
        manager = SlurmElasticSliceManager(site, config, **parts)
        manager.set_helper(SimpleElasticSliceHelper(server=site))
        return manager

    cycle(begin(), 2)
    site.silent = {WISC}
    manager = begin()
    with suppress(UnreachableError):
        cycle(manager, 1)
    manager.get_system_state()
    with called_by(WISC):
        item = {"node_id": "pc1", "client_id": "node-7", "max_wait_time": 600}
        assert manager.NotifyDeletePending({"nodelist": [item]})["value"] == 0
    manager.drainer.tick()
    assert (slurm.nodes["pc1-wisc"].draining, slurm.nodes["pc1"].draining) == (True, False)
    slurm.jobs.pop()
    slurm.nodes["pc1-wisc"] = replace(slurm.nodes["pc1-wisc"], state="IDLE")
    manager.drainer.tick()
    assert commands(manager) == [], "nobody logs in where no manifest says that it is ours still"
    site.silent = set()
    cycle(manager, 2)
    until(lambda: manager.revocations[WISC, "pc1"].releasable, "nothing is on it")
    assert slurm.nodes["pc1-wisc"].draining


def test_values_of_one_are_not_those_of_the_other(make_manager):
    slurm = Slurm(Node("pc1", "IDLE"), Node("pc1-wisc", "IDLE"))
    manager = make_manager(Cloudlab(PC1, TWIN, cms=(UTAH, WISC)), slurm)
    cycle(manager, 1)
    for machine, value in ((PC1, 0.0), (TWIN, 1.0)):
        site = machine.cm.split("+")[1]
        urn = f"urn:publicid:IDN+{site}+node+pc1"
        manager.SetResourceValues({"nodelist": [{"node_id": "pc1", "value": value, "component_urn": urn}]})
    assert {view.node: view.value for view in manager.view().nodes} == {"pc1": 0.0, "pc1-wisc": 1.0}


@pytest.mark.parametrize("sliver_id", ["", "urn:sliver+1"])
def test_of_machines_without_sliver_ids_or_with_equal_ones_one_goes_and_the_others_stay(
    make_manager, sliver_id
):
    machines = [replace(a_machine(n), sliver_id=sliver_id) for n in (1, 2, 3)]
    slurm = Slurm(*(Node(f"pc{n}", "IDLE") for n in (1, 2, 3)))
    site = Cloudlab(*machines)
    manager = make_manager(site, slurm, demand=DemandSettings(min_nodes=2))
    cycle(manager, 1)
    manager.give_up(machines[0], "it is broken")
    cycle(manager)
    assert site.asked == [("delete", UTAH, ("node-1",))]
    assert [machine.client_id for machine in manager.held()] == ["node-2", "node-3"]


def test_machines_with_equal_sliver_ids_boot_each_by_its_own_status(make_manager):
    machines = [replace(a_machine(n), sliver_id="urn:same") for n in (1, 2)]
    site = Cloudlab(*machines)
    site.sliver_status = lambda cm: SliverStatus(
        cm, "ready", "ready", "", tuple(a_status(a_machine(n)) for n in (1, 2))
    )
    manager = make_manager(site, Slurm())
    cycle(manager, 1)
    assert {key.client_id for key in manager.facts().ready} == {"node-1", "node-2"}


@pytest.mark.parametrize("mode", ["dynamic", "cloud"])
def test_a_record_of_an_earlier_machine_that_slurm_takes_for_alive_is_joined_anew(make_manager, mode):
    """The earlier one went while the agent was away; what Slurm says of its node is not about the new one."""
    slurm = Slurm(Node("node-1", "IDLE", DYNAMIC, address="10.9.9.9"))
    site = Cloudlab(free=[free_machine(5)])
    manager = make_manager(site, slurm, join=JoinSettings(node_name="client_id", mode=mode))
    manager._slivers.intents.declare(IntentKind.ADD, UTAH, ["node-1"])
    site.machines = [replace(PC1, node_id="pc5")]
    cycle(manager, 1)
    until(lambda: "resume" in [act for act, *_ in slurm.acts], "it has joined")
    acts = [act for act, *_ in slurm.acts]
    assert acts.index("set_down") < acts.index("set_address") < acts.index("resume")
    assert "slurmd" in "".join(commands(manager))
    done = len(slurm.acts)
    cycle(manager)
    assert not {"set_down", "resume"} & {act for act, *_ in slurm.acts[done:]}


def test_a_machine_does_not_pass_for_a_node_of_the_sites_own_that_has_its_name(make_manager):
    slurm = Slurm(Node("pc1", "IDLE", address="10.9.9.9"))
    manager = make_manager(Cloudlab(PC1), slurm)
    cycle(manager)
    assert [view.node for view in manager.view().nodes] == ["pc1-utah"]
    notice = {"node_id": "pc1", "client_id": "node-1", "max_wait_time": 600}
    manager.NotifyDeletePending({"nodelist": [notice]})
    cycle(manager)
    assert not [names for _, names, *_ in slurm.acts if "pc1" in names]
    assert not slurm.nodes["pc1"].draining


def test_where_a_job_is_on_it_or_slurm_has_it_at_the_machines_address_it_is_left_alone(make_manager):
    for address, jobs in (("10.9.9.9", [busy("pc5")]), (PC1.address, [])):
        slurm = Slurm(Node("pc5", "IDLE", DYNAMIC, address=address), jobs=jobs)
        site = Cloudlab(free=[free_machine(5)])
        manager = make_manager(site, slurm)
        manager._slivers.intents.declare(IntentKind.ADD, UTAH, ["node-1"])
        site.machines = [replace(PC1, node_id="pc5")]
        cycle(manager)
        assert commands(manager) == []


def test_the_node_of_a_machine_that_went_while_the_agent_was_away_leaves_slurm(make_manager, ledger):
    slurm = Slurm(Node("pc1", "ALLOCATED", address=PC1.address), jobs=[busy("pc1")])
    site = Cloudlab(PC1)
    cycle(make_manager(site, slurm))
    site.machines.clear()
    cycle(make_manager(site, slurm))
    assert slurm.nodes["pc1"].state == "DOWN", "its job is not left to wait for SlurmdTimeout"
    # The agent is away again before the record could be taken out.
    assert [known.name for known in ledger.names()] == ["pc1"]
    slurm.jobs.clear()
    cycle(make_manager(site, slurm))
    assert "pc1" not in slurm.nodes
    assert ledger.names() == ()


def test_a_manifest_that_leaves_the_sliver_ids_out_once_makes_no_machine_another(make_manager, ledger):
    slurm = Slurm(Node("pc1", "ALLOCATED"), jobs=[busy("pc1")])
    site = Cloudlab(PC1)
    manager = make_manager(site, slurm)
    cycle(manager, 1)
    for sliver_id in ("", PC1.sliver_id):
        site.machines = [replace(PC1, sliver_id=sliver_id)]
        cycle(manager, 1)
        assert [machine.key for machine in manager.held()] == [PC1.key]
    assert not {"gone", "missing", "joining"} & {event.kind for event in ledger.events()}
