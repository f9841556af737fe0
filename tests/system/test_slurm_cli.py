"""The CLI backend on a real slurmctld: exact reads whatever free text holds, and changes as asked."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.ports import Host, SystemClock
from agent.slurm.backends.cli import CliBackend
from agent.slurm.model import Job, Reservation
from agent.slurm.settings import SlurmSettings
from agent.ssh import SshSettings, SshShell
from testbed.cloudlab.room import Boot
from testbed.up import TestBed
from testbed.waiting import wait_for

NODES = ("pc900", "pc901")
HEAD = "pc902"
SLEEP = "sleep 600"


@pytest.fixture(scope="module", autouse=True)
def _two_dynamic_nodes(bed: TestBed) -> Iterator[None]:
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
    everything = f"NodeName=n1,{','.join(NODES)}"
    bed.slurm.run("scontrol", "update", everything, "Comment=", "Extra=")
    if "drain" in bed.slurm.run("sinfo", "-h", "-o", "%T"):
        bed.slurm.run("scontrol", "update", everything, "State=UNDRAIN")
    bed.slurm.run("scontrol", "update", f"NodeName={','.join(NODES)}", "Weight=1")
    wait_until_usable(bed)


def wait_until_usable(bed: TestBed) -> None:
    """Wait until every node answers: lifting a drain marks it as not responding until the next ping."""
    everything = ("n1", *NODES)
    wait_for(
        "all nodes idle",
        lambda: all(bed.slurm.node_state(n) - {"DYNAMIC_NORM"} == {"IDLE"} for n in everything),
        timeout=60,
    )


@pytest.fixture
def slurm(bed: TestBed) -> CliBackend:
    return CliBackend(SlurmSettings(conf=bed.slurm.conf), SystemClock())


def job(slurm: CliBackend, job_id: str) -> Job:
    return {j.id: j for j in slurm.snapshot().jobs}[job_id]


def test_a_snapshot_tells_nodes_and_jobs(bed: TestBed, slurm: CliBackend) -> None:
    limited = bed.slurm.submit(SLEEP, "--time=5", f"--nodelist={NODES[0]}", "--ntasks=1")
    endless = bed.slurm.submit(SLEEP, f"--nodelist={NODES[1]}", "--exclusive")
    held = bed.slurm.submit(SLEEP, "--hold", "--array=0-9:3%2", "--nodes=2", "--constraint=small")
    for running in (limited, endless):
        bed.slurm.wait_for_job(running, "RUNNING")
    seen = slurm.snapshot()
    assert sorted(seen.nodes) == ["n1", *NODES]
    node = seen.nodes[NODES[0]]
    assert (node.state, node.cpus, node.allocated_cpus, node.memory) == ("MIXED", 2, 1, 1000)
    assert node.features == {"small"}
    assert node.flags == {"DYNAMIC_NORM"}
    assert node.address == bed.machines.address(NODES[0])
    assert (node.reason, node.reason_user, node.gres) == ("", "", "")
    assert node.booted
    jobs = {j.id: j for j in seen.jobs}
    assert sorted(jobs) == sorted([str(limited), str(endless), f"{held}_[0,3,6,9]"])
    first, second, third = (jobs[i] for i in (str(limited), str(endless), f"{held}_[0,3,6,9]"))
    assert first.nodes == {NODES[0]}
    assert first.started
    assert first.ends
    assert (first.ends - first.started).total_seconds() == 300
    assert first.time_limit == timedelta(minutes=5)
    assert first.requested_nodes == {NODES[0]}
    assert (first.requeueable, first.restarts) == (True, 0)
    # Where it was the backfill scheduler that started it, Slurm gave it a year.
    assert second.time_limit in {None, timedelta(days=365)}
    assert (second.ends is None) == (second.time_limit is None)
    assert second.exclusive
    assert not first.exclusive
    assert (third.task_count, third.task_limit, third.node_count, third.features) == (4, 2, 2, "small")
    assert (third.reason, third.started, third.nodes) == ("JobHeldUser", None, frozenset())
    assert seen.jobs_on([NODES[0]]) == (first,)


HOSTILE = [
    "x State=DOWN NodeName=x Weight=9",
    "esagent: not mine [root@2026-11-22T12:00:00] Comment=y Reason=z",
    "two\nlines",
    "NodeName=n1 Arch=x86_64 CoresPerSocket=1 \nNodeName=ghost State=IDLE",
    "a|b<c>d\te",
    "r" * 60_000,
    "bytes \udcff\udcfe",
    "escape \x1b[2J\x1b]0;x\x07",
    "x'y\\z",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_free_text_of_a_node_changes_nothing_else(bed: TestBed, slurm: CliBackend, text: str) -> None:
    slurm.drain([NODES[0]], "plain")
    before = slurm.snapshot().nodes
    node = f"NodeName={NODES[0]}"
    for field in ("Comment", "Extra"):
        bed.slurm.run("scontrol", "update", node, f"{field}={text}")
        assert slurm.snapshot().nodes == before
    bed.slurm.run("scontrol", "update", node, "State=DRAIN", f"Reason={text}")
    reason = text.encode(errors="surrogateescape").decode(errors="replace")
    assert slurm.snapshot().nodes == before | {NODES[0]: replace(before[NODES[0]], reason=reason)}


@pytest.mark.parametrize("name", ["ghost", NODES[1]])
def test_a_whole_record_in_a_comment_makes_no_node(bed: TestBed, slurm: CliBackend, name: str) -> None:
    record = bed.slurm.run("scontrol", "-o", "show", "node", "n1").strip()
    fake = record.replace("NodeName=n1", f"NodeName={name}").replace("Weight=0", "Weight=77")
    before = slurm.snapshot().nodes
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", f"Comment=x\n{fake}")
    assert slurm.snapshot().nodes == before


def test_free_text_in_features_changes_no_other_field(bed: TestBed, slurm: CliBackend) -> None:
    text = "small,State=DOWN Weight=9\nNodeName=ghost ActiveFeatures=z"
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", f"AvailableFeatures={text}")
    try:
        seen = slurm.snapshot().nodes
        assert sorted(seen) == ["n1", *NODES]
        assert (seen[NODES[0]].state, seen[NODES[0]].weight) == ("IDLE", 1)
        assert "small" in seen[NODES[0]].features
    finally:
        bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", "ActiveFeatures=", "AvailableFeatures=")
        bed.slurm.run(
            "scontrol", "update", f"NodeName={NODES[0]}", "AvailableFeatures=small", "ActiveFeatures=small"
        )


@pytest.mark.parametrize("text", HOSTILE[:5] + HOSTILE[6:], ids=range(len(HOSTILE) - 1))
def test_names_and_comments_of_jobs_change_nothing(bed: TestBed, slurm: CliBackend, text: str) -> None:
    made = bed.slurm.submit(SLEEP, "--hold", f"--job-name={text}", f"--comment={text}", "--time=5")
    seen = job(slurm, str(made))
    assert (seen.state, seen.reason, seen.user, seen.partitions) == (
        "PENDING",
        "JobHeldUser",
        "root",
        ("main",),
    )


def test_free_text_that_is_not_asked_for_changes_nothing(bed: TestBed, slurm: CliBackend) -> None:
    made = bed.slurm.submit(
        SLEEP, "--hold", "--time=5", f"--comment={HOSTILE[0]}", f"--export=ALL,EVIL={HOSTILE[3]}"
    )
    before = job(slurm, str(made))
    for text in HOSTILE:
        # More than 1,024 bytes are refused here.
        for field in ("AdminComment", "Comment"):
            bed.slurm.run("scontrol", "update", f"JobId={made}", f"{field}={text[:1000]}")
        assert job(slurm, str(made)) == before


def test_who_drained_a_node_is_told(slurm: CliBackend) -> None:
    slurm.drain([NODES[0]], "disk [eve@x] swap")
    node = slurm.snapshot().nodes[NODES[0]]
    assert (node.reason, node.reason_user) == ("disk [eve@x] swap", "root")


def test_what_a_pending_job_excludes_and_asks_for_is_told(bed: TestBed, slurm: CliBackend) -> None:
    blockers = [bed.slurm.submit(SLEEP, f"--nodelist={n}", "--exclusive") for n in ("n1", *NODES)]
    for blocker in blockers:
        bed.slurm.wait_for_job(blocker, "RUNNING")
    picky = str(bed.slurm.submit(SLEEP, f"--exclude={NODES[1]}", "--ntasks=2", "--mem-per-cpu=70"))
    plain = str(bed.slurm.submit(SLEEP, "--ntasks=2", "--mem=70"))
    for _ in range(2):
        seen = job(slurm, picky)
        assert (seen.excluded_nodes, seen.memory, seen.memory_per_cpu) == ({NODES[1]}, 70, True)
        assert (job(slurm, plain).excluded_nodes, job(slurm, plain).memory_per_cpu) == (frozenset(), False)


def requests(bed: TestBed) -> dict[str, int]:
    """Count the requests to slurmctld since the last ``sdiag --reset``, without those of sdiag itself."""
    listed = re.findall(r"(REQUEST_(?!STATS)\w+)\s+\( *\d+\) count:(\d+)", bed.slurm.run("sdiag"))
    # Those of slurmd come as they like.
    return {name: int(count) for name, count in listed if name.endswith("_INFO")}


def test_a_snapshot_is_three_requests(bed: TestBed, slurm: CliBackend) -> None:
    bed.slurm.submit(SLEEP, "--hold", "--array=0-99")
    blocker = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--exclusive")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    first = slurm.snapshot()
    bed.slurm.run("sdiag", "--reset")
    # Its excluded nodes are told too, which squeue's text does not before 24.05.
    waits = str(bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", f"--exclude={NODES[1]}"))
    for _ in range(3):
        following = slurm.snapshot()
    assert {j.id: j.excluded_nodes for j in following.jobs}[waits] == {NODES[1]}
    assert sorted(map(repr, first.jobs)) == sorted(repr(j) for j in following.jobs if j.id != waits)
    assert requests(bed) == {
        "REQUEST_NODE_INFO": 3, "REQUEST_PARTITION_INFO": 3, "REQUEST_JOB_INFO": 3
    }  # fmt: skip


def test_a_snapshot_of_a_long_queue_is_four_requests(bed: TestBed, slurm: CliBackend) -> None:
    components = ["--hold", ":"] * 42
    for _ in range(12):
        bed.slurm.run("sbatch", "--parsable", "--output=/dev/null", *components[:-1], f"--wrap={SLEEP}")
    slurm.snapshot()
    bed.slurm.run("sdiag", "--reset")
    assert len(slurm.snapshot().jobs) == 504
    # squeue's text is made by asking for the partitions as well, and there is no option against it.
    assert requests(bed) == {
        "REQUEST_NODE_INFO": 1, "REQUEST_PARTITION_INFO": 2, "REQUEST_JOB_INFO": 1
    }  # fmt: skip


def test_a_reservation_is_made_moved_read_and_removed(slurm: CliBackend) -> None:
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
        slurm.reserve(replace(seen, nodes=frozenset(NODES), starts=later, ends=later + timedelta(hours=2)))
        (moved,) = slurm.reservations()
        assert (moved.nodes, moved.starts) == (frozenset(NODES), later)
        assert moved.ends == later + timedelta(hours=2)
    finally:
        slurm.remove_reservation("esagent-fence")
    assert slurm.reservations() == ()
    slurm.reserve(moved)
    slurm.remove_reservation(moved.name)


def test_a_reservation_with_an_odd_name_hides_no_other(bed: TestBed, slurm: CliBackend) -> None:
    odd = "a b|c Flags=DAILY State=ACTIVE"
    common = ("StartTime=now+1hour", "Duration=10", "Users=root")
    bed.slurm.run("scontrol", "create", "reservation", f"ReservationName={odd}", f"Nodes={NODES[0]}", *common)
    bed.slurm.run("scontrol", "create", "reservation", "ReservationName=b", f"Nodes={NODES[1]}", *common)
    try:
        seen = {r.name: r for r in slurm.reservations()}
        assert (seen[odd].nodes, seen["b"].nodes) == ({NODES[0]}, {NODES[1]})
    finally:
        for name in (odd, "b"):
            bed.slurm.run("scontrol", "delete", f"ReservationName={name}")


def test_a_reservation_of_an_unknown_node_is_refused(slurm: CliBackend) -> None:
    starts = datetime.now(UTC) + timedelta(hours=2)
    with pytest.raises(SlurmRefusedError, match="node"):
        slurm.reserve(Reservation("x", frozenset({"ghost"}), starts, starts + timedelta(hours=1)))
    assert slurm.reservations() == ()


@pytest.mark.parametrize("text", ["-M x $HOME \"q\" 'r' `id` *", "two\nlines  apart"])
def test_a_job_is_told_a_line_as_it_is(bed: TestBed, slurm: CliBackend, text: str) -> None:
    array = bed.slurm.submit(
        "echo ready; sleep 600", "--array=1-2", f"--nodelist={NODES[0]}", "--ntasks=1",
        f"--output={bed.slurm.directory}/told-%A_%a.out",
    )  # fmt: skip
    outputs = [bed.slurm.directory / f"told-{array}_{task}.out" for task in (1, 2)]
    wait_for("both tasks", lambda: all(o.exists() and "ready" in o.read_text() for o in outputs), timeout=60)
    slurm.notify(f"{array}_1", text)
    wait_for("the line", lambda: text.replace("\n", " ") in outputs[0].read_text(), timeout=30)
    assert outputs[1].read_text() == "ready\n"


def test_over_a_head_node_the_same_is_read_and_done(bed: TestBed, slurm: CliBackend, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    public = key.with_suffix(".pub").read_text().strip()
    boot = Boot(client_id=HEAD, host_name=HEAD, users=("root",), authorized_keys=(public,), fresh=True)
    bed.machines.power_on(HEAD, boot)
    shell = SshShell(SshSettings(key=key, known_hosts=tmp_path / "known_hosts"))
    host = Host(HEAD, bed.machines.address(HEAD), "root")
    settings = SlurmSettings(conf=bed.slurm.conf)
    far = CliBackend(settings, SystemClock(), head=(host, shell))
    try:
        text = "esagent: $(touch /tmp/x) `id` 'q' \"r\" ; false | & > \\ *"
        far.drain([NODES[0]], text)
        assert slurm.snapshot().nodes[NODES[0]].reason == text
        bed.slurm.run("scontrol", "update", f"NodeName={NODES[1]}", f"Comment={HOSTILE[3]}")
        bed.slurm.submit(SLEEP, "--hold", "--job-name=x|y\nz")
        here, there = slurm.snapshot(), far.snapshot()
        assert (there.nodes, there.jobs) == (here.nodes, here.jobs)
        with pytest.raises(SlurmRefusedError, match="Invalid job id"):
            far.comment("99999", "x")
        nowhere = CliBackend(
            SlurmSettings(conf=bed.slurm.conf, bin_dir=Path("/nowhere")), SystemClock(), head=(host, shell)
        )
        with pytest.raises(SlurmError, match="cannot be started"):
            nowhere.snapshot()
        bed.slurm.hang_slurmctld()
        slow = CliBackend(
            settings.model_copy(update={"command_timeout": 2.0}), SystemClock(), head=(host, shell)
        )
        with pytest.raises(SlurmDownError):
            slow.snapshot()
    finally:
        bed.slurm.resume_slurmctld()
        bed.machines.power_off(HEAD)
    wait_for("slurmctld answers", lambda: answers(slurm), timeout=60)
    with pytest.raises(SlurmDownError, match=HEAD):
        far.snapshot()


def test_an_unknown_name_in_a_list_costs_the_others_nothing(slurm: CliBackend) -> None:
    with pytest.raises(SlurmRefusedError, match="ghost"):
        slurm.drain([NODES[1], "ghost", NODES[0]], "esagent: revoked by Cloudlab")
    seen = slurm.snapshot().nodes
    assert [seen[name].reason for name in NODES] == ["esagent: revoked by Cloudlab"] * 2
    assert all(seen[name].drained for name in NODES)
    assert not seen["n1"].draining
    slurm.undrain(NODES)
    slurm.undrain(NODES)
    assert not any(node.draining for node in slurm.snapshot().nodes.values())


def test_weights_are_set_on_the_nodes_asked_for_and_on_no_other(slurm: CliBackend) -> None:
    before = slurm.snapshot().nodes["n1"].weight
    slurm.set_weight(NODES, 4294967280)
    seen = slurm.snapshot().nodes
    assert [seen[name].weight for name in NODES] == [4294967280] * 2
    assert seen["n1"].weight == before


def test_a_node_set_down_is_resumed_and_resuming_twice_is_harmless(bed: TestBed, slurm: CliBackend) -> None:
    slurm.drain([NODES[0]], "x")
    slurm.set_down([NODES[0]], "gone")
    assert slurm.snapshot().nodes[NODES[0]].draining
    slurm.resume(NODES)
    slurm.resume(NODES)
    bed.slurm.wait_for_node(NODES[0], "IDLE")
    wait_for("node usable", lambda: slurm.snapshot().nodes[NODES[0]].usable, timeout=30)


def test_deleting_tolerates_what_is_not_there(bed: TestBed, slurm: CliBackend) -> None:
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


def test_deleting_a_busy_node_is_refused_and_the_others_go(bed: TestBed, slurm: CliBackend) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    with pytest.raises(SlurmRefusedError, match="busy"):
        slurm.delete_nodes(["ghost", NODES[0]])
    assert job(slurm, str(running)).state == "RUNNING"


def test_a_running_job_is_requeued_once(bed: TestBed, slurm: CliBackend) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    slurm.requeue(str(running))
    wait_for("job back in the queue", lambda: job(slurm, str(running)).state == "PENDING", timeout=30)
    slurm.requeue(str(running))
    wait_for("its begin time", lambda: job(slurm, str(running)).reason == "BeginTime", timeout=30)
    assert job(slurm, str(running)).begins is not None
    assert "Restarts=1 " in bed.slurm.run("scontrol", "-o", "show", "job", str(running))


def test_a_finished_job_is_not_run_again(bed: TestBed, slurm: CliBackend) -> None:
    done = bed.slurm.submit("true", f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(done, "COMPLETED")
    with pytest.raises(SlurmRefusedError, match="it is over"):
        slurm.requeue(str(done))
    assert bed.slurm.job_state(done) == "COMPLETED"


def test_what_slurm_says_against_a_requeue_is_told(bed: TestBed, slurm: CliBackend) -> None:
    fixed = bed.slurm.submit(SLEEP, "--no-requeue", f"--nodelist={NODES[0]}", "--ntasks=1")
    loose = bed.slurm.submit(SLEEP, "--requeue", f"--nodelist={NODES[0]}", "--ntasks=1")
    for running in (fixed, loose):
        bed.slurm.wait_for_job(running, "RUNNING")
    wanted = [str(fixed), str(loose), "99999"]
    assert slurm.requeueable(wanted) == {str(fixed): False, str(loose): True}
    assert slurm.requeueable(["99999"]) == {}
    with pytest.raises(SlurmRefusedError, match="disabled for job"):
        slurm.requeue(str(fixed))
    assert job(slurm, str(fixed)).state == "RUNNING"


def test_one_task_of_an_array_is_requeued(bed: TestBed, slurm: CliBackend) -> None:
    array = bed.slurm.submit(SLEEP, "--array=1-2", f"--nodelist={NODES[0]}", "--ntasks=1")
    tasks = [f"{array}_1", f"{array}_2"]
    wait_for(
        "both tasks", lambda: {j.id for j in slurm.snapshot().jobs if j.holds_nodes} == set(tasks), timeout=30
    )
    assert slurm.requeueable(tasks) == dict.fromkeys(tasks, True)
    slurm.requeue(tasks[0])
    wait_for("task pending", lambda: job(slurm, tasks[0]).state == "PENDING", timeout=30)
    assert job(slurm, tasks[1]).state == "RUNNING"


def test_a_heterogeneous_job_is_requeued_whole(bed: TestBed, slurm: CliBackend) -> None:
    bed.slurm.run(
        "sbatch", "--parsable", "--output=/dev/null", "--ntasks=1", f"--nodelist={NODES[0]}", ":",
        "--ntasks=1", f"--nodelist={NODES[1]}", f"--wrap={SLEEP}",
    )  # fmt: skip
    wait_for("both components", lambda: len(slurm.snapshot().jobs_on(NODES)) == 2, timeout=60)
    parts = sorted(j.id for j in slurm.snapshot().jobs)
    assert [part.partition("+")[2] for part in parts] == ["0", "1"]
    slurm.requeue(parts[1])
    wait_for("all pending", lambda: {j.state for j in slurm.snapshot().jobs} == {"PENDING"}, timeout=30)


def test_a_signal_reaches_the_batch_script(bed: TestBed, slurm: CliBackend, tmp_path: Path) -> None:
    script = f"trap 'echo caught > {tmp_path}/seen' USR1; touch {tmp_path}/ready; while :; do sleep 0.1; done"
    running = bed.slurm.submit(script, f"--nodelist={NODES[0]}")
    wait_for("script ready", (tmp_path / "ready").exists, timeout=60)
    slurm.signal(str(running), "USR1")
    wait_for("signal caught", (tmp_path / "seen").exists, timeout=30)
    assert job(slurm, str(running)).state == "RUNNING"


def test_a_job_is_told_and_ended(bed: TestBed, slurm: CliBackend) -> None:
    running = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}")
    bed.slurm.wait_for_job(running, "RUNNING")
    slurm.comment(str(running), "its machine goes back to Cloudlab\nState=DOWN")
    shown = bed.slurm.run("scontrol", "-o", "show", "job", str(running))
    assert "AdminComment=its machine goes back to Cloudlab State=DOWN" in shown
    slurm.cancel(str(running))
    bed.slurm.wait_for_job(running, "CANCELLED")
    slurm.cancel(str(running))
    with pytest.raises(SlurmRefusedError, match="Invalid job id"):
        slurm.comment("99999", "x")


def test_a_controller_that_hangs_is_down_and_costs_only_the_time_limit(bed: TestBed) -> None:
    slurm = CliBackend(SlurmSettings(conf=bed.slurm.conf, command_timeout=2), SystemClock())
    bed.slurm.hang_slurmctld()
    try:
        with pytest.raises(SlurmDownError, match="no answer within 2 s"):
            slurm.snapshot()
        with pytest.raises(SlurmDownError):
            slurm.drain([NODES[0]], "x")
    finally:
        bed.slurm.resume_slurmctld()
    wait_for("slurmctld answers", lambda: answers(slurm), timeout=60)
    assert sorted(slurm.snapshot().nodes) == ["n1", *NODES]


def answers(slurm: CliBackend) -> bool:
    try:
        slurm.snapshot()
    except SlurmError:
        return False
    return True


def test_a_controller_that_is_off_is_down(bed: TestBed) -> None:
    slurm = CliBackend(SlurmSettings(conf=bed.slurm.conf), SystemClock())
    bed.slurm.stop_slurmctld()
    try:
        with pytest.raises(SlurmDownError):
            slurm.snapshot()
    finally:
        bed.slurm.start_slurmctld()
    wait_until_usable(bed)
    assert all(n.usable for n in slurm.snapshot().nodes.values())


def test_after_a_restart_no_node_is_taken_for_free_or_drained_before_slurm_knows(
    bed: TestBed, slurm: CliBackend
) -> None:
    slurm.drain([NODES[0]], "mine")
    bed.slurm.restart_slurmctld()
    states: set[str] = set()

    def settled() -> bool:
        nodes = slurm.snapshot().nodes
        states.update(node.state for node in nodes.values())
        unknown = [node for node in nodes.values() if node.state == "UNKNOWN"]
        assert not any(node.usable or node.drained for node in unknown)
        assert nodes[NODES[0]].reason == "mine"
        return not unknown

    wait_for("no node unknown", settled, timeout=60)
    assert slurm.snapshot().nodes[NODES[0]].draining
