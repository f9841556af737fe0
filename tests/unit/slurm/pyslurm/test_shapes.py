"""What pyslurm 25.11 said on a real cluster, read as values."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmError
from agent.slurm.layout import Layout
from agent.slurm.model import Job, Node
from agent.slurm.pyslurm import shapes

NODE: dict[str, Any] = {
    "name": "n2", "state": "MIXED+DRAIN", "address": "127.0.0.1", "weight": 1, "active_features": ["small"],
    "total_cpus": 2, "allocated_cpus": 1, "real_memory": 1000, "allocated_memory": 0,
    "reason": "update kernel", "reason_user": "root", "partitions": ["main"], "boot_time": 1795345278,
    "last_busy_time": 1795351689, "configured_gres": {}, "sockets": 2, "cores_per_socket": 1,
    "threads_per_core": 2, "effective_cpus": 2, "memory_reserved_for_system": 100, "temporary_disk": None,
}  # fmt: skip
JOB: dict[str, Any] = dict.fromkeys(shapes.JOB_FIELDS) | {
    "id": 1, "state": "RUNNING", "user_id": "alice", "state_reason": "None", "partition": "main",
    "allocated_nodes": "n1", "num_nodes": 1, "cpus": 1, "constraints": ["small"], "resource_sharing": "OK",
    "eligible_time": 1795351689, "required_nodes": "n1", "gres_per_node": {}, "submit_time": 1795351689,
    "start_time": 1795351692, "end_time": 1795353492, "time_limit": 30, "is_requeueable": True,
    "is_batch_job": True,
    "requeue_count": 0,
}  # fmt: skip
PENDING = {"state": "PENDING", "allocated_nodes": None, "required_nodes": None}


def node(**changes: Any) -> Node:
    values = NODE | changes
    return shapes.node([values[name] for name in shapes.NODE_FIELDS])


def job(**changes: Any) -> Job:
    values = JOB | changes
    return shapes.job([values[name] for name in shapes.JOB_FIELDS])


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_a_draining_node() -> None:
    assert node() == Node(
        name="n2", state="MIXED", flags=frozenset({"DRAIN"}), address="127.0.0.1", weight=1,
        features=frozenset({"small"}), cpus=2, allocated_cpus=1, memory=1000, reason="update kernel",
        reason_user="root", partitions=("main",), booted=at(1795345278),
        layout=Layout(sockets=2, cores=1, threads=2, usable_cpus=2, system_memory=100),
    )  # fmt: skip


def test_what_pyslurm_leaves_out_is_nothing() -> None:
    bare = node(
        weight=None,
        active_features=[],
        reason=None,
        reason_user=None,
        partitions=[],
        boot_time=None,
        last_busy_time=None,
        address=None,
    )
    assert (bare.weight, bare.features, bare.reason, bare.reason_user) == (0, frozenset(), "", "")
    assert (bare.partitions, bare.booted, bare.last_busy, bare.address) == ((), None, None, "")


def test_nobody_set_a_reason_that_is_not_there() -> None:
    """As pyslurm 25.11 tells a node that no administrator ever touched."""
    assert node(reason=None, reason_user="root").reason_user == ""


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"gpu": 2}, "gpu:2"),
        ({"gpu:a100": 1, "shard": 4}, "gpu:a100:1,shard:4"),
        ({"gres/gpu": 1}, "gpu:1"),
        (None, ""),
    ],
)
def test_generic_resources(counts: Any, text: str) -> None:
    assert node(configured_gres=counts).gres == job(gres_per_node=counts).gres == text


def test_a_running_job() -> None:
    assert job() == Job(
        id="1", state="RUNNING", user="alice", reason="None", partitions=("main",), nodes=frozenset({"n1"}),
        features="small", requested_nodes=frozenset({"n1"}), submitted=at(1795351689), started=at(1795351692),
        ends=at(1795353492), time_limit=timedelta(minutes=30), requeueable=True, batch=True,
        restarts=0,
    )  # fmt: skip


def test_a_job_of_srun_or_salloc_has_no_script() -> None:
    assert job(is_batch_job=False).batch is False


def test_a_forecast_is_no_start() -> None:
    waiting = job(**PENDING)
    assert (waiting.started, waiting.ends, waiting.begins) == (None, None, None)
    assert job(**PENDING, state_reason="BeginTime").begins == at(1795351689)


def test_a_job_without_limit_has_no_end() -> None:
    endless = job(time_limit=None)
    assert (endless.ends, endless.time_limit) == (None, None)


@pytest.mark.parametrize(
    ("fields", "job_id", "tasks", "limit"),
    [
        ({"id": 4, "array_id": 3, "array_task_id": None, "array_tasks_parallel": 2}, "3_0", 1, None),
        ({"id": 3, "array_id": 3, "array_task_id": 9}, "3_9", 1, None),
        (
            {"id": 3, "array_id": 3, "array_tasks_waiting": "3,6,9", "array_tasks_parallel": 2},
            "3_[3,6,9]",
            3,
            2,
        ),
        ({"id": 3, "array_id": 3, "array_tasks_waiting": "1-999:2"}, "3_[1-999:2]", 500, None),
        ({"id": 12, "heterogeneous_id": 12}, "12+0", 1, None),
        ({"id": 13, "heterogeneous_id": 12, "heterogeneous_offset": 1}, "12+1", 1, None),
    ],
)
def test_ids_are_what_scontrol_takes(
    fields: dict[str, Any], job_id: str, tasks: int, limit: int | None
) -> None:
    seen = job(**fields)
    assert (seen.id, seen.task_count, seen.task_limit) == (job_id, tasks, limit)


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "Resources",
        ),
        ("ReqNodeNotAvail, May be reserved for other job", "ReqNodeNotAvail"),
        ("JobHeldUser", "JobHeldUser"),
        (None, ""),
    ],
)
def test_the_reason_is_one_word(sentence: str | None, word: str) -> None:
    assert job(state_reason=sentence).reason == word


@pytest.mark.parametrize(
    ("per_node", "per_cpu", "memory", "by_cpu"),
    [(None, None, 0, False), (500, None, 500, False), (None, 250, 250, True)],
)
def test_memory_is_per_node_or_per_cpu(per_node: Any, per_cpu: Any, memory: int, by_cpu: bool) -> None:
    seen = job(memory_per_node=per_node, memory_per_cpu=per_cpu)
    assert (seen.memory, seen.memory_per_cpu) == (memory, by_cpu)


def test_exclusive_jobs() -> None:
    values = JOB | {"resource_sharing": "NO"}
    row = [values[name] for name in shapes.JOB_FIELDS]
    assert shapes.job(row).exclusive
    assert not job().exclusive


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(field=st.sampled_from(shapes.JOB_FIELDS), value=ANYTHING)
def test_a_job_is_exact_or_an_error(field: str, value: Any) -> None:
    value = json.loads(json.dumps(value, default=str))
    try:
        seen = job(**{field: value})
    except SlurmError:
        return
    assert isinstance(seen.id, str)
    assert seen.node_count >= 0
    assert all(isinstance(name, str) for name in seen.nodes | seen.requested_nodes | seen.excluded_nodes)


@given(field=st.sampled_from(shapes.NODE_FIELDS), value=ANYTHING)
def test_a_node_is_exact_or_an_error(field: str, value: Any) -> None:
    try:
        seen = node(**{field: value})
    except SlurmError:
        return
    assert seen.cpus >= 0
    assert all(isinstance(word, str) for word in (seen.name, seen.reason, *seen.features, *seen.partitions))


@given(field=st.sampled_from(shapes.RESERVATION_FIELDS), value=ANYTHING)
def test_a_reservation_is_exact_or_an_error(field: str, value: Any) -> None:
    values = dict.fromkeys(shapes.RESERVATION_FIELDS)
    values |= {"name": "f", "nodes": "n1", "start_time": 1, "end_time": 2, "flags": ["MAINTENANCE"]}
    values |= {field: value}
    try:
        seen = shapes.reservation([values[name] for name in shapes.RESERVATION_FIELDS])
    except SlurmError:
        return
    assert all(isinstance(word, str) for word in (seen.name, *seen.nodes, *seen.flags, *seen.users))
    assert isinstance(seen.partition, str)


@pytest.mark.parametrize("record", [[], [1], {}, "x", None])
def test_a_record_of_another_length_is_an_error(record: Any) -> None:
    for read in (shapes.node, shapes.job, shapes.reservation):
        with pytest.raises(SlurmError, match="expected"):
            read(record)
