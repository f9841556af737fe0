"""Plans at each step of a replay, with the agent of the directory that it runs in.

Each line that it reads is a step, as JSON, and it answers each with a line of JSON. Slurm is read by the
agent's own way in; its times are replaced by those of the replay.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import agent
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.misfits import Misfits
from agent.cluster.moment import History, Moment
from agent.cluster.planner import Planner
from agent.cluster.reader import look_back
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.model import AdvertisedNode, SliverNode
from agent.core.ports import SystemClock
from agent.core.slice.facts import SliceFacts
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.settings import SlurmSettings

_BEGINNING = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
_CM = "urn:publicid:IDN+replay+authority+cm"
_FREE = 100
"""Machines of each type that a CM has."""


@dataclass
class Replayed:
    """What the agent remembers from one step to the next."""

    settings: ClusterSettings
    history: History | None = None
    told: dict[str, Any] = field(default_factory=dict)
    """Fields of ``Moment`` that the first version has not."""
    watch: Any = None
    asked_for: dict[tuple[str, str], Any] = field(default_factory=dict)


def main() -> None:
    """Plan at each step that is read."""
    told = json.loads(sys.stdin.readline())
    backend = CliBackend(SlurmSettings(conf=told["conf"], bin_dir=told["bin_dir"]), SystemClock())
    types = tuple(map(_type, told["types"]))
    demand = DemandSettings(max_nodes=told["most"], types=types)
    settings = ClusterSettings(demand, WeightSettings(), DrainSettings(), JoinSettings(node_name="client_id"))
    replayed, planner, misfits = Replayed(settings), Planner(), Misfits(backend)
    print(json.dumps({"agent": str(Path(agent.__file__).parent)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_step(json.loads(line), backend, replayed, planner, misfits)), flush=True)


def _type(told: Mapping[str, Any]) -> MachineType:
    """Tell of a type what the agent takes: the first version reads no ``gpu:3090:2``, and no layouts."""
    known = {key: value for key, value in told.items() if key in MachineType.model_fields}
    try:
        return MachineType(**known)
    except ValueError:
        return MachineType(**{**known, "gres": re.sub(r":.+:", ":", known["gres"])})


def _step(
    step: Mapping[str, Any], backend: CliBackend, replayed: Replayed, planner: Planner, misfits: Misfits
) -> dict[str, Any]:
    now = _BEGINNING + timedelta(minutes=step["now"])
    snapshot = _as_replayed(backend.snapshot(), step, now)
    if "scheduling" in _FIELDS and "scheduling" not in replayed.told:
        replayed.told["scheduling"] = backend.scheduling()
    machines = tuple(SliverNode(n, n, _CM, n, kind) for n, kind in step["machines"].items())
    kinds = [offer.type for offer in replayed.settings.demand.offers()]
    free = tuple(AdvertisedNode(f"{k}-{i}", _CM, (k,), True) for k in kinds for i in range(_FREE))
    facts = SliceFacts(
        cms=(_CM,),
        machines=machines,
        all_read=True,
        read=frozenset({_CM}),
        ready=frozenset(machine.key for machine in machines if machine.client_id in step["joined"]),
        free={_CM: free},
        everything={_CM: free},
        stays_free=0.0,
    )
    if "asked_for" in _FIELDS:
        replayed.told["asked_for"] = replayed.asked_for
    moment = Moment(
        now,
        replayed.settings,
        slice=facts,
        snapshot=snapshot,
        reservations=(),
        history=replayed.history,
        began=frozenset((m.cm, m.client_id) for m in machines if m.client_id in step["joined"]),
        **replayed.told,
    )
    replayed.history = look_back(moment)
    moment = replace(moment, history=replayed.history)
    if "machine_types" in _FIELDS:
        from agent.cluster.grow.shapes import learn

        replayed.told["machine_types"] = learn(moment)
        moment = replace(moment, machine_types=replayed.told["machine_types"])
    plan = planner.plan(moment)
    misfits.act(moment)
    found = []
    if "wrong" in _FIELDS:
        found = _correct(moment, plan.growth, replayed)
        if found:
            moment = replace(moment, wrong=replayed.told["wrong"])
            plan = planner.plan(moment)
    wanted = {kind: count for kind, count in plan.growth.wanted.items() if count}
    names = {kind: step["next"][kind][:count] for kind, count in wanted.items()}
    _note(names, plan.growth, replayed)
    return {
        "names": names,
        "goes": [verdict.name for verdict in plan.verdicts if verdict.goes],
        "keeps": {verdict.name: verdict.why for verdict in plan.verdicts if not verdict.goes},
        "jobs": {verdict.job: verdict.why for verdict in plan.growth.jobs},
        "misjudged": found,
    }


def _correct(moment: Moment, growth: GrowthPlan, replayed: Replayed) -> list[str]:
    """Do as ``Misjudged`` does; return which estimates turned out wrong."""
    from agent.cluster.grow.wrong import Watch, contradicted, look

    watch = replayed.watch or Watch()
    kept = contradicted(moment, watch)
    replayed.watch, found = look(moment, growth, watch)
    replayed.told["wrong"] = tuple({mark.key: mark for mark in (*kept, *found)}.values())
    return [f"{mark.job} on {mark.where}: {mark.reason}" for mark in found]


def _note(names: Mapping[str, list[str]], growth: GrowthPlan, replayed: Replayed) -> None:
    """Remember for which jobs machines are borrowed."""
    if "asked_for" not in _FIELDS:
        return
    from agent.core.estimates import ForJobs

    for kind, new in names.items():
        jobs = ForJobs.of(growth.wanted_for.get(kind, ()))
        replayed.asked_for |= {(_CM, name): jobs for name in new}


def _as_replayed(snapshot: Snapshot, step: Mapping[str, Any], now: datetime) -> Snapshot:
    """Return a reading as the agent would have had it: nodes that have come, and times of the replay."""
    nodes = {
        name: _node(snapshot.nodes[name], _BEGINNING + timedelta(minutes=at))
        for name, at in step["joined"].items()
    }
    jobs = tuple(_job(job, step["submitted"]) for job in snapshot.jobs)
    return Snapshot(now, nodes, jobs)


def _node(node: Node, booted: datetime) -> Node:
    """Return a node as if a slurmd were at work there: the replay has none."""
    return replace(
        node, flags=(node.flags & {"COMPLETING"}) | {"DYNAMIC_NORM"}, booted=booted, last_busy=booted
    )


def _job(job: Job, submitted: Mapping[str, float]) -> Job:
    at = submitted.get(job.id.partition("_")[0])
    told = None if at is None else _BEGINNING + timedelta(minutes=at)
    state = "RUNNING" if job.state == "CONFIGURING" else job.state
    return replace(job, state=state, submitted=told, started=None, ends=None)


_FIELDS = frozenset(each.name for each in fields(Moment))

if __name__ == "__main__":
    main()
