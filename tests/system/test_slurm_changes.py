"""One contract: every way in changes the same real cluster alike, and refuses alike."""

import re
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmRefusedError
from agent.slurm.model import Job, SignalTarget, SlurmBackend
from agent.slurm.reservation import Reservation
from agent.slurm.words import means_not_now
from testbed.emptying import boot_node
from testbed.up import TestBed
from testbed.waiting import wait_for

pytestmark = pytest.mark.usefixtures("nodes_as_found")
NODES = ("pc910", "pc911")
SLEEP = "sleep 600"


@pytest.fixture
def slurm(each_way_in: SlurmBackend) -> SlurmBackend:
    return each_way_in


def job(slurm: SlurmBackend, job_id: str) -> Job:
    return {j.id: j for j in slurm.snapshot().jobs}[job_id]


def states(slurm: SlurmBackend, *job_ids: str) -> set[str]:
    return {j.state for j in slurm.snapshot().jobs if j.id in job_ids}


def started(bed: TestBed, *options: str) -> str:
    """Submit a long job to the first node; return its id once it runs."""
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--ntasks=1", *options)
    bed.slurm.wait_for_job(running, "RUNNING")
    return str(running)


def wait_for_tasks(slurm: SlurmBackend, tasks: Collection[str]) -> None:
    """Wait until these and no others run."""
    wait_for("its tasks", lambda: {j.id for j in slurm.snapshot().jobs if j.holds_nodes} == set(tasks))


def test_an_unknown_name_in_a_list_costs_the_others_nothing(slurm: SlurmBackend) -> None:
    with pytest.raises(SlurmRefusedError, match="ghost"):
        slurm.drain([NODES[1], "ghost", NODES[0]], "esagent: revoked by Cloudlab")
    with pytest.raises(SlurmRefusedError, match="ghost"):
        slurm.set_weight([*NODES, "ghost"], 50)
    seen = slurm.snapshot().nodes
    assert [seen[name].reason for name in NODES] == ["esagent: revoked by Cloudlab"] * 2
    assert [(seen[name].drained, seen[name].weight) for name in NODES] == [(True, 50)] * 2
    assert not seen["n1"].draining
    slurm.undrain(NODES)
    slurm.undrain(NODES)
    assert not any(node.draining for node in slurm.snapshot().nodes.values())


def test_weights_are_set_on_the_nodes_asked_for_and_on_no_other(slurm: SlurmBackend) -> None:
    before = slurm.snapshot().nodes["n1"].weight
    for weight in (4294967280, 0):
        slurm.set_weight(NODES, weight)
        seen = slurm.snapshot().nodes
        assert [seen[name].weight for name in NODES] == [weight] * 2
    assert seen["n1"].weight == before


def test_deleting_tolerates_what_is_not_there_and_is_refused_where_a_job_runs(
    bed: TestBed, slurm: SlurmBackend
) -> None:
    running = started(bed)
    with pytest.raises(SlurmRefusedError, match="busy"):
        slurm.delete_nodes(["ghost", NODES[0]])
    assert states(slurm, running) == {"RUNNING"}
    slurm.delete_nodes(["ghost", NODES[1]])
    assert NODES[1] not in slurm.snapshot().nodes
    slurm.delete_nodes([NODES[1]])
    boot_node(bed.machines, bed.slurm, NODES[1], cpus=2, features="small,x")
    bed.slurm.wait_for_node(NODES[1], "IDLE")


def test_a_running_job_is_requeued_once(bed: TestBed, slurm: SlurmBackend) -> None:
    running = started(bed)
    slurm.requeue(running)
    wait_for("job back in the queue", lambda: states(slurm, running) == {"PENDING"})
    slurm.requeue(running)
    wait_for("its begin time", lambda: job(slurm, running).reason == "BeginTime")
    assert job(slurm, running).begins is not None
    assert "Restarts=1 " in bed.slurm.run("scontrol", "-o", "show", "job", running)


def test_a_job_is_held_where_that_is_asked_for(bed: TestBed, slurm: SlurmBackend) -> None:
    running = started(bed)
    slurm.requeue(running, hold=True)
    held = ("squeue", "-h", "-j", running, "-o", "%r")
    wait_for("job held", lambda: re.search("[Hh]eld", bed.slurm.run(*held)))
    wait_for("it is pending", lambda: states(slurm, running) == {"PENDING"})


