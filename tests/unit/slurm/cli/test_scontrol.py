"""Slurm's output as values, from captured samples of four releases and from hostile text."""

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmError
from agent.slurm.cli.scontrol import (
    InexactTextError,
    parse_nodes,
    parse_nodes_json,
    parse_release,
    parse_reservations,
)
from agent.slurm.layout import Layout

SAMPLES = Path(__file__).parents[3] / "data" / "slurm"
RELEASES = ("22.05", "24.11", "25.11", "26.05")


def read(release: str, name: str) -> str:
    return (SAMPLES / release / name).read_text(errors="replace")


@pytest.mark.parametrize("release", RELEASES)
def test_text_and_json_of_a_release_tell_the_same_nodes(release: str) -> None:
    by_text, by_json = parse_nodes(read(release, "nodes.txt")), parse_nodes_json(read(release, "nodes.json"))
    assert by_text == by_json
    assert all(by_text[n].last_busy == by_json[n].last_busy is not None for n in by_text)
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
    assert by_text["n1"].booted is not None
    assert by_text["n1"].booted.date() == date(2026, 11, 22)
    assert (by_text["n1"].reason_user, by_text["n2"].reason_user) == ("", "root")
    assert (by_text["n1"].allocated_memory, by_text["n1"].gres) == (0, "")


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


def test_what_a_node_offers_and_what_is_taken_of_it() -> None:
    text = (
        read("22.05", "nodes.txt")
        .replace("Gres=(null)", "Gres=gpu:a100:2(S:0-1),shard:8(S:0,1)", 1)
        .replace("AllocMem=0", "AllocMem=750", 1)
        .replace("BootTime=", "BootTime=None Was=", 1)
    )
    node = parse_nodes(text)["n1"]
    assert (node.gres, node.allocated_memory, node.booted) == ("gpu:a100:2,shard:8", 750, None)


@pytest.mark.parametrize("release", RELEASES)
def test_how_the_cpus_of_a_node_are_laid_out(release: str) -> None:
    assert parse_nodes(read(release, "nodes.txt"))["n1"].layout == Layout(2, 1, 1, usable_cpus=2)


@pytest.mark.parametrize(
    ("specialised", "memory"),
    [
        ("CoreSpecCount=1 ", 0), ("CoreSpecCount=1 CPUSpecList=0-1 ", 0), ("MemSpecLimit=512", 512),
        ("CoreSpecCount=1 CPUSpecList=0,4 MemSpecLimit=512", 512), ("RestrictedCoresPerGPU=2(0-3,8) ", 0),
        ("MemSpecLimit=512 RestrictedCoresPerGPU=2(gpu:0-1) ", 512),
    ],
)  # fmt: skip
def test_what_is_set_aside_for_the_system(specialised: str, memory: int) -> None:
    text = (
        read("22.05", "nodes.txt")
        .replace("CPUEfctv=2 ", "CPUEfctv=1 ", 1)
        .replace("CoresPerSocket=1 ", "CpuBind=CORES CoresPerSocket=1 ", 1)
        .replace("Boards=1 ", f"Boards=1 {specialised} ", 1)
        .replace("TmpDisk=0", "TmpDisk=900", 1)
    )
    assert parse_nodes(text)["n1"].layout == Layout(2, 1, 1, 1, system_memory=memory, tmp_disk=900)


def test_a_user_name_with_a_domain_is_read_whole() -> None:
    text = read("22.05", "nodes.txt").replace("swap [root@", "swap [eve@site.org@")
    assert (parse_nodes(text)["n3"].reason, parse_nodes(text)["n3"].reason_user) == (
        "disk swap",
        "eve@site.org",
    )


def test_a_state_word_that_nobody_knows_is_neither_usable_nor_drained() -> None:
    text = read("22.05", "nodes.txt").replace("State=IDLE+DRAIN ", "State=HIBERNATING+DRAIN+ODD_FLAG ")
    node = parse_nodes(text)["n3"]
    assert (node.state, node.flags) == ("HIBERNATING", {"DRAIN", "ODD_FLAG"})
    assert not node.usable
    assert not node.drained


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


