"""Names, parameters, defaults, bases and constants are those of the reference, compared mechanically."""

import ast
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.core import framework

REFERENCE = Path(__file__).parents[2] / "data" / "elasticslice-managers-core.txt"
ALSO = {("SimpleElasticSliceManager", "manage_once"): ["force"]}
"""Parameters that a base of the same reference has, and its subclass lost in the text: ours keeps them."""


@dataclass
class Described:
    init: str = ""
    bases: list[str] = field(default_factory=list)
    methods: dict[str, str] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)


def read_reference():
    classes = {}
    current = None
    for line in REFERENCE.read_text().splitlines():
        if found := re.fullmatch(r"class elasticslice\.managers\.core\.(\w+)(?:\((.*)\))?\[source\]", line):
            current = classes[found[1]] = Described(init=found[2] or "")
        elif found := re.match(r"Bases: (.*)", line):
            current.bases = [name.rsplit(".", 1)[-1].strip() for name in found[1].split(",")]
        elif found := re.fullmatch(r"(\w+)\((.*)\)\[source\]", line):
            current.methods[found[1]] = found[2]
        elif found := re.fullmatch(r"([A-Z_]+) = (.*)", line):
            current.constants[found[1]] = ast.literal_eval(found[2])
    return classes


REFERENCE_CLASSES = read_reference()


def ours(name):
    return getattr(framework, name)


def described(parameters):
    """Return name -> default (``...`` for none) of a parameter list in text."""
    arguments = ast.parse(f"def f({parameters}): pass").body[0].args
    names = [a.arg for a in arguments.args]
    defaults = [ast.literal_eval(d) for d in arguments.defaults]
    return list(zip(names, [...] * (len(names) - len(defaults)) + defaults, strict=True))


def actual(function):
    parameters = list(inspect.signature(function).parameters.values())[1:]
    assert all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
    return [(p.name, ... if p.default is inspect.Parameter.empty else p.default) for p in parameters]


def test_the_reference_was_read_whole():
    assert len(REFERENCE_CLASSES) == 7
    assert sum(len(c.methods) for c in REFERENCE_CLASSES.values()) == 62
    assert len(REFERENCE_CLASSES["SimpleElasticSliceManager"].constants) == 7


def test_one_import_brings_all_classes_of_the_reference():
    assert set(framework.__all__) == REFERENCE_CLASSES.keys()


METHODS = [(c, m) for c, described_ in REFERENCE_CLASSES.items() for m in described_.methods]


@pytest.mark.parametrize(("class_name", "method"), METHODS)
def test_a_method_has_the_parameters_and_defaults_of_the_reference(class_name, method):
    wanted = described(REFERENCE_CLASSES[class_name].methods[method])
    found = actual(getattr(ours(class_name), method))
    extra = ALSO.get((class_name, method), [])
    assert [p for p in found if p[0] not in extra] == wanted


@pytest.mark.parametrize(("class_name", "method"), METHODS)
def test_a_method_is_defined_where_the_reference_has_it(class_name, method):
    assert method in vars(ours(class_name))


@pytest.mark.parametrize("class_name", REFERENCE_CLASSES)
def test_a_class_has_the_bases_of_the_reference(class_name):
    assert [b.__name__ for b in ours(class_name).__bases__] == REFERENCE_CLASSES[class_name].bases


@pytest.mark.parametrize("class_name", REFERENCE_CLASSES)
def test_a_class_is_made_with_the_arguments_of_the_reference(class_name):
    assert actual(ours(class_name).__init__) == described(REFERENCE_CLASSES[class_name].init)


@pytest.mark.parametrize("class_name", REFERENCE_CLASSES)
def test_a_class_has_the_constants_of_the_reference(class_name):
    for name, value in REFERENCE_CLASSES[class_name].constants.items():
        found = getattr(ours(class_name), name)
        assert found == value, name
        assert type(found) is type(value), name
