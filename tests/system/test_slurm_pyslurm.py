"""The pyslurm backend on a real slurmctld of pyslurm's release, beside Slurm's commands.

It runs where the environment names a Python that has pyslurm (``PYSLURM_PYTHON``) and the test bed's Slurm is
of the same release.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.ports import SystemClock
from agent.slurm.backends.cli import CliBackend
from agent.slurm.backends.pyslurm import PyslurmBackend
from agent.slurm.model import Job, Reservation, SignalTarget, Snapshot
from agent.slurm.settings import SlurmSettings
from testbed.cloudlab.room import Boot
from testbed.up import TestBed
from testbed.waiting import wait_for

NODES = ("pc910", "pc911")
EVERYTHING = f"NodeName=n1,{','.join(NODES)}"
SLEEP = "sleep 600"


@pytest.fixture(scope="module")
def site(pyslurm_site: str) -> str:
    if not pyslurm_site:
        pytest.skip("PYSLURM_PYTHON names no Python that has pyslurm")
    return pyslurm_site


@pytest.fixture(scope="module", autouse=True)
def _two_dynamic_nodes(site: str, bed: TestBed) -> Iterator[None]:
    version = bed.slurm.run("scontrol", "--version").split()[-1]
    if not version.startswith("25.11."):
        pytest.skip(f"pyslurm 25.11 needs Slurm 25.11, the test bed runs {version}")
    for name in NODES:
        bed.machines.power_on(
            name, Boot(client_id=name, host_name=name, users=(), authorized_keys=(), fresh=True)
        )
        start_slurmd(bed, name)
    wait_until_usable(bed)
    yield
    bed.slurm.run("scontrol", "delete", f"NodeName={','.join(NODES)}")
    for name in NODES:
        bed.machines.power_off(name)


def start_slurmd(bed: TestBed, name: str) -> None:
    command = f"SLURM_CONF={bed.slurm.conf} slurmd -Z -N {name} --conf 'CPUs=2 RealMemory=1000 Feature=small'"
    assert bed.machines.run(name, command, timeout=30) == 0


@pytest.fixture(autouse=True)
def _left_as_found(bed: TestBed) -> Iterator[None]:
    yield
    bed.slurm.run("scancel", "-u", "root")
    bed.slurm.wait_until_idle()
    bed.slurm.run("scontrol", "update", EVERYTHING, "Comment=", "Extra=")
    bed.slurm.run("scontrol", "update", EVERYTHING, "State=UNDRAIN")
    bed.slurm.run("scontrol", "update", f"NodeName={','.join(NODES)}", "Weight=1")
    wait_until_usable(bed)


def wait_until_usable(bed: TestBed) -> None:
    """Wait until every node answers: lifting a drain marks it as not responding until the next ping."""
    wait_for(
        "all nodes idle",
        lambda: all(bed.slurm.node_state(n) - {"DYNAMIC_NORM"} == {"IDLE"} for n in ("n1", *NODES)),
        timeout=60,
    )


def backend(bed: TestBed, site: str, timeout: float = 30) -> PyslurmBackend:
    settings = SlurmSettings(conf=bed.slurm.conf, command_timeout=timeout)
    return PyslurmBackend(settings, SystemClock(), {**os.environ, "PYTHONPATH": site})


@pytest.fixture(scope="module")
def slurm(bed: TestBed, site: str, _two_dynamic_nodes: None) -> Iterator[PyslurmBackend]:
    started = backend(bed, site)
    yield started
    started.close()


@pytest.fixture
def cli(bed: TestBed) -> CliBackend:
    return CliBackend(SlurmSettings(conf=bed.slurm.conf), SystemClock())


def job(slurm: PyslurmBackend, job_id: str) -> Job:
    return {j.id: j for j in slurm.snapshot().jobs}[job_id]


def same_fields(snapshot: Snapshot, other: Snapshot) -> Snapshot:
    """Leave of a snapshot only what the other way in reads as well."""
    nodes = {
        name: replace(node, **_unread(other.nodes[name], "reason_user", "booted", "allocated_memory", "gres"))
        for name, node in snapshot.nodes.items()
    }
    jobs = {j.id: j for j in other.jobs}
    optional = (
        *("excluded_nodes", "qos", "reservation", "memory", "memory_per_cpu", "gres", "time_limit"),
        *("requeueable", "restarts", "begins"),
    )
    mended = tuple(replace(j, **_unread(jobs[j.id], *optional)) for j in snapshot.jobs)
    return Snapshot(other.taken, nodes, tuple(sorted(mended, key=lambda j: j.id)))


def _unread(other: object, *names: str) -> dict[str, object]:
    fields = type(other).__dataclass_fields__  # type: ignore[attr-defined]
    return {n: getattr(other, n) for n in names if getattr(other, n) == fields[n].default}


def test_it_reads_what_slurms_own_commands_read(bed: TestBed, slurm: PyslurmBackend, cli: CliBackend) -> None:
    ids = [
        bed.slurm.submit(SLEEP, "--time=5", f"--nodelist={NODES[0]}", "--ntasks=1"),
        bed.slurm.submit(SLEEP, f"--nodelist={NODES[1]}", "--exclusive", "--job-name=a|x\ny"),
        bed.slurm.submit(SLEEP, "--array=0-1", "--nodelist=n1", "--ntasks=1", "--time=1:00:00"),
    ]
    bed.slurm.submit(SLEEP, "--hold", "--array=0-9:3%2", "--nodes=2", "--constraint=small&small")
    bed.slurm.submit(SLEEP, "--begin=now+1hour", "--exclude=n1", "--mem-per-cpu=100")
    bed.slurm.submit(SLEEP, "--dependency=afterok:1", "--ntasks=3", "--mem=70")
    for running in ids[:2]:
        bed.slurm.wait_for_job(running, "RUNNING")
    wait_for("both tasks", lambda: len(slurm.snapshot().jobs_on(["n1"])) == 2, timeout=30)
    slurm.drain([NODES[0]], "esagent: revoked by Cloudlab, due 2026-11-22T12:00:00Z")
    said, theirs = slurm.snapshot(), cli.snapshot()
    expected = Snapshot(theirs.taken, theirs.nodes, tuple(sorted(theirs.jobs, key=lambda j: j.id)))
    assert same_fields(said, theirs) == expected
    assert said.nodes[NODES[0]].reason_user == "root"
    assert said.nodes["n1"].booted is not None
    assert {j.id for j in said.jobs_on(["n1"])} == {f"{ids[2]}_0", f"{ids[2]}_1"}


HOSTILE = [
    "x State=DOWN NodeName=x Weight=9",
    "two\nlines",
    "r" * 60_000,
    "bytes \udcff\udcfe",
    "\x1b[2J",
    "None",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_free_text_changes_nothing_else(bed: TestBed, slurm: PyslurmBackend, text: str) -> None:
    slurm.drain([NODES[0]], "plain")
    before = slurm.snapshot().nodes
    for field in ("Comment", "Extra"):
        bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", f"{field}={text}")
        assert slurm.snapshot().nodes == before
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", "State=DRAIN", f"Reason={text}")
    reason = text.encode(errors="surrogateescape").decode(errors="replace")
    assert slurm.snapshot().nodes == before | {NODES[0]: replace(before[NODES[0]], reason=reason)}
    # The test bed itself reads strict UTF-8, and a lifted drain leaves its reason.
    slurm.drain([NODES[0]], "plain")


@pytest.mark.parametrize("text", [h[:1000] for h in HOSTILE if h.isascii()])
def test_names_and_comments_of_jobs_change_nothing(bed: TestBed, slurm: PyslurmBackend, text: str) -> None:
    made = bed.slurm.submit(SLEEP, "--hold", f"--job-name={text}", f"--comment={text}", "--time=5")
    seen = job(slurm, str(made))
    assert (seen.state, seen.reason, seen.user, seen.partitions) == (
        "PENDING",
        "JobHeldUser",
        "root",
        ("main",),
    )


def test_a_snapshot_asks_slurmctld_three_times(bed: TestBed, slurm: PyslurmBackend) -> None:
    slurm.snapshot()
    bed.slurm.run("sdiag", "--reset")
    slurm.snapshot()
    counts = dict(re.findall(r"(REQUEST_(?!STATS)\w+_INFO)\s+\( *\d+\) count:(\d+)", bed.slurm.run("sdiag")))
    assert counts == {"REQUEST_NODE_INFO": "1", "REQUEST_JOB_INFO": "1", "REQUEST_PARTITION_INFO": "1"}


def test_an_unknown_name_in_a_list_costs_the_others_nothing(slurm: PyslurmBackend) -> None:
    with pytest.raises(SlurmRefusedError, match="ghost"):
        slurm.drain([NODES[1], "ghost", NODES[0]], "esagent: revoked by Cloudlab")
    seen = slurm.snapshot().nodes
    assert [seen[name].reason for name in NODES] == ["esagent: revoked by Cloudlab"] * 2
    assert all(seen[name].drained for name in NODES)
    assert not seen["n1"].draining
    slurm.undrain(NODES)
    slurm.undrain(NODES)
    assert not any(node.draining for node in slurm.snapshot().nodes.values())


def test_weights_are_set_on_the_nodes_asked_for_and_on_no_other(slurm: PyslurmBackend) -> None:
    before = slurm.snapshot().nodes["n1"].weight
    for weight in (4294967280, 0):
        slurm.set_weight(NODES, weight)
        seen = slurm.snapshot().nodes
        assert [seen[name].weight for name in NODES] == [weight] * 2
    assert seen["n1"].weight == before


def test_a_node_set_down_is_resumed_and_resuming_twice_is_harmless(
    bed: TestBed, slurm: PyslurmBackend
) -> None:
    slurm.drain([NODES[0]], "x")
    slurm.set_down([NODES[0]], "gone")
    assert slurm.snapshot().nodes[NODES[0]].draining
    slurm.resume(NODES)
    slurm.resume(NODES)
    wait_for("node usable", lambda: slurm.snapshot().nodes[NODES[0]].usable, timeout=30)


def test_an_address_is_changed(bed: TestBed, slurm: PyslurmBackend) -> None:
    address = bed.machines.address(NODES[0])
    slurm.set_address(NODES[0], "127.0.0.9", NODES[0])
    try:
        assert slurm.snapshot().nodes[NODES[0]].address == "127.0.0.9"
    finally:
        slurm.set_address(NODES[0], address, NODES[0])


def test_deleting_tolerates_what_is_not_there(bed: TestBed, slurm: PyslurmBackend) -> None:
    slurm.delete_nodes(["ghost", NODES[1]])
    assert NODES[1] not in slurm.snapshot().nodes
    slurm.delete_nodes([NODES[1]])
    bed.machines.run(NODES[1], "pkill -x slurmd", timeout=30)
    wait_for(
        "slurmd gone",
        lambda: bed.machines.run(NODES[1], "pgrep -x slurmd > /dev/null", timeout=30) != 0,
        timeout=30,
    )
    start_slurmd(bed, NODES[1])
    bed.slurm.wait_for_node(NODES[1], "IDLE")


def test_deleting_a_busy_node_is_refused(bed: TestBed, slurm: PyslurmBackend) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    with pytest.raises(SlurmRefusedError, match="busy"):
        slurm.delete_nodes(["ghost", NODES[0]])
    assert job(slurm, str(running)).state == "RUNNING"


def test_a_running_job_is_requeued_once(bed: TestBed, slurm: PyslurmBackend) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    slurm.requeue(str(running))
    wait_for("job back in the queue", lambda: job(slurm, str(running)).state == "PENDING", timeout=30)
    slurm.requeue(str(running))
    wait_for("its begin time", lambda: job(slurm, str(running)).reason == "BeginTime", timeout=30)
    seen = job(slurm, str(running))
    assert seen.begins is not None
    assert seen.restarts == 1


def test_a_requeued_job_is_held_where_that_is_asked_for(bed: TestBed, slurm: PyslurmBackend) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    slurm.requeue(str(running), hold=True)
    wait_for(
        "job held", lambda: "held state" in job(slurm, str(running)).reason.replace("_", " "), timeout=30
    )


def test_a_finished_job_is_not_run_again(bed: TestBed, slurm: PyslurmBackend) -> None:
    done = bed.slurm.submit("true", f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(done, "COMPLETED")
    with pytest.raises(SlurmRefusedError, match="it is over"):
        slurm.requeue(str(done))
    with pytest.raises(SlurmRefusedError, match="it is over"):
        slurm.requeue("99999")
    assert bed.slurm.job_state(done) == "COMPLETED"


def test_what_slurm_says_against_a_requeue_is_told(bed: TestBed, slurm: PyslurmBackend) -> None:
    fixed = bed.slurm.submit(SLEEP, "--no-requeue", f"--nodelist={NODES[0]}", "--ntasks=1")
    loose = bed.slurm.submit(SLEEP, "--requeue", f"--nodelist={NODES[0]}", "--ntasks=1")
    for running in (fixed, loose):
        bed.slurm.wait_for_job(running, "RUNNING")
    assert slurm.requeueable([str(fixed), str(loose), "99999"]) == {str(fixed): False, str(loose): True}
    with pytest.raises(SlurmRefusedError, match="disabled"):
        slurm.requeue(str(fixed))
    assert job(slurm, str(fixed)).state == "RUNNING"


@pytest.mark.parametrize("which", [0, 1])
def test_one_task_of_an_array_is_requeued_and_then_ended(
    bed: TestBed, slurm: PyslurmBackend, which: int
) -> None:
    """The last task to start has the array's own number, which stands for the whole array."""
    array = bed.slurm.submit(SLEEP, "--array=0-1", f"--nodelist={NODES[0]}", "--ntasks=1")
    tasks = [f"{array}_0", f"{array}_1"]
    wait_for(
        "both tasks", lambda: {j.id for j in slurm.snapshot().jobs if j.holds_nodes} == set(tasks), timeout=30
    )
    chosen, other = tasks[which], tasks[1 - which]
    slurm.comment(chosen, "chosen")
    assert "AdminComment=chosen" in bed.slurm.run("scontrol", "-o", "show", "job", chosen)
    assert "AdminComment=chosen" not in bed.slurm.run("scontrol", "-o", "show", "job", other)
    slurm.requeue(chosen)
    wait_for("task pending", lambda: job(slurm, chosen).state == "PENDING", timeout=30)
    assert job(slurm, other).state == "RUNNING"
    slurm.cancel(chosen)
    wait_for("task gone", lambda: chosen not in {j.id for j in slurm.snapshot().jobs}, timeout=30)
    assert job(slurm, other).state == "RUNNING"


