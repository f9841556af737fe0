"""Why a profile script failed, as one sentence: from what it said on stderr."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from agent.core.letters import read_json

_PLACE = re.compile(r'^ *File "(?P<file>.+)", line (?P<line>\d+)', re.MULTILINE)
_TOLD = 300
"""Characters of a line that are shown."""
_LINES = 3
_PYTHON_2 = re.compile(
    r"SyntaxError: .*(?:print|exec|parenthesized|except|octal|integer literal)"
    r"|NameError: name '(?:xrange|unicode|raw_input|basestring|long|reduce|unichr)'"
    r"|No module named '(?:ConfigParser|Queue|StringIO|cPickle|urllib2|urlparse|httplib|commands)'"
    r"|has no attribute '(?:iteritems|itervalues|iterkeys|has_key)'"
)
_LIBRARY_OF_PYTHON_2 = re.compile(r"SyntaxError|write\(\) argument .*, not bytes")
_OLD_LIBRARY = re.compile(
    r"'(?:Context|Request|RawPC|XenVM|Node|LAN|Link|Interface)' object has no attribute"
    r"|module 'geni\.[\w.]+' has no attribute|No module named '?geni\.|from 'geni\b"
)
INSTALL = "docs/profiles.md says which geni-lib works, and how to install it"


def complaint(errors: str, python: str) -> str:
    """Tell why a script failed, and what to do where that is known.

    Args:
        errors: the end of what it said on stderr.
        python: the interpreter that ran it.
    """
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if not lines:
        return "nothing on stderr"
    if told := _of_the_portal(lines):
        return told
    places = list(_PLACE.finditer(errors))
    if not places:
        return "; ".join(line[-_TOLD:] for line in lines[-_LINES:])
    last = next((line for line in reversed(lines) if re.match(r"[\w.]+(?::|$)", line)), lines[-1])[:_TOLD]
    file, line = places[-1]["file"], places[-1]["line"]
    return f"{last} ({file}, line {line}){_advice(last, file, python)}"


def _advice(last: str, file: str, python: str) -> str:
    if re.search(r"No module named '?(?:geni|six)(?:'|$)", last):
        return f"; {python} has no geni-lib: {INSTALL}"
    if _OLD_LIBRARY.search(last):
        return f"; this geni-lib does not have it: {INSTALL}"
    if "/geni/" in file:
        if _LIBRARY_OF_PYTHON_2.search(last):
            return f"; this geni-lib is not for Python 3: {INSTALL}"
    elif _PYTHON_2.search(last):
        return "; it is written for Python 2: rewrite it (2to3), or name a Python 2 as profile_python"
    return ""


def _of_the_portal(lines: list[str]) -> str:
    """Read what ``geni.portal.Context.verifyParameters`` says of parameters, in JSON."""
    for line in reversed(lines):
        if line.startswith(('[{"', '{"')):
            with suppress(ValueError, KeyError, TypeError, AttributeError):
                told = read_json(line)
                return "[request.parameters] " + "; ".join(_faults(told))
    return ""


def _faults(told: Any) -> Iterator[str]:
    """Read a list of errors, as geni-lib of PyPI writes it, or values with theirs, as the portal's."""
    if isinstance(told, list):
        for each in told:
            yield f"{', '.join(each['params'])}: {each['message']}"
        return
    for number, error in told["errors"].items():
        names = [name for name, value in told["bindings"].items() if number in value.get("errors", ())]
        if not error["message"].startswith("Double fault"):
            yield ": ".join([*([", ".join(names)] if names else []), error["message"]])
