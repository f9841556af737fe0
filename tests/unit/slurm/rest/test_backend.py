"""The way in through slurmrestd: what it asks for, and what another way in does in its place."""

from typing import Any

import pytest

from agent.core.errors import SlurmRefusedError
from agent.slurm.model import SignalTarget
from agent.slurm.rest.transport import Reply
from tests.unit.slurm.rest.conftest import Recorder, Slurmrestd, backend


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


def test_a_node_without_a_drain_is_resumed_without_harm() -> None:
    server = Slurmrestd()
    server.answers["POST", "/slurm/v0.0.44/nodes/"] = SlurmRefusedError("Invalid node state specified (2028)")
    backend(server).resume(["n1"])
    with pytest.raises(SlurmRefusedError, match=r"n\[2-3\]: Invalid node state"):
        backend(server).resume(["n1", "n2", "n3"])


def test_nodes_are_deleted_one_by_one_and_one_that_is_gone_is_no_error() -> None:
    server = Slurmrestd()
    for name in ("n1", "zz"):
        path = f"/slurm/v0.0.44/node/{name}"
        server.answers["DELETE", path] = SlurmRefusedError("Invalid node name specified")
    server.answers["DELETE", "/slurm/v0.0.44/node/n2"] = SlurmRefusedError("is in use")
    with pytest.raises(SlurmRefusedError, match="n1: Invalid node name specified; n2: is in use"):
        backend(server).delete_nodes(["n1", "n2", "n3", "zz"])
    assert [asked[1][-2:] for asked in server.changes()] == ["n1", "n2", "n3", "zz"]
    backend(server).delete_nodes(["zz"])


@pytest.mark.parametrize("hold", [False, True])
def test_a_job_is_requeued_by_the_newest_version_and_only_while_it_runs(hold: bool) -> None:
    server = Slurmrestd("26.05", 42, 45)
    server.extra = {"jobs/requeue": ["post"]}
    jobs = server.captured("/slurm/v0.0.45/jobs")
    for version in (42, 45):
        server.answers["GET", f"/slurm/v0.0.{version}/jobs"] = jobs
    rest = backend(server)
    (one,) = [job for job in jobs["jobs"] if job["job_id"] == 1]
    server.news = server.captured("/slurm/v0.0.45/nodes") | {
        "jobs": [
            job if job is not one else job | {"restart_cnt": one["restart_cnt"] + 1} for job in jobs["jobs"]
        ]
    }
    rest.requeue("1", hold=hold)
    flags = ["Incomplete", "Hold"] if hold else ["Incomplete"]
    assert server.changes() == [("POST", "/slurm/v0.0.45/jobs/requeue", {"jobs": ["1"], "flags": flags})]
    rest.requeue("6")
    for job, words in (("9", "COMPLETING"), ("11111", "it is over")):
        with pytest.raises(SlurmRefusedError, match=words):
            rest.requeue(job)
    assert len(server.changes()) == 1


def test_a_job_that_ends_before_slurm_comes_to_it_was_not_requeued() -> None:
    server = Slurmrestd("26.05", 45)
    server.extra = {"jobs/requeue": ["post"]}
    jobs = server.captured("/slurm/v0.0.45/jobs")
    left = [job for job in jobs["jobs"] if job["job_id"] != 1]
    server.news = server.captured("/slurm/v0.0.45/nodes") | {"jobs": left}
    with pytest.raises(SlurmRefusedError, match="it ended by itself before"):
        backend(server).requeue("1")


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
    rest.scheduling()
    assert aside.asked == [
        "requeue", "requeue", "notify", "signal", "signal", "cancel", "power_up", "power_down", "set_address",
        "remove_reservation", "scheduling",
    ]  # fmt: skip
    assert server.changes() == []
    (told,) = rest.shortcomings()
    assert told.startswith("slurmrestd v0.0.44 cannot tell the address of cloud nodes")
    assert "; requeue a job; signal a job; " in told
    assert told.endswith("; act on one task of an array: Slurm's commands do that")


def test_what_nothing_can_do_is_known_beforehand() -> None:
    rest = backend(Slurmrestd())
    told = rest.shortcomings()
    assert "slurmrestd v0.0.44 cannot requeue a job, and nothing else can: squeue: cannot be started" in told
    with pytest.raises(SlurmRefusedError, match="requeue a job, and nothing else can"):
        rest.requeue("1")


def test_a_job_that_is_over_is_cancelled_without_harm() -> None:
    server = Slurmrestd()
    for job in ("7", "77"):
        said = SlurmRefusedError("Invalid job id specified (2017)")
        server.answers["DELETE", f"/slurm/v0.0.44/job/{job}"] = said
    backend(server).cancel("77")
    with pytest.raises(SlurmRefusedError, match="2017"):
        backend(server).cancel("7")


def test_many_jobs_are_signalled_and_ended_with_one_request_and_each_refusal_is_told() -> None:
    server = Slurmrestd()
    server.extra = {"jobs/": ["get", "delete"]}
    over = {"step_id": "77", "error": {"string": "Job/step already completing or completed", "code": 2021}}
    task = {"step_id": "3_[0-1]", "error": {"string": "Job can not be altered now", "code": 2020}}
    server.answers["DELETE", "/slurm/v0.0.44/jobs/"] = {"status": [over, task]}
    rest = backend(server, Recorder())
    assert sorted(rest.signal_all(["1", "3_0", "5+1", "77"], "USR1", SignalTarget.BATCH)) == ["3_0", "77"]
    assert list(rest.cancel_all(["1", "3_0", "5+1", "77"])) == ["3_0"]
    jobs = ["1", "3_0", "5", "77"]
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
    one["restart_cnt"] += 1
    server.news = server.captured("/slurm/v0.0.45/nodes") | jobs
    assert backend(server, Recorder()).requeue_all(["1"]) == {}


def test_how_jobs_ended_and_their_comments_are_read_one_by_one_where_there_is_no_other_way_in() -> None:
    server = Slurmrestd("24.11", 42)
    listed = server.captured("/slurm/v0.0.42/jobs")["jobs"]
    by_number = {record["job_id"]: record for record in listed}
    over = next(r for r in listed if r["exit_code"]["status"] == ["SIGNALED"])
    record = over | {"admin_comment": "two\nlines"}
    server.answers["GET", f"/slurm/v0.0.42/job/{over['job_id']}"] = {"jobs": [record]}
    server.answers["GET", "/slurm/v0.0.42/job/999"] = SlurmRefusedError("Invalid job id specified (2017)")
    assert 999 not in by_number
    rest = backend(server)
    ends = rest.endings([str(over["job_id"]), "999"])
    assert [end.signal for end in ends.values()] == [1]
    assert rest.comments([str(over["job_id"]), "999"]) == {str(over["job_id"]): "two\nlines"}
    aside = Recorder({})
    backend(server, aside).endings(["7"])
    backend(server, aside).comments(["7"])
    assert aside.asked == ["endings", "comments"]