def test_a_finished_job_is_not_run_again(bed: TestBed, slurm: SlurmBackend) -> None:
    done = bed.slurm.submit("true", f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(done, "COMPLETED")
    for job_id in (str(done), "99999"):
        with pytest.raises(SlurmRefusedError, match="it is over"):
            slurm.requeue(job_id)
    assert bed.slurm.job_state(done) == "COMPLETED"


def test_a_job_without_a_script_is_not_requeued_and_that_lasts(bed: TestBed, slurm: SlurmBackend) -> None:
    bed.slurm.run("salloc", "--no-shell", f"--nodelist={NODES[0]}", "--ntasks=1", "--job-name=interactive")
    job = bed.slurm.run("squeue", "-h", "-n", "interactive", "-o", "%i").strip()
    refused = slurm.requeue_all([job])
    assert not means_not_now(str(refused[job]))
    assert states(slurm, job) == {"RUNNING"}
    assert slurm.signal_all([job], "USR1", SignalTarget.STEPS) == {}
    assert slurm.cancel_all([job]) == {}
    wait_for("the job gone", lambda: not states(slurm, job))


@pytest.mark.parametrize("which", [0, 1])
def test_one_task_of_an_array_is_requeued_and_then_ended(
    bed: TestBed, slurm: SlurmBackend, which: int
) -> None:
    """The last task to start has the array's own number, which stands for the whole array."""
    array = bed.slurm.submit(SLEEP, "--array=0-1", f"--nodelist={NODES[0]}", "--ntasks=1")
    tasks = [f"{array}_0", f"{array}_1"]
    wait_for_tasks(slurm, tasks)
    chosen, other = tasks[which], tasks[1 - which]
    slurm.comment(chosen, "chosen")
    assert "AdminComment=chosen" in bed.slurm.run("scontrol", "-o", "show", "job", chosen)
    assert "AdminComment=chosen" not in bed.slurm.run("scontrol", "-o", "show", "job", other)
    slurm.requeue(chosen)
    wait_for("task pending", lambda: states(slurm, chosen) == {"PENDING"})
    assert states(slurm, other) == {"RUNNING"}
    slurm.cancel(chosen)
    wait_for("task gone", lambda: not states(slurm, chosen))
    assert states(slurm, other) == {"RUNNING"}


def test_a_heterogeneous_job_is_requeued_whole(bed: TestBed, slurm: SlurmBackend) -> None:
    bed.slurm.run(
        "sbatch", "--parsable", "--output=/dev/null", "--ntasks=1", f"--nodelist={NODES[0]}", ":",
        "--ntasks=1", f"--nodelist={NODES[1]}", f"--wrap={SLEEP}",
    )  # fmt: skip
    wait_for("both components", lambda: len(slurm.snapshot().jobs_on(NODES)) == 2)
    parts = sorted(j.id for j in slurm.snapshot().jobs)
    assert [part.partition("+")[2] for part in parts] == ["0", "1"]
    slurm.requeue(parts[1])
    wait_for("all pending", lambda: {j.state for j in slurm.snapshot().jobs} == {"PENDING"})


def test_jobs_are_requeued_signalled_told_and_ended(bed: TestBed, slurm: SlurmBackend) -> None:
    ready, caught = (bed.slurm.directory / name for name in ("ready", "caught"))
    for file in (ready, caught):
        file.unlink(missing_ok=True)
    script = f"trap 'touch {caught}' USR1; touch {ready}; while :; do sleep 0.1; done"
    job = bed.slurm.submit(script, f"--nodelist={NODES[0]}", "--requeue", "--ntasks=1")
    fixed = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--no-requeue", "--ntasks=1")
    for running in (job, fixed):
        bed.slurm.wait_for_job(running, "RUNNING")
    # Before it has come to its trap, the signal would end it.
    wait_for("the script's trap", ready.exists)

    slurm.signal(str(job), "USR1")
    wait_for("the signal", caught.exists)
    slurm.notify(str(fixed), "its machine goes back to Cloudlab")
    slurm.comment(str(fixed), "told\nState=DOWN")
    assert "AdminComment=told State=DOWN" in bed.slurm.run("scontrol", "-o", "show", "job", str(fixed))
    with pytest.raises(SlurmRefusedError, match="disabled"):
        slurm.requeue(str(fixed))
    assert states(slurm, str(fixed)) == {"RUNNING"}
    slurm.cancel(str(fixed))
    bed.slurm.wait_for_job(fixed, "CANCELLED")
    slurm.cancel(str(fixed))
    with pytest.raises(SlurmRefusedError, match="Invalid job id"):
        slurm.comment("99999", "x")


def test_names_that_are_none_are_refused_before_slurm_is_asked(slurm: SlurmBackend) -> None:
    for act in (
        lambda: slurm.drain(["n1 State=DOWN"], "x"),
        lambda: slurm.set_weight(["n1"], -1),
        lambda: slurm.delete_nodes(["../n1"]),
        lambda: slurm.requeue("1; rm"),
        lambda: slurm.cancel("../1"),
        lambda: slurm.comment("1/2", "x"),
        lambda: slurm.signal("1", "USR1 9"),
    ):
        with pytest.raises(SlurmRefusedError):
            act()


def test_a_reservation_is_made_moved_and_removed(slurm: SlurmBackend) -> None:
    assert slurm.reservations() == ()
    slurm.remove_reservation("esagent-fence")
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    fence = Reservation("esagent-fence", frozenset({NODES[0]}), starts, starts + timedelta(hours=1))
    slurm.reserve(fence)
    try:
        (seen,) = slurm.reservations()
        assert replace(seen, flags=frozenset()) == fence
        assert seen.flags >= {"MAINT", "IGNORE_JOBS"}
        later = starts + timedelta(minutes=7)
        wanted = replace(seen, nodes=frozenset(NODES), starts=later, ends=later + timedelta(hours=2))
        slurm.reserve(wanted)
        (moved,) = slurm.reservations()
        assert (moved.nodes, moved.starts, moved.ends) == (wanted.nodes, wanted.starts, wanted.ends)
    finally:
        slurm.remove_reservation("esagent-fence")
    assert slurm.reservations() == ()
    slurm.reserve(moved)
    slurm.remove_reservation(moved.name)


def test_a_reservation_that_has_begun_takes_nodes_in_is_moved_on_and_ends_by_itself(
    slurm: SlurmBackend,
) -> None:
    starts = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=90)
    fence = Reservation("esagent-begun", frozenset({NODES[0]}), starts, starts + timedelta(hours=1))
    slurm.reserve(fence)
    try:
        wait_for("it has begun", lambda: "MAINTENANCE" in slurm.snapshot().nodes[NODES[0]].flags)
        wanted = replace(fence, nodes=frozenset(NODES), ends=starts + timedelta(hours=2))
        slurm.reserve(wanted)
        (seen,) = slurm.reservations()
        assert replace(seen, flags=frozenset()) == wanted
        slurm.reserve(replace(wanted, ends=datetime.now(UTC) + timedelta(seconds=2)))
        wait_for("it is over", lambda: slurm.reservations() == ())
        wait_for("its nodes", lambda: all(slurm.snapshot().nodes[name].usable for name in NODES))
    finally:
        slurm.remove_reservation("esagent-begun")


