"""The figures for Prometheus: their names, their document, and that their number stays bounded."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from agent.cluster.reasons import DrainCause
from agent.cluster.view import coming_views, node_views
from agent.core.events import Event, EventKind, Fate, JobLost, Joined, OfCm, Release
from agent.core.model import Intent, IntentKind, RetiredCm, SliverNode
from agent.core.said import ResourceValue, Revocation
from agent.core.slice.hindrance import KINDS
from agent.core.views import AgentView, Lapse, NodeState, NodeView
from agent.tell.figures import CAUSES, FIGURES, LABELS, STAGES, Kind
from agent.tell.metrics import Metrics
from tests.unit.cluster.conftest import NOW, a_moment, a_status

ROOT = Path(__file__).parents[3]
CM = "urn:cm"


def series(metrics: Metrics) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (sample.name, tuple(sample.labels))
        for family in metrics.registry.collect()
        for sample in family.samples
    ]


class Cloud:
    """An agent's memory while machines come and go, each under a name that no other ever had."""

    def __init__(self) -> None:
        self.machines: dict[str, SliverNode] = {}
        self.foreign: tuple[NodeView, ...] = ()
        self.metrics = Metrics({"add_nodes": 300.0})
        self.metrics.watch(self.view, NOW, lambda: {"self": NOW, "slice": NOW})

    def view(self) -> AgentView:
        machines = self.machines.values()
        facts = {
            "statuses": {m.key: a_status(m) for m in machines},
            "values": {n: ResourceValue(n, 0.5, NOW) for n in self.machines},
            "revocations": {m.node_id: Revocation(m.node_id, m.client_id, NOW, NOW, NOW) for m in machines},
        }
        return AgentView(
            nodes=node_views(a_moment(machines=machines, snapshot=None, facts=facts)),
            wanted=1,
            slice_expires=NOW,
            sliver_expires={CM: NOW},
            last_success={"get_system_state": NOW},
            foreign=self.foreign,
            backoffs={(CM, "insufficient"): True, (CM, "failed"): False},
            orphans={"cloudlab": 0, "slurm": 1},
            retired=(RetiredCm("urn:gone", "", ("node-9",)),),
        )

    def cycle(self, number: int) -> None:
        """Add a machine, empty it and give it back."""
        name = f"pc{number}"
        metrics, now = self.metrics, NOW + timedelta(minutes=number)
        metrics.request("AddNodes", CM, "ok", 1.0)
        metrics.step("add_nodes", "done", 1.0)
        self.machines[name] = SliverNode(f"node-{number}", name, CM, f"urn:sliver+{number}")
        for kind in map(EventKind, ("add", "arrived", "join", "weight", "revoke", "drain")):
            metrics.record(Event(now, kind, name, f"{kind} {name}"))
        job = JobLost(str(number), "revoked", 9.0)
        metrics.record(Event(now, EventKind.REQUEUE, name, f"job {number} requeued", job))
        metrics.callback("NotifyDeletePending", "ok")
        margin = Release(float(number % 90 - 9), 60.0)
        metrics.record(Event(now, EventKind.RELEASE, name, "", margin))
        series(metrics)  # a scrape, with the machine in it
        metrics.callback("NotifyDeleteComplete", "ok")
        metrics.record(Event(now, EventKind.GONE, name, "", OfCm(CM)))
        metrics.record(Event(now, EventKind.JOIN, name, "", Joined(12.5)))
        metrics.record(Event(now, EventKind.FAILED, name, "", Fate(CM, booted=True)))
        del self.machines[name]


def test_hundreds_of_machines_that_came_and_went_leave_no_series_behind() -> None:
    cloud = Cloud()
    cloud.cycle(0)
    before = series(cloud.metrics)
    for number in range(1, 301):
        cloud.cycle(number)
    assert series(cloud.metrics) == before
    assert len(before) < 200
    assert not [s for s in before if "node" in s[1]]


