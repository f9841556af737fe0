"""Names on their way to Slurm, and out of what it tells."""

import re

import pytest
from ClusterShell.NodeSet import NodeSet
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.slurm.names import (
    MAX_NAMES,
    check_job,
    check_signal,
    expand,
    expand_written,
    fold,
    listed,
    share_tasks,
    shown,
    split_tasks,
)

NAMES = st.from_regex(
    re.compile(r"[a-z][a-z0-9._-]{0,6}[0-9]{0,3}(-fort|x|-y-[0-9])?", re.ASCII), fullmatch=True
)


@given(st.sets(NAMES))
def test_folding_keeps_every_name(names: set[str]) -> None:
    found = set()
    for part, folded in fold(names):
        assert expand(folded) == part
        assert set(NodeSet(folded)) == part
        found |= part
    assert found == names


def test_one_request_holds_at_most_a_thousand_names() -> None:
    parts = list(fold(f"pc{n}" for n in range(2 * MAX_NAMES + 1)))
    assert [len(part) for part, _ in parts] == [MAX_NAMES, MAX_NAMES, 1]


def test_neighbours_are_folded_in_their_last_number_only() -> None:
    (_, folded) = next(fold(["rack0n1", "rack0n2", "rack1n1", "pc099", "pc100"]))
    assert folded == "pc[099-100],rack0n[1-2],rack1n1"


@given(st.sets(NAMES))
def test_nothing_stands_behind_a_bracket_which_older_releases_do_not_read(names: set[str]) -> None:
    for _, folded in fold(names):
        assert re.search(r"\][^,]", folded) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["pc100-fort", "pc103-fort"], "pc100-fort,pc103-fort"),
        (["a1b2c", "a1b3c", "pc101", "pc102"], "pc[101-102],a1b2c,a1b3c"),
        (["x-1-y-2", "x-1-y-3", "x-2-y-3"], "x-1-y-[2-3],x-2-y-3"),
        (["node-007", "node-008", "node-007x"], "node-[007-008],node-007x"),
        (["n_1.2", "n_1.3"], "n_1.[2-3]"),
        (["100", "101"], "100,101"),
        (["m99999999999999999998", "m99999999999999999999"], "m99999999999999999998,m99999999999999999999"),
    ],
)
def test_names_that_do_not_end_with_a_number_are_listed(names: list[str], expected: str) -> None:
    assert list(fold(names)) == [(frozenset(names), expected)]


def test_a_list_that_one_command_cannot_carry_is_refused_and_told() -> None:
    assert expand(listed(f"pc{n}-fort" for n in range(3000))) == {f"pc{n}-fort" for n in range(3000)}
    with pytest.raises(SlurmRefusedError, match="at most 100000 characters, got"):
        listed(f"{'x' * 55}{n}-fort" for n in range(2000))


@pytest.mark.parametrize(
    ("hostlist", "expected"),
    [
        ("pc[100,103]-fort", {"pc100-fort", "pc103-fort"}),
        ("pc100-fort,n[09-10]", {"pc100-fort", "n09", "n10"}),
        ("rack[1-2]n[01-02]", {"rack1n01", "rack1n02", "rack2n01", "rack2n02"}),
        ("n[7,007,08-10]", {"n7", "n007", "n08", "n09", "n10"}),
        ("x-1-y-[2-3],pc-007.a_b", {"x-1-y-2", "x-1-y-3", "pc-007.a_b"}),
        ("a1-[3-4],a2-[3-4]", {"a1-3", "a1-4", "a2-3", "a2-4"}),
        ("a[1-2]-[3,05]b", {"a1-3b", "a1-05b", "a2-3b", "a2-05b"}),
        ("[8-10]", {"8", "9", "10"}),
    ],
)
def test_slurms_own_lists_are_taken_apart(hostlist: str, expected: set[str]) -> None:
    assert expand(hostlist) == expected


