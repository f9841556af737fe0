"""Each run of a job is told once as lost."""

from dataclasses import replace

from agent.cluster import losses
from agent.cluster.losses import Losses
from tests.unit.cluster.drain.conftest import running


def test_the_components_of_a_heterogeneous_job_are_one_run() -> None:
    told = Losses()
    assert told.is_new(running("9+0", "pc1"))
    assert not told.is_new(running("9+1", "pc2"))
    assert told.is_new(running("90", "pc1"))


def test_what_is_remembered_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(losses, "_MOST", 2)
    told = Losses()
    job = running("1", "pc1")
    assert all(told.is_new(replace(job, id=str(n))) for n in range(1, 5))
    assert not told.is_new(replace(job, id="4"))
    assert told.is_new(job)