def test_a_machine_has_its_series_while_it_is_held() -> None:
    cloud = Cloud()
    cloud.machines["pc1"] = SliverNode("node-1", "pc1", CM, "urn:sliver+1")
    value = cloud.metrics.registry.get_sample_value
    assert value("esagent_node_resource_value", {"node": "pc1"}) == 0.5
    assert value("esagent_nodes", {"cm": CM, "state": "draining"}) == 1
    assert value("esagent_nodes", {"cm": CM, "state": "joined"}) == 0


def test_machines_that_were_asked_for_are_counted_at_their_cm_until_they_come() -> None:
    machine = SliverNode("node-1", "pc1", CM, "urn:sliver+1")
    asked = [Intent(IntentKind.ADD, cm, name, NOW) for cm, name in ((CM, "node-1"), ("urn:new", "node-2"))]
    metrics = Metrics()
    view = AgentView(coming_views(asked, [machine]), 1, NOW, {CM: NOW}, {})
    metrics.watch(lambda: view, NOW, dict)
    value = metrics.registry.get_sample_value
    assert value("esagent_nodes", {"cm": "urn:new", "state": "requested"}) == 1
    assert value("esagent_nodes", {"cm": CM, "state": "requested"}) == 0
    assert view.held == ()


def test_the_leases_that_nobody_renews_are_told_apart_from_the_others() -> None:
    metrics, lapse = Metrics(), Lapse("", NOW, "never")
    view = AgentView((), 0, NOW, {CM: NOW}, {}, lapses=(lapse,))
    metrics.watch(lambda: view, NOW, dict)
    value = metrics.registry.get_sample_value
    assert [value("esagent_lease_unrenewed", {"cm": cm}) for cm in ("", CM, "urn:other")] == [1, 0, None]


def test_what_is_in_the_way_of_a_renewal_is_told_by_its_kind() -> None:
    metrics, lapse = Metrics(), Lapse(CM, NOW, "no", obstacle="reserved")
    view = AgentView((), 0, NOW, {CM: NOW}, {}, lapses=(lapse, Lapse("", NOW, "never")))
    metrics.watch(lambda: view, NOW, dict)
    value = metrics.registry.get_sample_value
    kinds = {kind: value("esagent_lease_obstacle", {"cm": CM, "obstacle": kind}) for kind in KINDS}
    assert kinds == {**dict.fromkeys(KINDS), "reserved": 1}


def test_what_is_served_is_what_the_table_says() -> None:
    cloud = Cloud()
    cloud.cycle(0)
    cloud.machines["pc1"] = SliverNode("node-1", "pc1", CM, "urn:sliver+1")
    cloud.foreign = (NodeView("ctl", "pc9", "ctl", CM, NodeState.FOREIGN, value=0.5, due=NOW),)
    figures = {name: figure for figure in FIGURES for name in figure.series}
    # No Slurm gave this machine a weight, and nothing is in the way of its lease.
    weightless = {"esagent_node_weight", "esagent_lease_obstacle"}
    told = set(series(cloud.metrics))
    assert {name for name, _ in told} == set(figures) - weightless
    for name, labels in told:
        assert set(labels) - {"le"} == set(figures[name].labels)
    for family in cloud.metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        figure = next(f for f in FIGURES if f.name == name)
        assert (family.type, family.documentation) == (figure.kind.value, figure.meaning)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_names_follow_the_rules_of_prometheus(figure) -> None:
    assert re.fullmatch(r"esagent(_[a-z]+)+", figure.name)
    assert figure.name.endswith("_total") == (figure.kind is Kind.COUNTER)
    assert bool(figure.buckets) == (figure.kind is Kind.HISTOGRAM)
    if figure.kind is Kind.HISTOGRAM:
        assert figure.name.endswith("_seconds")
    assert not re.search(r"_(ms|minutes|hours|days|percent|mb|count|sum|bucket)\b", figure.name)
    assert set(figure.labels) <= set(LABELS)
    assert figure.meaning.endswith(".")
    assert all(len(values) == len(figure.labels) for values in figure.known)


