"""What the next cycle would do, and why: the plans drawn as plain values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.cluster.grow.demand import GrowthPlan, JobVerdict
from agent.cluster.join.plan import JoinPlan
from agent.cluster.reasons import Drain, DrainCause
from agent.cluster.shrink.surplus import NodeVerdict
from agent.cluster.steer.weights import SetWeight


@dataclass(frozen=True)
class PlannedStep:
    """One thing that would be done."""

    kind: str
    """``add``, ``keep``, ``surplus``, ``delete``, ``join``, ``probe``, ``give up`` or ``weight``."""
    subject: str
    """A CM, or a node name, or several."""
    why: str


@dataclass(frozen=True)
class Preview:
    """The next cycle, as far as what is known now decides it."""

    steps: tuple[PlannedStep, ...] = ()
    jobs: tuple[JobVerdict, ...] = ()
    """One for each pending job, oldest first."""
    nodes: tuple[NodeVerdict, ...] = ()
    """One for each machine that a manifest says is ours."""
    growth: str = ""
    """What holds growth up; "" for nothing."""


def draw_preview(
    *,
    growth: GrowthPlan,
    shares: Mapping[tuple[str, str], int],
    held_up: str,
    kept: Mapping[str, str],
    verdicts: Sequence[NodeVerdict],
    drains: Mapping[str, Drain],
    tearing_down: bool,
    machines: Sequence[str],
    deletable: Sequence[str],
    joins: JoinPlan,
    weights: Sequence[SetWeight],
) -> Preview:
    """Put the plans together.

    Args:
        growth: what the queue wants.
        shares: (type, CM) -> machines to ask for.
        held_up: what holds growth up; "" for nothing.
        kept: name of a draining node that returns to service -> why.
        verdicts: which nodes stay and which go, of those in service.
        drains: node name -> what it is emptied for.
        tearing_down: everything is being given back.
        machines: node names of all machines that we hold.
        deletable: client_ids of the machines that are given back next.
        joins: what to do about the machines that are ready.
        weights: the weights that have to change.
    """
    steps = []
    if not held_up:
        steps += [
            PlannedStep("add", cm, f"{count} more{f' of type {kind}' if kind else ''}: the queue wants them")
            for (kind, cm), count in shares.items()
        ]
    steps += [PlannedStep("keep", name, why) for name, why in sorted(kept.items())]
    steps += [PlannedStep("surplus", v.name, v.why) for v in verdicts if v.goes]
    steps += [PlannedStep("delete", name, "it failed, or is empty and surplus") for name in deletable]
    for kind, part in (("join", joins.start), ("probe", joins.probe), ("give up", joins.failed)):
        steps += [PlannedStep(kind, step.name, step.reason) for step in part]
    steps += [
        PlannedStep("weight", ",".join(change.nodes), f"{change.weight}: {change.reason}")
        for change in weights
    ]
    judged = {verdict.name: verdict for verdict in verdicts}
    waiting = {s.name: s.reason for s in (*joins.start, *joins.probe, *joins.watch)}
    nodes = []
    for name in sorted(machines):
        if drain := drains.get(name):
            goes = tearing_down or drain.leaves or drain.cause is DrainCause.TAKEN
            nodes.append(NodeVerdict(name, goes, drain.reason))
        else:
            why = waiting.get(name, "it has not joined yet")
            nodes.append(judged.get(name) or NodeVerdict(name, False, why))
    return Preview(tuple(steps), growth.jobs, tuple(nodes), held_up)