def test_many_jobs_are_signalled_and_ended_at_once_whatever_is_over_among_them(
    bed: TestBed, slurm: SlurmBackend
) -> None:
    first = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--ntasks=1")
    array = bed.slurm.submit(SLEEP, "--array=1-2", f"--nodelist={NODES[1]}", "--ntasks=1")
    many = [str(first), f"{array}_1", f"{array}_2"]
    wait_for("all of them", lambda: states(slurm, *many) == {"RUNNING"})
    wait_for("their signal", lambda: list(slurm.signal_all([*many, "99999"], "CONT")) == ["99999"])
    assert slurm.cancel_all([*many, "99999"]) == {}
    wait_for("their end", lambda: not states(slurm, *many))


def test_a_signal_comes_once_whatever_waits_behind_its_job_and_none_to_a_suspended_one(
    bed: TestBed, slurm: SlurmBackend, tmp_path: Path
) -> None:
    """Slurm says of the task that it cannot be altered now, and scancel(1) would send it again."""
    tmp_path.chmod(0o777)
    mark = f"echo >> {tmp_path}/caught.$SLURM_JOB_ID"
    script = f"trap '{mark}' URG; touch {tmp_path}/ready.$SLURM_JOB_ID; while :; do sleep 0.1; done"
    here = (f"--nodelist={NODES[0]}", "--ntasks=1")
    array = bed.slurm.submit(script, "--array=0-3%1", *here)
    alone = bed.slurm.submit(script, *here)
    stopped = bed.slurm.submit(script, f"--nodelist={NODES[1]}", "--ntasks=1")
    task, waiting = f"{array}_0", f"{array}_[1-3]"
    wait_for("their traps", lambda: len(list(tmp_path.glob("ready.*"))) == 3)
    bed.slurm.run("scontrol", "suspend", str(stopped))
    numbers = bed.slurm.run("squeue", "-h", "-t", "RUNNING", "-o", "%A").split()
    many = [task, str(alone), str(stopped), "99999"]
    assert sorted(slurm.signal_all(many, "URG", SignalTarget.BATCH)) == sorted([str(stopped), "99999"])
    with pytest.raises(SlurmRefusedError):
        slurm.signal(str(stopped), "URG", SignalTarget.BATCH)
    caught = [tmp_path / f"caught.{number}" for number in numbers]
    wait_for("their signals", lambda: all(file.exists() for file in caught))
    assert waiting in {j.id for j in slurm.snapshot().jobs}
    assert [len(file.read_text().splitlines()) for file in caught] == [1, 1]


def test_a_signal_that_srun_does_not_hand_on_comes_to_script_and_steps_once_each(
    bed: TestBed, slurm: SlurmBackend, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    step = tmp_path / "step.sh"
    trap = "trap 'echo >> {0}/caught.{1}' URG; touch {0}/ready.{1}; while :; do sleep 0.1; done\n"
    step.write_text("#!/bin/sh\n" + trap.format(tmp_path, "step"))
    step.chmod(0o755)
    script = f"srun --ntasks=1 --overlap {step} & " + trap.format(tmp_path, "script")
    running = str(bed.slurm.submit(script, f"--nodelist={NODES[0]}", "--ntasks=1"))
    wait_for("their traps", lambda: len(list(tmp_path.glob("ready.*"))) == 2)
    slurm.signal(running, "URG")
    caught = [tmp_path / f"caught.{name}" for name in ("step", "script")]
    wait_for("their signals", lambda: all(file.exists() for file in caught))
    assert [len(file.read_text().splitlines()) for file in caught] == [1, 1]
