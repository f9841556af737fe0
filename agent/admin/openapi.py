"""The local API's document (OpenAPI 3.1), made from its table of calls and their models."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal

from pydantic import Field
from pydantic.json_schema import models_json_schema

from agent.admin.answers import Answer
from agent.admin.peers import Permission
from agent.admin.requests import Ask
from agent.admin.routes import ROUTES, Route

_REFERENCE = "#/components/schemas/{model}"
_ABOUT = (
    "JSON over HTTP on the daemon's unix socket ([admin] socket). Who calls is known from the socket's peer "
    "credentials. Every answer has a `kind` and a `version`: a version changes when a reader would have to. "
    "Fields may be added to a version."
)


class ErrorAnswer(Answer):
    """Why a call was refused."""

    kind: Literal["error"] = "error"
    error: str = Field(description="one sentence")


@cache
def document() -> str:
    """Write the document of all calls, as JSON: docs/openapi.json."""
    models: dict[tuple[type[Answer | Ask], Literal["serialization", "validation"]], None] = {
        (ErrorAnswer, "serialization"): None
    }
    for route in ROUTES:
        models[route.answer, "serialization"] = None
        if route.body:
            models[route.body, "validation"] = None
    names, definitions = models_json_schema(list(models), ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, names)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "esagent, local API", "version": "1", "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": definitions["$defs"]},
    }
    return json.dumps(whole, indent=2) + "\n"


def _operation(route: Route, names: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{route.path.rpartition('/')[2]}",
        "summary": route.summary,
        "description": f"For {route.may}.",
        "responses": {
            "200": _content("Done.", names[route.answer, "serialization"]),
            "400": _content("The request is not as it should be.", names[ErrorAnswer, "serialization"]),
            "409": _content("It cannot be done now.", names[ErrorAnswer, "serialization"]),
        },
    }
    if route.may is not Permission.ANYBODY:
        words = f"The caller is not {route.may}."
        operation["responses"]["403"] = _content(words, names[ErrorAnswer, "serialization"])
    if route.query is not None:
        schema = route.query.model_json_schema()
        operation["parameters"] = [
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": field.pop("description", ""),
                "schema": field,
            }
            for name, field in schema["properties"].items()
        ]
    if route.body is not None:
        body = {"schema": names[route.body, "validation"]}
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _content(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
