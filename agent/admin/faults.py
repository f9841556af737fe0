"""What is wrong with a request, in one sentence: the field, what it was given, what it takes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from agent.admin.requests import Ask

_LONGEST = 100
"""Characters of a caller's value that are told back."""


def explain(error: ValidationError, model: type[Ask]) -> str:
    """Tell the first thing that is not as it should be.

    Args:
        error: what the model said.
        model: the request that was expected.
    """
    first = error.errors(include_url=False)[0]
    where, given = first["loc"], _shown(first["input"])
    fields = model.model_json_schema().get("properties", {})
    match first["type"]:
        case "json_invalid":
            return f"body: it is not JSON: {first['ctx']['error']}"
        case "extra_forbidden":
            name = str(where[0])[:_LONGEST]
            return f"{name}: no such field{_near(name, fields)}"
        case "missing":
            return f"{where[0]}: is required: {_expected(fields[where[0]])}"
    if not where:
        return f"body: {given} is not an object"
    field = fields[where[0]]
    if len(where) > 1:
        return f"{'.'.join(map(str, where))}: {given} is neither a name nor a node set"
    return f"{where[0]}: {given} is not {_expected(field)} ({field['description'].partition(';')[0]})"


def _near(name: str, fields: Mapping[str, object]) -> str:
    if not fields:
        return "; this call takes none"
    near = difflib.get_close_matches(name, fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(fields)}"


def _expected(field: Mapping[str, Any]) -> str:
    """Say what a field takes, from its JSON schema."""
    one = next((each for each in field.get("anyOf", ()) if each["type"] != "null"), field)
    match one["type"]:
        case "array":
            return f"a list of {one['minItems']} to {one['maxItems']} names or node sets"
        case "boolean":
            return "true or false"
        case "string":
            return f"a line of {one.get('minLength', 0)} to {one['maxLength']} characters"
    kind = "a whole number" if one["type"] == "integer" else "a number"
    if "exclusiveMinimum" in one:
        return f"{kind} above {one['exclusiveMinimum']}, {one['maximum']:.17g} at most"
    return f"{kind} from {one['minimum']} to {one['maximum']:.17g}"


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
