"""Every Prometheus metric of the agent, defined in one place.

A scrape reads memory only. Gauges are made from the view at the moment of the scrape: a machine that is given
back leaves no series behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector
from pydantic import Field

from agent.core.errors import ConfigError
from agent.core.model import AgentView, Event, NodeState
from agent.core.settings import Section


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

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        view = self._view()
        build = InfoMetricFamily("esagent_build", "Version of the agent.")
        build.add_metric([], {"version": version("esagent")})
        yield build

        nodes = GaugeMetricFamily("esagent_nodes", "Machines of ours by state.", labels=["cm", "state"])
        for cm in {n.cm for n in view.nodes} | set(view.sliver_expires):
            for state in NodeState:
                count = sum(n.cm == cm and n.state is state for n in view.nodes)
                nodes.add_metric([cm, state], count)
        yield nodes

        yield GaugeMetricFamily(
            "esagent_nodes_wanted", "Machines that the queue wants and we do not hold yet.", view.wanted
        )
        yield GaugeMetricFamily(
            "esagent_growth_stopped",
            "1 while no machines are asked for, since new ones failed one after the other.",
            int(bool(view.growth_stopped)),
        )
        yield GaugeMetricFamily(
            "esagent_paused", "1 while an administrator holds growth up.", int(view.paused)
        )
        value = GaugeMetricFamily(
            "esagent_node_resource_value", "How much Cloudlab wants a machine, 0 to 1.", labels=["node"]
        )
        weight = GaugeMetricFamily("esagent_node_weight", "Weight of the node in Slurm.", labels=["node"])
        due = GaugeMetricFamily(
            "esagent_revocation_deadline_timestamp_seconds",
            "When the machine has to be empty.",
            labels=["node"],
        )
        for node in view.nodes:
            if node.value is not None:
                value.add_metric([node.node], node.value)
            if node.weight is not None:
                weight.add_metric([node.node], node.weight)
            if node.due is not None:
                due.add_metric([node.node], node.due.timestamp())
        yield from (value, weight, due)

        yield GaugeMetricFamily(
            "esagent_certificate_expiry_timestamp_seconds",
            "When the user's certificate ends.",
            self._certificate_expires.timestamp(),
        )
        credential = GaugeMetricFamily(
            "esagent_credential_expiry_timestamp_seconds",
            "When a credential that the agent holds ends; it gets new ones by itself.",
            labels=["target"],
        )
        for target, expires in self._credential_expiries().items():
            credential.add_metric([target], expires.timestamp())
        yield credential
        if view.slice_expires is not None:
            yield GaugeMetricFamily(
                "esagent_slice_expiry_timestamp_seconds",
                "Until when the slice lasts at the SA.",
                view.slice_expires.timestamp(),
            )
        sliver = GaugeMetricFamily(
            "esagent_sliver_expiry_timestamp_seconds", "Until when the sliver lasts at the CM.", labels=["cm"]
        )
        for cm, expires in view.sliver_expires.items():
            sliver.add_metric([cm], expires.timestamp())
        yield sliver

        success = GaugeMetricFamily(
            "esagent_last_success_timestamp_seconds",
            "When a step of the cycle last went well.",
            labels=["step"],
        )
        for step, when in view.last_success.items():
            success.add_metric([step], when.timestamp())
        yield success


class Metrics:
    """The registry and the counters that other parts report to."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "esagent_events", "Decisions and acts by kind.", ["kind"], registry=self.registry
        )
        self._requests = Histogram(
            "esagent_provider_request_duration_seconds",
            "Calls to the SA and the CMs, with the waiting for retries.",
            ["method", "outcome"],
            registry=self.registry,
            buckets=(0.05, 0.2, 1, 5, 20, 60, 300),
        )
        self._callbacks = Counter(
            "esagent_callbacks",
            "Calls from Cloudlab by outcome.",
            ["method", "outcome"],
            registry=self.registry,
        )
        self._margin = Histogram(
            "esagent_drain_margin_seconds",
            "Time left before the deadline when a revoked machine was released.",
            registry=self.registry,
            buckets=(0, 10, 30, 60, 120, 300, 600, 1800),
        )
        self._drain_time = Histogram(
            "esagent_drain_duration_seconds",
            "Time from the first notice of a revocation to the machine's release.",
            registry=self.registry,
            buckets=(10, 30, 60, 120, 300, 600, 1800, 3600, 14400),
        )
        self._drained_jobs = Counter(
            "esagent_drained_jobs",
            "Jobs on draining nodes: finish, warn, signal, requeue, cancel, or lost with their machine.",
            ["outcome", "cause"],
            registry=self.registry,
        )
        self._lost_work = Counter(
            "esagent_lost_work_cpu_seconds",
            "Run time thrown away by ending jobs on draining nodes, times their CPUs.",
            ["cause"],
            registry=self.registry,
        )

    def watch(
        self,
        view: Callable[[], AgentView],
        certificate_expires: datetime,
        credential_expiries: Callable[[], Mapping[str, datetime]],
    ) -> None:
        """Serve gauges made from this view, the certificate's end, and the ends of credentials by target."""
        self.registry.register(_ViewCollector(view, certificate_expires, credential_expiries))

    def event(self, event: Event) -> None:
        """Count a decision or act; what draining cost is counted besides."""
        self._events.labels(event.kind).inc()
        margin = event.data.get("margin_seconds")
        if isinstance(margin, int | float):
            self._margin.observe(margin)
        duration = event.data.get("drain_seconds")
        if isinstance(duration, int | float):
            self._drain_time.observe(duration)
        cause = event.data.get("drain_cause")
        if isinstance(cause, str):
            self._drained_jobs.labels(event.kind, cause).inc()
            lost = event.data.get("lost_cpu_seconds")
            if isinstance(lost, int | float):
                self._lost_work.labels(cause).inc(lost)

    def request(self, method: str, _authority: str, outcome: str, seconds: float) -> None:
        """Count a call to Cloudlab."""
        self._requests.labels(method, outcome).observe(seconds)

    def callback(self, method: str, outcome: str) -> None:
        """Count a call from Cloudlab."""
        self._callbacks.labels(method, outcome).inc()

    def serve(self, settings: MetricsSettings) -> tuple[int, Callable[[], None]]:
        """Serve ``/metrics``; return the port and a function that ends it.

        Raises:
            ConfigError: the address cannot be bound.
        """
        try:
            server, thread = start_http_server(settings.port, settings.listen, self.registry)
        except OSError as error:
            raise ConfigError(f"[metrics] {settings.listen} port {settings.port}: {error}") from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join(1)

        return server.server_port, stop
