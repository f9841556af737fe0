"""What the agent tells Prometheus: every metric with its kind, meaning and labels, as a table.

Names follow https://prometheus.io/docs/practices/naming: one prefix, base units, counters end in ``_total``.
Every label has values from a closed set, but for ``node`` and ``cm``: those have series only while there is
such a machine or CM. The document docs/metrics.md is made from here (tools/metrics_doc.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from agent.core.events import EventKind, OfJob
from agent.core.impasse import Cause
from agent.core.slice.hindrance import KINDS


class Kind(StrEnum):
    """Kinds of metrics, as Prometheus calls them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Figure:
    """One metric."""

    name: str
    kind: Kind
    meaning: str
    """What it tells, in one sentence: the HELP line."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper limits of a histogram's buckets, without the last one."""
    known: tuple[tuple[str, ...], ...] = ()
    """Values of the labels that have a series from the start, so that ``increase()`` sees the first event."""

    @property
    def series(self) -> tuple[str, ...]:
        """Names that a query may use."""
        if self.kind is Kind.HISTOGRAM:
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)


CAUSES = ("revoked", "lease", "admin", "surplus", "taken")
"""Why a node is emptied: ``agent.cluster.reasons.DrainCause``."""
ORPHANS = ("cloudlab", "slurm")
"""Where something is left over of a machine that is not ours any more."""
STAGES = ("boot", "join")
"""What a new machine failed at."""
JOB_OUTCOMES = tuple(kind.value for kind in EventKind if kind.data and issubclass(kind.data, OfJob))
"""Kinds of the events about jobs on draining nodes."""

LABELS = {
    "version": "version of the agent",
    "cm": "URN of the CM; only those that are configured, or hold something for us",
    "state": "state of a machine in its life",
    "node": "node name in Slurm; the series goes with the machine",
    "step": "step of the manager's cycle",
    "target": "what a credential is for: self or slice",
    "kind": "kind of an event, in one word: see [events.md](events.md)",
    "method": "remote method; empty for a call that named none of ours",
    "reason": "why a CM is asked for less: insufficient (it does not give more of a type), failed (a type did"
    f" not boot), or what a person has to mend: {', '.join(Cause)}",
    "side": f"where something is left over: {', '.join(ORPHANS)}",
    "stage": f"what a new machine failed at: {', '.join(STAGES)}",
    "outcome": "how it went, in one word",
    "obstacle": f"what a lease is refused for: {', '.join(KINDS)}",
    "cause": f"why a node is emptied: {', '.join(CAUSES)}",
}
"""Every label, and where its values come from."""

