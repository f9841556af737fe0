"""Plans one queue as often as it is told to, with the agent of the directory that it runs in.

Each line that it reads is one plan; it answers each with a line of JSON.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import agent
from agent.cluster.grow.demand import plan_growth
from agent.cluster.grow.packing import array_of
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import LONG_AGO, History, Moment
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from bench.growth.queue import NOW, Queue, make_queue


def main() -> None:
    """Draw the queue that the arguments tell, and plan it at each line."""
    moment, supply = moment_of(make_queue(*map(int, sys.argv[1:6]))), Supply()
    print(json.dumps({"agent": str(Path(agent.__file__).parent)}), flush=True)
    for _ in sys.stdin:
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        plan = plan_growth(moment, supply)
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        counted = sum(verdict.counts for verdict in plan.jobs)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**took, "machines": plan.count, "counted": counted, "memory": memory}), flush=True)


def moment_of(queue: Queue) -> Moment:
    """Return a moment at which all of a queue has waited long enough."""
    settings = ClusterSettings(queue.demand, WeightSettings(), DrainSettings(), JoinSettings())
    waiting = {array_of(job): LONG_AGO for job in queue.snapshot.jobs if job.state == "PENDING"}
    history = History(waiting_since=waiting)
    return Moment(now=NOW, settings=settings, snapshot=queue.snapshot, history=history, **_told())


def _told() -> dict[str, Any]:
    """Tell how Slurm chooses nodes, to an agent that knows it: by cores and memory, as most clusters do."""
    if "scheduling" not in {field.name for field in fields(Moment)}:
        return {}
    from agent.slurm.scheduling import PartitionRules, Scheduling, Unit

    rules = {name: PartitionRules(name) for name in ("main", "gpus")}
    return {"scheduling": Scheduling(unit=Unit.CORE, partitions=rules)}


if __name__ == "__main__":
    main()
