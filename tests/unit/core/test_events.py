"""Kinds of events: each is told somewhere with its data, has a meaning, and causes that can be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from agent.core.events import Event, EventData, EventKind, JobLost, OfJob, PastEvent, Release, Request
from agent.tell.causes import find_causes

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TELLERS = {"tell", "_tell", "_tell_lost", "_end", "record", "Event"}
DATA = {each.__name__ for each in get_args(EventData)}


@cache
def functions() -> tuple[tuple[str, ast.FunctionDef], ...]:
    """Every function of the agent, with its place."""
    return tuple(
        (f"{path}:{node.lineno}", node)
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    )


def kinds_named(tree: ast.AST) -> set[EventKind]:
    return {
        EventKind[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "EventKind"
        and node.attr in EventKind.__members__
    }


@cache
def calls(tree: ast.AST) -> tuple[ast.Call, ...]:
    made = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return tuple(node for node in made if ast.unparse(node.func).rpartition(".")[2] in TELLERS)


def test_the_words_are_public_and_stay() -> None:
    assert all(re.fullmatch(r"[a-z]+([_-][a-z]+)*", kind) for kind in EventKind)
    assert all(kind.name == kind.value.upper().replace("-", "_") for kind in EventKind)
    assert {"growth_stopped", "probe_failed", "join-failed", "release"} <= set(EventKind)


def kinds_told(call: ast.Call, function: ast.FunctionDef) -> set[EventKind]:
    """The kinds that a call may tell: named in an argument, or in what its function gives to a name there."""
    names = {each.id for each in call.args if isinstance(each, ast.Name)}
    given = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and names & {ast.unparse(target) for target in node.targets}
    ]
    return set().union(*map(kinds_named, (*call.args, *given)))


def data_made(call: ast.Call) -> set[str]:
    """The names of the data classes that a call makes."""
    return DATA & {ast.unparse(node.func) for node in ast.walk(call) if isinstance(node, ast.Call)}


def test_every_kind_is_told_somewhere() -> None:
    told = {kind for _, each in functions() for call in calls(each) for kind in kinds_told(call, each)}
    assert set(EventKind) - told == set()


def test_what_is_told_has_the_data_of_its_kind() -> None:
    seen = set()
    for place, function in functions():
        for call in calls(function):
            for made in data_made(call):
                for kind in kinds_told(call, function):
                    seen.add(kind)
                    assert kind.data is not None, f"{place}: {kind} has no data"
                    assert kind.data.__name__ == made, f"{place}: {kind}"
    by_helpers = {kind for kind in EventKind if kind.data in {OfJob, JobLost, Request}}
    assert {kind for kind in EventKind if kind.data} - seen <= by_helpers


@pytest.mark.parametrize("kind", EventKind)
def test_a_kind_is_told_in_words_and_has_plain_data(kind: EventKind) -> None:
    assert kind.meaning
    assert not kind.meaning.endswith(".")
    assert "|" not in kind.meaning
    for field in fields(kind.data) if kind.data else ():
        assert field.type in {"str", "int", "float", "bool", "float | None"}, "the ledger writes it as JSON"


def test_no_kind_leads_to_itself() -> None:
    assert not [kind for kind in EventKind if kind in kind.causes]


def test_a_release_is_notable_when_it_is_late() -> None:
    late, early = (Event(NOW, EventKind.RELEASE, "pc1", "", Release(margin, None)) for margin in (-1.0, 1.0))
    assert late.is_notable
    assert not early.is_notable
    assert not EventKind.RELEASE.is_notable


def test_what_an_earlier_run_left_leads_to_what_this_one_does() -> None:
    told = [("adopt", "a"), ("requeue", "a"), ("leave", "a"), ("revoke", "b"), ("adopt", "b"), ("leave", "b")]
    numbered = [(n, PastEvent(NOW, kind, subject, "", {})) for n, (kind, subject) in enumerate(told)]
    assert find_causes(numbered) == {1: 0, 2: 0, 4: 3, 5: 4}


def test_a_machine_is_the_same_by_each_of_its_names() -> None:
    told = [("revoke", "pc1"), ("drain", "node-1"), ("requeue", "node-1,node-2"), ("release", "pc1")]
    numbered = [(n, PastEvent(NOW, kind, subject, "", {})) for n, (kind, subject) in enumerate(told)]
    assert find_causes(numbered, {"pc1": "node-1", "node-1": "node-1"}) == {1: 0, 2: 1, 3: 1}


def test_a_kind_of_another_version_leads_to_nothing_and_comes_from_nothing() -> None:
    told = [("revoke", "a"), ("moonshine", "a"), ("drain", "a")]
    numbered = [(n, PastEvent(NOW, kind, subject, "", {})) for n, (kind, subject) in enumerate(told)]
    assert find_causes(numbered) == {2: 0}


def test_the_document_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools/events_doc.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert (ROOT / "docs/events.md").read_text() == made.stdout, (
        ".venv/bin/python tools/events_doc.py > docs/events.md"
    )
