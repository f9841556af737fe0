"""Text that every store, socket and terminal takes: no lone surrogate, no NUL. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

_UNFIT = re.compile("[\ud800-\udfff\x00]")
_MAY_BE_UNFIT = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_STRICT, _LENIENT = json.JSONDecoder(), json.JSONDecoder(strict=False)
_IN_PLACE = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """Return text with a sign in place of what cannot be encoded (a lone surrogate), or ends a string in C.

    Such text comes from names that are no UTF-8 (``os.fsdecode``), and from JSON, which may write both.
    """
    return _UNFIT.sub(_IN_PLACE, text)


def read_json(text: str | bytes, *, strict: bool = True) -> Any:
    """Read JSON that somebody else wrote: every text in it is ``storable``.

    Args:
        text: the document, in UTF-8.
        strict: refuse control characters in its texts.

    Raises:
        ValueError: it is no JSON.
    """
    written = text if isinstance(text, str) else text.decode()
    document = (_STRICT if strict else _LENIENT).decode(written)
    return all_storable(document) if _MAY_BE_UNFIT.search(written) or _UNFIT.search(written) else document


def all_storable(value: Any) -> Any:
    """Return a value of lists, tuples, dicts and plain values with every text in it ``storable``."""
    match value:
        case str():
            return storable(value)
        case list() | tuple():
            return type(value)(all_storable(each) for each in value)
        case dict():
            return {all_storable(key): all_storable(each) for key, each in value.items()}
        case _:
            return value
