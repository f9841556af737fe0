"""The rooms of the simulated Cloudlab, folders and the files beside them, import each other in no circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "testbed.cloudlab"
FOLDER = Path(__file__).parents[3] / "testbed" / "cloudlab"
FOLDERS = {"callbacks", "cm", "documents", "hands", "sa", "steering", "wire"}


def imported_by(path: Path) -> set[str]:
    """Return all that a file imports, each as a dotted name below ``PACKAGE``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix(f"{PACKAGE}.") for name in names if f"{name}.".startswith(f"{PACKAGE}.")}


def room_of(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").parts[0]


def arrows() -> dict[str, set[str]]:
    """Return who imports whom: room -> rooms."""
    found: dict[str, set[str]] = {}
    for path in FOLDER.rglob("*.py"):
        room = room_of(path)
        found.setdefault(room, set()).update({name.split(".")[0] for name in imported_by(path)} - {room})
    return found


def test_no_room_imports_one_that_imports_it() -> None:
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_whoever_is_inside_imports_a_room_and_not_the_front_door() -> None:
    graph = arrows()
    assert graph.keys() > FOLDERS
    assert set().union(*graph.values()) <= graph.keys() - {"__init__"}


def test_the_front_door_names_every_folder() -> None:
    words = ast.get_docstring(ast.parse((FOLDER / "__init__.py").read_text())) or ""
    named = {line.split()[0].rstrip("/") for line in words.splitlines() if line.startswith("    ")}
    assert named == FOLDERS == {path.parent.name for path in FOLDER.glob("*/__init__.py")}
