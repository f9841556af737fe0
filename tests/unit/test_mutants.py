"""What `make mutants` tries, and that its list names what is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tools.mutants import LIST, ROOT, unit_tests_of
from tools.mutations import mutants

KNOWN = tomllib.loads(LIST.read_text())


def changes(code: str) -> set[str]:
    return {mutant.change for mutant in mutants("m.py", code)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b", "pass"}),
        ("x = a in b", {"x = a not in b", "pass"}),
        ("x = a not in b", {"x = a in b", "pass"}),
        ("x = a and b", {"x = a or b", "x = b", "x = a", "pass"}),
        ("x = [a for a in b if a]", {"x = [a for a in b if not (a)]", "pass"}),
        ("x = min(a)", {"x = max(a)", "pass"}),
        ("x = 'a'", {"x = 'XX' 'a'", "pass"}),
        ("x = 3", {"x = 4", "x = 2", "pass"}),
        ("f(a)", {"pass"}),
        ("raise", {"pass"}),
    ],
)
def test_a_line_is_changed_in_every_way_that_could_decide_otherwise(line: str, expected: set[str]) -> None:
    assert {" ".join(change.split()) for change in changes(f"{line}\n")} == expected


def test_a_value_that_is_returned_is_not_any_more() -> None:
    assert "return None" in changes("def f():\n    return a\n")
    assert changes("def f():\n    return False\n") == {"return True"}


@pytest.mark.parametrize(
    "code",
    [
        '"""About it."""\n',
        "import a\n",
        "def f(a: int | None, *, b: int) -> int | str:\n    pass\n",
        "x: Literal['a']\n",
        "class A(Protocol):\n    x: int = 1\n",
        "assert a is not None\n",
        "log.info('a', b=1)\n",
    ],
)
def test_what_decides_nothing_stays(code: str) -> None:
    assert changes(code) == set()


def test_a_description_and_the_arguments_of_a_decorator_stay() -> None:
    code = "@dataclass(frozen=True)\nclass A:\n    x: int = Field(a, description='b')\n"
    assert changes(code) == {"class A:", "pass"}


def test_a_mutant_tells_where_it_is() -> None:
    code = "class A:\n    def f(self):\n        return a == b\n"
    [mutant] = [m for m in mutants("m.py", code) if "!=" in m.change]
    assert mutant.name == ("m.py", "A.f", "return a == b", "return a != b")
    assert mutant.number == 3


@pytest.mark.parametrize("module", KNOWN["modules"])
def test_every_decision_module_is_there_and_has_tests(module: str) -> None:
    assert (ROOT / module).is_file()
    tests = unit_tests_of(module, KNOWN["modules"][module])
    assert all((ROOT / path).is_file() for path in tests)


def test_every_mutant_that_may_survive_has_its_reason() -> None:
    entries = KNOWN.get("equivalent", [])
    assert all(entry.keys() == {"module", "in", "line", "change", "reason"} for entry in entries)
    assert {entry["module"] for entry in entries} <= set(KNOWN["modules"])
    assert Path(LIST).is_relative_to(ROOT / "tests")
