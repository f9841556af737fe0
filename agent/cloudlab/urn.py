"""URNs and the names in them: ``urn:publicid:IDN+AUTHORITY+TYPE+ID`` (Emulab's GeniHRN.pm)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_URN = re.compile(
    r"urn:publicid:IDN\+(?P<authority>[A-Za-z0-9._:-]+)\+(?P<type>\w+)\+"
    r"(?P<id>(?:[-A-Za-z0-9!$()*,./:;=@_]|%[0-9A-Fa-f]{2})+)",
    re.ASCII,
)
_PREFIX = re.compile(r"urn:publicid:", re.IGNORECASE)
_AUTHORITY = re.compile(r"[A-Za-z0-9.-]+(?::[A-Za-z0-9._-]+){0,2}")
_TYPE = re.compile(r"\w+", re.ASCII)

_DECODE = re.compile(r"%(?:2F|3A|3F|3B|2B|27|23|25)|[:;]", re.IGNORECASE)
_DECODED = {
    ":": "//", ";": "::", "%2F": "/", "%3A": ":", "%3F": "?", "%3B": ";", "%2B": "+", "%27": "'",
    "%23": "#", "%25": "%",
}  # fmt: skip
_ENCODE = re.compile(r"//|[:?;+'#%]")
_ENCODED = {
    "//": ":", ":": "%3A", "?": "%3F", ";": "%3B", "+": "%2B", "'": "%27", "#": "%23", "%": "%25",
}  # fmt: skip
_ID = re.compile(r"[-A-Za-z0-9!$()*,./:;=@_?+'#%]+")

_CLIENT_ID = re.compile(r"[-A-Za-z0-9_]{1,32}")
_NODE_ID = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9._]{0,62}[A-Za-z0-9])?")
_SLICE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]{0,17}[A-Za-z0-9]")
_PROJECT = re.compile(r"[A-Za-z0-9][-A-Za-z0-9]{0,47}")


@dataclass(frozen=True)
class Urn:
    """A URN in the one form in which equal names are equal.

    ``str()`` of it is *a* right spelling, not always the server's: the server compares ``slice_urn``, sliver
    URNs and owners as plain strings, so send back the string that it gave.

    >>> Urn.parse("urn:publicid:IDN+Example.net+image+lab//os") == Urn.parse(
    ...     "urn:publicid:IDN+example.net+image+lab:os"
    ... )
    True

    Attributes:
        authority: domain in lower case, with ``:project[:group]`` where there is one.
        type: such as ``slice``, ``node`` or ``authority``.
        id: the decoded name, such as ``pc7`` or ``lab//os``.
    """

    authority: str
    type: str
    id: str

    def __post_init__(self) -> None:
        for part, pattern in ((self.authority, _AUTHORITY), (self.type, _TYPE), (self.id, _ID)):
            if not pattern.fullmatch(part):
                raise ValueError(f"{part!r} cannot be a part of a URN")
        object.__setattr__(self, "authority", self.authority.lower())

    @classmethod
    def parse(cls, text: str) -> Urn:
        """Read a URN.

        Raises:
            ValueError: it is none.
        """
        prefix = _PREFIX.match(text)
        match = _URN.fullmatch("urn:publicid:" + text[prefix.end() :]) if prefix else None
        if match is None or not _AUTHORITY.fullmatch(match["authority"]):
            raise ValueError(f"{text!r} is not a URN such as urn:publicid:IDN+example.net+authority+cm")
        name = _DECODE.sub(lambda m: _DECODED[m[0].upper()], match["id"])
        return cls(match["authority"], match["type"], name)

    def __str__(self) -> str:
        name = _ENCODE.sub(lambda m: _ENCODED[m[0]], self.id)
        return f"urn:publicid:IDN+{self.authority}+{self.type}+{name}"


def same_urn(one: str, other: str) -> bool:
    """Tell whether two spellings name the same thing; what is no URN equals nothing but itself."""
    if one == other:
        return True
    try:
        return Urn.parse(one) == Urn.parse(other)
    except ValueError:
        return False


def is_public(uri: str) -> bool:
    """Tell whether a URI is of the kind that names users, slices and machines."""
    return _PREFIX.match(uri) is not None


def check_urn(text: str, kind: str) -> str:
    """Return a URN of this type as it stands.

    Raises:
        ValueError: it is no URN, or one of another type.
    """
    found = Urn.parse(text).type
    if found != kind:
        raise ValueError(f"{text!r} names a thing of type {found}, not {kind}")
    return text


def check_client_id(name: str) -> str:
    """Return a client_id as it stands.

    Raises:
        ValueError: not 1 to 32 letters, digits, ``-`` or ``_`` (table_regex ``virt_nodes``).
    """
    return _check(name, _CLIENT_ID, "a client_id: 1 to 32 letters, digits, - or _")


def check_node_id(name: str) -> str:
    """Return a node_id as it stands.

    Raises:
        ValueError: not 1 to 64 letters, digits and inner ``-``, ``.`` or ``_``.
    """
    return _check(name, _NODE_ID, "a node_id: 1 to 64 letters, digits, and - . _ inside")


def check_slice_name(name: str) -> str:
    """Return a slice name as it stands.

    Raises:
        ValueError: not what the SA's Register takes.
    """
    return _check(name, _SLICE, "a slice name: 2 to 19 letters, digits, and - inside")


def check_project(name: str) -> str:
    """Return a project name as it stands.

    Raises:
        ValueError: no URN can be made with it.
    """
    return _check(name, _PROJECT, "a project: 1 to 48 letters, digits and -, the first no -")


def _check(name: str, pattern: re.Pattern[str], expected: str) -> str:
    if not pattern.fullmatch(name):
        raise ValueError(f"{name!r} is not {expected}")
    return name
