"""The reply's envelope: ``{code, value, output}`` to a value or a typed error (GeniResponse.pm)."""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Callable
from functools import partial

from agent.core.errors import (
    AlreadyExistsError,
    BadArgumentsError,
    BusyError,
    CloudlabError,
    CredentialExpiredError,
    ForbiddenError,
    InsufficientNodesError,
    LostReplyError,
    MalformedReplyError,
    NotFoundError,
    PromisedError,
    RefusedError,
    UnreachableError,
    UnreservedError,
)

_MESSAGE = 600
_SERVER_UNAVAILABLE = 503
_NAMELESS = 2
"""The code of a fault without one of its own."""

_BY_CODE: dict[int, type[CloudlabError]] = {
    1: BadArgumentsError,
    3: ForbiddenError,
    4: RefusedError,
    6: RefusedError,
    7: RefusedError,
    11: RefusedError,
    12: NotFoundError,
    13: RefusedError,
    14: BusyError,
    15: RefusedError,
    17: AlreadyExistsError,
    24: InsufficientNodesError,
    25: InsufficientNodesError,
    26: InsufficientNodesError,
    27: InsufficientNodesError,
    28: InsufficientNodesError,
    _SERVER_UNAVAILABLE: UnreachableError,
}

# The same code tells things that a caller acts on differently; only the words tell them apart.
_BY_WORDS: tuple[tuple[int, str, type[CloudlabError]], ...] = (
    (1, "expired at", CredentialExpiredError),
    (1, "already have", AlreadyExistsError),
    (1, "no such node", NotFoundError),
    (1, "no such slice here", NotFoundError),
    (1, "no slice here", NotFoundError),
    (1, "is not available", InsufficientNodesError),
    (2, "already a registered slice", AlreadyExistsError),
    (7, "must delete existing slice first", AlreadyExistsError),
)

_NODE_ID = r"[A-Za-z0-9][-A-Za-z0-9._]{0,62}"
_BLOCKING = re.compile(rf"Refused cause ({_NODE_ID}) is (?:pre|sched)-reserved")
_UNRESERVED = re.compile(rf"\+node\+({_NODE_ID}) \(\1\) is not available")

_OUTCOMES: dict[type[CloudlabError], str] = {
    UnreservedError: "error",
    BusyError: "busy",
    UnreachableError: "unreachable",
    LostReplyError: "lost_reply",
    MalformedReplyError: "malformed",
    CredentialExpiredError: "expired",
    ForbiddenError: "forbidden",
    BadArgumentsError: "bad_arguments",
    RefusedError: "refused",
    PromisedError: "refused",
    NotFoundError: "not_found",
    AlreadyExistsError: "exists",
    InsufficientNodesError: "insufficient",
}


def outcome(error: CloudlabError) -> str:
    """Say an error in one word of a closed set, for figures."""
    return _OUTCOMES.get(type(error), "error")


def open_envelope(reply: object, *, method: str, authority: str) -> object:
    """Return the value of a successful reply.

    Raises:
        CloudlabError: the subclass that fits the code and the words.
        MalformedReplyError: the reply is not an envelope.
    """
    code = _number(reply.get("code")) if isinstance(reply, dict) else None
    if code is None or not isinstance(reply, dict):
        raise MalformedReplyError(
            "the reply is not a struct with a numeric code", method=method, authority=authority
        )
    value = reply.get("value", 0)
    if code == 0:
        return value
    # The mapper and xmllint say why in ``value``, the rest in ``output``.
    texts = [text for text in (value, reply.get("output")) if isinstance(text, str) and text.strip()]
    raise _error_of(code, " ".join(texts))(
        "; ".join(map(_cut, texts)) or "no message",
        method=method,
        authority=authority,
        code=code,
        log_url=_log_url(reply),
    )


def fault_error(fault: xmlrpc.client.Fault, *, method: str, authority: str) -> CloudlabError:
    """Turn an XML-RPC fault into an error; 503 is told before anything is carried out."""
    code = _number(fault.faultCode)
    error = UnreachableError if code == _SERVER_UNAVAILABLE else CloudlabError
    return error(_cut(str(fault.faultString)), method=method, authority=authority, code=code)


def blocking_machine(refusal: str) -> str | None:
    """Find the node_id that a refused renewal names as promised to others; None where it names none.

    The words are those of ``GeniCM RenewSliverAux``: «Refused cause pc5 is pre-reserved.», with code 7.
    """
    match = _BLOCKING.search(refusal)
    return match[1] if match else None


def unreserved_machine(refusal: str) -> str | None:
    """Find the node_id of a machine of our sliver that a CM does not reserve to us any more; None for none.

    The words are those of ``GeniCMV2 AddNodes``: «urn:publicid:IDN+example.net+node+pc5 (pc5) is not
    available», with code 2. A machine that is asked for by name and taken reads otherwise.
    """
    match = _UNRESERVED.search(refusal)
    return match[1] if match else None


def _error_of(code: int, words: str) -> Callable[..., CloudlabError]:
    kind = _class_of(code, words)
    if kind is RefusedError and (node_id := blocking_machine(words)):
        return partial(PromisedError, node_id=node_id)
    if code == _NAMELESS and (node_id := unreserved_machine(words)):
        return partial(UnreservedError, node_id=node_id)
    return kind


def _class_of(code: int, words: str) -> type[CloudlabError]:
    lowered = words.lower()
    for known, part, error in _BY_WORDS:
        if code == known and part in lowered:
            return error
    return _BY_CODE.get(code, CloudlabError)


def _number(value: object) -> int | None:
    """Read a code: servers write integers by content, so digits in a string are one too."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE else line[: _MESSAGE - 1] + "…"


def _log_url(reply: dict[object, object]) -> str:
    for key in ("protogeni_error_url", "protogeni_error_log"):
        if isinstance(url := reply.get(key), str) and url:
            return url
    return ""
