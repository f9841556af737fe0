"""Credentials: opaque signed strings of which we read only the target, the owner and the end.

The string is kept byte for byte: writing the XML anew would break its signature.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from xml.etree.ElementTree import ParseError

from defusedxml.ElementTree import fromstring

from agent.cloudlab.times import parse_time


@dataclass(frozen=True)
class Credential:
    """A signed statement of the SA or a CM that its owner may act on its target."""

    text: str = field(repr=False)
    target_urn: str
    owner_urn: str
    expires: datetime


def parse_credential(text: object) -> Credential:
    """Read the three facts that a client needs.

    Raises:
        ValueError: not a signed credential.
    """
    if not isinstance(text, str):
        raise ValueError(f"a credential is a string, not {type(text).__name__}")  # noqa: TRY004
    try:
        root = fromstring(text, forbid_dtd=True)
    except ParseError as error:
        raise ValueError(f"the credential is not XML: {error}") from error
    if root.tag != "signed-credential":
        raise ValueError(f"the root of a credential is signed-credential, not {root.tag}")

    def read(name: str) -> str:
        found = (root.findtext(f"credential/{name}") or "").strip()
        if not found:
            raise ValueError(f"the credential has no {name}")
        return found

    return Credential(text, read("target_urn"), read("owner_urn"), parse_time(read("expires")))