def test_a_heterogeneous_job_is_requeued_whole(bed: TestBed, slurm: PyslurmBackend) -> None:
    bed.slurm.run(
        "sbatch", "--parsable", "--output=/dev/null", "--ntasks=1", f"--nodelist={NODES[0]}", ":",
        "--ntasks=1", f"--nodelist={NODES[1]}", f"--wrap={SLEEP}",
    )  # fmt: skip
    wait_for("both components", lambda: len(slurm.snapshot().jobs_on(NODES)) == 2, timeout=60)
    parts = sorted(j.id for j in slurm.snapshot().jobs)
    assert [part.partition("+")[2] for part in parts] == ["0", "1"]
    slurm.requeue(parts[1])
    wait_for("all pending", lambda: {j.state for j in slurm.snapshot().jobs} == {"PENDING"}, timeout=30)


def test_signals_reach_the_processes_asked_for(bed: TestBed, slurm: PyslurmBackend, tmp_path: Path) -> None:
    script = f"trap 'echo >> {tmp_path}/seen' USR1; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    running = bed.slurm.submit(script, f"--nodelist={NODES[0]}")
    wait_for("script ready", (tmp_path / "ready").exists, timeout=60)
    slurm.signal(str(running), "USR1", SignalTarget.BATCH)
    wait_for("signal caught", (tmp_path / "seen").exists, timeout=30)
    slurm.signal(str(running), "10", SignalTarget.ALL)
    wait_for("caught again", lambda: (tmp_path / "seen").read_text().count("\n") >= 2, timeout=30)
    slurm.notify(str(running), "it ends soon")
    out = bed.slurm.directory / f"job-{running}.out"
    wait_for("the warning", lambda: "it ends soon" in out.read_text(), timeout=30)
    assert job(slurm, str(running)).state == "RUNNING"
    with pytest.raises(SlurmRefusedError, match="Invalid job id"):
        slurm.signal("99999", "USR1")


