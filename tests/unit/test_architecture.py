"""docs/architecture.md names what is there: the rooms in the picture, files and names on five roads."""

import ast
import re
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import pytest

from tests.unit.test_layers import ALLOWED, ROOT, imports_of, modules

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:agent|testbed|tests|bench|tools|contrib)/[\w./-]+)(?:: [^`]+)?`")
STATION = re.compile(r"^\d+\. `([\w/]+\.py): ([^`]+)`", re.MULTILINE)
ROADS = {
    "A revocation": 12,
    "A pending job": 12,
    "A resource value": 8,
    "A refused renewal": 8,
    "An administrator's word": 10,
}
"""Title of a road -> how many files it passes at least."""


class Station(NamedTuple):
    """A file on a road, and what of it is named."""

    path: str
    names: frozenset[str]


def chapter(title: str) -> str:
    """Return the text below a heading, down to the next one of its rank or a higher one."""
    heading = re.search(rf"(?m)^(##+) {re.escape(title)}$", PAGE)
    assert heading, title
    rest = PAGE[heading.end() :]
    following = re.search(rf"(?m)^##{{1,{len(heading[1]) - 1}}} ", rest)
    return rest[: following.start()] if following else rest


def drawn() -> set[str]:
    """Return the paths in the picture, folders with a slash at their end."""
    picture = re.search(r"(?s)```\n(.*?)```", chapter("The house"))
    assert picture
    found: set[str] = set()
    above: list[str] = []
    for line in picture[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        above[depth:] = [name]
        assert len(line.split()) > 1, f"{name}: what is it for?"
        found.add("".join(above))
    return found


def rooms_below(top: str) -> set[str]:
    """Return the folders of modules below one, as they are drawn."""
    return {f"{each.parent.relative_to(ROOT)}/" for each in (ROOT / top).rglob("*/__init__.py")} - {f"{top}/"}


def beside_rooms(folder: str) -> set[str]:
    """Return the modules of a folder that has rooms."""
    return {str(each.relative_to(ROOT)) for each in (ROOT / folder).glob("*.py")} - {f"{folder}/__init__.py"}


def test_the_picture_has_every_room_and_all_that_stands_beside_rooms() -> None:
    rooms = rooms_below("agent")
    with_rooms = {"agent", *(room.rstrip("/") for room in rooms if rooms_below(room.rstrip("/")))}
    expected = rooms.union(*(beside_rooms(folder) for folder in with_rooms))
    assert {path for path in drawn() if path.startswith("agent/")} == expected | {"agent/"}


def test_the_picture_has_every_room_of_the_simulated_cloudlab() -> None:
    assert {path for path in drawn() if path.startswith("testbed/cloudlab/")} == {
        "testbed/cloudlab/",
        *rooms_below("testbed/cloudlab"),
    }


def test_all_that_is_drawn_or_named_is_there() -> None:
    named = set(PATH.findall(PAGE))
    assert len(named) > 50
    assert [path for path in sorted(named | drawn()) if not (ROOT / path).exists()] == []


def test_who_may_import_whom_is_what_the_rooms_are_held_to() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)` \|(.*)\|$", chapter("Who may import whom"))
    assert {room: {room, *re.findall(r"`(\w+)`", others)} for room, others in rows} == {
        room: {room, *others} for room, others in ALLOWED.items()
    }


def stations(road: str) -> list[Station]:
    return [Station(path, frozenset(names.split(", "))) for path, names in STATION.findall(chapter(road))]


@cache
def syntax(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


@cache
def defined_in(path: str) -> frozenset[str]:
    """Return the functions, classes and variables of a file, private ones without an underscore."""
    found = set()
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return frozenset(name.lstrip("_") for name in found)


@cache
def used_in(path: str) -> frozenset[str]:
    """Return the names that a file uses, and the paths of calls in it."""
    nodes = list(ast.walk(syntax(path)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return asked_of_others_in(path) | names | {text for text in texts if text.startswith("/")}


@cache
def asked_of_others_in(path: str) -> frozenset[str]:
    """Return what a file uses of objects, private ones without an underscore."""
    nodes = ast.walk(syntax(path))
    attributes = (
        node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    )
    return frozenset(node.attr.lstrip("_") for node in attributes)


def imports(one: str, other: str) -> bool:
    name = other.removesuffix(".py").replace("/", ".")
    assert name in modules()
    return name in imports_of(syntax(one))


def connected(one: Station, other: Station) -> bool:
    """Tell whether one file imports the other, uses what is told and defined there, or both have a path."""
    pairs = ((one, other), (other, one))
    return (
        any(imports(user.path, maker.path) for user, maker in pairs)
        or any(maker.names & defined_in(maker.path) & asked_of_others_in(user.path) for user, maker in pairs)
        or any(name.startswith("/") for name in one.names & other.names)
    )


@pytest.mark.parametrize("road", ROADS)
def test_what_a_road_names_is_in_its_files(road: str) -> None:
    found = stations(road)
    assert len({station.path for station in found}) >= ROADS[road]
    assert len(found) == len(re.findall(r"(?m)^\d+\. ", chapter(road))), "a step without a file"
    lacking = [(path, sorted(names - defined_in(path) - used_in(path))) for path, names in found]
    assert [(path, names) for path, names in lacking if names] == []


@pytest.mark.parametrize("road", ROADS)
def test_each_file_of_a_road_is_connected_with_the_next(road: str) -> None:
    gaps = [(one.path, other.path) for one, other in pairwise(stations(road)) if not connected(one, other)]
    assert gaps == []


def test_every_road_is_told() -> None:
    assert re.findall(r"(?m)^### (.*)$", chapter("Five roads")) == list(ROADS)