@pytest.mark.parametrize(
    ("said", "release"), [("slurm-wlm 22.05.8", (22, 5)), ("slurm 25.11.8-0pre1", (25, 11))]
)
def test_the_release_is_read(said: str, release: tuple[int, int]) -> None:
    assert parse_release(said) == release


@pytest.mark.parametrize("release", RELEASES)
def test_a_reservation_of_every_release_is_read(release: str) -> None:
    (fence,) = parse_reservations(read(release, "reservations-oneline.txt"))
    assert (fence.name, fence.nodes) == ("fence1", {"n4"})
    assert fence.flags == {"MAINT", "IGNORE_JOBS", "SPEC_NODES"}
    assert (fence.ends - fence.starts).total_seconds() == 3600
    assert (fence.partition, fence.users, fence.cpus) == ("", {"root"}, 2)


def test_what_a_reservation_takes_and_who_may_use_it_is_read() -> None:
    of_partition, of_cores = parse_reservations(
        "ReservationName=pn StartTime=1796152102 EndTime=1796155702 Duration=01:00:00 Nodes=a[1-2] NodeCnt=2"
        " CoreCnt=8 Features=(null) PartitionName=a2 Flags=SPEC_NODES,PART_NODES,PURGE_COMP=00:05:00"
        " TRES=cpu=8,gres/gpu=2 AllowedPartitions=(null) QOS=(null) Users=root,-eve Groups=(null)\n"
        "ReservationName=co StartTime=1796272102 EndTime=1796275702 Duration=01:00:00 Nodes=a1 NodeCnt=1"
        " CoreCnt=2 Features=(null) PartitionName=(null) Flags=SPEC_NODES   NodeName=a1 CoreIDs=0-1"
        " TRES=cpu=2 Users=(null) Groups=(null) Accounts=x\n"
    )
    assert (of_partition.partition, of_partition.users, of_partition.cpus) == ("a2", {"root", "-eve"}, 8)
    assert of_partition.flags == {"SPEC_NODES", "PART_NODES", "PURGE_COMP"}
    assert (of_cores.partition, of_cores.users, of_cores.cpus) == ("", frozenset(), 2)


def test_reservations_with_odd_names_are_read() -> None:
    odd, plain = parse_reservations(read("22.05-hostile", "reservations-oneline.txt"))
    assert (odd.name, odd.nodes, odd.flags) == ("we ird|x=y Flags=FOO", {"n3"}, {"SPEC_NODES"})
    assert odd.starts == datetime.fromtimestamp(1795370801, UTC)
    assert (plain.name, plain.nodes) == ("r2", {"n2", "pc1", "pc2", "pc3"})


@pytest.mark.parametrize("text", ["", "\n", "No reservations in the system\n"])
def test_no_reservations_are_no_reservations(text: str) -> None:
    assert parse_reservations(text) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("=r2 ", "=r2\nReservationName=evil "),
        ("=r2 ", "=r2 StartTime=1 EndTime=2 Duration=1 Nodes=n1 NodeCnt=1 "),
        ("=r2 ", "=r2 Flags= TRES= "),
        ("StartTime=", "StartTime=x"),
    ],
)
def test_a_reservation_whose_fields_cannot_be_told_apart_is_an_error(old: str, new: str) -> None:
    with pytest.raises(SlurmError, match="reservation"):
        parse_reservations(read("22.05-hostile", "reservations-oneline.txt").replace(old, new))


@given(st.data())
def test_a_cut_list_of_reservations_is_never_read_as_a_shorter_one(data: st.DataObject) -> None:
    text = read("22.05-hostile", "reservations-oneline.txt")
    ends = {m.end() for m in re.finditer("\n", text)} | {0}
    cut = data.draw(st.integers(1, len(text) - 1).filter(lambda n: n not in ends))
    with pytest.raises(SlurmError):
        parse_reservations(text[:cut])
