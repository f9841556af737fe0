"""Why a profile failed, in a sentence."""

from __future__ import annotations

import pytest

from agent.core.request.complaint import complaint

TRACE = """Traceback (most recent call last):
  File "/local/profile.py", line 3, in <module>
    {code}
{error}
"""
DEEPER = """Traceback (most recent call last):
  File "/local/profile.py", line 3, in <module>
    {code}
  File "/opt/lib/geni/portal.py", line 384
    print param.longDescription
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^
{error}
"""


def told(error, trace=TRACE, code="x"):
    return complaint(trace.format(code=code, error=error), "/opt/python")


def test_an_exception_is_told_with_its_place():
    assert told("ValueError: no such type") == "ValueError: no such type (/local/profile.py, line 3)"
    assert told("KeyError") == "KeyError (/local/profile.py, line 3)"


@pytest.mark.parametrize("name", ["'geni'", "'six'", "geni"])
def test_a_library_that_is_missing_is_told_with_how_to_get_it(name):
    words = told(f"ModuleNotFoundError: No module named {name}", code="import geni.portal as portal")
    assert "/opt/python has no geni-lib: docs/profiles.md says which" in words
    assert "geni-lib" not in told("ModuleNotFoundError: No module named 'genial'")


@pytest.mark.parametrize(
    "error",
    [
        "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?",
        "TypeError: write() argument must be str, not bytes",
    ],
)
def test_a_library_of_python_2_is_told_as_such(error):
    assert "this geni-lib is not for Python 3: docs/profiles.md" in told(error, DEEPER)


@pytest.mark.parametrize(
    "error",
    [
        "AttributeError: 'Context' object has no attribute 'defineStructParameter'",
        "AttributeError: module 'geni.rspec.pg' has no attribute 'DockerContainer'",
        "ModuleNotFoundError: No module named 'geni.rspec.emulab.ansible'",
        "ImportError: cannot import name 'route' from 'geni.rspec' (unknown location)",
    ],
)
def test_a_library_that_lacks_something_is_told_as_such(error):
    assert "this geni-lib does not have it: docs/profiles.md" in told(error)


@pytest.mark.parametrize(
    "error",
    [
        "NameError: name 'xrange' is not defined. Did you mean: 'range'?",
        "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)?",
        "SyntaxError: Lambda expression parameters cannot be parenthesized",
        "ModuleNotFoundError: No module named 'urllib2'",
    ],
)
def test_a_script_of_python_2_is_told_as_such(error):
    assert "it is written for Python 2: rewrite it (2to3), or name a Python 2" in told(error)
    assert "Python 2" not in told("NameError: name 'noodes' is not defined")


def test_what_geni_lib_says_of_parameters_is_told_with_their_names():
    said = (
        "/local/profile.py:3: DeprecationWarning: crypt\n"
        '[{"errorType": "ParameterError", "message": "Illegal value \'m1\'", "params": ["type"]}, '
        '{"errorType": "ParameterError", "message": "too many", "params": ["count", "size"]}]'
    )
    words = "[request.parameters] type: Illegal value 'm1'; count, size: too many"
    assert complaint(said, "python3") == words


def test_what_the_portals_geni_lib_says_of_parameters_is_told_with_their_names():
    said = (
        '{"bindings": {"count": {"value": 10, "errors": ["2"]}, "type": {"value": "a"}}, "errors": {'
        '"1": {"message": "Double fault: x"}, "2": {"message": "too many"}, "3": {"message": "no room"}}}'
    )
    assert complaint(said, "python3") == "[request.parameters] count: too many; no room"


def test_words_that_are_no_traceback_are_told_as_they_are():
    assert complaint("first\nsecond\n\nthird\nno such type\n", "python3") == "second; third; no such type"
    assert complaint(" \n", "python3") == "nothing on stderr"
    for odd in ('[{"', '[{"a": 1}]', '{"errors": 3}', '{"errors": {"1": {"message": "x"}}}'):
        assert complaint(odd, "python3") == odd


def test_a_long_line_is_cut():
    assert len(told("ValueError: " + "x" * 5000)) < 400
    assert len(complaint("x" * 5000, "python3")) < 400
