"""GENI names: ``urn:publicid:IDN+AUTHORITY+TYPE+ID`` (protogeni.md §4.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PREFIX = "urn:publicid:"
_AUTHORITY = re.compile(r"[A-Za-z0-9.-]+(:[A-Za-z0-9._-]+){0,2}", re.ASCII)
_TYPE = re.compile(r"\w+", re.ASCII)
_ID = re.compile(r"([A-Za-z0-9\-!$()*,./:=@_;]|%[0-9A-Fa-f]{2})+", re.ASCII)


@dataclass(frozen=True)
class Urn:
    """The parts of a URN."""

    authority: str
    kind: str
    name: str

    @property
    def domain(self) -> str:
        """The authority without project and group."""
        return self.authority.partition(":")[0]

    @property
    def project(self) -> str:
        """Project of a slice: behind the domain; the domain's first label where nothing is."""
        return self.authority.partition(":")[2] or self.authority.partition(".")[0]

    def __str__(self) -> str:
        return f"{_PREFIX}IDN+{self.authority.lower()}+{self.kind}+{self.name}"


def parse(text: str) -> Urn | None:
    """Split a URN; None when it is not one."""
    if text[: len(_PREFIX)].lower() != _PREFIX:
        return None
    parts = text[len(_PREFIX) :].split("+", 3)
    if len(parts) != 4 or parts[0] != "IDN":
        return None
    _, authority, kind, name = parts
    if not (_AUTHORITY.fullmatch(authority) and _TYPE.fullmatch(kind) and _ID.fullmatch(name)):
        return None
    return Urn(authority, kind, name)


def normal_id(name: str) -> str:
    """Bring the two spellings of compound ids together: ``labproj//os`` and ``labproj:os``."""
    return name.replace("//", ":").replace("%2F", "/").replace("%3A", ":")


def make(authority: str, kind: str, name: str | int) -> str:
    """Write a URN."""
    return str(Urn(authority, kind, str(name)))