ODD = (
    "a+b1", "a:b1", "a/b1", "a@b1", "a%b1", "a~1", "a!1", "a$1", "a^1", "a&1", "a*1", "a(1)", "a\u00e91",
    "a;1", "a?1", "a'1", 'a"1', "a|1", "a{1}", "a<1>", "a_1", "-a1", ".a1", "a]1", "a`1", "a=1", "+1", "@all",
    "\u00e9", "a\u00a01", "x" * 70,
)  # fmt: skip
"""Names of nodes that slurmctld 22.05 and 24.11 took from slurm.conf."""


@pytest.mark.parametrize("name", ODD)
def test_nodes_that_are_not_ours_may_be_called_anything_that_slurm_takes(name: str) -> None:
    assert expand(f"{name},pc[1-2],{name}") == {name, "pc1", "pc2"}
    assert expand(f"{name}[08-10]") == {f"{name}08", f"{name}09", f"{name}10"}
    assert shown([name, "pc1", "pc2"]) in {f"pc[1-2],{name}", f"{name},pc[1-2]"}


@pytest.mark.parametrize("hostlist", ["a+b1", "n1,@all", "n[1-", "n1 n2", "a|b"])
def test_a_list_that_a_person_wrote_has_names_that_ours_may_have(hostlist: str) -> None:
    with pytest.raises(SlurmError, match="expected a list of nodes, got"):
        expand_written(hostlist)


@pytest.mark.parametrize("name", ["", "a b", "n1,n2", "n[1-2]", "-n", "a\nb", "a;b", "@all", "n=1", "x" * 65])
def test_what_is_no_node_name_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(SlurmRefusedError, match="not a node name"):
        next(fold(["n1", name]))


@pytest.mark.parametrize(
    "hostlist",
    [
        "n[1-",
        "n1 n2",
        "n[2-1]",
        "n[x]",
        "n[]",
        "n[1,,2]",
        "n[1-2-3]",
        "n[1-999999]",
        "n[1-999][1-999]",
        "n1\n",
        "n1\x00",
        "n1,",
        ",n1",
        "n1,,n2",
        "n[1]][",
    ],
)
def test_what_is_no_hostlist_is_an_error(hostlist: str) -> None:
    with pytest.raises(SlurmError):
        expand(hostlist)


@pytest.mark.parametrize("hostlist", ["", "(null)"])
def test_no_nodes_are_no_nodes(hostlist: str) -> None:
    assert expand(hostlist) == frozenset()


@pytest.mark.parametrize("job", ["1", "12_3", "12_[3,6-9:2]", "12+1"])
def test_ids_that_scontrol_takes_pass(job: str) -> None:
    assert check_job(job) == job


@pytest.mark.parametrize("job", ["", "0", "-1", "1 2", "1;x", "12_[1%2]", "all", "12_", "1\n", "--help"])
def test_other_ids_are_refused(job: str) -> None:
    with pytest.raises(SlurmRefusedError):
        check_job(job)


@pytest.mark.parametrize("signal", ["", "usr1", "USR1 9", "-9", "999", "KILL;x"])
def test_what_is_no_signal_is_refused(signal: str) -> None:
    with pytest.raises(SlurmRefusedError):
        check_signal(signal)


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


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("5_[1-3]", "5_2", True), ("5_[1-5:2]", "5_2", False), ("5_[1,7-9]", "5_[8-12]", True),
        ("5", "5_2", True), ("5_2", "5_[3-4]", False), ("5_2", "55_2", False), ("6+1", "6", True),
        ("6", "6", True), ("5_2.batch", "5_2", True), ("5_*", "5_2", True),
    ],
)  # fmt: skip
def test_ids_that_have_a_task_in_common_are_found(one: str, other: str, shared: bool) -> None:
    assert share_tasks(one, other) is share_tasks(other, one) is shared


@given(st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 50))
def test_a_range_of_tasks_counts_as_python_counts_it(first: int, length: int, step: int) -> None:
    expected = len(range(first, first + length + 1, step))
    assert split_tasks(f"1_[{first}-{first + length}:{step}]")[1] == expected
