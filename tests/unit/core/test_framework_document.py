"""docs/framework.md has a row for everything in the reference, and every test that it names is there."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DOCUMENT = (ROOT / "docs" / "framework.md").read_text()

spec = importlib.util.spec_from_file_location("reference_reader", HERE / "test_reference_signatures.py")
signatures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(signatures)
REFERENCE = signatures.REFERENCE_CLASSES


def read_rows():
    """Return class -> [(first column, what ours does, test)]."""
    rows = {}
    for section in re.split(r"(?m)^## ", DOCUMENT.partition("\n## The rows\n")[2])[1:]:
        name = section.split("\n", 1)[0]
        found = re.findall(r"(?m)^\| `(.+?)` \| (.+?) \| `(\S+?)` \|$", section)
        assert len(found) == max(0, section.count("\n|") - 2), f"{name}: a row that cannot be read"
        if found:
            rows[name] = found
    return rows


ROWS = read_rows()


def wanted(class_name):
    """List what the reference has of a class: (name, parameter or "", default or value)."""
    reference = REFERENCE[class_name]
    yield class_name, "", ...
    for name, value in reference.constants.items():
        yield name, "", value
    for method, parameters in reference.methods.items():
        yield f"{method}()", "", ...
        for parameter, default in signatures.described(parameters):
            yield method, parameter, default


def told(class_name):
    """List what the rows tell of a class, in the same way."""
    constants = REFERENCE[class_name].constants
    for key, _, _ in ROWS[class_name]:
        if found := re.fullmatch(r"([A-Z_]+) = (.+)", key):
            yield found[1], "", ast.literal_eval(found[2])
        elif found := re.fullmatch(r"(\w+)\((\w+)(?:=(.+))?\)", key):
            method, parameter, default = found.groups()
            if default is None:
                yield method, parameter, ...
            else:
                yield method, parameter, constants.get(default) or ast.literal_eval(default)
        else:
            yield key, "", ...


def test_every_class_of_the_reference_has_a_table_and_no_other_has():
    assert sorted(ROWS) == sorted(REFERENCE)


@pytest.mark.parametrize("class_name", REFERENCE)
def test_every_name_parameter_default_and_constant_has_its_row(class_name):
    rows, reference = list(told(class_name)), list(wanted(class_name))
    assert [row for row in reference if row not in rows] == [], "not told"
    assert [row for row in rows if row not in reference] == [], "not in the reference"
    assert len(rows) == len(reference), "told twice"


@pytest.mark.parametrize("class_name", REFERENCE)
def test_every_row_says_what_ours_does(class_name):
    assert all(len(text) > 4 for _, text, _ in ROWS[class_name])


def test_every_named_test_is_there():
    named = set(re.findall(r"([\w/]+\.py)::(\w+)", DOCUMENT))
    assert len(named) > 60
    for file, function in sorted(named):
        (path,) = [ROOT / file] if "/" in file else HERE.rglob(file)
        defined = {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}
        assert function in defined, f"{file}::{function}"
