"""What becomes of jobs of every kind on a real Slurm when their nodes are emptied."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.cluster.settings.drain import DrainPolicy, DrainSettings
from agent.slurm.model import SignalTarget
from testbed.emptying import CountedCommands, Emptying
from testbed.up import TestBed
from testbed.waiting import wait_for

pytestmark = pytest.mark.usefixtures("nodes_alone", "idle_again")

NODES = ("pc910", "pc911", "pc912", "pc913")
CPUS = 8
REVOKED, SPARE = NODES[:2], NODES[2:]
SETTINGS = DrainSettings(tick=1, requeue_lead=600, kill_lead=600, cleanup_lead=5)
"""Whatever does not end in time is ended at the first look."""
ON = f"--nodelist={REVOKED[0]}"


def emptying(bed: TestBed, settings: DrainSettings = SETTINGS) -> Emptying:
    return Emptying(bed.slurm.conf, NODES, settings)


def field(bed: TestBed, job: int | str, name: str) -> str:
    record = bed.slurm.run("scontrol", "-o", "show", "job", str(job))
    found = re.search(rf"\s{name}=(.*?)(?= \w+=|$)", record)
    return found[1] if found else ""


def reason(bed: TestBed, node: str) -> str:
    return bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E")


def started(bed: TestBed, *jobs: int) -> None:
    for job in jobs:
        bed.slurm.wait_for_job(job, "RUNNING")


def test_requeued_jobs_of_every_kind_really_run_again(bed: TestBed) -> None:
    slurm = bed.slurm
    first, other = REVOKED
    script = 'test "$SLURM_RESTART_COUNT" && exit 0; sleep 600'
    only(bed, other)
    exclusive = slurm.submit(script, "--exclusive")
    started(bed, exclusive)
    only(bed, first)
    array = slurm.submit(script, "--array=1-2", "--cpus-per-task=1", "--time=30")
    single = slurm.submit(script, "--cpus-per-task=1", "--time=30")
    dependent = slurm.submit("true", f"--dependency=afterok:{single}")
    started(bed, array, single)
    only(bed, first, SPARE[0])
    output = f"--output={slurm.directory}/het-%j.out"
    # The parts of a heterogeneous job share no node.
    parts = ("--ntasks=1", ":", "--ntasks=1")
    hetero = int(slurm.run("sbatch", "--parsable", output, *parts, f"--wrap={script}"))
    wide = slurm.submit(script, "--nodes=2-2", "--ntasks=2")
    started(bed, hetero, wide)
    only(bed, *NODES)
    with emptying(bed) as empty:
        empty.revoke(REVOKED, 300)
        empty.wait_until_left(REVOKED)
        assert len(empty.told("requeue")) == 6, "each once: two array tasks, and the whole of each other"
        for job in (exclusive, single, hetero, wide, dependent):
            slurm.wait_for_job(job, "COMPLETED")
        wait_for("the array", lambda: array_states(bed, array) == {"COMPLETED"})
    for job in (exclusive, single, wide):
        assert field(bed, job, "Restarts") == "1"
        assert "requeued by esagent: its machine has to be empty" in field(bed, job, "AdminComment")
        assert not set(REVOKED) & set(bed.slurm.job_nodes(job).split(","))


def submit_open(bed: TestBed, *options: str) -> tuple[int, Callable[[], None]]:
    """Submit a job of two minutes at most; return its id and what lets it end."""
    end = bed.slurm.directory / "end-of-open-job"
    end.unlink(missing_ok=True)
    return bed.slurm.submit(f"until test -e {end}; do sleep 0.1; done", "--time=2", *options), end.touch


def only(bed: TestBed, *names: str) -> None:
    """Let new jobs start on these nodes alone."""
    bed.slurm.run("scontrol", "update", f"NodeName={','.join(NODES)}", "State=DRAIN", "Reason=test")
    bed.slurm.run("scontrol", "update", f"NodeName={','.join(names)}", "State=UNDRAIN")


def array_states(bed: TestBed, array: int) -> set[str]:
    listing = bed.slurm.run("scontrol", "-o", "show", "job", str(array))
    return set(re.findall(r"JobState=(\w+)", listing))


def test_a_signal_that_hangs_keeps_no_job_from_being_requeued_or_ended(bed: TestBed, tmp_path: Path) -> None:
    for name in ("squeue", "scontrol", "sinfo"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    hangs = f'case "$*" in *--signal*) exec sleep 600;; esac\nexec {shutil.which("scancel")} "$@"'
    (tmp_path / "scancel").write_text(f"#!/bin/sh\n{hangs}\n")
    (tmp_path / "scancel").chmod(0o755)
    plain = bed.slurm.submit("sleep 600", ON)
    fixed = bed.slurm.submit("sleep 600", "--no-requeue", f"--nodelist={REVOKED[1]}")
    started(bed, plain, fixed)
    settings = SETTINGS.model_copy(update={"checkpoint_signal": "URG"})
    with Emptying(bed.slurm.conf, NODES, settings, bin_dir=tmp_path) as empty:
        empty.revoke(REVOKED, 300)
        empty.wait_until_left(REVOKED)
        assert empty.told("requeue") == [str(plain)]
        assert empty.told("cancel") == [str(fixed)]
        assert empty.told("signal") == []


def test_a_job_that_may_not_be_requeued_is_warned_signalled_and_ended_last(bed: TestBed) -> None:
    script = 'trap "echo saved" USR1; echo up; for i in $(seq 600); do sleep 1; done'
    job = bed.slurm.submit(script, "--no-requeue", ON)
    short, end_it = submit_open(bed, ON)
    started(bed, job, short)
    output = bed.slurm.directory / f"job-{job}.out"
    wait_for("the script runs", lambda: output.exists() and "up" in output.read_text())
    settings = DrainSettings(
        tick=1,
        requeue_lead=600,
        kill_lead=100,
        cleanup_lead=5,
        checkpoint_lead=1000,
        checkpoint_signal="USR1",
        checkpoint_to=SignalTarget.BATCH,
    )
    with emptying(bed, settings) as empty:
        empty.revoke(REVOKED[:1], 2000)
        wait_for("the warning", lambda: "has to be empty" in output.read_text())
        end_it()
        wait_for("the short job's end is told", lambda: empty.told("finish"))
        empty.revoke(REVOKED[:1], 900)
        wait_for("the signal", lambda: "saved" in output.read_text())
        assert bed.slurm.job_state(job) == "RUNNING"
        empty.revoke(REVOKED[:1], 90)
        bed.slurm.wait_for_job(job, "CANCELLED")
        empty.wait_until_left(REVOKED[:1])
        kinds = [e.kind for e in empty.events if e.fields.get("job") == str(job)]
        assert kinds == ["warn", "signal", "cancel"]
        assert empty.told("finish") == [str(short)]
    assert "it may not be requeued" in field(bed, job, "AdminComment")
    assert bed.slurm.job_state(short) == "COMPLETED"


def test_the_jobs_of_a_deadline_are_requeued_with_one_command(bed: TestBed, tmp_path: Path) -> None:
    jobs = [bed.slurm.submit("sleep 600", "--cpus-per-task=1", f"--nodelist={n}") for n in REVOKED * 6]
    started(bed, *jobs)
    counted = CountedCommands(tmp_path)
    with Emptying(bed.slurm.conf, NODES, SETTINGS, bin_dir=counted.directory) as empty:
        empty.revoke(REVOKED, 300)
        empty.wait_until_left(REVOKED)
        assert len(empty.told("requeue")) == len(jobs)
    assert counted.calls()["scontrol requeue"] == 1
    assert counted.calls()["scontrol update"] == 2, "the drain, and the comment"
    assert "requeued by esagent" in field(bed, jobs[-1], "AdminComment")


def test_a_policy_of_a_partition_has_a_signal_of_its_own_and_a_restart_does_not_repeat_it(
    bed: TestBed,
) -> None:
    bed.slurm.run("scontrol", "create", "PartitionName=saving", "Nodes=ALL")
    try:
        script = 'trap "echo saved" USR1; echo up; for i in $(seq 600); do sleep 1; done'
        knows = bed.slurm.submit(script, "--partition=saving", ON)
        plain = bed.slurm.submit("sleep 600", ON)
        started(bed, knows, plain)
        output = bed.slurm.directory / f"job-{knows}.out"
        wait_for("the script runs", lambda: output.exists() and "up" in output.read_text())
        policy = DrainPolicy(partitions=("saving",), checkpoint_signal="USR1")
        settings = DrainSettings(
            tick=1, policies=(policy,), checkpoint_lead=900, checkpoint_to=SignalTarget.BATCH
        )
        for _ in range(2):
            with emptying(bed, settings) as empty:
                empty.revoke(REVOKED[:1], 800)
                wait_for("the signal", lambda: "saved" in output.read_text())
                wait_for("a later look", lambda e=empty: e.drainer.outlooks)
                empty.drainer.tick()
        assert output.read_text().count("saved") == 1
        assert re.match(
            "esagent: USR1 at .*Z: its machine has to be empty", field(bed, knows, "AdminComment")
        )
        assert bed.slurm.job_state(plain) == "RUNNING"
    finally:
        bed.slurm.run("scancel", "-u", "root")
        bed.slurm.wait_until_idle()
        bed.slurm.run("scontrol", "delete", "PartitionName=saving")


def test_a_job_gets_the_signal_that_it_asked_for_with_its_time_also_a_task_with_others_waiting(
    bed: TestBed,
) -> None:
    asks = "#SBATCH --signal=B:USR1@200\n"
    script = asks + 'trap "echo saved" USR1; echo up; for i in $(seq 600); do sleep 1; done'
    alone = bed.slurm.submit(script, ON)
    files = [bed.slurm.directory / name for name in (f"job-{alone}.out", "task-1.out")]
    array = bed.slurm.submit(script, ON, "--array=1-3%1", f"--output={bed.slurm.directory}/task-%a.out")
    plain = bed.slurm.submit("sleep 600", ON)
    started(bed, alone, plain)
    wait_for("the scripts run", lambda: all(f.exists() and "up" in f.read_text() for f in files))
    settings = DrainSettings(tick=1, requeue_lead=600, kill_lead=500, cleanup_lead=5)
    with emptying(bed, settings) as empty:
        empty.revoke(REVOKED[:1], 1000)
        wait_for("a look", lambda: empty.drainer.outlooks)
        assert not empty.told("signal")
        empty.revoke(REVOKED[:1], 799)
        wait_for("the signals", lambda: all("saved" in f.read_text() for f in files))
        wait_for("they are told", lambda: len(empty.told("signal")) == 2)
        empty.drainer.tick()
        assert not empty.told("requeue")
        empty.revoke(REVOKED[:1], 400)
        empty.wait_until_left(REVOKED[:1])
        assert set(empty.told("requeue")) == {str(alone), f"{array}_1", str(plain)}
        assert set(empty.told("signal")) == {str(alone), f"{array}_1"}
    assert [f.read_text().count("saved") for f in files] == [1, 1]


def test_jobs_on_other_nodes_and_jobs_that_end_in_time_are_never_touched(bed: TestBed) -> None:
    other = bed.slurm.submit("sleep 600", f"--nodelist={SPARE[0]}")
    fits, end_it = submit_open(bed, ON)
    started(bed, other, fits)
    with emptying(bed) as empty:
        empty.revoke(REVOKED[:1], 300)
        wait_for("a look", lambda: empty.drainer.outlooks)
        end_it()
        bed.slurm.wait_for_job(fits, "COMPLETED")
        empty.wait_until_left(REVOKED[:1])
        assert not empty.told("requeue")
    assert bed.slurm.job_state(other) == "RUNNING"
    assert field(bed, other, "AdminComment") == ""


def test_jobs_that_are_only_to_finish_run_beyond_the_deadline(bed: TestBed) -> None:
    job = bed.slurm.submit("sleep 600", ON)
    started(bed, job)
    finish = DrainPolicy(partitions=("main",), method="finish")
    with emptying(bed, DrainSettings(tick=1, policies=(finish,))) as empty:
        deadline = empty.revoke(REVOKED[:1], 1)
        wait_for("its user is told", lambda: empty.told("warn"))
        wait_for("the deadline", lambda: empty.clock.now() > deadline)
        empty.drainer.tick()
        assert bed.slurm.job_state(job) == "RUNNING"
        assert not empty.left


def test_policies_requeue_at_once_and_hold(bed: TestBed) -> None:
    job = bed.slurm.submit("sleep 600", "--time=1", ON)
    started(bed, job)
    now = DrainPolicy(partitions=("main",), method="requeue-now", requeue_hold=True)
    with emptying(bed, DrainSettings(tick=1, policies=(now,))) as empty:
        empty.revoke(REVOKED[:1], 3000)
        bed.slurm.wait_for_job(job, "PENDING", "REQUEUE_HOLD")
        empty.wait_until_left(REVOKED[:1])
    assert field(bed, job, "Priority") == "0"


def test_a_deadline_that_moves_is_followed_and_a_withdrawal_ends_it(bed: TestBed) -> None:
    job = bed.slurm.submit("sleep 600", ON)
    started(bed, job)
    with emptying(bed, DrainSettings(tick=1, requeue_lead=60)) as empty:
        for seconds in (1000, 500):
            due = f"due {empty.revoke(REVOKED[:1], seconds):%Y-%m-%dT%H:%M:%SZ}"
            wait_for(due, lambda d=due: d in bed.slurm.run("sinfo", "-hn", REVOKED[0], "-o", "%E"))
        empty.withdraw(REVOKED[:1])
        wait_for("it is back", lambda: "DRAIN" not in bed.slurm.node_state(REVOKED[0]))
        assert bed.slurm.job_state(job) == "RUNNING"
        empty.revoke(REVOKED[:1], 30)
        bed.slurm.wait_for_job(job, "PENDING")


def test_a_machine_that_is_taken_early_does_not_hold_its_jobs(bed: TestBed) -> None:
    job = bed.slurm.submit("sleep 600", ON)
    started(bed, job)
    with emptying(bed) as empty:
        empty.take(REVOKED[:1])
        bed.slurm.wait_for_job(job, "PENDING")
        assert empty.told("lost") == [str(job)]
        assert "DRAIN" in bed.slurm.node_state(REVOKED[0])


def submit_random(bed: TestBed, chance: random.Random) -> tuple[int, bool]:
    """Submit a job of a random kind; return its id and whether it may be requeued."""
    length = chance.choice([0.2, 1, 3, 8])
    options = [f"--cpus-per-task={chance.choice([1, 2, 4])}", f"--nodes={chance.choice([1, 1, 2])}"]
    options += chance.choice([[], ["--time=1"], ["--time=10"], ["--exclusive"], ["--array=1-3"]])
    if keep := chance.random() < 0.2:
        options.append("--no-requeue")
    return bed.slurm.submit(f"sleep {length}", *options), not keep


SEEDS = range(1, 13) if os.environ.get("ESAGENT_LONG_TESTS") else [7]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_revocations_of_a_random_queue_lose_no_job(bed: TestBed, seed: int) -> None:
    chance = random.Random(seed)
    jobs = dict(submit_random(bed, chance) for _ in range(24))
    settings = DrainSettings(tick=1, requeue_lead=4, kill_lead=2, cleanup_lead=1)
    with ExitStack() as parts:
        empty = parts.enter_context(emptying(bed, settings))
        for _ in range(4 if len(SEEDS) == 1 else 12):
            chosen = chance.sample(NODES, chance.choice([1, 2]))
            what = chance.choice(["carry out", "move", "withdraw", "crash"])
            deadline = empty.revoke(chosen, chance.uniform(5, 12))
            if what == "move":
                deadline = empty.revoke(chosen, chance.uniform(1, 20))
            if what == "withdraw":
                empty.withdraw(chosen)
                continue
            if what == "crash":
                # Another agent, which knows nothing but the deadline, goes on.
                empty.drainer.stop(60)
                empty = parts.enter_context(emptying(bed, settings))
                empty.revoke(chosen, (deadline - empty.clock.now()).total_seconds())
            empty.wait_until_left(chosen)
            empty.withdraw(chosen)
        bed.slurm.wait_until_idle(timeout=240)
    for job, may_requeue in jobs.items():
        states = array_states(bed, job)
        if may_requeue:
            assert states == {"COMPLETED"}, job
        elif states != {"COMPLETED"}:
            assert states <= {"COMPLETED", "CANCELLED"}, job
            assert "may not be requeued" in field(bed, job, "AdminComment")


@pytest.mark.usefixtures("patient_slurm")
def test_a_silent_slurmd_keeps_neither_its_jobs_nor_its_machine(bed: TestBed) -> None:
    only(bed, *REVOKED)
    alone = bed.slurm.submit("sleep 600", ON)
    wide = bed.slurm.submit("sleep 600", "--nodes=2-2", "--ntasks=2", f"--nodelist={','.join(REVOKED)}")
    started(bed, alone, wide)
    bed.machines.run(REVOKED[0], "pkill -STOP -x slurmd", timeout=10)
    try:
        with emptying(bed) as empty:
            # Slurm 24.11 may not say before that it does not answer, where it was started a while ago only.
            empty.revoke(REVOKED[:1], 45)
            empty.wait_until_left(REVOKED[:1])
            assert [event.subject for event in empty.events if event.kind == "down"] == [REVOKED[0]]
            assert sorted(empty.told("requeue")) == sorted(map(str, (alone, wide)))
            assert not empty.told("lost")
        for job in (alone, wide):
            assert bed.slurm.job_state(job) == "PENDING"
            assert field(bed, job, "Restarts") == "1"
    finally:
        bed.machines.run(REVOKED[0], "pkill -CONT -x slurmd", timeout=10)
        bed.slurm.run("scontrol", "update", f"NodeName={REVOKED[0]}", "State=RESUME")
