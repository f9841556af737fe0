"""One contract: every way in to the same real cluster tells the same and does the same.

pyslurm is among them where ``PYSLURM_PYTHON`` names a Python that has it, and Slurm is of its release.
"""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import ConfigError, SlurmError, SlurmRefusedError
from agent.core.ports import SystemClock
from agent.slurm.backends.choice import Choice, choose
from agent.slurm.backends.cli import CliBackend
from agent.slurm.model import Job, Reservation, SlurmBackend, Snapshot
from agent.slurm.settings import SlurmSettings
from testbed.cloudlab.room import Boot
from testbed.up import TestBed
from testbed.waiting import wait_for

WAYS_IN = ("cli", "rest", "pyslurm")
NODES = ("pc910", "pc911")
SLEEP = "sleep 600"
HOSTILE = "esagent: x State=DOWN Weight=9 [root@1]\nNodeName=n1 State=DOWN|`id`\x1b[2J'\"\t="


@pytest.fixture(scope="module", autouse=True)
def _two_dynamic_nodes(bed: TestBed) -> Iterator[None]:
    for name in NODES:
        boot = Boot(client_id=name, host_name=name, users=(), authorized_keys=(), fresh=True)
        bed.machines.power_on(name, boot)
        slurmd = f"slurmd -Z -N {name} --conf 'CPUs=2 RealMemory=1000 Feature=small,x'"
        assert bed.machines.run(name, f"SLURM_CONF={bed.slurm.conf} {slurmd}", timeout=30) == 0
    wait_until_usable(bed)
    yield
    bed.slurm.run("scontrol", "delete", f"NodeName={','.join(NODES)}")
    for name in NODES:
        bed.machines.power_off(name)


@pytest.fixture(autouse=True)
def _left_as_found(bed: TestBed) -> Iterator[None]:
    yield
    bed.slurm.run("scancel", "-u", "root")
    bed.slurm.wait_until_idle()
    everything = f"NodeName=n1,{','.join(NODES)}"
    bed.slurm.run("scontrol", "update", everything, "Comment=", "Extra=")
    for name, state in bed.slurm.nodes().items():
        if "DOWN" in state or "DRAIN" in state:
            bed.slurm.run("scontrol", "update", f"NodeName={name}", "State=RESUME")
    for name in NODES:
        resume_slurmd(bed, name)
    bed.slurm.run("scontrol", "update", f"NodeName={','.join(NODES)}", "Weight=1")
    wait_until_usable(bed)


def hang_slurmd(bed: TestBed, node: str) -> None:
    """Let a slurmd say nothing: with ReturnToService=2 its next word would end that its node is down."""
    assert bed.machines.run(node, "pkill -STOP -x slurmd", timeout=30) == 0


def resume_slurmd(bed: TestBed, node: str) -> None:
    """Let a slurmd that was made to hang go on; harmless to one that was not."""
    assert bed.machines.run(node, "pkill -CONT -x slurmd", timeout=30) == 0


def wait_until_usable(bed: TestBed) -> None:
    """Wait until every node answers: lifting a drain marks it as not responding until the next ping."""
    everything = ("n1", *NODES)
    wait_for(
        "all nodes idle",
        lambda: all(bed.slurm.node_state(n) - {"DYNAMIC_NORM"} == {"IDLE"} for n in everything),
        timeout=60,
    )


@pytest.fixture(scope="module")
def choices(bed: TestBed, pyslurm_site: str) -> Iterator[dict[str, Choice | str]]:
    """Each way in, or in words why it does not work with this cluster."""
    found: dict[str, Choice | str] = {}
    with pytest.MonkeyPatch.context() as patch:
        if pyslurm_site:
            patch.setenv("PYTHONPATH", pyslurm_site)
        for name in WAYS_IN:
            settings = SlurmSettings.model_validate(
                {"backend": name, "conf": bed.slurm.conf, "rest_url": f"unix:{bed.slurm.rest_socket}"}
            )
            try:
                found[name] = choose(settings, SystemClock(), CliBackend(settings, SystemClock()))
            except ConfigError as error:
                found[name] = str(error)
        yield found
    for choice in found.values():
        if isinstance(choice, Choice):
            choice.close()