def test_counters_with_known_labels_begin_at_0_so_that_the_first_event_is_seen() -> None:
    value = Metrics().registry.get_sample_value
    assert value("esagent_drained_jobs_total", {"outcome": "lost", "cause": "taken"}) == 0
    assert value("esagent_callbacks_total", {"method": "", "outcome": "forbidden"}) == 0
    assert value("esagent_revocations_total", {"outcome": "late"}) == 0


def test_the_causes_are_those_of_drains() -> None:
    assert set(CAUSES) == {cause.value for cause in DrainCause}


def test_revocations_are_counted_by_what_became_of_them() -> None:
    metrics = Metrics()
    for kind, data in (
        (EventKind.REVOKE, None),
        (EventKind.REVOKE, None),
        (EventKind.REVOKE, None),
        (EventKind.RELEASE, Release(3.0, 9.0)),
        (EventKind.RELEASE, Release(-3.0, 9.0)),
        (EventKind.WITHDRAWN, None),
    ):
        metrics.record(Event(NOW, kind, "pc1", "", data))
    value = metrics.registry.get_sample_value
    counted = {
        o: value("esagent_revocations_total", {"outcome": o})
        for o in ("announced", "released", "late", "withdrawn")
    }
    assert counted == {"announced": 3, "released": 1, "late": 1, "withdrawn": 1}


def test_the_document_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools/metrics_doc.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (ROOT / "docs/metrics.md").read_text() == made.stdout, (
        ".venv/bin/python tools/metrics_doc.py > docs/metrics.md"
    )


def test_a_step_that_takes_longer_than_its_interval_is_an_overrun() -> None:
    metrics = Metrics({"join_nodes": 15.0, "renew": 3600.0})
    for seconds in (14.0, 16.0, 17.0):
        metrics.step("join_nodes", "done", seconds)
    metrics.step("another", "done", 1e6)
    value = metrics.registry.get_sample_value
    assert value("esagent_step_overruns_total", {"step": "join_nodes"}) == 2
    assert value("esagent_step_overruns_total", {"step": "renew"}) == 0
    assert value("esagent_step_overruns_total", {"step": "another"}) is None


def test_machines_that_were_given_up_are_counted_by_what_they_failed_at() -> None:
    metrics = Metrics()
    value = metrics.registry.get_sample_value
    assert [value("esagent_machine_failures_total", {"stage": stage}) for stage in STAGES] == [0, 0]
    for booted in (False, True, True):
        metrics.record(Event(NOW, EventKind.FAILED, "pc1", "", Fate(CM, booted)))
    assert [value("esagent_machine_failures_total", {"stage": stage}) for stage in STAGES] == [1, 2]


def test_states_of_our_machines_all_have_a_series() -> None:
    value = Cloud().metrics.registry.get_sample_value
    found = {state: value("esagent_nodes", {"cm": CM, "state": state}) for state in NodeState}
    assert found == {**dict.fromkeys(NodeState, 0), NodeState.FOREIGN: None}


def test_machines_that_are_not_ours_have_figures_of_their_own_and_are_none_of_ours() -> None:
    cloud = Cloud()
    cloud.foreign = (
        NodeView("ctl", "pc8", "ctl", CM, NodeState.FOREIGN, value=0.7),
        NodeView("nfs", "pc9", "nfs", "urn:other", NodeState.FOREIGN, due=NOW),
    )
    value = cloud.metrics.registry.get_sample_value
    assert [value("esagent_foreign_machines", {"cm": cm}) for cm in (CM, "urn:other")] == [1, 1]
    assert value("esagent_foreign_resource_value", {"node": "ctl"}) == 0.7
    due = value("esagent_foreign_revocation_deadline_timestamp_seconds", {"node": "nfs"})
    assert due == NOW.timestamp()
    assert value("esagent_node_resource_value", {"node": "ctl"}) is None
    assert value("esagent_revocation_deadline_timestamp_seconds", {"node": "nfs"}) is None
    assert sum(value("esagent_nodes", {"cm": CM, "state": s}) or 0 for s in NodeState) == 0
    cloud.foreign = ()
    assert value("esagent_foreign_machines", {"cm": CM}) == 0
    assert value("esagent_foreign_resource_value", {"node": "ctl"}) is None
