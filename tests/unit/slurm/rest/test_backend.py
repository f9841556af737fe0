"""The way in through slurmrestd, of releases that are not installed here, against captured replies."""

import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.slurm.model import SignalTarget
from agent.slurm.rest.backend import RestBackend
from agent.slurm.rest.reader import KEPT_AT_MOST
from agent.slurm.rest.transport import Reply, UnknownPathError
from agent.slurm.settings import SlurmSettings

SAMPLES = Path(__file__).parents[3] / "data" / "slurm"
CALLS = {
    "nodes/": ["get", "post"], "jobs/": ["get"], "node/{n}": ["get", "post", "delete"],
    "job/{id}": ["get", "post", "delete"], "reservations/": ["get"],
}  # fmt: skip
NOT_NEW = {"nodes": [], "jobs": [], "warnings": [{"description": "No job changes since update_time=5"}]}


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


class Slurmrestd:
    """Answers with captured replies, or as the test says, and keeps what it was asked."""

    def __init__(self, release: str = "25.11", *versions: int) -> None:
        self.release = release
        self.versions = versions or (44,)
        self.asked: list[tuple[str, str, Mapping[str, object]]] = []
        self.answers: dict[tuple[str, str], Any] = {}
        self.news: Any = NOT_NEW
        self.extra: dict[str, list[str]] = {}

    def call(self, method: str, path: str, *, query: Any = None, body: Any = None) -> Reply:
        self.asked.append((method, path, query or body or {}))
        if path == "/openapi/v3":
            calls = CALLS | self.extra
            described = {
                f"/slurm/v0.0.{v}/{short}": {method: {} for method in methods}
                for v in self.versions
                for short, methods in calls.items()
            }
            return Reply({"paths": described})
        answer = self.news if query and "update_time" in query else self.answers.get((method, path))
        if isinstance(answer, Exception):
            raise answer
        return Reply(answer) if answer is not None else Reply(self.captured(path) if method == "GET" else {})

    def captured(self, path: str) -> dict[str, Any]:
        version, what = path.split("/")[2:4]
        reply: dict[str, Any] = json.loads(
            (SAMPLES / self.release / f"rest-{version}-{what}.json").read_text()
        )
        return reply

    def changes(self) -> list[tuple[str, str, Mapping[str, object]]]:
        return [asked for asked in self.asked if asked[0] != "GET"]


class Recorder:
    """Another way in that notes what it is asked to do."""

    def __init__(self, answer: object = None) -> None:
        self.asked: list[str] = []
        self.answer = answer

    def __getattr__(self, name: str) -> Any:
        def act(*_: object, **__: object) -> object:
            self.asked.append(name)
            return self.answer

        return act


def backend(server: Slurmrestd, aside: Any = None, clock: Clock | None = None) -> RestBackend:
    settings = SlurmSettings(rest_url="unix:/x")
    no_aside = "squeue: cannot be started"
    return RestBackend(settings, clock or Clock(), aside, no_aside=no_aside, transport=server)  # type: ignore[arg-type]


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


def test_no_node_at_all_is_an_error() -> None:
    server = Slurmrestd()
    server.answers["GET", "/slurm/v0.0.44/nodes"] = {"nodes": []}
    with pytest.raises(SlurmError, match="at least one node"):
        backend(server).snapshot()


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


def test_nodes_are_changed_in_one_request() -> None:
    server = Slurmrestd()
    rest = backend(server)
    rest.drain(["n2", "n1"], "esagent: due\nState=DOWN")
    rest.undrain(["n1"])
    rest.set_down(["n1"], "gone")
    rest.resume(["n1"])
    rest.set_weight(["n1", "n2", "n3"], 7)
    assert {asked[:2] for asked in server.changes()} == {("POST", "/slurm/v0.0.44/nodes/")}
    assert [asked[2] for asked in server.changes()] == [
        {"name": ["n[1-2]"], "state": ["DRAIN"], "reason": "esagent: due State=DOWN"},
        {"name": ["n1"], "state": ["UNDRAIN"]},
        {"name": ["n1"], "state": ["DOWN"], "reason": "gone"},
        {"name": ["n1"], "state": ["RESUME"]},
        {"name": ["n[1-3]"], "weight": 7},
    ]


