"""XML-RPC as the Frontier library of the real servers speaks it (protogeni.md §1.3).

Requests: scalars of every type become text, a boolean becomes an object that is always true, and a type
outside the first XML-RPC specification cannot be decoded. Replies are typed by content, not by a schema.
"""

from __future__ import annotations

import re
import xmlrpc.client
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from testbed.cloudlab.answer import UNDECODABLE, FaultError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DOUBLE = re.compile(r"[+-]?(?=\d|\.\d)\d*(\.\d*)?([Ee][+-]?\d+)?", re.ASCII)
_NON_ASCII = bytes(range(128, 256))
_SCALARS = frozenset({"int", "i4", "string", "double"})
_NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Opaque:
    """A boolean, dateTime or base64 of a request: to Perl an object, hence true whatever it holds."""

    kind: str
    text: str


class ReplyError(Exception):
    """A reply is not XML-RPC."""


def decode_call(body: bytes) -> tuple[str, list[object]]:
    """Decode a request into its method name and parameters.

    Values are str, ``Opaque``, dict and list. Non-ASCII bytes are deleted first (protogeni-wrapper.pl).

    Raises:
        FaultError: -32700, not decodable.
    """
    try:
        return _call(fromstring(body.translate(None, _NON_ASCII), forbid_dtd=True))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise FaultError(UNDECODABLE, f"error decoding RPC:\n{error}") from error


def _call(root: Element) -> tuple[str, list[object]]:
    if root.tag != "methodCall":
        raise ValueError(f"<{root.tag}> where <methodCall> was expected")
    name = (root.findtext("methodName") or "").strip()
    if not name:
        raise ValueError("no methodName")
    return name, [_value(_only_child(param)) for param in root.findall("params/param")]


def _only_child(element: Element) -> Element:
    if len(element) != 1:
        raise ValueError(f"<{element.tag}> holds {len(element)} elements where one was expected")
    return element[0]


def _value(element: Element) -> object:
    if element.tag != "value":
        raise ValueError(f"<{element.tag}> where <value> was expected")
    if len(element) == 0:
        return element.text or ""
    typed = _only_child(element)
    if typed.tag in _SCALARS:
        text = typed.text or ""
        return text if typed.tag == "string" else text.strip()
    if typed.tag in {"boolean", "dateTime.iso8601", "base64"}:
        return Opaque(typed.tag, (typed.text or "").strip())
    if typed.tag == "struct":
        return {
            member.findtext("name") or "": _value(member[-1])
            for member in typed.findall("member")
            if len(member)
        }
    if typed.tag == "array":
        return [_value(item) for item in _only_child(typed)]
    raise ValueError(f"unknown type <{typed.tag}>")


def truthy(value: object) -> bool:
    """Perl's idea of true: all but nothing, the empty text and "0"; every object is true."""
    return value not in (None, "", "0", 0)


def flag(value: object) -> bool:
    """Read a flag as a method does that unwraps booleans, such as DiscoverResources."""
    return truthy(value.text) if isinstance(value, Opaque) else truthy(value)


def encode_response(value: object) -> bytes:
    """Encode a reply."""
    return _document("methodResponse", f"<params><param>{_encoded(value)}</param></params>")


def encode_fault(fault: FaultError) -> bytes:
    """Encode a fault."""
    body = _encoded({"faultCode": fault.number, "faultString": fault.text})
    return _document("methodResponse", f"<fault>{body}</fault>")


def encode_call(method: str, argument: Mapping[str, object]) -> bytes:
    """Encode a call with one struct, for the callbacks."""
    params = f"<params><param>{_encoded(argument)}</param></params>"
    return _document("methodCall", f"<methodName>{escape(method)}</methodName>{params}")


def decode_reply(body: bytes) -> object:
    """Decode the reply to a callback.

    Raises:
        ReplyError: it is a fault, or not XML-RPC.
    """
    try:
        fromstring(body, forbid_dtd=True)
        values, _ = xmlrpc.client.loads(body)
    except xmlrpc.client.Fault as fault:
        raise ReplyError(f"fault {fault.faultCode}: {fault.faultString}") from fault
    except (
        ParseError,
        DefusedXmlException,
        ValueError,
        TypeError,
        LookupError,
        xmlrpc.client.Error,
    ) as error:
        raise ReplyError(f"not an XML-RPC reply: {error}") from error
    return values[0] if values else None


def _document(tag: str, content: str) -> bytes:
    return f'<?xml version="1.0"?>\n<{tag}>{content}</{tag}>\n'.encode("ascii", "xmlcharrefreplace")


def _encoded(value: object) -> str:
    if isinstance(value, bytes):
        return f"<value><base64>{b64encode(value).decode()}</base64></value>"
    if isinstance(value, Mapping):
        members = "".join(
            f"<member><name>{escape(str(key))}</name>{_encoded(item)}</member>" for key, item in value.items()
        )
        return f"<value><struct>{members}</struct></value>"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"<value><array><data>{''.join(map(_encoded, value))}</data></array></value>"
    text = _perl_text(value)
    if _INTEGER.fullmatch(text):
        return f"<value><i4>{text}</i4></value>"
    if _DOUBLE.fullmatch(text):
        return f"<value><double>{text}</double></value>"
    return f"<value><string>{escape(_NOT_XML.sub('', text))}</string></value>"


def _perl_text(value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)