def test_a_job_is_told_and_ended(bed: TestBed, slurm: PyslurmBackend) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    slurm.comment(str(running), "its machine goes back to Cloudlab\nState=DOWN")
    shown = bed.slurm.run("scontrol", "-o", "show", "job", str(running))
    assert "AdminComment=its machine goes back to Cloudlab State=DOWN" in shown
    slurm.cancel(str(running))
    bed.slurm.wait_for_job(running, "CANCELLED")
    slurm.cancel(str(running))
    slurm.cancel("99999")
    with pytest.raises(SlurmRefusedError, match="Invalid job id"):
        slurm.comment("99999", "x")


def test_a_reservation_is_made_moved_and_removed(
    bed: TestBed, slurm: PyslurmBackend, cli: CliBackend
) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    fence = Reservation("esagent-fence", frozenset(NODES), starts, starts + timedelta(hours=2))
    slurm.reserve(fence)
    try:
        (seen,) = slurm.reservations()
        assert (seen.nodes, seen.starts, seen.ends) == (fence.nodes, fence.starts, fence.ends)
        assert seen.flags >= {"MAINT", "IGNORE_JOBS"}
        assert cli.reservations() == (seen,)
        moved = replace(fence, nodes=frozenset({NODES[1]}), starts=starts + timedelta(minutes=5))
        slurm.reserve(moved)
        (seen,) = slurm.reservations()
        assert (seen.nodes, seen.starts, seen.ends) == (moved.nodes, moved.starts, moved.ends)
    finally:
        slurm.remove_reservation(fence.name)
    slurm.remove_reservation(fence.name)
    assert slurm.reservations() == ()
    assert job(slurm, str(running)).state == "RUNNING"


