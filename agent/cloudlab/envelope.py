"""The reply's envelope: ``{code, value, output}`` to a value or a typed error (GeniResponse.pm)."""

from __future__ import annotations

import xmlrpc.client

from agent.cloudlab.refusals import fault_of, refusal_of
from agent.core.errors import (
    AccountError,
    AlreadyExistsError,
    BadArgumentsError,
    BusyError,
    CloudlabError,
    CredentialExpiredError,
    EarlierSliceError,
    EndingError,
    ForbiddenError,
    ImageError,
    InsufficientNodesError,
    LastMachineError,
    LockedDownError,
    LostReplyError,
    MalformedReplyError,
    NotFoundError,
    PromisedError,
    QuotaError,
    RefusedError,
    RenewalRefusedError,
    ShutDownError,
    UnreachableError,
    UnreservedError,
)

_MESSAGE = 600
_OUTCOMES: dict[type[CloudlabError], str] = {
    UnreservedError: "error",
    BusyError: "busy",
    UnreachableError: "unreachable",
    LostReplyError: "lost_reply",
    MalformedReplyError: "malformed",
    CredentialExpiredError: "expired",
    ForbiddenError: "forbidden",
    BadArgumentsError: "bad_arguments",
    EarlierSliceError: "bad_arguments",
    RefusedError: "refused",
    PromisedError: "refused",
    RenewalRefusedError: "refused",
    LockedDownError: "refused",
    ShutDownError: "refused",
    QuotaError: "quota",
    AccountError: "account",
    ImageError: "image",
    LastMachineError: "bad_arguments",
    EndingError: "ending",
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
    raise refusal_of(code, " ".join(texts))(
        "; ".join(map(_cut, texts)) or "no message",
        method=method,
        authority=authority,
        code=code,
        log_url=_log_url(reply),
    )


def fault_error(fault: xmlrpc.client.Fault, *, method: str, authority: str) -> CloudlabError:
    """Turn an XML-RPC fault into an error; 503 is told before anything is carried out."""
    code = _number(fault.faultCode)
    words = str(fault.faultString)
    return fault_of(code, words)(_cut(words), method=method, authority=authority, code=code)


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