def test_a_name_that_slurm_does_not_know_costs_the_others_nothing() -> None:
    server = Slurmrestd()
    refused = SlurmRefusedError("Invalid node name specified (2018)")

    def answer(method: str, path: str, *, query: Any = None, body: Any = None) -> Reply:
        if method == "POST" and "zz9" in body["name"][0]:
            server.asked.append((method, path, body))
            raise refused
        return Slurmrestd.call(server, method, path, query=query, body=body)

    server.call = answer  # type: ignore[method-assign]
    with pytest.raises(SlurmRefusedError, match="zz9"):
        backend(server).set_weight(["n1", "n2", "zz9"], 7)
    assert server.changes()[-1][2] == {"name": ["n[1-2]"], "weight": 7}


def test_a_change_that_was_done_in_part_is_refused() -> None:
    server = Slurmrestd()
    server.answers["POST", "/slurm/v0.0.44/nodes/"] = {
        "warnings": [{"description": "Ignoring unknown field"}]
    }
    with pytest.raises(SlurmRefusedError, match="unknown field"):
        backend(server).set_weight(["n1"], 7)


def test_a_node_without_a_drain_is_resumed_without_harm() -> None:
    server = Slurmrestd()
    server.answers["POST", "/slurm/v0.0.44/nodes/"] = SlurmRefusedError("Invalid node state specified (2028)")
    backend(server).resume(["n1"])


def test_nodes_are_deleted_one_by_one_and_one_that_is_gone_is_no_error() -> None:
    server = Slurmrestd()
    server.answers["DELETE", "/slurm/v0.0.44/node/n1"] = SlurmRefusedError("Invalid node name specified")
    server.answers["DELETE", "/slurm/v0.0.44/node/n2"] = SlurmRefusedError("is in use")
    with pytest.raises(SlurmRefusedError, match="in use"):
        backend(server).delete_nodes(["n1", "n2", "n3"])
    assert [asked[1][-2:] for asked in server.changes()] == ["n1", "n2", "n3"]


def test_a_job_is_requeued_by_the_newest_version_and_only_while_it_runs() -> None:
    server = Slurmrestd("26.05", 42, 45)
    server.extra = {"job/{id}/requeue": ["get"]}
    captured = server.captured("/slurm/v0.0.45/jobs")
    for version in (42, 45):
        server.answers["GET", f"/slurm/v0.0.{version}/jobs"] = captured
    server.answers["GET", "/slurm/v0.0.45/job/1/requeue"] = {}
    rest = backend(server)
    rest.requeue("1")
    assert server.asked[-1][1] == "/slurm/v0.0.45/job/1/requeue"
    rest.requeue("6")
    assert server.asked[-1][1] != "/slurm/v0.0.45/job/6/requeue"
    for job, words in (("9", "COMPLETING"), ("11111", "it is over")):
        with pytest.raises(SlurmRefusedError, match=words):
            rest.requeue(job)


def test_what_slurmrestd_cannot_do_another_way_in_does() -> None:
    aside = Recorder()
    server = Slurmrestd()
    rest = backend(server, aside)
    rest.requeue("1")
    rest.requeue("1", hold=True)
    rest.notify("1", "x")
    rest.signal("1", "USR1")
    rest.signal("1", "USR1", SignalTarget.BATCH)
    rest.cancel("3_0")
    rest.power_up(["n1"])
    rest.power_down(["n1"])
    rest.set_address("n1", "10.0.0.1", "n1")
    rest.remove_reservation("x")
    assert aside.asked == [
        "requeue", "requeue", "notify", "signal", "signal", "cancel", "power_up", "power_down", "set_address",
        "remove_reservation",
    ]  # fmt: skip
    assert server.changes() == []
    (told,) = rest.shortcomings()
    assert told.startswith("slurmrestd v0.0.44 cannot tell the address of cloud nodes")
    assert "; requeue a job; requeue a job and hold it; signal a job; " in told
    assert told.endswith("; act on one task of an array: Slurm's commands do that")


def test_what_nothing_can_do_is_known_beforehand() -> None:
    rest = backend(Slurmrestd())
    told = rest.shortcomings()
    assert "slurmrestd v0.0.44 cannot requeue a job, and nothing else can: squeue: cannot be started" in told
    with pytest.raises(SlurmRefusedError, match="requeue a job, and nothing else can"):
        rest.requeue("1")