def test_a_refusal_spoils_no_later_change(bed: TestBed, slurm: PyslurmBackend) -> None:
    """pyslurm tells of some errors by errno alone, which an earlier one may have left there."""
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    with pytest.raises(SlurmRefusedError):
        slurm.set_address("ghost", "127.0.0.1", "ghost")
    slurm.signal(str(running), "CONT", SignalTarget.STEPS)
    with pytest.raises(SlurmRefusedError):
        slurm.comment("99999", "x")
    starts = datetime.now(UTC) + timedelta(hours=1)
    slurm.reserve(Reservation("after", frozenset({"n1"}), starts, starts + timedelta(hours=1)))
    slurm.remove_reservation("after")
    with pytest.raises(SlurmRefusedError):
        slurm.comment("99999", "x")
    slurm.cancel(str(running))
    bed.slurm.wait_for_job(running, "CANCELLED")


def test_a_controller_that_hangs_is_down_and_costs_only_the_time_limit(bed: TestBed, site: str) -> None:
    slurm = backend(bed, site, timeout=5)
    bed.slurm.hang_slurmctld()
    try:
        with pytest.raises(SlurmDownError, match="no answer within 5 s"):
            slurm.snapshot()
        with pytest.raises(SlurmDownError):
            slurm.drain([NODES[0]], "x")
    finally:
        bed.slurm.resume_slurmctld()
    wait_for("slurmctld answers", lambda: answers(slurm), timeout=60)
    assert sorted(slurm.snapshot().nodes) == ["n1", *NODES]
    slurm.close()


def answers(slurm: PyslurmBackend) -> bool:
    try:
        slurm.snapshot()
    except SlurmError:
        return False
    return True


def test_a_controller_that_is_off_is_down(bed: TestBed, slurm: PyslurmBackend, site: str) -> None:
    bed.slurm.stop_slurmctld()
    try:
        with pytest.raises(SlurmDownError):
            slurm.snapshot()
        with pytest.raises(SlurmDownError):
            backend(bed, site)
    finally:
        bed.slurm.start_slurmctld()
    wait_until_usable(bed)
    assert all(n.usable for n in slurm.snapshot().nodes.values())


def test_the_library_of_another_release_is_told(bed: TestBed, site: str) -> None:
    other = Path("/usr/lib/x86_64-linux-gnu/slurm-wlm")
    if not (other / "libslurmfull.so").exists():
        pytest.skip("there is no libslurmfull.so of another release")
    with pytest.raises(SlurmError, match="built for another release of Slurm"):
        PyslurmBackend(
            SlurmSettings(conf=bed.slurm.conf),
            SystemClock(),
            {**os.environ, "PYTHONPATH": site, "LD_LIBRARY_PATH": str(other)},
        )
