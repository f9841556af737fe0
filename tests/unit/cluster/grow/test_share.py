"""What one machine gives a job, by example."""

import pytest

from agent.cluster.grow.machine import all_of, frame_of
from agent.cluster.grow.share import give, share_of
from agent.cluster.grow.wish import wishes_of
from agent.slurm.layout import Layout
from agent.slurm.model import Job
from agent.slurm.request import Request
from agent.slurm.scheduling import Scheduling, Unit

KEEPS_A_CORE = Layout(sockets=2, cores=2, threads=2, usable_cpus=6)


def cpus_given(request: Request, layout: Layout = KEEPS_A_CORE) -> int | None:
    """Return the CPUs that a machine of 8 gives a job, which has it alone."""
    job = Job("1", "PENDING", cpus=request.cpus, request=request, exclusive=True)
    [wish] = wishes_of(job, Scheduling(memory=False))
    share = share_of(all_of(frame_of(8, None, layout, frozenset(), None, None), layout, ()), wish)
    return share and share.cpus


@pytest.mark.parametrize(("asked", "left"), [(0, 6), (1, 6), (2, 4), (3, 2), (4, None)])
def test_cores_that_a_job_leaves_to_the_system_are_first_those_that_it_keeps_anyway(
    asked: int, left: int | None
) -> None:
    assert cpus_given(Request(core_spec=asked)) == left


def test_those_that_it_keeps_beyond_what_the_job_leaves_are_the_jobs() -> None:
    assert cpus_given(Request(core_spec=1), Layout(sockets=2, cores=2, threads=2, usable_cpus=4)) == 6


@pytest.mark.parametrize(("threads", "kept", "left"), [(1, 1, 7), (2, 1, 7), (2, 3, 5), (2, 8, None)])
def test_threads_that_a_job_leaves_to_the_system_are_cpus_that_it_has_not(
    threads: int, kept: int, left: int | None
) -> None:
    layout = Layout(sockets=2, cores=4 // threads, threads=threads)
    assert cpus_given(Request(thread_spec=kept), layout) == left


def test_threads_that_the_machine_keeps_anyway_are_among_those() -> None:
    assert cpus_given(Request(thread_spec=2)) == 6


@pytest.mark.parametrize(("unit", "left"), [(Unit.CPU, 1800), (Unit.CORE, 1600), (Unit.SOCKET, 1200)])
def test_memory_for_each_cpu_is_for_all_of_the_cores_that_a_job_is_given(unit: Unit, left: int) -> None:
    job = Job("1", "PENDING", cpus=1, memory=200, memory_per_cpu=True, request=Request())
    [wish] = wishes_of(job, Scheduling(unit))
    layout = Layout(sockets=2, cores=2, threads=2)
    machine = all_of(frame_of(8, 2000, layout, frozenset(), None, None), layout, ())
    share = share_of(machine, wish)
    assert share is not None
    assert give(machine, share, 1, 1, {}, wish).memory == left


def test_no_machine_takes_more_tasks_than_its_gpus_may_have() -> None:
    request = Request(min_nodes=2, max_nodes=2, tasks=5, cpus=5, per_node="gpu:1", tasks_per_gres=2)
    [wish] = wishes_of(Job("1", "PENDING", cpus=5, request=request), Scheduling(memory=False))
    share = share_of(
        all_of(frame_of(8, None, Layout(), frozenset(), None, None), Layout(), (("gpu", 2),)), wish
    )
    assert share is not None
    assert (share.cpus, share.most_tasks) == (2, 2)


@pytest.mark.parametrize(("gpus", "cpus"), [(2, 4), (3, 6)])
def test_a_machine_gives_no_more_cpus_than_its_gpus_may_have(gpus: int, cpus: int) -> None:
    request = Request(min_nodes=2, tasks=9, cpus=9, per_job=f"gpu:{gpus}", cpus_per_gres="gpu:2")
    [wish] = wishes_of(Job("1", "PENDING", cpus=9, request=request), Scheduling(memory=False))
    share = share_of(
        all_of(frame_of(8, None, Layout(), frozenset(), None, None), Layout(), (("gpu", 3),)), wish
    )
    assert share is not None
    assert share.cpus == cpus
