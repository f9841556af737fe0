"""What draining costs, as Prometheus sees it."""

from datetime import UTC, datetime

from agent.core.model import Event
from agent.tell.metrics import Metrics

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_jobs_and_lost_work_are_counted_by_cause_and_releases_with_time_and_margin() -> None:
    metrics = Metrics()
    told = [
        ("requeue", {"job": "7", "drain_cause": "revoked", "lost_cpu_seconds": 120.0}),
        ("cancel", {"job": "8", "drain_cause": "admin", "lost_cpu_seconds": 30.0}),
        ("finish", {"job": "9", "drain_cause": "revoked"}),
        ("release", {"margin_seconds": 40.0, "drain_seconds": 200.0}),
        ("release", {"margin_seconds": -3.0, "drain_seconds": None}),
    ]
    for kind, data in told:
        metrics.record(Event(NOW, kind, "pc1", "", data))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("esagent_drained_jobs_total", outcome="requeue", cause="revoked") == 1
    assert value("esagent_drained_jobs_total", outcome="finish", cause="revoked") == 1
    assert value("esagent_lost_work_cpu_seconds_total", cause="revoked") == 120
    assert value("esagent_lost_work_cpu_seconds_total", cause="admin") == 30
    assert value("esagent_drain_duration_seconds_sum") == 200
    assert value("esagent_drain_margin_seconds_count") == 2
