"""The agent's figures for Prometheus: counted here, made at a scrape, and served.

A scrape reads memory only. Gauges are made from the view at the moment of the scrape: a machine that is given
back leaves no series behind.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from types import MappingProxyType

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import Field

from agent.core import threads
from agent.core.errors import UnavailableError
from agent.core.events import Event, EventKind, Fate, JobLost, Joined, OfJob, Release
from agent.core.settings import Section
from agent.core.views import AgentView, NodeState
from agent.tell import figures
from agent.tell.figures import Figure

# They would double the series of every counter, and tell what the process' start tells already.
disable_created_metrics()  # type: ignore[no-untyped-call]

_REVOCATION_EVENTS = {EventKind.REVOKE: "announced", EventKind.WITHDRAWN: "withdrawn"}
"""Kind of an event -> outcome of a revocation that it tells."""


class MetricsSettings(Section):
    """Where Prometheus finds the agent's figures."""

    listen: str = Field("127.0.0.1", description="address that /metrics is served on")
    port: int = Field(9815, ge=0, le=65535, description="its port; 0 lets the system choose")


class _ViewCollector(Collector):
    """Turns the agent's view into gauges."""

    def __init__(
        self,
        view: Callable[[], AgentView],
        certificate_expires: datetime,
        credential_expiries: Callable[[], Mapping[str, datetime]],
    ) -> None:
        self._view = view
        self._certificate_expires = certificate_expires
        self._credential_expiries = credential_expiries

    def collect(self) -> Iterator[GaugeMetricFamily]:
        view = self._view()
        yield _gauge(figures.BUILD, {(version("esagent"),): 1})
        yield _gauge(figures.NODES, _count(view))
        yield _gauge(figures.NODES_WANTED, {(): view.wanted})
        yield _gauge(figures.GROWTH_STOPPED, {(): int(bool(view.growth_stopped))})
        yield _gauge(figures.BACKOFF, {at: int(active) for at, active in view.backoffs.items()})
        yield _gauge(figures.ORPHANED, {(side,): count for side, count in view.orphans.items()})
        yield _gauge(figures.PAUSED, {(): int(view.paused)})
        nodes = view.nodes
        yield _gauge(figures.RESOURCE_VALUE, {(n.node,): n.value for n in nodes if n.value is not None})
        yield _gauge(figures.WEIGHT, {(n.node,): n.weight for n in nodes if n.weight is not None})
        yield _gauge(figures.DEADLINE, _times({n.node: n.due for n in nodes if n.due}))
        foreign = view.foreign
        yield _gauge(figures.FOREIGN, {(cm,): sum(n.cm == cm for n in foreign) for cm in _cms(view)})
        named = {node.node: node for node in foreign}
        values = {name: n.value for name, n in named.items() if n.value is not None}
        yield _gauge(figures.FOREIGN_VALUE, {(name,): value for name, value in values.items()})
        yield _gauge(figures.FOREIGN_DEADLINE, _times({name: n.due for name, n in named.items() if n.due}))
        yield _gauge(figures.RETIRED, {(cm.urn,): len(cm.machines) for cm in view.retired})
        yield _gauge(figures.CERTIFICATE_EXPIRY, {(): self._certificate_expires.timestamp()})
        yield _gauge(figures.CREDENTIAL_EXPIRY, _times(self._credential_expiries()))
        if view.slice_expires is not None:
            yield _gauge(figures.SLICE_EXPIRY, {(): view.slice_expires.timestamp()})
        yield _gauge(figures.SLIVER_EXPIRY, _times(view.sliver_expires))
        yield _gauge(figures.LEASE_UNRENEWED, _unrenewed(view))
        yield _gauge(figures.LEASE_OBSTACLE, {(e.cm, e.obstacle): 1 for e in view.lapses if e.obstacle})
        yield _gauge(figures.LAST_SUCCESS, _times(view.last_success))


