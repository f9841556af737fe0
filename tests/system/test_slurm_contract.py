"""One contract: through every way in, the same real cluster is told alike, whatever stands in it.

pyslurm is among them where ``PYSLURM_PYTHON`` names a Python that has it, and Slurm is of its release. What
is changed through them is in test_slurm_changes.py.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import SlurmDownError, SlurmError
from agent.slurm.cli.scheduling import parse_config
from agent.slurm.model import Job, Node, SlurmBackend, Snapshot
from agent.slurm.request import Request
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import PartitionRules
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("nodes_as_found")
NODES = ("pc910", "pc911")
SLEEP = "sleep 600"
HOSTILE = "esagent: x State=DOWN Weight=9 [root@1]\nNodeName=n1 State=DOWN|`id`\x1b[2J'\"\t="
TEXTS = [
    "x State=DOWN NodeName=x Weight=9",
    "esagent: not mine [root@2026-11-22T12:00:00] Comment=y Reason=z",
    "two\nlines",
    "NodeName=n1 Arch=x86_64 CoresPerSocket=1 \nNodeName=ghost State=IDLE",
    "a|b<c>d\te",
    "r" * 60_000,
    "bytes \udcff\udcfe",
    "escape \x1b[2J\x1b]0;x\x07",
    "x'y\\z",
    "None",
]


def hang_slurmd(bed: TestBed, node: str) -> None:
    """Let a slurmd say nothing: with ReturnToService=2 its next word would end that its node is down."""
    assert bed.machines.run(node, "pkill -STOP -x slurmd", timeout=PATIENCE) == 0


def same(ways_in: dict[str, SlurmBackend]) -> dict[str, Job]:
    """Check that every way in tells the same, field by field, and return the jobs by id."""
    first, told = wait_for("a cluster at rest", lambda: told_at_rest(ways_in))
    expected = {job.id: job for job in first.jobs}
    for name, snapshot in told.items():
        assert sorted(snapshot.nodes) == sorted(first.nodes), name
        jobs = {job.id: job for job in snapshot.jobs}
        assert sorted(jobs) == sorted(expected), name
        for node in first.nodes:
            assert fields(snapshot.nodes[node]) == fields(first.nodes[node]), f"{name}: node {node}"
        for job_id, job in expected.items():
            assert fields(jobs[job_id]) == fields(job), f"{name}: job {job_id}"
    return expected


def told_at_rest(ways_in: dict[str, SlurmBackend]) -> tuple[Snapshot, dict[str, Snapshot]] | None:
    """Read through every way in; None when Slurm went on meanwhile, such as when a slurmd answers again."""
    first = ways_in["cli"].snapshot()
    told = {name: backend.snapshot() for name, backend in ways_in.items() if name != "cli"}
    last = ways_in["cli"].snapshot()
    at_rest = first.nodes == last.nodes and sorted(map(repr, first.jobs)) == sorted(map(repr, last.jobs))
    return (first, told) if at_rest else None


def fields(record: object) -> dict[str, object]:
    assert dataclasses.is_dataclass(record)
    assert not isinstance(record, type)
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def test_an_empty_queue_is_told_alike(ways_in: dict[str, SlurmBackend]) -> None:
    assert same(ways_in) == {}


def test_a_mixed_queue_is_told_alike(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    submit = bed.slurm.submit
    here, there = (f"--nodelist={name}" for name in NODES)
    limited = submit(SLEEP, "--time=5", here, "--ntasks=1", "--no-requeue")
    endless = submit(SLEEP, there, "--exclusive", "--job-name", HOSTILE, "--comment", HOSTILE)
    array = submit(SLEEP, "--array=0-9:3%1", here, "--ntasks=1", "--time=10")
    held = submit(SLEEP, "--hold", "--nodes=2", "--constraint=small&x", "--mem=300", "--time=1-2:03")
    per_cpu = submit(SLEEP, "--hold", "--ntasks=1", "--cpus-per-task=2", "--mem-per-cpu=70")
    later = submit(SLEEP, "--begin=now+1hour", f"--exclude={NODES[0]}")
    after = submit(SLEEP, f"--dependency=afterok:{limited}")
    waits = submit(SLEEP, there, "--nice=5")
    bed.slurm.run(
        "sbatch", "--parsable", "--output=/dev/null", "--hold", "--ntasks=2", ":", "--ntasks=1",
        f"--wrap={SLEEP}",
    )  # fmt: skip
    sparse = submit(SLEEP, "--hold", "--array=1-39:2")
    # With --no-shell nobody waits for it here.
    bed.slurm.run("salloc", "--no-shell", "--nodelist=n1", "--ntasks=1", "--job-name=interactive")
    interactive = bed.slurm.run("squeue", "-h", "-n", "interactive", "-o", "%i").strip()
    for running in (limited, endless):
        bed.slurm.wait_for_job(running, "RUNNING")
    wait_for(
        "the first task of the array",
        lambda: any(j.id == f"{array}_0" and j.holds_nodes for j in ways_in["cli"].snapshot().jobs),
    )
    bed.slurm.run("scontrol", "update", f"JobId={held}", "AdminComment=" + "x " * 2000)
    asked = ("squeue", "-h", "-j", str(waits), "-o", "%r")
    wait_for("a reason", lambda: "None" not in bed.slurm.run(*asked))
    jobs = same(ways_in)
    assert len(jobs) == 13
    assert [job_id for job_id, job in jobs.items() if not job.batch] == [interactive]
    assert jobs[interactive].requeueable, "so says Slurm of a job that it never requeues"
    assert jobs[str(endless)].exclusive
    # 25.11 gives a job without a limit a year when it starts.
    limit = jobs[str(endless)].time_limit
    assert limit is jobs[str(endless)].ends is None or limit == timedelta(days=365)
    assert jobs[str(limited)].requeueable is False
    assert jobs[f"{array}_[3,6,9]"].task_limit == 1
    assert jobs[f"{sparse}_[1-39:2]"].task_count == 20
    assert (jobs[str(held)].memory, jobs[str(held)].time_limit) == (
        300,
        timedelta(days=1, hours=2, minutes=3),
    )
    assert (jobs[str(per_cpu)].memory, jobs[str(per_cpu)].memory_per_cpu) == (70, True)
    assert jobs[str(later)].excluded_nodes == {NODES[0]}
    assert jobs[str(later)].begins is not None
    assert jobs[str(after)].reason == "Dependency"


def test_what_waiting_jobs_ask_for_is_told_alike(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    """A job of which text leaves something open is asked about more closely, by whatever way in needs it."""

    def submit(*options: str) -> str:
        return str(bed.slurm.submit(SLEEP, "--begin=now+1hour", *options))

    spread, whole = submit("--ntasks=2"), submit("--nodes=1", "--ntasks=2")
    between = submit("--nodes=1-2", "--ntasks=3", "--overcommit")
    laid_out = submit(
        "--ntasks=1", "--cpus-per-task=2", "--mincpus=2", "--threads-per-core=1", "--contiguous"
    )
    array = submit(
        "--array=1-4", "--nodes=1", "--ntasks=2", "--job-name", f"x\nJobId={spread} JobName=y NumNodes=9-9"
    )
    jobs = same(ways_in)
    requests = {job_id: job.request for job_id, job in jobs.items()}
    assert requests[spread] == Request(tasks=2, cpus=2)
    assert requests[whole] == requests[f"{array}_[1-4]"] == Request(max_nodes=1, tasks=2, cpus=2)
    assert requests[between] is not None
    assert (requests[between].max_nodes, requests[between].tasks, requests[between].overcommit) == (
        2,
        3,
        True,
    )
    assert requests[laid_out] == Request(cpus=2, cpus_per_task=2, cpus_per_node=2, threads=1, contiguous=True)


def test_nodes_in_every_condition_are_told_alike(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--ntasks=1")
    wait_for("a job on it", lambda: bed.slurm.node_state(NODES[0]) >= {"MIXED"})
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", "State=DRAIN", f"Reason={HOSTILE}")
    hang_slurmd(bed, NODES[1])
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[1]}", "State=DOWN", "Reason=gone", "Weight=77")
    bed.slurm.run("scontrol", "update", "NodeName=n1", f"Comment={HOSTILE}", f"Extra={HOSTILE}")
    same(ways_in)
    nodes = ways_in["rest"].snapshot().nodes
    assert nodes[NODES[0]].draining
    assert not nodes[NODES[0]].drained
    assert (nodes[NODES[1]].state, nodes[NODES[1]].reason, nodes[NODES[1]].weight) == ("DOWN", "gone", 77)
    assert nodes["n1"].usable


def test_how_slurm_chooses_nodes_is_told_alike(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    rules = ("MaxNodes=2", "MinNodes=2", "MaxTime=1-00:00:00", "MaxMemPerCPU=300", "State=DOWN")
    bed.slurm.run(
        "scontrol",
        "create",
        "PartitionName=rules",
        "Nodes=ALL",
        "Hidden=YES",
        "OverSubscribe=FORCE:3",
        *rules,
    )
    try:
        told = {name: backend.scheduling() for name, backend in ways_in.items()}
    finally:
        bed.slurm.run("scontrol", "delete", "PartitionName=rules")
    assert all(each == told["cli"] for each in told.values())
    assert told["cli"].partitions["rules"] == PartitionRules(
        "rules",
        is_up=False,
        min_nodes=2,
        max_nodes=2,
        max_memory_per_cpu=300,
        max_time=timedelta(days=1),
        shared_by=3,
        is_forced=True,
    )
    parameters = parse_config(bed.slurm.run("scontrol", "show", "config"))["SelectTypeParameters"]
    assert told["cli"].unit.name in parameters
    assert told["cli"].memory == ("MEMORY" in parameters)


def test_reservations_are_told_alike(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    starts = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    fence = Reservation("esagent-x", frozenset(NODES), starts, starts + timedelta(hours=1))
    ways_in["cli"].reserve(fence)
    try:
        told = {name: backend.reservations() for name, backend in ways_in.items()}
        assert [r.name for r in told["cli"]] == ["esagent-x"]
        assert told == dict.fromkeys(told, told["cli"])
    finally:
        ways_in["cli"].remove_reservation("esagent-x")
    assert all(backend.reservations() == () for backend in ways_in.values())


def test_what_one_way_in_changes_the_others_tell(
    bed: TestBed, each_way_in: SlurmBackend, ways_in: dict[str, SlurmBackend]
) -> None:
    slurm = each_way_in
    hang_slurmd(bed, NODES[1])
    slurm.set_weight(NODES, 40)
    slurm.drain([NODES[0]], "esagent: due\nState=DOWN")

    def down_and_silent() -> dict[str, Node] | None:
        # What slurmd answered before it was stopped may come in later, and bring the node back.
        slurm.set_down([NODES[1]], "esagent: gone")
        same(ways_in)
        seen = slurm.snapshot().nodes
        return seen if seen[NODES[1]].state == "DOWN" else None

    seen = wait_for("a node that stays down", down_and_silent)
    assert {seen[name].weight for name in NODES} == {40}
    assert (seen[NODES[0]].draining, seen[NODES[0]].reason) == (True, "esagent: due State=DOWN")
    assert seen[NODES[0]].reason_user == "root"
    assert (seen[NODES[1]].state, seen[NODES[1]].reason) == ("DOWN", "esagent: gone")
    slurm.undrain([NODES[0]])
    slurm.resume(NODES)
    slurm.resume(NODES)
    assert bed.machines.run(NODES[1], "pkill -CONT -x slurmd", timeout=PATIENCE) == 0
    bed.slurm.wait_until_usable()
    # The boot time comes back with the slurmd's word, which 25.11 does not count as a change of the nodes.
    slurm.set_weight(NODES, 41)
    same(ways_in)
    seen = slurm.snapshot().nodes
    assert not any(seen[name].draining or seen[name].state == "DOWN" for name in NODES)


def nodes(slurm: SlurmBackend) -> dict[str, Node]:
    """Read the nodes, without what their slurmds say by and by: when they booted."""
    return {name: replace(node, booted=None) for name, node in slurm.snapshot().nodes.items()}


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_free_text_of_a_node_changes_nothing_else(
    bed: TestBed, ways_in: dict[str, SlurmBackend], text: str
) -> None:
    ways_in["cli"].drain([NODES[0]], "plain")
    before = {name: nodes(slurm) for name, slurm in ways_in.items()}
    node = f"NodeName={NODES[0]}"
    for field in ("Comment", "Extra"):
        bed.slurm.run("scontrol", "update", node, f"{field}={text}")
        for name, slurm in ways_in.items():
            assert nodes(slurm) == before[name], f"{name}: {field}"
    bed.slurm.run("scontrol", "update", node, "State=DRAIN", f"Reason={text}")
    reason = text.encode(errors="surrogateescape").decode(errors="replace")
    for name, slurm in ways_in.items():
        changed = replace(before[name][NODES[0]], reason=reason)
        assert nodes(slurm) == before[name] | {NODES[0]: changed}, name


@pytest.mark.parametrize("text", [text[:1000] for text in TEXTS], ids=range(len(TEXTS)))
def test_free_text_of_a_job_changes_nothing_else(
    bed: TestBed, ways_in: dict[str, SlurmBackend], text: str
) -> None:
    made = bed.slurm.submit(
        SLEEP, "--hold", "--time=5", f"--job-name={text}", f"--comment={text}", f"--export=ALL,EVIL={text}"
    )
    before = {name: slurm.snapshot().jobs for name, slurm in ways_in.items()}
    for name, (seen,) in before.items():
        told = (seen.id, seen.state, seen.reason, seen.user, seen.partitions)
        assert told == (str(made), "PENDING", "JobHeldUser", "root", ("main",)), name
    for field in ("AdminComment", "Comment"):
        bed.slurm.run("scontrol", "update", f"JobId={made}", f"{field}={text}")
    assert {name: slurm.snapshot().jobs for name, slurm in ways_in.items()} == before


def test_a_controller_that_hangs_is_down_for_all(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    bed.slurm.hang_slurmctld()
    try:
        assert not any(each_answers(ways_in))
    finally:
        bed.slurm.resume_slurmctld()
    wait_for("all answer", lambda: all(each_answers(ways_in)))
    bed.slurm.wait_until_usable()
    assert same(ways_in) == {}


def test_a_controller_that_is_off_is_down_for_all_and_comes_back(
    bed: TestBed, ways_in: dict[str, SlurmBackend]
) -> None:
    bed.slurm.stop_slurmctld()
    try:
        assert not any(each_answers(ways_in, SlurmDownError))
    finally:
        bed.slurm.start_slurmctld()
    wait_for("all answer", lambda: all(each_answers(ways_in)))
    bed.slurm.wait_until_usable()
    assert same(ways_in) == {}


def each_answers(ways_in: dict[str, SlurmBackend], unless: type[SlurmError] = SlurmError) -> list[bool]:
    """Tell which ways in can be read, all asked at once: each of Slurm's clients waits for ten seconds."""

    def answers(slurm: SlurmBackend) -> bool:
        try:
            slurm.snapshot()
        except unless:
            return False
        return True

    with ThreadPoolExecutor() as pool:
        return list(pool.map(answers, ways_in.values()))
