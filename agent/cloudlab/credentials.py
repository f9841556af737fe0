"""Credentials: opaque signed strings of which we read only the target, its uuid, the owner and the end.

The string is kept byte for byte: writing the XML anew would break its signature.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import datetime
from xml.etree.ElementTree import ParseError

from cryptography import x509
from defusedxml.ElementTree import fromstring

from agent.cloudlab.times import parse_time

_UUID = "urn:uuid:"


@dataclass(frozen=True)
class Credential:
    """A signed statement of the SA or a CM that its owner may act on its target."""

    text: str = field(repr=False)
    target_urn: str
    owner_urn: str
    expires: datetime
    target_uuid: str = ""
    """What tells the target from an earlier one of that URN; "" where the credential does not say."""

    def is_for_another(self, other: Credential) -> bool:
        """Tell whether both are known to be for different slices, be they of one URN."""
        return bool(self.target_uuid and other.target_uuid) and self.target_uuid != other.target_uuid


def parse_credential(text: object) -> Credential:
    """Read the facts that a client needs.

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

    uuid = _uuid_of(root.findtext("credential/target_gid") or "")
    return Credential(text, read("target_urn"), read("owner_urn"), parse_time(read("expires")), uuid)


def _uuid_of(gid: str) -> str:
    """Return the uuid that a target's certificate names (``GeniCertificate LoadFromString``); "" for none."""
    try:
        certificate = x509.load_der_x509_certificate(b64decode(gid))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, binascii.Error, x509.ExtensionNotFound, x509.DuplicateExtension):
        return ""
    return next((uri.removeprefix(_UUID) for uri in uris if uri.startswith(_UUID)), "")
