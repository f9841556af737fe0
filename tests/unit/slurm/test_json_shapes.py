"""Replies of slurmrestd as values: every captured version against the text of the same release and moment."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmError
from agent.slurm.cli.scontrol import parse_nodes as parse_text
from agent.slurm.json_shapes import (
    complaints,
    controller_time,
    error_numbers,
    last_update,
    parse_endings,
    parse_jobs,
    parse_nodes,
    parse_reservations,
)
from agent.slurm.layout import Layout
from agent.slurm.model import Job
from agent.slurm.reservation import Reservation

SAMPLES = Path(__file__).parents[2] / "data" / "slurm"
CAPTURED = [
    ("22.05", 38), ("24.11", 40), ("24.11", 42), ("25.11", 41), ("25.11", 44), ("26.05", 42), ("26.05", 45),
]  # fmt: skip
every_capture = pytest.mark.parametrize(("release", "version"), CAPTURED)
NODES_ALONE_IS_UNKNOWN = 45


def reply(release: str, version: int, what: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        (SAMPLES / release / f"rest-v0.0.{version}-{what}.json").read_text()
    )
    return document


def at(text: str) -> datetime | None:
    """Read a time of scontrol; the samples were taken in UTC."""
    if text in {"Unknown", "N/A", "None"}:
        return None
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else datetime.fromisoformat(f"{text}Z")


def field(line: str, key: str) -> str:
    match = re.search(rf"(?:^|\s){key}=(\S*)", line)
    assert match is not None, key
    return "" if match[1] in {"(null)", "N/A"} else match[1]


@every_capture
def test_nodes_are_those_of_the_text(release: str, version: int) -> None:
    text = (SAMPLES / release / "nodes.txt").read_text()
    lines = {field(line, "NodeName"): line for line in text.splitlines() if line}
    expected = {
        name: replace(
            node,
            booted=at(field(lines[name], "BootTime")),
            last_busy=at(field(lines[name], "LastBusyTime")),
            allocated_memory=int(field(lines[name], "AllocMem")),
            gres="",
            reason_user="root" if node.reason else "",
        )
        for name, node in parse_text(text).items()
    }
    assert parse_nodes(reply(release, version, "nodes")) == expected


@every_capture
def test_jobs_are_those_of_the_text(release: str, version: int) -> None:
    lines = [line for line in (SAMPLES / release / "jobs.txt").read_text().splitlines() if line]
    seen = {job.id: job for job in parse_jobs(reply(release, version, "jobs"))}
    of_text = {job_id(line): line for line in lines if field(line, "JobState") not in {"FAILED", "COMPLETED"}}
    assert sorted(seen) == sorted(of_text)
    for name, line in of_text.items():
        check_job(seen[name], line, version)


def job_id(line: str) -> str:
    if "ArrayTaskId=" not in line:
        return field(line, "JobId")
    tasks = field(line, "ArrayTaskId")
    bare = tasks.partition("%")[0]
    return f"{field(line, 'ArrayJobId')}_{tasks if tasks.isdecimal() else f'[{bare}]'}"


def check_job(job: Job, line: str, version: int) -> None:
    pending = field(line, "JobState") == "PENDING"
    assert job.state == field(line, "JobState")
    assert job.user == field(line, "UserId").partition("(")[0]
    assert job.partitions == (field(line, "Partition"),)
    assert job.nodes == (set() if pending else {field(line, "NodeList")})
    assert job.node_count == int(field(line, "NumNodes").partition("-")[0])
    assert job.cpus == int(field(line, "NumCPUs"))
    assert job.features == field(line, "Features")
    assert job.requested_nodes == set(filter(None, [field(line, "ReqNodeList")]))
    assert job.excluded_nodes == set(filter(None, [field(line, "ExcNodeList")]))
    assert job.qos == field(line, "QOS")
    assert job.submitted == at(field(line, "SubmitTime"))
    assert job.started == (None if pending else at(field(line, "StartTime")))
    assert job.ends == (None if pending else at(field(line, "EndTime")))
    assert job.time_limit is not None
    days, _, clock = field(line, "TimeLimit").rpartition("-")
    hours, minutes, _ = clock.split(":")
    assert job.time_limit == timedelta(days=int(days or 0), hours=int(hours), minutes=int(minutes))
    assert job.requeueable == (field(line, "Requeue") == "1")
    assert job.batch == (field(line, "BatchFlag") == "1")
    assert job.restarts == int(field(line, "Restarts"))
    alone = "JobName=pend-excl" in line and version != NODES_ALONE_IS_UNKNOWN
    assert job.exclusive == alone
    assert (job.memory, job.memory_per_cpu, job.gres, job.reservation) == (0, False, "", "")


@every_capture
def test_an_array_is_its_running_tasks_and_the_rest(release: str, version: int) -> None:
    jobs = {job.id: job for job in parse_jobs(reply(release, version, "jobs"))}
    first = jobs["3_0"]
    assert (first.task_count, first.task_limit, first.array) == (1, None, "3")
    rest = jobs["3_[3,6,9]"]
    assert (rest.task_count, rest.task_limit, rest.state, rest.reason) == (3, 2, "PENDING", "Resources")


@every_capture
def test_a_job_that_cleans_up_is_completing_however_it_ended(release: str, version: int) -> None:
    jobs = {job.id: job for job in parse_jobs(reply(release, version, "jobs"))}
    assert jobs["9"].state == "COMPLETING"
    assert jobs["9"].holds_nodes


FENCES = [
    ("22.05", 38, "14:46:43"),
    ("24.11", 42, "15:03:48"),
    ("25.11", 44, "14:48:09"),
    ("26.05", 45, "14:47:40"),
]


@pytest.mark.parametrize(("release", "version", "start"), FENCES)
def test_a_reservation_is_the_one_that_was_made(release: str, version: int, start: str) -> None:
    starts = datetime.fromisoformat(f"2026-11-22T{start}Z")
    assert parse_reservations(reply(release, version, "reservations")) == (
        Reservation(
            name="fence1",
            nodes=frozenset({"n4"}),
            starts=starts,
            ends=starts + timedelta(hours=1),
            flags=frozenset({"MAINT", "IGNORE_JOBS", "SPEC_NODES"}),
            users=frozenset({"root"}),
            cpus=2,
        ),
    )


def changed(
    what: str, index: int, version: int = 44, release: str = "25.11", **changes: Any
) -> dict[str, Any]:
    document = reply(release, version, what)
    document[what][index].update(changes)
    return document


@pytest.mark.parametrize(
    ("tasks", "name", "count", "limit"),
    [
        ("1-199:2", "3_[1-199:2]", 100, None),
        ("1,3,57...", "3_[1,3]", 2, None),
        ("1,3,5,...%4", "3_[1,3,5]", 3, 4),
        ("5...", "3", 1, None),
    ],
)
def test_tasks_that_slurmrestd_cuts_count_as_far_as_they_are_shown(
    tasks: str, name: str, count: int, limit: int | None
) -> None:
    jobs = parse_jobs(changed("jobs", 3, array_task_string=tasks))
    assert (jobs[3].id, jobs[3].task_count, jobs[3].task_limit) == (name, count, limit)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["RUNNING", "CONFIGURING"], "CONFIGURING"),
        (["RUNNING", "SIGNALING", "COMPLETING"], "COMPLETING"),
        (["PENDING", "SPECIAL_EXIT"], "SPECIAL_EXIT"),
        (["BRAND_NEW"], "BRAND_NEW"),
    ],
)
def test_of_several_state_words_the_one_that_squeue_shows_counts(words: list[str], state: str) -> None:
    assert parse_jobs(changed("jobs", 0, job_state=words))[0].state == state


@pytest.mark.parametrize("word", ["COMPLETED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"])
def test_a_job_that_is_over_is_none(word: str) -> None:
    before = parse_jobs(reply("22.05", 38, "jobs"))
    assert parse_jobs(changed("jobs", 0, 38, "22.05", job_state=word)) == before[1:]


def test_components_of_a_heterogeneous_job_carry_its_id() -> None:
    number = {"set": True, "infinite": False}
    document = changed("jobs", 0, het_job_id={**number, "number": 7}, het_job_offset={**number, "number": 2})
    assert parse_jobs(document)[0].id == "7+2"


def test_what_is_set_aside_for_the_system_is_told() -> None:
    changes = {
        "effective_cpus": 3,
        "specialized_memory": 512,
        "temporary_disk": 900,
        "cores": 2,
        "threads": 2,
    }
    node = next(iter(parse_nodes(changed("nodes", 0, **changes)).values()))
    assert node.layout == Layout(2, 2, 2, usable_cpus=3, system_memory=512, tmp_disk=900)


def test_usable_cpus_of_22_05_are_those_that_are_counted() -> None:
    document = reply("22.05", 38, "nodes")
    document["nodes"][0]["tres"] = "cpu=1,mem=1000M,billing=2"
    document["nodes"][1]["tres"] = None
    told = [node.layout.usable_cpus for node in parse_nodes(document).values()]
    assert told == [1, 0, 2, 2]


def test_generic_resources_of_a_node_are_told_without_their_sockets() -> None:
    nodes = parse_nodes(changed("nodes", 0, gres="gpu:a100:2(S:0-1),shard:4(S:0)"))
    assert nodes["n1"].gres == "gpu:a100:2,shard:4"


def test_memory_gres_and_limits_of_both_shapes() -> None:
    old = changed(
        "jobs", 0, 38, "22.05",
        memory_per_cpu=500, tres_per_node="gres:gpu:a100:2", time_limit=None, resv_name="r1", qos="high",
    )  # fmt: skip
    number = {"set": True, "infinite": False}
    new = changed(
        "jobs", 0,
        memory_per_node={**number, "number": 4000}, tres_per_node="gres/gpu=1,gres/shard:2",
        tres_per_task="cpu:2,gres/nic:1",
        time_limit={"set": False, "infinite": True, "number": 0},
    )  # fmt: skip
    first, second = parse_jobs(old)[0], parse_jobs(new)[0]
    assert (first.memory, first.memory_per_cpu, first.gres) == (500, True, "gpu:a100:2")
    assert (first.time_limit, first.ends, first.reservation, first.qos) == (None, None, "r1", "high")
    assert (second.memory, second.memory_per_cpu, second.gres) == (4000, False, "gpu:1,shard:2,nic:1")
    assert (second.time_limit, second.ends) == (None, None)


def test_the_time_of_a_requeued_job_says_when_it_may_begin() -> None:
    start = {"set": True, "infinite": False, "number": 1795353600}
    job = parse_jobs(changed("jobs", 4, state_reason="BeginTime", start_time=start))[4]
    assert job.begins == datetime.fromtimestamp(1795353600, UTC)
    assert job.started is None


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("nodes", {"state": []}),
        ("nodes", {"state": [7]}),
        ("nodes", {"state": ["IDLE DRAIN"]}),
        ("nodes", {"name": "n 1"}),
        ("nodes", {"name": "n2"}),
        ("nodes", {"weight": "heavy"}),
        ("nodes", {"weight": -1}),
        ("nodes", {"weight": True}),
        ("nodes", {"partitions": None}),
        ("nodes", {"boot_time": {"number": 1}}),
        ("nodes", {"boot_time": 10**30}),
        ("jobs", {"job_state": None}),
        ("jobs", {"job_state": []}),
        ("jobs", {"job_id": None}),
        ("jobs", {"job_id": 2}),
        ("jobs", {"nodes": "n[1-"}),
        ("jobs", {"nodes": ["n1"]}),
        ("jobs", {"requeue": None}),
        ("jobs", {"submit_time": {"set": True, "infinite": False, "number": 10**30}}),
        ("jobs", {"cpus": {"set": True}}),
        ("jobs", {"time_limit": "UNLIMITED"}),
    ],
)
def test_a_shape_that_nobody_has_seen_is_an_error(what: str, changes: dict[str, Any]) -> None:
    parse = parse_nodes if what == "nodes" else parse_jobs
    with pytest.raises(SlurmError):
        parse(changed(what, 0, **changes))


@every_capture
def test_a_field_that_is_gone_is_an_error_that_names_it(release: str, version: int) -> None:
    document = reply(release, version, "nodes")
    del document["nodes"][1]["alloc_cpus"]
    with pytest.raises(SlurmError, match=r"node 'n2'.*'alloc_cpus'"):
        parse_nodes(document)


@pytest.mark.parametrize("document", [{}, {"nodes": None}, {"nodes": {}}, {"nodes": [None]}, {"nodes": [[]]}])
def test_a_list_that_is_none_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(SlurmError):
        parse_nodes(document)


FREE_TEXT = ("comment", "admin_comment", "command", "current_working_directory", "state_description")


@given(st.sampled_from(FREE_TEXT), st.text(), st.sampled_from(CAPTURED))
def test_free_text_of_a_job_changes_nothing(key: str, text: str, capture: tuple[str, int]) -> None:
    document = reply(*capture, "jobs")
    before = parse_jobs(document)
    document["jobs"][0][key] = text
    assert parse_jobs(document) == before


@given(st.text(), st.sampled_from(CAPTURED))
def test_the_name_of_a_job_is_taken_as_it_is(text: str, capture: tuple[str, int]) -> None:
    document = reply(*capture, "jobs")
    first, *others = parse_jobs(document)
    document["jobs"][0]["name"] = text
    assert parse_jobs(document) == (replace(first, name=text), *others)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data(), JSON)
def test_any_value_in_any_field_is_read_or_an_error(data: st.DataObject, value: Any) -> None:
    release, version = data.draw(st.sampled_from(CAPTURED))
    what = data.draw(st.sampled_from(["nodes", "jobs"]))
    document = reply(release, version, what)
    document[what][0][data.draw(st.sampled_from(sorted(document[what][0])))] = value
    try:
        if what == "nodes":
            parse_nodes(document)
        else:
            parse_jobs(document)
    except SlurmError:
        pass


def test_errors_are_told_in_slurms_words() -> None:
    old = {"errors": [{"error": "Unspecified error", "errno": -1}]}
    new = {"errors": [{"description": "No job", "error_number": 2017, "error": "Invalid", "source": "x"}]}
    assert complaints(old) == ("Unspecified error (-1)",)
    assert complaints(new) == ("No job - Invalid (2017)",)
    assert (error_numbers(old), error_numbers(new)) == ({-1}, {2017})
    assert complaints({"errors": "odd"}) == ("odd",)
    assert complaints({"warnings": [{"description": "careful"}]}, "warnings") == ("careful",)
    assert complaints({}) == complaints({"errors": []}) == ()


def test_the_time_of_a_read_is_the_controllers() -> None:
    assert last_update(reply("22.05", 38, "nodes")) is None
    assert last_update(reply("26.05", 45, "nodes")) == 1795351672
    assert controller_time({"statistics": {"req_time": 12}}) == 12
    with pytest.raises(SlurmError, match="req_time"):
        controller_time({"statistics": {}})


def test_how_a_job_ended_reads_alike_in_both_shapes() -> None:
    old = reply("22.05", 38, "jobs")["jobs"][0]
    new = reply("24.11", 42, "jobs")["jobs"][0]
    signal = {"id": {"set": True, "infinite": False, "number": 10}, "name": "USR1"}
    unset = {"set": False, "infinite": False, "number": 0}
    died = {"status": ["SIGNALED"], "return_code": unset, "signal": signal}
    for record in (
        old | {"job_state": "FAILED", "exit_code": 10, "derived_exit_code": 10, "restart_cnt": 1},
        new | {"job_state": ["FAILED"], "exit_code": died, "derived_exit_code": died, "restart_cnt": 1},
    ):
        (end,) = parse_endings({"jobs": [record]}).values()
        assert (end.state, end.exit_code, end.signal, end.restarts) == ("FAILED", 0, 10, 1)
        assert (end.step_exit_code, end.step_signal) == (0, 10)
        assert end.is_over
        assert end.ended is not None
    running = new | {"job_state": ["RUNNING", "COMPLETING"]}
    (end,) = parse_endings({"jobs": [running]}).values()
    assert (end.state, end.ended) == ("COMPLETING", None)