@pytest.fixture(scope="module")
def ways_in(choices: dict[str, Choice | str]) -> dict[str, SlurmBackend]:
    """Every way in that works with this cluster."""
    return {name: choice.backend for name, choice in choices.items() if isinstance(choice, Choice)}


@pytest.fixture(params=WAYS_IN)
def slurm(request: pytest.FixtureRequest, choices: dict[str, Choice | str]) -> SlurmBackend:
    choice = choices[request.param]
    if isinstance(choice, str):
        pytest.skip(choice)
    return choice.backend


def same(ways_in: dict[str, SlurmBackend]) -> dict[str, Job]:
    """Check that every way in tells the same, field by field, and return the jobs by id."""
    first, told = wait_for("a cluster at rest", lambda: told_at_rest(ways_in), timeout=60)
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
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.compare}


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
    for running in (limited, endless):
        bed.slurm.wait_for_job(running, "RUNNING")
    wait_for(
        "the first task of the array",
        lambda: any(j.id == f"{array}_0" and j.holds_nodes for j in ways_in["cli"].snapshot().jobs),
        timeout=60,
    )
    bed.slurm.run("scontrol", "update", f"JobId={held}", "AdminComment=" + "x " * 2000)
    asked = ("squeue", "-h", "-j", str(waits), "-o", "%r")
    wait_for("a reason", lambda: "None" not in bed.slurm.run(*asked), timeout=60)
    jobs = same(ways_in)
    assert len(jobs) == 12
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


def test_nodes_in_every_condition_are_told_alike(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--ntasks=1")
    wait_for("a job on it", lambda: bed.slurm.node_state(NODES[0]) >= {"MIXED"}, timeout=60)
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[0]}", "State=DRAIN", f"Reason={HOSTILE}")
    hang_slurmd(bed, NODES[1])
    bed.slurm.run("scontrol", "update", f"NodeName={NODES[1]}", "State=DOWN", "Reason=gone", "Weight=77")
    bed.slurm.run("scontrol", "update", "NodeName=n1", f"Comment={HOSTILE}", f"Extra={HOSTILE}")
    same(ways_in)
    assert len({backend.snapshot().nodes["n1"].last_busy for backend in ways_in.values()}) == 1
    nodes = ways_in["rest"].snapshot().nodes
    assert nodes[NODES[0]].draining
    assert not nodes[NODES[0]].drained
    assert (nodes[NODES[1]].state, nodes[NODES[1]].reason, nodes[NODES[1]].weight) == ("DOWN", "gone", 77)
    assert nodes["n1"].usable


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
    bed: TestBed, slurm: SlurmBackend, ways_in: dict[str, SlurmBackend]
) -> None:
    hang_slurmd(bed, NODES[1])
    slurm.set_weight(NODES, 40)
    slurm.drain([NODES[0]], "esagent: due\nState=DOWN")
    slurm.set_down([NODES[1]], "esagent: gone")
    same(ways_in)
    seen = slurm.snapshot().nodes
    assert {seen[name].weight for name in NODES} == {40}
    assert (seen[NODES[0]].draining, seen[NODES[0]].reason) == (True, "esagent: due State=DOWN")
    assert seen[NODES[0]].reason_user == "root"
    assert (seen[NODES[1]].state, seen[NODES[1]].reason) == ("DOWN", "esagent: gone")
    slurm.undrain([NODES[0]])
    slurm.resume(NODES)
    resume_slurmd(bed, NODES[1])
    wait_until_usable(bed)
    # The boot time comes back with the slurmd's word, which 25.11 does not count as a change of the nodes.
    slurm.set_weight(NODES, 41)
    same(ways_in)
    seen = slurm.snapshot().nodes
    assert not any(seen[name].draining or seen[name].state == "DOWN" for name in NODES)


def test_a_node_that_slurm_does_not_know_costs_the_others_nothing(slurm: SlurmBackend) -> None:
    with pytest.raises(SlurmRefusedError, match="pc999"):
        slurm.set_weight([*NODES, "pc999"], 50)
    assert {slurm.snapshot().nodes[name].weight for name in NODES} == {50}
    slurm.delete_nodes(["pc999"])


