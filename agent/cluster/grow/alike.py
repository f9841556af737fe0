"""Digests of values that are the same in every run of the agent: equal values have equal ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from hashlib import sha256


def digest(value: object) -> str:
    """Return the digest of a value of tuples, sets, mappings, dataclasses and plain values."""
    return sha256(_text(value).encode()).hexdigest()[:32]


def _text(value: object) -> str:
    # The order in which a set gives its members is another in every process.
    if isinstance(value, set | frozenset):
        return f"{{{','.join(sorted(map(_text, value)))}}}"
    if isinstance(value, Mapping):
        return f"{{{','.join(sorted(f'{_text(key)}:{_text(each)}' for key, each in value.items()))}}}"
    if isinstance(value, tuple | list):
        return f"({','.join(map(_text, value))})"
    if is_dataclass(value):
        told = ((field.name, getattr(value, field.name)) for field in fields(value) if field.compare)
        return f"({','.join(f'{name}={_text(each)}' for name, each in told)})"
    return repr(value)
