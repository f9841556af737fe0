"""Reading through slurmrestd only what is new."""

import copy
import threading
from typing import Any

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.slurm.rest.reader import KEPT_AT_MOST
from agent.slurm.rest.transport import Reply
from tests.unit.slurm.rest.conftest import Clock, Slurmrestd, backend


def test_what_has_not_changed_is_not_read_again() -> None:
    server, clock = Slurmrestd(), Clock()
    rest = backend(server, clock=clock)
    first, second = rest.snapshot(), rest.snapshot()
    assert (second.nodes, second.jobs) == (first.nodes, first.jobs)
    assert second.nodes is first.nodes
    stamp = server.captured("/slurm/v0.0.44/nodes")["last_update"]["number"]
    assert server.asked[-2:] == [
        ("GET", "/slurm/v0.0.44/nodes", {"update_time": stamp}),
        ("GET", "/slurm/v0.0.44/jobs", {"update_time": stamp}),
    ]
    clock.seconds = KEPT_AT_MOST + 1
    rest.snapshot()
    assert server.asked[-1] == ("GET", "/slurm/v0.0.44/jobs", {})


def test_an_empty_list_that_does_not_say_why_is_read_again_whole() -> None:
    server = Slurmrestd()
    rest = backend(server)
    first = rest.snapshot()
    server.news = {"nodes": [], "jobs": [], "warnings": [{"description": "Zero jobs to dump"}]}
    assert rest.snapshot().jobs == first.jobs
    server.answers["GET", "/slurm/v0.0.44/jobs"] = {"jobs": []}
    assert rest.snapshot().jobs == ()


def test_a_version_that_cannot_tell_news_is_read_whole() -> None:
    server = Slurmrestd("24.11", 40)
    rest = backend(server)
    first = rest.snapshot()
    server.news = SlurmRefusedError("update_time: 9202")
    assert rest.snapshot().jobs == first.jobs
    assert server.asked[-1] == ("GET", "/slurm/v0.0.40/jobs", {})


def test_a_failed_read_is_unknown_and_not_the_last_one() -> None:
    server = Slurmrestd()
    rest = backend(server)
    rest.snapshot()
    server.news = SlurmDownError("no answer")
    with pytest.raises(SlurmDownError):
        rest.snapshot()


def test_no_node_at_all_is_an_error_while_a_job_is_on_one() -> None:
    server = Slurmrestd()
    server.answers["GET", "/slurm/v0.0.44/nodes"] = {"nodes": []}
    rest = backend(server)
    with pytest.raises(SlurmError, match="at least one node"):
        rest.snapshot()
    server.answers["GET", "/slurm/v0.0.44/jobs"] = {"jobs": []}
    assert backend(server).snapshot().nodes == {}
    del server.answers["GET", "/slurm/v0.0.44/nodes"]
    assert rest.snapshot().nodes


def test_a_snapshot_is_not_changed_by_what_is_read_later() -> None:
    server = Slurmrestd()
    rest = backend(server)
    first = rest.snapshot()
    kept = copy.deepcopy((dict(first.nodes), first.jobs))
    server.news = server.captured("/slurm/v0.0.44/nodes") | {"jobs": []}
    server.news["nodes"][0]["weight"] = 99
    assert rest.snapshot().nodes["n1"].weight == 99
    assert (dict(first.nodes), first.jobs) == kept


def test_a_read_that_hangs_keeps_no_other_thread_from_reading() -> None:
    server = Slurmrestd()
    rest = backend(server)
    first = rest.snapshot()
    real, hangs, gate = server.call, threading.Event(), threading.Event()
    reading: list[threading.Thread] = []

    def call(*args: Any, **sent: Any) -> Reply:
        if threading.current_thread() in reading:
            hangs.set()
            gate.wait(60)
        return real(*args, **sent)

    server.call = call  # type: ignore[method-assign]
    reading.append(threading.Thread(target=rest.snapshot, daemon=True))
    reading[0].start()
    assert hangs.wait(20)
    assert rest.snapshot().nodes is first.nodes
    assert reading[0].is_alive()
    gate.set()
    reading[0].join(20)


def test_a_read_that_was_overtaken_does_not_take_the_place_of_the_newer_one() -> None:
    server, clock = Slurmrestd(), Clock()
    rest = backend(server, clock=clock)
    real, slow = server.call, []

    def call(method: str, path: str, **sent: Any) -> Reply:
        reply = real(method, path, **sent)
        if path.endswith("/jobs") and not slow:
            slow.append(path)
            clock.seconds += 10
            server.answers["GET", "/slurm/v0.0.44/jobs"] = {"jobs": []}
            assert rest.snapshot().jobs == ()
        return reply

    server.call = call  # type: ignore[method-assign]
    assert rest.snapshot().jobs != ()
    assert rest.snapshot().jobs == ()
