"""Tables and records as people and programs get them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.output import draw_fields, draw_table, plain, remark, say

ROWS = [
    {"node": "pc100", "state": "joined", "why": "the queue wants it, and it is of use to somebody else too"},
    {"node": "pc7", "state": None, "why": ""},
]
COLUMNS = ("node", "state", "why")


def test_a_table_has_a_head_and_aligned_columns_and_is_not_wrapped_in_a_pipe() -> None:
    assert draw_table(COLUMNS, ROWS, width=None) == [
        "NODE   STATE   WHY",
        "pc100  joined  the queue wants it, and it is of use to somebody else too",
        "pc7    -       -",
    ]


def test_on_a_terminal_the_last_column_is_wrapped_under_itself() -> None:
    assert draw_table(COLUMNS, ROWS, width=45) == [
        "NODE   STATE   WHY",
        "pc100  joined  the queue wants it, and it is",
        "               of use to somebody else too",
        "pc7    -       -",
    ]


def test_on_a_narrow_terminal_each_row_becomes_a_record() -> None:
    assert draw_table(COLUMNS, ROWS, width=30) == [
        "node:   pc100",
        "state:  joined",
        "why:",
        "  the queue wants it, and it",
        "  is of use to somebody else",
        "  too",
        "",
        "node:   pc7",
        "state:  -",
        "why:    -",
    ]


_CELL = st.one_of(st.none(), st.integers(), st.text(max_size=60))
_ROWS = st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, _CELL)), min_size=1)


@given(
    rows=st.lists(st.fixed_dictionaries(dict.fromkeys(COLUMNS, _CELL)), min_size=1),
    width=st.integers(20, 200),
)
def test_no_line_is_wider_than_the_terminal_and_none_obeys_what_slurm_users_wrote(rows, width: int) -> None:
    for line in draw_table(COLUMNS, rows, width=width):
        assert len(line) <= width
        assert line.isprintable()


@given(rows=_ROWS)
def test_in_a_pipe_a_record_is_a_line(rows) -> None:
    assert len(draw_table(COLUMNS, rows, width=None)) == len(rows) + 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        ("", "-"),
        (0, "0"),
        ({}, "-"),
        ({"a": 1, "b": None}, "a 1, b -"),
        (["x", "y"], "x; y"),
        ("a\x1b[31mred\nb", "a [31mred b"),
    ],
)
def test_every_value_is_one_plain_line(value, words: str) -> None:
    assert plain(value) == words


def test_fields_are_aligned_and_long_ones_wrapped() -> None:
    fields = {"slice": "urn", "said_last": "one two three four five six seven eight"}
    assert draw_fields(fields, width=40) == [
        "slice:      urn",
        "said last:  one two three four five six",
        "            seven eight",
    ]


def test_what_is_printed_keeps_its_lines_and_has_nothing_that_a_terminal_obeys(capsys) -> None:
    say("weight pc1: \x1b[2Jgone\n\tnext")
    remark("pc1 is already drained: \x1b]0;title\x07")
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "weight pc1:  [2Jgone\n\tnext\n",
        "pc1 is already drained:  ]0;title \n",
    )
