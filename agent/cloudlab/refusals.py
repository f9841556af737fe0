"""What a server means by a code and its words: the error that a caller acts on.

The words are those of servers of 2016 to 2026. Where both say the same in other words, both are known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

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
    NotFoundError,
    PromisedError,
    QuotaError,
    RefusedError,
    RenewalRefusedError,
    Shortage,
    ShutDownError,
    UnreachableError,
    UnreservedError,
)
from agent.core.obstacles import RenewalObstacle

SERVER_UNAVAILABLE = 503
_ERROR = 2
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
    16: EndingError,
    17: AlreadyExistsError,
    23: QuotaError,
    24: InsufficientNodesError,
    25: InsufficientNodesError,
    26: InsufficientNodesError,
    27: InsufficientNodesError,
    28: InsufficientNodesError,
    29: InsufficientNodesError,
    30: InsufficientNodesError,
    SERVER_UNAVAILABLE: UnreachableError,
}
_IMPOSSIBLE = 30
_REFUSED = 7
_BAD_ARGUMENTS = 1

# The same code tells things that a caller acts on differently; only the words tell them apart.
_BY_WORDS: tuple[tuple[int, str, type[CloudlabError]], ...] = (
    (1, "expired at", CredentialExpiredError),
    (1, "duplicate slice urn already exists", EarlierSliceError),
    (1, "already have", AlreadyExistsError),
    (1, "no such node", NotFoundError),
    (1, "no such slice here", NotFoundError),
    (1, "no slice here", NotFoundError),
    (1, "is not available", InsufficientNodesError),
    (1, "not allowed to delete all nodes", LastMachineError),
    (2, "already a registered slice", AlreadyExistsError),
    (2, "marked for termination", EndingError),
    (2, "that are more than the limit", InsufficientNodesError),
    (2, "slice has been shutdown", ShutDownError),
    (3, "slice has been shutdown", ShutDownError),
    (7, "must delete existing slice first", AlreadyExistsError),
    (7, "is locked down", LockedDownError),
    (7, "paniced experiment", ShutDownError),
)

_OBSTACLES: tuple[tuple[str, RenewalObstacle], ...] = (
    ("because of a prereserve", RenewalObstacle.PRERESERVE),
    ("refused by reservation system", RenewalObstacle.RESERVED),
    ("idle for too long", RenewalObstacle.IDLE),
    ("local slice setting", RenewalObstacle.LIMIT),
    ("greater then the maximum", RenewalObstacle.MAXIMUM),
    ("such a short life", RenewalObstacle.SHORT),
    ("greater then slice expiration", RenewalObstacle.BEYOND_SLICE),
)

_NODE_ID = r"[A-Za-z0-9][-A-Za-z0-9._]{0,62}"
_TYPE = r"[A-Za-z0-9][-A-Za-z0-9._+]{0,62}"
_BLOCKING = re.compile(rf"Refused cause ({_NODE_ID}) is (?:pre|sched)-reserved")
_UNRESERVED = re.compile(rf"\+node\+({_NODE_ID}) \((?:\[Node: \1\]|\1)\) is not available")
_UNRESERVED_ALONE = re.compile(rf"\(\[Node: ({_NODE_ID})\]\) is not available")
_NODE_NOT_THERE = re.compile(
    rf"Fixed physical node: ({_NODE_ID}) not available"
    rf"|Node ({_NODE_ID}) (?:\({_TYPE}\) )?requested, but is not available"
    rf"|Physical node ({_NODE_ID}) is not available"
)
_SHORT_OF_TYPE = re.compile(
    rf"(?P<reserved>Resource reservation violation: )?"
    rf"(?P<wanted>\d+) nodes? of type (?P<type>{_TYPE}) requested,"
    r" but (?:you are )?only (?P<limited>allowed to use )?(?P<available>\d+)"
)
_NONE_OF_TYPE = re.compile(
    rf"No (?:available|suitable) physical nodes of type ({_TYPE}) found \((\d+) requested\)"
)
_LIMIT = re.compile(r"Experiment needs nodes\s*\((\d+)\) that are more than the limit\s*\((\d+)\)")
_NEVER = "cannot be instantiated on this cluster"
_SHORT_AT = re.compile(r"Insufficient free nodes at (.+?) \((\d+) more needed\)")
_MAXIMUM = re.compile(r"the maximum number \((\d+)\) of minutes")
_IMAGE = re.compile(
    r"(?:Malformed image URN: |Unknown image URN: |Could not lookup image at the image server: "
    r"|Not allowed to use restricted image |Insufficient permission to use |No version \S+ exists for "
    r"|No such version number: |Not allowed to use version numbers on "
    r"|Improper use of version number on imported system image: |Invalid disk image url: "
    r"|Not allowed to import system image: |Bad version number in |Image importer failure for |No image: )"
    r"(?P<image>[^\s,;]+)"
    r"|Image (?P<deprecated>\S+) is deprecated"
    r"|Could not setup images",
    re.IGNORECASE,
)
_SOME_IMAGE = re.compile(r"\bimage\b.{0,80}\bdeprecated|\bdeprecated\b.{0,80}\bimage\b", re.IGNORECASE)
_ACCOUNT = re.compile(
    r"Not a valid local user|account is no longer active|account has been frozen"
    r"|Not accepting connections from anyone we do not know"
)


def refusal_of(code: int, words: str) -> Callable[..., CloudlabError]:
    """Return what makes the error of a reply with a code other than 0 (GeniResponse.pm).

    Args:
        code: the reply's.
        words: all texts of the reply.
    """
    # Servers break their lines where they are full. A date of C has two spaces in it.
    told, words = words, " ".join(words.split())
    if code in {_BAD_ARGUMENTS, _ERROR} and (image := _IMAGE.search(words)):
        # An owner's words about a deprecated image follow: they may be any.
        named = image["image"] or image["deprecated"] or ""
        return partial(ImageError, image=named.rstrip("."))
    kind = _class_of(code, words)
    if code == _ERROR and (node_id := unreserved_machine(words)):
        return partial(UnreservedError, node_id=node_id)
    if kind is InsufficientNodesError:
        return _insufficient(code, words)
    if kind is RefusedError and code == _REFUSED:
        if node_id := blocking_machine(words):
            return partial(PromisedError, node_id=node_id)
        return _renewal(told) or kind
    if kind in {BadArgumentsError, CloudlabError} and code in {_BAD_ARGUMENTS, _ERROR}:
        return ImageError if _SOME_IMAGE.search(words) else kind
    return kind


def fault_of(code: int | None, words: str) -> Callable[..., CloudlabError]:
    """Return what makes the error of an XML-RPC fault (protogeni-wrapper.pl).

    A positive number means what it means as a reply's code, but 3 and 7, which are about the user.
    """
    if _ACCOUNT.search(words):
        return AccountError
    if code is None or code <= 0:
        return CloudlabError
    return AccountError if code in {3, _REFUSED} else _BY_CODE.get(code, CloudlabError)


def blocking_machine(refusal: str) -> str | None:
    """Find the node_id that a refused renewal names as promised to others; None where it names none.

    The words are those of ``GeniCM RenewSliverAux``: «Refused cause pc5 is pre-reserved.», with code 7.
    """
    match = _BLOCKING.search(refusal)
    return match[1] if match else None


def unreserved_machine(refusal: str) -> str | None:
    """Find the node_id of a machine of our sliver that a CM does not reserve to us any more; None for none.

    The words are those of ``GeniCM SliverWorkAux``: «urn:publicid:IDN+example.net+node+pc5 ([Node: pc5]) is
    not available», with code 2. A machine that is asked for by name and taken reads otherwise.
    """
    match = _UNRESERVED.search(refusal) or _UNRESERVED_ALONE.search(refusal)
    return match[1] if match else None


def shortages(refusal: str) -> tuple[Shortage, ...]:
    """Find the types that a refusal of the mapper calls short (``tbsetup/mapper.in``, ``assign``).

    A limit on all machines of a slice (``GeniCM``) is that of a type "".
    """
    refusal = " ".join(refusal.split())
    counted = [
        Shortage(
            found["type"],
            int(found["wanted"]),
            int(found["available"]),
            reserved=found["reserved"] is not None,
            limited=found["limited"] is not None,
        )
        for found in _SHORT_OF_TYPE.finditer(refusal)
    ]
    none = [Shortage(found[1], int(found[2]), 0) for found in _NONE_OF_TYPE.finditer(refusal)]
    slices = [Shortage("", int(found[1]), int(found[2]), limited=True) for found in _LIMIT.finditer(refusal)]
    return tuple(dict.fromkeys((*counted, *none, *slices)))


def _insufficient(code: int, words: str) -> Callable[..., CloudlabError]:
    named = _NODE_NOT_THERE.search(words)
    short = shortages(words)
    # An empty site would not do either where a rule lets nobody have so many: a rule may change.
    is_ruled = any(each.limited for each in short)
    return partial(
        InsufficientNodesError,
        shortages=short,
        never=code == _IMPOSSIBLE or (_NEVER in words and not is_ruled),
        node_id=next(filter(None, named.groups()), "") if named else "",
    )


def _renewal(words: str) -> Callable[..., CloudlabError] | None:
    lowered = words.lower()
    obstacle = next((found for part, found in _OBSTACLES if part in lowered), None)
    if obstacle is None:
        return None
    short, longest = _SHORT_AT.search(words), _MAXIMUM.search(words)
    return partial(
        RenewalRefusedError,
        obstacle=obstacle,
        short_at=short[1] if short else "",
        short_by=int(short[2]) if short else None,
        longest=int(longest[1]) * 60.0 if longest else None,
    )


def _class_of(code: int, words: str) -> type[CloudlabError]:
    lowered = words.lower()
    for known, part, error in _BY_WORDS:
        if code == known and part in lowered:
            return error
    return _BY_CODE.get(code, CloudlabError)