def test_a_job_that_is_over_is_cancelled_without_harm() -> None:
    server = Slurmrestd()
    server.answers["DELETE", "/slurm/v0.0.44/job/7"] = SlurmRefusedError("Invalid job id specified (2017)")
    backend(server).cancel("7")


def test_many_jobs_are_signalled_and_ended_with_one_request_and_each_refusal_is_told() -> None:
    server = Slurmrestd()
    server.extra = {"jobs/": ["get", "delete"]}
    over = {"step_id": "7", "error": {"string": "Job/step already completing or completed", "code": 2021}}
    task = {"step_id": "4_[2]", "error": {"string": "Job can not be altered now", "code": 2020}}
    server.answers["DELETE", "/slurm/v0.0.44/jobs/"] = {"status": [over, task]}
    rest = backend(server, Recorder())
    assert sorted(rest.signal_all(["1", "4_2", "5+1", "7"], "USR1", SignalTarget.BATCH)) == ["4_2", "7"]
    assert list(rest.cancel_all(["1", "4_2", "5+1", "7"])) == ["4_2"]
    jobs = ["1", "4_2", "5", "7"]
    assert [asked for _, _, asked in server.changes()] == [
        {"jobs": jobs, "signal": "SIGUSR1", "flags": ["BATCH_JOB"]},
        {"jobs": jobs},
    ]


def test_what_slurmrestd_does_to_one_job_at_a_time_another_way_in_does_to_many() -> None:
    server = Slurmrestd()
    aside = Recorder({})
    rest = backend(server, aside)
    assert rest.signal_all(["1", "2"], "USR1") == rest.cancel_all(["1", "2"]) == {}
    assert rest.requeue_all(["1", "2"]) == rest.comment_all(["1", "2"], "x") == {}
    assert aside.asked == ["signal_all", "cancel_all", "requeue_all", "comment_all"]
    assert server.changes() == []


def test_without_another_way_in_many_jobs_cost_one_read_and_a_request_each() -> None:
    server = Slurmrestd("26.05", 45)
    server.extra = {"job/{id}/requeue": ["get"]}
    for job in ("1", "6"):
        server.answers["GET", f"/slurm/v0.0.45/job/{job}/requeue"] = {}
    refused = backend(server).requeue_all(["1", "3_1", "9", "11111"])
    assert sorted(refused) == ["11111", "3_1", "9"]
    paths = [path for _, path, _ in server.asked]
    assert paths.count("/slurm/v0.0.45/job/1/requeue") == 1
    assert len([path for path in paths if path.endswith("/jobs")]) == 1


@pytest.mark.parametrize("hold", [False, True])
def test_where_slurmrestd_requeues_many_one_request_does_it_and_what_still_runs_was_refused(
    hold: bool,
) -> None:
    server = Slurmrestd("26.05", 45)
    server.extra = {"jobs/requeue": ["post"]}
    server.answers["POST", "/slurm/v0.0.45/jobs/requeue"] = SlurmRefusedError("Requeue JobId=1 failed")
    refused = backend(server, Recorder()).requeue_all(["1", "6", "11111"], hold=hold)
    assert sorted(refused) == ["1", "11111"]
    assert "JobId=1 failed" in str(refused["1"])
    flags = ["Incomplete", "Hold"] if hold else ["Incomplete"]
    assert server.changes() == [("POST", "/slurm/v0.0.45/jobs/requeue", {"jobs": ["1"], "flags": flags})]


def test_a_requeued_job_that_runs_already_again_was_not_refused() -> None:
    server = Slurmrestd("26.05", 45)
    server.extra = {"jobs/requeue": ["post"]}
    jobs = server.captured("/slurm/v0.0.45/jobs")
    (one,) = [job for job in jobs["jobs"] if job["job_id"] == 1]
    one["start_time"]["number"] += 60
    server.news = server.captured("/slurm/v0.0.45/nodes") | jobs
    assert backend(server, Recorder()).requeue_all(["1"]) == {}


def test_a_snapshot_is_not_changed_by_what_is_read_later() -> None:
    server = Slurmrestd()
    rest = backend(server)
    first = rest.snapshot()
    kept = copy.deepcopy((dict(first.nodes), first.jobs))
    server.news = server.captured("/slurm/v0.0.44/nodes") | {"jobs": []}
    server.news["nodes"][0]["weight"] = 99
    assert rest.snapshot().nodes["n1"].weight == 99
    assert (dict(first.nodes), first.jobs) == kept
