"""The CLI backend alone on a real slurmctld: what its texts may hold, what it costs, and over a head node.

What every way in has to do is in test_slurm_contract.py and test_slurm_changes.py.
"""

import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.ports import Host, SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import Job
from agent.slurm.reservation import Reservation
from agent.slurm.settings import SlurmSettings
from agent.ssh.shell import SshSettings, SshShell
from testbed.cloudlab.room import Boot
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("nodes_as_found")
NODES = ("pc900", "pc901")
HEAD = "pc902"
SLEEP = "sleep 600"


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
    assert node.features == {"small", "x"}
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


@pytest.mark.parametrize("name", ["ghost", NODES[1]])
def test_a_whole_record_in_a_comment_makes_no_node(bed: TestBed, slurm: CliBackend, name: str) -> None:
    record = bed.slurm.run("scontrol", "-o", "show", "node", "n1").strip()
    fake = record.replace("NodeName=n1", f"NodeName={name}").replace("Weight=0", "Weight=77")
    before = slurm.snapshot().nodes
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", f"Comment=x\n{fake}")
    assert slurm.snapshot().nodes == before


def test_free_text_in_features_changes_no_other_field(bed: TestBed, slurm: CliBackend) -> None:
    text = "small,x,State=DOWN Weight=9\nNodeName=ghost ActiveFeatures=z"
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", f"AvailableFeatures={text}")
    try:
        seen = slurm.snapshot().nodes
        assert sorted(seen) == ["n1", *NODES]
        assert (seen[NODES[0]].state, seen[NODES[0]].weight) == ("IDLE", 1)
        assert "small" in seen[NODES[0]].features
    finally:
        bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", "ActiveFeatures=", "AvailableFeatures=")
        bed.slurm.run(
            *("scontrol", "update", f"NodeName={NODES[0]}"),
            *("AvailableFeatures=small,x", "ActiveFeatures=small,x"),
        )


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
    wait_for("both tasks", lambda: all(o.exists() and "ready" in o.read_text() for o in outputs))
    slurm.notify(f"{array}_1", text)
    wait_for("the line", lambda: text.replace("\n", " ") in outputs[0].read_text())
    assert outputs[1].read_text() == "ready\n"


def test_over_a_head_node_the_same_is_read_and_done(bed: TestBed, slurm: CliBackend, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=PATIENCE)
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
        bed.slurm.run("scontrol", "update", f"NodeName={NODES[1]}", "Comment=x\nNodeName=ghost State=IDLE")
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
    wait_for("slurmctld answers", lambda: answers(slurm))
    with pytest.raises(SlurmDownError, match=HEAD):
        far.snapshot()


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
    wait_for("slurmctld answers", lambda: answers(slurm))
    assert sorted(slurm.snapshot().nodes) == ["n1", *NODES]


def answers(slurm: CliBackend) -> bool:
    try:
        slurm.snapshot()
    except SlurmError:
        return False
    return True


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

    wait_for("no node unknown", settled)
    assert slurm.snapshot().nodes[NODES[0]].draining
