"""What draining costs, as Prometheus sees it."""

from datetime import UTC, datetime

from agent.core.events import Event, EventKind, JobLost, OfJob, Release
from agent.tell.metrics import Metrics

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_jobs_and_lost_work_are_counted_by_cause_and_releases_with_time_and_margin() -> None:
    metrics = Metrics()
    told = [
        (EventKind.REQUEUE, JobLost("7", "revoked", 120.0)),
        (EventKind.CANCEL, JobLost("8", "admin", 30.0)),
        (EventKind.FINISH, OfJob("9", "revoked")),
        (EventKind.RELEASE, Release(40.0, 200.0)),
        (EventKind.RELEASE, Release(-3.0, None)),
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
