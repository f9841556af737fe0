"""Slurm's output as values, from captured samples of four releases and from hostile text."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmError
from agent.slurm.text import (
    InexactTextError,
    parse_jobs,
    parse_nodes,
    parse_nodes_json,
    parse_release,
    parse_requeue,
    split_tasks,
)

SAMPLES = Path(__file__).parents[2] / "data" / "slurm"
RELEASES = ("22.05", "24.11", "25.11", "26.05")
MARK = "<mark>"


def read(release: str, name: str) -> str:
    return (SAMPLES / release / name).read_text(errors="replace")


@pytest.mark.parametrize("release", RELEASES)
def test_text_and_json_of_a_release_tell_the_same_nodes(release: str) -> None:
    by_text = parse_nodes(read(release, "nodes.txt"))
    assert by_text == parse_nodes_json(read(release, "nodes.json"))
    assert sorted(by_text) == ["n1", "n2", "n3", "n4"]
    assert by_text["n1"].state == "ALLOCATED"
    assert (by_text["n2"].state, by_text["n2"].flags, by_text["n2"].reason) == (
        "MIXED",
        {"DRAIN"},
        "update kernel",
    )
    assert by_text["n2"].draining
    assert not by_text["n2"].drained
    assert by_text["n3"].drained
    assert not by_text["n4"].empty
    assert by_text["n1"].allocated_cpus == by_text["n1"].cpus == 2
    assert by_text["n1"].features == {"small"}
    assert by_text["n1"].partitions == ("main",)
    assert by_text["n1"].memory == 1000


def test_hostile_free_text_makes_the_text_inexact_and_json_tells_the_nodes() -> None:
    with pytest.raises(InexactTextError):
        parse_nodes(read("22.05-hostile", "nodes.txt"))
    nodes = parse_nodes_json(read("22.05-hostile", "nodes.json"))
    assert sorted(nodes) == ["n1", "n2", "n3"]
    assert nodes["n1"].reason.startswith("esagent: x State=DOWN")
    assert (nodes["n2"].state, nodes["n2"].flags) == ("ALLOCATED", frozenset())
    assert (nodes["n3"].state, nodes["n3"].weight) == ("MIXED", 1)


def with_comment(comment: str) -> str:
    """Put a comment at the end of the third of four captured records."""
    lines = read("22.05", "nodes.txt").splitlines()
    lines[2] += f" Comment={comment}"
    return "\n".join(lines) + "\n"


FRAGMENTS = st.sampled_from(
    [
        "\n", " ", "NodeName=n1 ", "NodeName=n9 ", "State=DOWN ", "Weight=9 ", "Reason=esagent: x ",
        "[root@1]", read("22.05", "nodes.txt").splitlines()[0], " Comment=", " Extra=", "ThreadsPerCore=1 ",
        "BootTime=", "|", "\x1b[2J", "\ufffd", "Partitions=evil  BootTime=None",
        "AvailableFeatures=x ActiveFeatures=y Gres=(null)",
    ]
)  # fmt: skip


@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_no_comment_changes_a_node_that_exists(comment: str) -> None:
    true = parse_nodes(read("22.05", "nodes.txt"))
    try:
        seen = parse_nodes(with_comment(comment))
    except InexactTextError:
        return
    assert {name: node for name, node in seen.items() if name in true} == true


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), max_size=300))
def test_any_reason_is_read_whole_or_the_text_is_inexact(reason: str) -> None:
    text = read("22.05", "nodes.txt").replace("Reason=disk swap [", f"Reason={reason} [")
    try:
        seen = parse_nodes(text)
    except InexactTextError:
        return
    assert seen["n3"].reason == reason
    assert seen["n3"].state == "IDLE"


def test_a_reason_inside_a_comment_is_not_the_reason() -> None:
    text = read("22.05", "nodes.txt").replace(
        "ExtSensorsTemp=n/s\n", "ExtSensorsTemp=n/s Comment=a Reason=esagent: mine [root@1795355056]\n"
    )
    assert parse_nodes(text)["n1"].reason == ""


@given(st.data())
def test_a_cut_list_of_nodes_is_never_read_as_a_shorter_one(data: st.DataObject) -> None:
    text = read("22.05", "nodes.txt")
    ends = {m.end() for m in re.finditer("\n", text)} | {0}
    cut = data.draw(st.integers(1, len(text) - 1).filter(lambda n: n not in ends))
    with pytest.raises(InexactTextError):
        parse_nodes(text[:cut])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"nodes": [{}]}', '{"errors": ["no"], "nodes": []}'])
def test_json_that_is_no_list_of_nodes_is_an_error(text: str) -> None:
    with pytest.raises(SlurmError):
        parse_nodes_json(text)


def test_jobs_among_hostile_names_are_read_exactly() -> None:
    jobs = {job.id: job for job in parse_jobs(read("22.05-hostile", "squeue.txt"), MARK)}
    assert sorted(jobs) == ["23", "24_0", "24_[3,6,9]", "25", "26", "27+0", "27+1", "29", "30", "31"]
    assert jobs["23"].nodes == {"n2"}
    assert jobs["23"].started == datetime(2026, 11, 22, 14, 9, 8, tzinfo=UTC)
    assert jobs["23"].ends == datetime(2026, 11, 22, 14, 39, 8, tzinfo=UTC)
    assert jobs["26"].ends is None
    assert (jobs["24_[3,6,9]"].task_count, jobs["24_[3,6,9]"].task_limit) == (3, 2)
    assert jobs["25"].features == "small|small"
    assert jobs["25"].exclusive
    assert not jobs["23"].exclusive
    assert jobs["29"].begins == datetime(2026, 11, 22, 15, 9, 8, tzinfo=UTC)
    assert jobs["29"].started is None
    assert (jobs["30"].reason, jobs["30"].node_count, jobs["30"].cpus) == ("Resources", 2, 3)
    assert jobs["30"].started is None
    assert jobs["30"].ends is None


LISTED = re.compile(
    r"(?P<id>\S+) (?P<state>\S+) (?P<reason>.+?) (?P<nodes>\S*) (?P<count>\d+) (?P<limit>\S+) (?P<start>\S+)"
    r" (?P<end>\S+) (?P<cpus>\d+) (?P<partition>\S+) (?P<features>\S+) \d+ \d+ \S+"
)


def as_our_format(line: str) -> str:
    """Put a captured line of another format into the order that the agent asks for."""
    m = LISTED.fullmatch(line)
    assert m
    start, end = (
        str(int(datetime.fromisoformat(t + "+00:00").timestamp())) if t[0].isdigit() else t
        for t in (m["start"], m["end"])
    )
    head = (
        m["id"], m["state"], m["nodes"], m["count"], m["cpus"], m["limit"], "1", start, end, m["partition"],
        "OK", "",
    )  # fmt: skip
    return f"{'|'.join(head)}{MARK}alice{MARK}{m['features']}{MARK}{m['reason']}{MARK}\n"


@pytest.mark.parametrize("release", RELEASES)
def test_jobs_of_every_release_are_read(release: str) -> None:
    lines = [line for line in read(release, "squeue.txt").splitlines()[1:] if line]
    jobs = {job.id: job for job in parse_jobs("".join(map(as_our_format, lines)), MARK)}
    assert len(jobs) == len(lines)
    assert jobs["9"].state == "COMPLETING"
    assert jobs["9"].holds_nodes
    assert jobs["3_0"].nodes == {"n1"}
    assert jobs["5"].reason == "Resources"
    assert jobs["5"].started is None
    assert jobs["7"].reason == "JobHeldUser"
    assert jobs["1"].features == "small"


@given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=5))
def test_free_text_of_a_job_never_shifts_a_field(free: list[tuple[str, str, str]]) -> None:
    mark = "<0123456789ab>"
    head = "{}|RUNNING|n1|1|1|30:00|1795356548|1795356548|1795358348|main|OK|"
    text = "".join(
        f"{head.format(n)}{mark}{u}{mark}{f}{mark}{r}{mark}\n" for n, (u, f, r) in enumerate(free, 1)
    )
    jobs = parse_jobs(text, mark)
    assert [job.id for job in jobs] == [str(n) for n in range(1, len(free) + 1)]
    assert all(job.nodes == {"n1"} and job.state == "RUNNING" for job in jobs)
    assert [job.user for job in jobs] == [u for u, _, _ in free]


def test_no_jobs_is_an_answer() -> None:
    assert parse_jobs("", MARK) == ()


@given(st.data())
def test_a_cut_list_of_jobs_is_never_read_as_a_shorter_one(data: st.DataObject) -> None:
    text = read("22.05-hostile", "squeue.txt")
    ends = {m.end() for m in re.finditer(f"{MARK}\n", text)} | {0}
    cut = data.draw(st.integers(1, len(text) - 1).filter(lambda n: n not in ends))
    with pytest.raises(SlurmError):
        parse_jobs(text[:cut], MARK)


def test_oversubscribe_of_26_05_does_not_make_every_job_exclusive() -> None:
    line = "1|PENDING||1|1|5:00|1|N/A|N/A|main|NO|<mark>u<mark>(null)<mark>None<mark>\n"
    assert parse_jobs(line, MARK)[0].exclusive
    assert not parse_jobs(line, MARK, oversubscribe_tells=False)[0].exclusive


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("12", ("12", 1, None)),
        ("12_3", ("12_3", 1, None)),
        ("12+1", ("12+1", 1, None)),
        ("12_[7]", ("12_[7]", 1, None)),
        ("12_[3,6,9%2]", ("12_[3,6,9]", 3, 2)),
        ("12_[0-98:2]", ("12_[0-98:2]", 50, None)),
        ("12_[1-9,400,507-520%30]", ("12_[1-9,400,507-520]", 24, 30)),
    ],
)
def test_tasks_of_an_array_are_counted(listed: str, expected: tuple[str, int, int | None]) -> None:
    assert split_tasks(listed) == expected


@pytest.mark.parametrize("listed", ["12_[1-9,400,...]", "12_[9-1]", "12_[]", "12_[1-5:0]"])
def test_a_shortened_or_senseless_list_of_tasks_is_an_error(listed: str) -> None:
    with pytest.raises(SlurmError):
        split_tasks(listed)


@given(st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 50))
def test_a_range_of_tasks_counts_as_python_counts_it(first: int, length: int, step: int) -> None:
    expected = len(range(first, first + length + 1, step))
    assert split_tasks(f"1_[{first}-{first + length}:{step}]")[1] == expected


def test_requeue_flags_are_read() -> None:
    assert dict(parse_requeue("17|0|\n14_2|1|\n15+0|1|\n")) == {"17": False, "14_2": True, "15+0": True}
    with pytest.raises(SlurmError):
        dict(parse_requeue("17|0|\n14"))


@pytest.mark.parametrize(
    ("said", "release"), [("slurm-wlm 22.05.8", (22, 5)), ("slurm 25.11.8-0pre1", (25, 11))]
)
def test_the_release_is_read(said: str, release: tuple[int, int]) -> None:
    assert parse_release(said) == release
