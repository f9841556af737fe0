"""Calls to a slurmrestd that is replaced, or that does only part of what it is asked."""

import pytest

from agent.core.errors import SlurmRefusedError
from agent.slurm.rest.transport import UnknownPathError
from tests.unit.slurm.rest.conftest import NOT_NEW, Slurmrestd, backend


def test_a_slurmrestd_of_another_release_is_asked_anew() -> None:
    server = Slurmrestd("26.05", 42)
    rest = backend(server)
    rest.snapshot()
    server.versions, server.release = (44,), "25.11"
    server.news = UnknownPathError("404")
    server.answers["GET", "/slurm/v0.0.42/nodes"] = UnknownPathError("404")
    with pytest.raises(SlurmRefusedError):
        rest.snapshot()
    server.news = NOT_NEW
    rest.snapshot()
    assert server.asked[-1][1] == "/slurm/v0.0.44/jobs"


def test_a_change_that_was_done_in_part_is_refused() -> None:
    server = Slurmrestd()
    server.answers["POST", "/slurm/v0.0.44/nodes/"] = {
        "warnings": [{"description": "Ignoring unknown field"}]
    }
    with pytest.raises(SlurmRefusedError, match="unknown field"):
        backend(server).set_weight(["n1"], 7)


def test_a_slurmrestd_that_can_more_since_it_was_upgraded_is_asked_anew() -> None:
    server = Slurmrestd("24.11", 42)
    rest = backend(server)
    rest.snapshot()
    server.versions, server.release = (42, 45), "26.05"
    server.extra = {"jobs/requeue": ["post"]}
    server.news = None
    for _ in range(2):
        rest.snapshot()
    assert server.asked[-1][1] == "/slurm/v0.0.42/jobs"
    assert [path for _, path, _ in server.asked if path.endswith("nodes")][-1] == "/slurm/v0.0.45/nodes"
    assert "requeue a job" not in "".join(rest.shortcomings())
