"""The list of jobs, from captured samples of four releases and from hostile text."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmError
from agent.slurm.cli.squeue import JobFormat, JobReader, parse_excluded_nodes
from agent.slurm.model import Job
from agent.slurm.request import Request

SAMPLES = Path(__file__).parents[3] / "data" / "slurm"
RELEASES = ("22.05", "24.11", "25.11", "26.05")
MARK, END = "<mark>", "<end>"
OLD = JobFormat((22, 5), MARK, END)


def read(release: str, name: str) -> str:
    return (SAMPLES / release / name).read_text(errors="replace")


def parse_jobs(text: str, form: JobFormat, known: Mapping[str, Job] | None = None) -> dict[str, Job]:
    reader = JobReader(form, known)
    reader.feed(text)
    return reader.finish()


def form_of(release: str) -> JobFormat:
    year, month = release.split(".")
    return JobFormat((int(year), int(month)), MARK, END)


DEFAULTS = {
    "JobArrayID": "1", "State": "PENDING", "NumNodes": "1", "NumCPUs": "1", "OverSubscribe": "OK",
    "Exclusive": "NO", "Requeue": "1", "BatchFlag": "1", "RestartCnt": "0", "TimeLimit": "30:00",
    "SubmitTime": "1795356548", "StartTime": "N/A", "EndTime": "N/A", "MinMemory": "0", "NodeList": "",
    "ReqNodes": "", "ExcNodes": "", "Partition": "main", "UserName": "alice", "Feature": "(null)",
    "Reason": "Resources", "Reservation": "(null)", "QOS": "(null)",
    "tres-alloc": "cpu=1,mem=1000M,node=1,billing=1", "tres-per-node": "N/A", "tres-per-job": "N/A",
    "tres-per-task": "N/A", "tres-per-socket": "N/A", "cpus-per-tres": "N/A", "mem-per-tres": "N/A",
    "MaxNodes": "1", "NumTasks": "1", "MinCpus": "1", "cpus-per-task": "1", "NTPerNode": "0",
    "NTPerSocket": "N/A", "NTPerCore": "N/A", "sct": "*:*:*", "CoreSpec": "N/A", "MinTmpDisk": "0",
    "Contiguous": "0", "Name": "wrap",
}  # fmt: skip


def printed(form: JobFormat, **fields: str) -> str:
    """Print a job as squeue does for the argument of this form."""
    values = DEFAULTS | {name.replace("_", "-"): value for name, value in fields.items()}
    asked = (part.partition(":") for part in form.argument.split(","))
    return "".join(values[name] + end for name, _, end in asked) + "\n"


def one(form: JobFormat = OLD, **fields: str) -> Job:
    (job,) = parse_jobs(printed(form, **fields), form).values()
    return job


def test_jobs_captured_from_22_05_are_read_exactly() -> None:
    text = read("22.05-hostile", "squeue.txt")
    jobs = {job.id: job for job in parse_jobs(text, OLD).values()}
    assert sorted(jobs) == [
        "1", "2", "434", "435", "436", "438+0", "438+1", "49813", "49814_0", "49814_[3,6,9]", "49815",
        "49817", "49818",
    ]  # fmt: skip
    running = jobs["49813"]
    assert (running.state, running.nodes, running.requested_nodes) == ("RUNNING", {"n1"}, {"n1"})
    assert running.started == datetime.fromtimestamp(1795367938, UTC)
    assert running.ends == running.started + timedelta(minutes=30)
    assert running.time_limit == timedelta(minutes=30)
    assert (running.memory, running.memory_per_cpu) == (100, False)
    assert (running.requeueable, running.restarts) == (True, 0)
    tasks = jobs["49814_[3,6,9]"]
    assert (tasks.task_count, tasks.task_limit, tasks.started, tasks.ends) == (3, 2, None, None)
    assert tasks.array == jobs["49814_0"].array == "49814"
    assert jobs["49815"].begins == datetime.fromtimestamp(1795371538, UTC)
    assert jobs["49815"].time_limit is None
    big = jobs["49817"]
    assert (big.node_count, big.cpus, big.memory, big.memory_per_cpu) == (2, 3, 10, True)
    assert (big.features, big.reason, big.time_limit) == ("big", "ReqNodeNotAvail", timedelta(days=1))
    fixed = jobs["49818"]
    assert (fixed.requeueable, fixed.reservation, fixed.features) == (False, "r2", "small|x")
    assert (jobs["2"].memory, jobs["2"].memory_per_cpu) == (700, True)
    assert (jobs["1"].memory, jobs["1"].memory_per_cpu, jobs["1"].requested_nodes) == (1200, False, {"pc5"})
    assert (jobs["2"].gres, jobs["434"].gres, jobs["436"].gres) == ("gpu:0", "gpu:1", "gpu:2")
    assert [jobs[i].exclusive for i in ("1", "435")] == [False, True]


LISTED = re.compile(
    r"(?P<id>\S+) (?P<state>\S+) (?P<reason>.+?) (?P<nodes>\S*) (?P<count>\d+) (?P<limit>\S+) (?P<start>\S+)"
    r" (?P<end>\S+) (?P<cpus>\d+) (?P<partition>\S+) (?P<features>\S+) \d+ \d+ \S+"
)


def as_asked(form: JobFormat, line: str) -> str:
    """Put a captured line of another format into the one that the agent asks for."""
    m = LISTED.fullmatch(line)
    assert m
    start, end = (
        str(int(datetime.fromisoformat(t + "+00:00").timestamp())) if t[0].isdigit() else t
        for t in (m["start"], m["end"])
    )
    return printed(
        form, JobArrayID=m["id"], State=m["state"], Reason=m["reason"], NodeList=m["nodes"],
        NumNodes=m["count"], TimeLimit=m["limit"], StartTime=start, EndTime=end, NumCPUs=m["cpus"],
        Partition=m["partition"], Feature=m["features"],
    )  # fmt: skip


@pytest.mark.parametrize("release", RELEASES)
def test_jobs_of_every_release_are_read(release: str) -> None:
    form = form_of(release)
    lines = [line for line in read(release, "squeue.txt").splitlines()[1:] if line]
    text = "".join(as_asked(form, line) for line in lines)
    jobs = {job.id: job for job in parse_jobs(text, form).values()}
    assert len(jobs) == len(lines)
    assert jobs["9"].state == "COMPLETING"
    assert jobs["9"].holds_nodes
    assert jobs["3_0"].nodes == {"n1"}
    assert jobs["5"].reason == "Resources"
    assert jobs["5"].started is None
    assert jobs["7"].reason == "JobHeldUser"
    assert jobs["1"].features == "small"
    assert jobs["5"].time_limit == timedelta(days=1)


def test_a_job_of_srun_or_salloc_is_told_from_one_with_a_script_launched_once_or_again() -> None:
    assert [one(BatchFlag=flag).batch for flag in ("0", "1", "2")] == [False, True, True]


def test_the_fields_of_newer_releases_are_asked_for_and_read() -> None:
    old, new = form_of("22.05"), form_of("26.05")
    assert ("ExcNodes" in old.argument, "Exclusive" in old.argument) == (False, False)
    assert ("ExcNodes" in new.argument, "OverSubscribe" in new.argument) == (True, False)
    assert one(form_of("24.11"), ExcNodes="pc[1-2]").excluded_nodes == {"pc1", "pc2"}
    kinds = ("NO", "NODE", "USER", "MCS", "TOPO")
    assert [one(new, Exclusive=kind).exclusive for kind in kinds] == [False, True, False, False, True]
    shares = ("NO", "OK", "YES", "USER", "MCS")
    assert [one(old, OverSubscribe=share).exclusive for share in shares] == [True, *[False] * 4]


@pytest.mark.parametrize(
    ("memory", "tres", "expected"),
    [
        ("5120M", "cpu=2,mem=10G,node=1", (5120, True)),
        ("5120M", "cpu=4,mem=10G,node=2,gres/gpu=2", (5120, False)),
        ("1536M", "cpu=2,mem=3G,node=1", (1536, True)),
        ("1536M", "cpu=2,mem=1.50G,node=1", (1536, False)),
        ("100M", "cpu=1,mem=100M,node=1", (100, False)),
        ("0", "cpu=8,mem=64000M,node=1", (0, False)),
        ("123456792", "cpu=2,node=1", (123456792, False)),
    ],
)
def test_memory_per_cpu_is_told_from_memory_per_node(
    memory: str, tres: str, expected: tuple[int, bool]
) -> None:
    job = one(MinMemory=memory, tres_alloc=tres)
    assert (job.memory, job.memory_per_cpu) == expected


def test_generic_resources_are_told_in_one_way_on_every_release() -> None:
    assert one(tres_per_node="gres:gpu:2").gres == one(tres_per_node="gres/gpu:2").gres == "gpu:2"
    assert one(tres_per_node="gres:gpu:1,gres:shard:2", tres_per_task="gres:x").gres == "gpu:1,shard:2,x"


def test_what_a_running_job_holds_on_each_node_is_told() -> None:
    """As squeue prints ``--gpus-per-task=1`` and ``--gpus=4`` of jobs of four tasks on two nodes."""
    on_two = {"State": "RUNNING", "NumNodes": "2", "NumTasks": "4", "NodeList": "n[1-2]"}
    assert one(**on_two, tres_per_task="gres:gpu:1").gres == "gpu:2"  # type: ignore[arg-type]
    assert one(**on_two, tres_per_job="gres:gpu:4").gres == "gpu:2"  # type: ignore[arg-type]


def test_the_cpus_of_a_task_are_no_generic_resource() -> None:
    """As squeue 24.11 prints ``--cpus-per-task=2``, and with ``--gres-per-task`` beside it."""
    assert one(tres_per_task="cpu=2").gres == ""
    assert one(tres_per_task="cpu=2,gres/gpu=1").gres == "gpu:1"


@pytest.mark.parametrize(
    ("printed_limit", "expected"),
    [
        ("0:30", timedelta(seconds=30)),
        ("1:02:03", timedelta(hours=1, minutes=2, seconds=3)),
        ("2-00:00:00", timedelta(days=2)),
        ("UNLIMITED", None),
        ("NOT_SET", None),
    ],
)
def test_a_time_limit_is_read(printed_limit: str, expected: timedelta | None) -> None:
    assert one(TimeLimit=printed_limit).time_limit == expected


FREE = st.text(alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))
NASTY = st.sampled_from(["\n", "|", f"\n{printed(OLD)}", "<mark", "<end", "\x1b[2J", "\ufffd", "r" * 60_000])


@given(st.lists(st.tuples(*[FREE | NASTY | st.tuples(FREE, NASTY).map("".join)] * 5), max_size=5))
def test_free_text_of_a_job_never_shifts_a_field(free: list[tuple[str, str, str, str, str]]) -> None:
    form = JobFormat((24, 11))
    text = "".join(
        printed(
            form, JobArrayID=str(n), UserName=u, Feature=f, Reason=r, Reservation=v, ExcNodes="n2", Name=w
        )
        for n, (u, f, r, v, w) in enumerate(free, 1)
    )
    jobs = tuple(parse_jobs(text, form).values())
    assert [job.id for job in jobs] == [str(n) for n in range(1, len(free) + 1)]
    assert all(job.excluded_nodes == {"n2"} and job.state == "PENDING" and not job.nodes for job in jobs)
    assert [job.user for job in jobs] == [u for u, *_ in free]
    assert [job.name for job in jobs] == ["" if w in {"(null)", "N/A"} else w for *_, w in free]


@given(st.lists(st.integers(0, 2_000), max_size=8))
def test_jobs_are_the_same_however_their_list_comes_in(cuts: list[int]) -> None:
    text = read("22.05-hostile", "squeue.txt")
    reader = JobReader(OLD)
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in pairwise(ends):
        reader.feed(text[start:end])
    assert reader.finish() == parse_jobs(text, OLD)


def test_the_marks_of_two_reads_differ() -> None:
    first, second = JobFormat((22, 5)), JobFormat((22, 5))
    assert len({first.mark, first.end, second.mark, second.end}) == 4


def test_no_jobs_is_an_answer() -> None:
    assert parse_jobs("", OLD) == {}


def test_what_has_not_changed_is_not_read_again_and_what_has_is() -> None:
    first = JobFormat((22, 5))
    before = parse_jobs(printed(first, JobArrayID="1") + printed(first, JobArrayID="2"), first)
    second = JobFormat((22, 5))
    text = printed(second, JobArrayID="2") + printed(second, JobArrayID="1", Reason="Priority")
    after = parse_jobs(text, second, before)
    two, one_again = after.values()
    assert two is tuple(before.values())[1]
    assert (one_again.id, one_again.reason) == ("1", "Priority")


@given(st.data())
def test_a_cut_list_of_jobs_is_never_read_as_a_shorter_one(data: st.DataObject) -> None:
    text = read("22.05-hostile", "squeue.txt")
    ends = {m.end() for m in re.finditer(f"{END}\n", text)} | {0}
    cut = data.draw(st.integers(1, len(text) - 1).filter(lambda n: n not in ends))
    with pytest.raises(SlurmError):
        parse_jobs(text[:cut], OLD)


@pytest.mark.parametrize(
    "fields",
    [
        {"JobArrayID": "x"},
        {"State": "pending"},
        {"NumNodes": "1-2"},
        {"NumCPUs": "1.5K"},
        {"StartTime": "2026-11-22T12:00:00"},
        {"TimeLimit": "soon"},
        {"Requeue": "yes"},
        {"MinMemory": "1.5G"},
        {"NodeList": "n[1-"},
        {"OverSubscribe": "OK|OK"},
        {"Feature": "\0"},
        {"SubmitTime": "9" * 30},
    ],
)
def test_a_field_that_is_not_what_it_has_to_be_makes_the_list_unreadable(fields: dict[str, str]) -> None:
    with pytest.raises(SlurmError):
        one(**fields)


def test_a_state_word_that_nobody_knows_holds_its_nodes() -> None:
    assert one(State="TELEPORTING", NodeList="n1").holds_nodes


def test_excluded_nodes_are_read() -> None:
    assert parse_excluded_nodes("3_[1-5%2]|n[1-2]|\n4||\n") == {"3_[1-5]": {"n1", "n2"}, "4": frozenset()}
    with pytest.raises(SlurmError):
        parse_excluded_nodes("3|n1\n")


def test_what_a_waiting_job_asks_for() -> None:
    plain = one(NumNodes="2", NumTasks="5", NumCPUs="10", cpus_per_task="2", MinCpus="2", MaxNodes="2")
    assert plain.request == Request(max_nodes=2, tasks=5, cpus=10, cpus_per_task=2, cpus_per_node=2)
    laid_out = one(sct="2:*:1", CoreSpec="1 Threads", NTPerSocket="3", NTPerCore="1", NTPerNode="2")
    assert laid_out.request == Request(
        tasks_per_node=2, tasks_per_socket=3, tasks_per_core=1, sockets=2, threads=1, thread_spec=1
    )
    assert one(CoreSpec="3", MinTmpDisk="5120M", Contiguous="1").request == Request(
        core_spec=3, tmp_disk=5120, contiguous=True
    )
    gpus = {
        "tres_per_job": "gres:gpu:4",
        "tres_per_node": "gres/gpu:a100:2",
        "tres_per_task": "cpu=1,gres/gpu=1",
    }
    assert one(**gpus, tres_per_socket="gres:gpu:1", cpus_per_tres="gres:gpu:3").request == Request(
        max_nodes=1,
        per_job="gpu:4",
        per_node="gpu:a100:2",
        per_task="gpu:1",
        per_socket="gpu:1",
        cpus_per_gres="gpu:3",
    )
    assert one(mem_per_tres="gres:gpu:100").request == Request(memory_per_gres="gpu:100")


@pytest.mark.parametrize("fields", [{"State": "RUNNING"}, {"Reason": "JobHeldUser"}, {"sct": "odd"}])
def test_a_job_that_waits_for_no_node_or_cannot_be_read_has_no_request(fields: dict[str, str]) -> None:
    assert one(**fields).request is None
