"""The agent's framework at simulated CMs that take no change while machines boot, and at one that does."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from agent.cloudlab.connect import connect
from agent.cloudlab.settings import CloudlabSettings, CmSettings
from agent.core.config import CycleSettings, ManagerConfig
from agent.core.manager import SimpleElasticSliceManager
from agent.core.ports import SystemClock
from agent.core.request.helper import SimpleElasticSliceHelper
from testbed.cloudlab import DEFAULT_SITES

SPEED = 600.0
KINDS = {
    "2016": replace(DEFAULT_SITES[0], generation=2016),
    "wait": replace(DEFAULT_SITES[0], generation=2021, start_path="wait"),
    "os_setup": replace(DEFAULT_SITES[0], generation=2021, start_path="os_setup"),
    "reconfigure": replace(DEFAULT_SITES[0], generation=2021, start_path="reconfigure"),
}
CHANGES = ("AddNodes", "DeleteNodes", "DeleteSlice")


class Wishing(SimpleElasticSliceManager):
    """Holds as many machines as a test wants, without those that it names."""

    wanted = 2
    going: tuple[str, ...] = ()

    def should_create_sliver(self, cm):
        return bool(self.should_add_nodes(cm=cm))

    def should_add_nodes(self, count=0, cm=None):
        held = {node.client_id for node in self.held()} | {intent.client_id for intent in self.requested()}
        return max(self.wanted - len(held - set(self.going)), 0) or None

    def should_delete_nodes(self, cm=None):
        return [n.client_id for n in self.held(cm) if n.client_id in self.going] or None


class Told(SimpleElasticSliceHelper):
    """Remembers what became of machines."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.told = []

    def handle_added_node(self, node, status):
        self.told.append((node["client_id"], status))


class Bench:
    def __init__(self, simulator):
        bed = simulator.bed_file()
        settings = CloudlabSettings(
            certificate=bed.user_pem,
            passphrase_file=bed.passphrase_file,
            ca_bundle=bed.ca_bundle,
            project=bed.project,
            slice="busy",
            cms=tuple(CmSettings(urn=cm.urn, url=cm.url) for cm in bed.cms[:1]),
        )
        self.simulator = simulator
        self.server = connect(settings, clock=SystemClock())
        self.server._delete_poll = 0.1
        limits = CycleSettings(retry_interval=0.2, settled_status=0.2)
        self.manager = Wishing(
            self.server, ManagerConfig(cycle=limits), percent_available_minimum=0, enable_delete=True
        )
        self.helper = Told(self.server, num_pcs=2)
        self.manager.set_helper(self.helper)

    def until(self, reached):
        end = time.monotonic() + 60
        while not reached():
            assert time.monotonic() < end, (self.manager.said, self.names())
            self.manager.manage_once(force=True)
            time.sleep(0.05)

    def names(self):
        return sorted(node.client_id for node in self.manager.held())

    def ready(self):
        return sorted(node.client_id for node in self.manager.inventory.with_fate("ready"))

    def calls(self, *methods):
        calls = self.simulator.journal.calls
        return [(call.method, call.code) for method in methods for call in calls(method)]

    def refused(self):
        return [method for method, code in self.calls(*CHANGES) if code == 14]


@pytest.fixture(params=KINDS)
def bench(request, start):
    made = Bench(start(sites=(KINDS[request.param], DEFAULT_SITES[1]), speed=SPEED))
    made.kind = request.param
    made.until(lambda: made.ready() == ["node-1", "node-2"])
    yield made
    made.server.close()


def test_machines_come_and_go_and_no_change_is_tried_in_vain(bench):
    bench.manager.wanted = 4
    bench.until(lambda: len(bench.names()) == 4)
    bench.manager.wanted, bench.manager.going = 5, ("node-1",)
    bench.until(lambda: len(bench.ready()) == 5)
    assert "node-1" not in bench.names()
    bench.manager.wanted, bench.manager.going = 4, ("node-2",)
    bench.until(lambda: bench.ready() == ["node-3", "node-4", "node-5", "node-6"])
    if bench.kind != "2016":
        assert bench.refused() == []
        assert bench.names() == ["node-3", "node-4", "node-5", "node-6"], "no name is used up"
    assert sorted(bench.helper.told) == [(f"node-{n}", "ready") for n in range(1, 7)], "each is told of once"


def test_a_whole_sliver_goes_while_machines_boot(bench):
    bench.manager.wanted = 4
    bench.until(lambda: len(bench.names()) == 4)
    bench.manager.wanted, bench.manager.going = 0, tuple(bench.names())
    bench.until(lambda: not bench.names())
    assert bench.server.find_sliver(bench.server.cms[0]) is None
    bench.simulator.journal.wait_for(lambda: not [m for m in bench.simulator.machines() if m.slice_urn])


def test_the_machines_that_stay_are_not_failed_for_what_others_do(bench):
    bench.manager.wanted = 3
    bench.until(lambda: len(bench.ready()) == 3)
    bench.manager.going = ("node-3",)
    bench.manager.wanted = 2
    bench.until(lambda: bench.names() == ["node-1", "node-2"])
    bench.until(lambda: bench.ready() == ["node-1", "node-2"])
    assert {status for _, status in bench.helper.told} == {"ready"}


def test_a_modify_that_fails_and_hides_the_manifest_costs_no_machine_that_runs(bench):
    bench.simulator.portal.modify("busy", bench.server.cms[0], ["other"], failure="mapping")
    for _ in range(5):
        bench.manager.manage_once(force=True)
        time.sleep(0.2)
    assert bench.ready() == ["node-1", "node-2"]
    bench.manager.wanted = 3
    bench.until(lambda: bench.ready() == ["node-1", "node-2", "node-3"])
    assert len(bench.helper.told) == 3


def test_machines_that_a_failed_modify_tears_down_are_replaced(bench):
    bench.simulator.portal.modify("busy", bench.server.cms[0], ["other"], failure="redeeming")
    bench.until(lambda: bench.ready() == ["node-3", "node-4"])


def test_machines_that_a_person_adds_and_takes_away_are_left_alone(bench):
    site = bench.server.cms[0]
    bench.simulator.portal.modify("busy", site, ["other"])
    bench.until(bench.manager.inventory.foreign)
    assert bench.names() == ["node-1", "node-2"]
    bench.simulator.portal.modify("busy", site, remove=["other", "node-2"])
    bench.until(lambda: "node-2" not in bench.names() and len(bench.ready()) == 2)
    assert "node-1" in bench.ready()
    assert bench.manager.inventory.foreign() == []