def test_jobs_are_requeued_signalled_told_and_ended(bed: TestBed, slurm: SlurmBackend) -> None:
    script = f"trap 'touch {bed.slurm.directory}/caught' USR1; while :; do sleep 0.1; done"
    job = bed.slurm.submit(script, f"--nodelist={NODES[0]}", "--requeue", "--ntasks=1")
    fixed = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--no-requeue", "--ntasks=1")
    caught = bed.slurm.directory / "caught"
    caught.unlink(missing_ok=True)
    for running in (job, fixed):
        bed.slurm.wait_for_job(running, "RUNNING")
    assert slurm.requeueable([str(job), str(fixed), "99999"]) == {str(job): True, str(fixed): False}

    def signalled() -> bool:
        # The script may not have come to its trap yet: then the signal is lost.
        slurm.signal(str(job), "USR1") if bed.slurm.job_state(job) == "RUNNING" else None
        return caught.exists()

    wait_for("the signal", signalled, timeout=30)
    slurm.notify(str(fixed), "its machine goes back to Cloudlab")
    slurm.comment(str(fixed), "told\nState=DOWN")
    assert "AdminComment=told State=DOWN" in bed.slurm.run("scontrol", "-o", "show", "job", str(fixed))
    with pytest.raises(SlurmRefusedError, match="disabled"):
        slurm.requeue(str(fixed))
    slurm.cancel(str(fixed))
    bed.slurm.wait_for_job(fixed, "CANCELLED")
    slurm.cancel(str(fixed))


def test_running_jobs_go_back_to_the_queue(bed: TestBed, slurm: SlurmBackend) -> None:
    job = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--ntasks=1")
    array = bed.slurm.submit(SLEEP, "--array=1-2", f"--nodelist={NODES[1]}", "--ntasks=1")
    tasks = [f"{array}_1", f"{array}_2"]
    wait_for(
        "all of them",
        lambda: {j.id for j in slurm.snapshot().jobs if j.holds_nodes} == {str(job), *tasks},
        timeout=60,
    )
    slurm.requeue(str(job))
    slurm.requeue(tasks[1], hold=True)
    wait_for("back in the queue", lambda: states(slurm, str(job), tasks[1]) == {"PENDING"}, timeout=60)
    slurm.requeue(str(job))
    assert states(slurm, tasks[0]) == {"RUNNING"}
    slurm.cancel(tasks[0])
    wait_for("ended", lambda: tasks[0] not in {j.id for j in slurm.snapshot().jobs}, timeout=60)
    with pytest.raises(SlurmRefusedError, match="it is over"):
        slurm.requeue(tasks[0])
    assert states(slurm, tasks[1]) == {"PENDING"}


def test_many_jobs_are_signalled_and_ended_at_once_whatever_is_over_among_them(
    bed: TestBed, slurm: SlurmBackend
) -> None:
    job = bed.slurm.submit(SLEEP, f"--nodelist={NODES[0]}", "--ntasks=1")
    array = bed.slurm.submit(SLEEP, "--array=1-2", f"--nodelist={NODES[1]}", "--ntasks=1")
    many = [str(job), f"{array}_1", f"{array}_2"]
    wait_for("all of them", lambda: states(slurm, *many) == {"RUNNING"}, timeout=60)
    wait_for(
        "their signal", lambda: list(slurm.signal_all([*many, "99999"], "CONT")) == ["99999"], timeout=30
    )
    assert slurm.cancel_all([*many, "99999"]) == {}
    wait_for("their end", lambda: not states(slurm, *many), timeout=60)


def states(slurm: SlurmBackend, *job_ids: str) -> set[str]:
    return {j.state for j in slurm.snapshot().jobs if j.id in job_ids}


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


def test_a_controller_that_hangs_is_down_for_all(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    bed.slurm.hang_slurmctld()
    try:
        for backend in ways_in.values():
            with pytest.raises(SlurmError):
                backend.snapshot()
    finally:
        bed.slurm.resume_slurmctld()
    for backend in ways_in.values():
        wait_for("an answer", lambda b=backend: answers(b), timeout=60)
    wait_until_usable(bed)
    assert same(ways_in) == {}


def answers(backend: SlurmBackend) -> bool:
    try:
        backend.snapshot()
    except SlurmError:
        return False
    return True