def _gauge(figure: Figure, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(figure.name, figure.meaning, labels=figure.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _count(view: AgentView) -> dict[tuple[str, ...], float]:
    return {
        (cm, state): sum(n.cm == cm and n.state is state for n in view.nodes)
        for cm in _cms(view)
        for state in NodeState
        if state is not NodeState.FOREIGN
    }


def _cms(view: AgentView) -> list[str]:
    return sorted({n.cm for n in (*view.nodes, *view.foreign)} | set(view.sliver_expires))


def _unrenewed(view: AgentView) -> dict[tuple[str, ...], float]:
    lapsing = {lapse.cm for lapse in view.lapses}
    leases = [*([""] if view.slice_expires else []), *view.sliver_expires]
    return {(cm,): int(cm in lapsing) for cm in leases}


def _times(times: Mapping[str, datetime]) -> dict[tuple[str, ...], float]:
    return {(label,): when.timestamp() for label, when in times.items()}


class Metrics:
    """The registry and the counters that other parts report to.

    Args:
        intervals: step -> seconds after which its next run is due; none where no step runs.
    """

    def __init__(self, intervals: Mapping[str, float] = MappingProxyType({})) -> None:
        self.registry = CollectorRegistry()
        self._intervals = intervals
        self._overruns = self._counter(figures.STEP_OVERRUNS)
        for step in intervals:
            self._overruns.labels(step)
        self._join_time = self._histogram(figures.JOIN_DURATION)
        self._failures = self._counter(figures.NEW_MACHINE_FAILURES)
        self._events = self._counter(figures.EVENTS)
        self._steps = self._histogram(figures.STEP_DURATION)
        self._requests = self._histogram(figures.REQUESTS)
        self._callbacks = self._counter(figures.CALLBACKS)
        self._revocations = self._counter(figures.REVOCATIONS)
        self._margin = self._histogram(figures.DRAIN_MARGIN)
        self._drain_time = self._histogram(figures.DRAIN_DURATION)
        self._drained_jobs = self._counter(figures.DRAINED_JOBS)
        self._lost_work = self._counter(figures.LOST_WORK)

    def _counter(self, figure: Figure) -> Counter:
        counter = Counter(figure.name, figure.meaning, figure.labels, registry=self.registry)
        for values in figure.known:
            counter.labels(*values)
        return counter

    def _histogram(self, figure: Figure) -> Histogram:
        return Histogram(
            figure.name, figure.meaning, figure.labels, registry=self.registry, buckets=figure.buckets
        )

    def watch(
        self,
        view: Callable[[], AgentView],
        certificate_expires: datetime,
        credential_expiries: Callable[[], Mapping[str, datetime]],
    ) -> None:
        """Serve gauges made from this view, the certificate's end, and the ends of credentials by target."""
        self.registry.register(_ViewCollector(view, certificate_expires, credential_expiries))

    def record(self, event: Event) -> None:
        """Count a decision or act; what became of revocations, and what draining cost, is counted besides."""
        self._events.labels(event.kind).inc()
        if event.kind in _REVOCATION_EVENTS:
            self._revocations.labels(_REVOCATION_EVENTS[event.kind]).inc()
        match event.data:
            case Release() as release:
                self._margin.observe(release.margin_seconds)
                self._revocations.labels("late" if release.is_late else "released").inc()
                if release.drain_seconds is not None:
                    self._drain_time.observe(release.drain_seconds)
            case Joined(seconds):
                self._join_time.observe(seconds)
            case Fate() as fate if event.kind is EventKind.FAILED:
                self._failures.labels("join" if fate.booted else "boot").inc()
            case OfJob(drain_cause=cause) as of_job:
                self._drained_jobs.labels(event.kind, cause).inc()
                if isinstance(of_job, JobLost):
                    self._lost_work.labels(cause).inc(of_job.lost_cpu_seconds)

    def step(self, step: str, outcome: str, seconds: float) -> None:
        """Count a run of a step of the manager's cycle."""
        self._steps.labels(step, outcome).observe(seconds)
        if seconds > self._intervals.get(step, math.inf):
            self._overruns.labels(step).inc()

    def request(self, method: str, _authority: str, outcome: str, seconds: float) -> None:
        """Count a call to Cloudlab."""
        self._requests.labels(method, outcome).observe(seconds)

    def callback(self, method: str, outcome: str) -> None:
        """Count a call from Cloudlab."""
        self._callbacks.labels(method, outcome).inc()

    def serve(self, settings: MetricsSettings) -> tuple[int, Callable[[], None]]:
        """Serve ``/metrics``; return the port and a function that ends it.

        Raises:
            UnavailableError: the address cannot be bound.
        """
        try:
            server, thread = start_http_server(settings.port, settings.listen, self.registry)
        except OSError as error:
            raise UnavailableError(f"[metrics] {settings.listen} port {settings.port}: {error}") from error

        ended = threading.Event()

        def attend() -> None:
            thread.join()
            if not ended.is_set():
                raise RuntimeError("it serves no figures any more")

        def stop() -> None:
            ended.set()
            server.shutdown()
            server.server_close()
            thread.join(1)

        threads.rely("metrics", attend)
        return server.server_port, stop