BUILD = Figure("esagent_build_info", Kind.GAUGE, "1, with the version of the agent.", ("version",))
NODES = Figure(
    "esagent_nodes",
    Kind.GAUGE,
    "Machines of ours by state; requested ones were asked for and have not come yet.",
    ("cm", "state"),
)
NODES_WANTED = Figure(
    "esagent_nodes_wanted", Kind.GAUGE, "Machines that the queue wants and we do not hold yet."
)
GROWTH_STOPPED = Figure(
    "esagent_growth_stopped",
    Kind.GAUGE,
    "1 while no machines are asked for, since new ones failed one after the other.",
)
BACKOFF = Figure(
    "esagent_backoff_active",
    Kind.GAUGE,
    "1 while a CM is left alone, or asked for fewer machines of a hardware type.",
    ("cm", "reason"),
)
ORPHANED = Figure(
    "esagent_orphans",
    Kind.GAUGE,
    "Machines in a manifest that are not ours any more, and nodes in Slurm whose machine is gone.",
    ("side",),
)
PAUSED = Figure("esagent_paused", Kind.GAUGE, "1 while an administrator holds growth up.")
RESOURCE_VALUE = Figure(
    "esagent_node_resource_value", Kind.GAUGE, "How much Cloudlab wants a machine, 0 to 1.", ("node",)
)
WEIGHT = Figure("esagent_node_weight", Kind.GAUGE, "Weight of the node in Slurm.", ("node",))
DEADLINE = Figure(
    "esagent_revocation_deadline_timestamp_seconds",
    Kind.GAUGE,
    "When the machine has to be empty, in seconds since 1970.",
    ("node",),
)
FOREIGN = Figure(
    "esagent_foreign_machines",
    Kind.GAUGE,
    "Machines of the slice that are not ours: they are shown, and nothing else.",
    ("cm",),
)
FOREIGN_VALUE = Figure(
    "esagent_foreign_resource_value",
    Kind.GAUGE,
    "How much Cloudlab wants a machine of the slice that is not ours, 0 to 1.",
    ("node",),
)
FOREIGN_DEADLINE = Figure(
    "esagent_foreign_revocation_deadline_timestamp_seconds",
    Kind.GAUGE,
    "When Cloudlab takes a machine of the slice that is not ours, in seconds since 1970.",
    ("node",),
)
RETIRED = Figure(
    "esagent_retired_machines",
    Kind.GAUGE,
    "Machines of ours at a CM that is not in agent.conf; no series where nothing is held or asked for there.",
    ("cm",),
)
CERTIFICATE_EXPIRY = Figure(
    "esagent_certificate_expiry_timestamp_seconds",
    Kind.GAUGE,
    "When the user's certificate ends, in seconds since 1970.",
)
CREDENTIAL_EXPIRY = Figure(
    "esagent_credential_expiry_timestamp_seconds",
    Kind.GAUGE,
    "When a credential that the agent holds ends; it gets new ones by itself.",
    ("target",),
)
SLICE_EXPIRY = Figure(
    "esagent_slice_expiry_timestamp_seconds", Kind.GAUGE, "Until when the slice lasts at the SA."
)
SLIVER_EXPIRY = Figure(
    "esagent_sliver_expiry_timestamp_seconds", Kind.GAUGE, "Until when the sliver lasts at the CM.", ("cm",)
)
LEASE_UNRENEWED = Figure(
    "esagent_lease_unrenewed",
    Kind.GAUGE,
    "1 while nobody renews a lease: of the slice, where cm is empty, or of the sliver at the CM.",
    ("cm",),
)
LEASE_OBSTACLE = Figure(
    "esagent_lease_obstacle",
    Kind.GAUGE,
    "1 while a CM does not renew a sliver to its full length, by what is in the way.",
    ("cm", "obstacle"),
)
LAST_SUCCESS = Figure(
    "esagent_last_success_timestamp_seconds",
    Kind.GAUGE,
    "When a step of the cycle last went well, in seconds since 1970.",
    ("step",),
)
EVENTS = Figure("esagent_events_total", Kind.COUNTER, "Decisions and acts by kind.", ("kind",))
STEP_DURATION = Figure(
    "esagent_step_duration_seconds",
    Kind.HISTOGRAM,
    "Time that a step of the cycle took.",
    ("step", "outcome"),
    buckets=(0.05, 0.2, 1, 5, 20, 60, 300),
)
STEP_OVERRUNS = Figure(
    "esagent_step_overruns_total",
    Kind.COUNTER,
    "Runs of a step of the cycle that took longer than its interval.",
    ("step",),
)
JOIN_DURATION = Figure(
    "esagent_join_duration_seconds",
    Kind.HISTOGRAM,
    "Time from the first try to join a machine until it was at work in Slurm.",
    buckets=(5, 10, 20, 30, 60, 120, 300, 600),
)
NEW_MACHINE_FAILURES = Figure(
    "esagent_machine_failures_total",
    Kind.COUNTER,
    "Machines that were given up since they did not boot, or did not join.",
    ("stage",),
    known=tuple((stage,) for stage in STAGES),
)
REQUESTS = Figure(
    "esagent_provider_request_duration_seconds",
    Kind.HISTOGRAM,
    "Calls to the SA and the CMs, with the waiting for retries.",
    ("method", "outcome"),
    buckets=(0.05, 0.2, 1, 5, 20, 60, 300),
)
CALLBACKS = Figure(
    "esagent_callbacks_total",
    Kind.COUNTER,
    "Calls from Cloudlab by outcome.",
    ("method", "outcome"),
    known=(("", "forbidden"),),
)
REVOCATIONS = Figure(
    "esagent_revocations_total",
    Kind.COUNTER,
    "Revocations: announced, released before or late after the deadline, or withdrawn by Cloudlab.",
    ("outcome",),
    known=(("announced",), ("released",), ("late",), ("withdrawn",)),
)
DRAIN_MARGIN = Figure(
    "esagent_drain_margin_seconds",
    Kind.HISTOGRAM,
    "Time left before the deadline when a revoked machine was released.",
    buckets=(0, 10, 30, 60, 120, 300, 600, 1800),
)
DRAIN_DURATION = Figure(
    "esagent_drain_duration_seconds",
    Kind.HISTOGRAM,
    "Time from the first notice of a revocation to the machine's release.",
    buckets=(10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
)
DRAINED_JOBS = Figure(
    "esagent_drained_jobs_total",
    Kind.COUNTER,
    "Jobs on draining nodes: finish, warn, signal, requeue, unrequeued (refused), cancel, killed by the "
    "checkpoint signal, or lost with their machine.",
    ("outcome", "cause"),
    known=tuple(product(JOB_OUTCOMES, CAUSES)),
)
LOST_WORK = Figure(
    "esagent_lost_work_cpu_seconds_total",
    Kind.COUNTER,
    "Run time thrown away by ending jobs on draining nodes, times their CPUs.",
    ("cause",),
    known=tuple((cause,) for cause in CAUSES),
)

FIGURES = tuple(value for value in tuple(globals().values()) if isinstance(value, Figure))
"""All of them, in the order of this file."""
