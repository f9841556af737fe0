"""One XML-RPC message: values to bytes and back. No network.

What goes out is held to what ProtoGENI's server reads rightly; what comes in is parsed without entities and
without trust.
"""

from __future__ import annotations

import math
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from xml.parsers.expat import ExpatError

from defusedxml.xmlrpc import DefusedExpatParser

MAX_DEPTH = 32
_I4 = 2**31
_TEXT = frozenset(map(chr, range(0x20, 0x7F))) | {"\t", "\n", "\r"}
# What the standard library's Unmarshaller was seen to raise on documents that are no XML-RPC.
_BROKEN = (
    ExpatError, xmlrpc.client.Error, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
)  # fmt: skip


def plain(value: object, path: str = "arguments") -> object:
    """Copy a value into plain dicts, lists, strings and numbers, which every ProtoGENI server reads rightly.

    Stock Frontier reads any ``<boolean>`` as true, breaks on ``<nil/>``, hands methods an object for a date;
    the wrapper deletes bytes that are not ASCII.

    Raises:
        ValueError: something else is in it; the message tells where.
    """
    match value:
        case bool() | None | bytes() | bytearray() | datetime():
            raise ValueError(f"{path}: {type(value).__name__} cannot be sent, only text, numbers and lists")
        case int() if not -_I4 <= value < _I4:
            raise ValueError(f"{path}: {value} does not fit 32 bits")
        case int():
            return int(value)
        case float() if not math.isfinite(value):
            raise ValueError(f"{path}: {value} is not a number that can be sent")
        case float():
            return float(value)
        case str():
            if bad := set(value) - _TEXT:
                raise ValueError(f"{path}: {min(bad)!r} is not printable ASCII")
            return str(value)
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"{path}: the key {key!r} is not a string")  # noqa: TRY004
                plain(key, f"{path} key {key!r}")
            return {str(key): plain(item, f"{path}[{key!r}]") for key, item in value.items()}
        case Sequence():
            return [plain(item, f"{path}[{place}]") for place, item in enumerate(value)]
        case _:
            raise ValueError(f"{path}: {type(value).__name__} cannot be sent, only text, numbers and lists")


def encode_call(method: str, arguments: Mapping[str, object] | None) -> bytes:
    """Write a call with one struct, or with nothing.

    Raises:
        ValueError: see ``plain``.
    """
    params: tuple[Any, ...] = () if arguments is None else (plain(arguments),)
    text = xmlrpc.client.dumps(params, method, encoding="us-ascii")
    # A bare CR would reach the server as LF and break the signature of a credential that has one.
    return text.replace("\r", "&#13;").encode("ascii")


def decode_reply(data: bytes) -> object:
    """Read the one value of a reply.

    Raises:
        xmlrpc.client.Fault: the reply is a fault.
        ValueError: it is not a reply.
    """
    values, method = _parse(data)
    if method is not None or len(values) != 1:
        raise ValueError("not an XML-RPC reply with one value")
    return values[0]


def decode_call(data: bytes) -> tuple[str, tuple[object, ...]]:
    """Read a call: the method's name and its parameters.

    Raises:
        ValueError: it is not a call.
    """
    try:
        values, method = _parse(data)
    except xmlrpc.client.Fault as fault:
        raise ValueError("a fault, not an XML-RPC call") from fault
    if method is None:
        raise ValueError("not an XML-RPC call")
    return method, values


def encode_reply(value: object) -> bytes:
    """Write a reply with one value, with nothing in it that Emulab's client misreads.

    Raises:
        TypeError: a value of a kind that XML-RPC does not know.
    """
    return xmlrpc.client.dumps((_answer(value),), methodresponse=True).encode()


def encode_fault(code: int, text: str) -> bytes:
    """Write a fault."""
    return xmlrpc.client.dumps(xmlrpc.client.Fault(code, text)).encode()


def _answer(value: object) -> Any:
    """Replace what Emulab's client drops (nil) or XML-RPC cannot hold (a long integer) by its text."""
    match value:
        case None:
            return ""
        case bool():
            return int(value)
        case int() if not -_I4 <= value < _I4:
            return str(value)
        case Mapping():
            return {str(key): _answer(item) for key, item in value.items()}
        case list() | tuple():
            return [_answer(item) for item in value]
        case _:
            return value


def _parse(data: bytes) -> tuple[tuple[object, ...], str | None]:
    target = xmlrpc.client.Unmarshaller(use_builtin_types=True)
    parser = DefusedExpatParser(target, forbid_dtd=True)
    try:
        parser.feed(data)
        parser.close()
        values = target.close()
    except xmlrpc.client.Fault:
        raise
    except _BROKEN as error:
        raise ValueError(f"not XML-RPC: {error}") from error
    if not _shallow(values):
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    return values, target.getmethodname()


def _shallow(values: Sequence[object]) -> bool:
    """Tell that the nesting is bounded, so that code which walks the values may recurse."""
    level: list[object] = list(values)
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _children(value)]
        if not level:
            return True
    return False


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
