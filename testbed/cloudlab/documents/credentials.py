"""Signed credentials: issued, and checked on use (protogeni.md §2, §4.4)."""

from __future__ import annotations

import copy
import secrets
import uuid
from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from lxml import etree
from signxml.algorithms import (
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConstructionMethod,
    SignatureMethod,
)
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, XMLVerifier

from testbed import pki
from testbed.cloudlab import dates
from testbed.cloudlab.answer import forbidden, malformed
from testbed.cloudlab.clock import Clock

_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_ACCEPTED = SignatureConfiguration(
    location=".//",
    signature_methods=frozenset({SignatureMethod.RSA_SHA1, SignatureMethod.RSA_SHA256}),
    digest_algorithms=frozenset({DigestAlgorithm.SHA1, DigestAlgorithm.SHA256}),
)
_KEPT = 512


@dataclass(frozen=True)
class Subject:
    """Owner or target of a credential."""

    urn: str
    gid: str
    """Certificate as base64 without a header."""


@dataclass(frozen=True)
class Credential:
    """What a checked credential says."""

    owner: str
    owner_gid: str
    target: str
    target_gid: str
    target_uuid: str
    """The target's uuid, from its certificate; "" if that names none."""
    expires: datetime
    privileges: frozenset[str]

    def require(self, privileges: Collection[str]) -> None:
        """Refuse with code 3 unless one of the privileges, or ``*``, is there."""
        if "*" not in self.privileges and not self.privileges.intersection(privileges):
            raise forbidden("Insufficient privilege")


class _Signer(XMLSigner):
    """signxml refuses SHA-1; the real servers sign with rsa-sha1."""

    def check_deprecated_methods(self) -> None:
        """Allow them."""


class Issuer:
    """Signs credentials in the name of one authority."""

    def __init__(self, identity: pki.Identity) -> None:
        self._identity = identity
        self._serial = 0

    def issue(self, owner: Subject, target: Subject, expires: datetime) -> str:
        """Return a privilege credential with all rights, as text that must stay byte for byte as it is."""
        privileges = etree.Element("privileges")
        privilege = etree.SubElement(privileges, "privilege")
        etree.SubElement(privilege, "name").text = "*"
        etree.SubElement(privilege, "can_delegate").text = "1"
        return self._signed("privilege", owner, target, expires, privileges)

    def ticket(self, owner: Subject, target: Subject, expires: datetime, rspec: etree._Element) -> str:
        """Return a ticket for what an RSpec describes."""
        ticket = etree.Element("ticket")
        etree.SubElement(ticket, "can_delegate").text = "1"
        etree.SubElement(ticket, "redeem_before").text = dates.zulu(expires)
        ticket.append(copy.deepcopy(rspec))
        return self._signed("ticket", owner, target, expires, ticket)

    def _signed(
        self, kind: str, owner: Subject, target: Subject, expires: datetime, body: etree._Element
    ) -> str:
        self._serial += 1
        reference = f"ref{secrets.token_hex(8).upper()}"
        root = etree.Element("signed-credential", nsmap={"xsi": _XSI})
        credential = etree.SubElement(root, "credential", {_XML_ID: reference})
        fields = {
            "type": kind,
            "serial": str(self._serial),
            "owner_gid": owner.gid,
            "owner_urn": owner.urn,
            "target_gid": target.gid,
            "target_urn": target.urn,
            "uuid": str(uuid.uuid4()),
            "expires": dates.zulu(expires),
        }
        for tag, text in fields.items():
            etree.SubElement(credential, tag).text = text
        credential.append(body)
        etree.SubElement(
            etree.SubElement(root, "signatures"),
            f"{{{_DSIG}}}Signature",
            {"Id": "placeholder", _XML_ID: f"Sig_{reference}"},
            nsmap={"ds": _DSIG},
        )
        signer = _Signer(
            method=SignatureConstructionMethod.enveloped,
            signature_algorithm=SignatureMethod.RSA_SHA1,
            digest_algorithm=DigestAlgorithm.SHA1,
            c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0,
        )
        identity = self._identity
        signed = signer.sign(
            root, key=identity.key, cert=[identity.certificate], reference_uri=f"#{reference}"
        )
        return f'<?xml version="1.0"?>\n{etree.tostring(signed, encoding="unicode")}\n'


class Checker:
    """Checks credentials; remembers those whose signature it has seen to be good."""

    def __init__(self, authority: pki.CertificateAuthority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self._good: dict[str, Credential] = {}

    def check(self, text: object, caller: str) -> Credential:
        """Check one credential: signature, signer, expiry, owner.

        Raises:
            RefusalError: code 1 for one that is malformed, badly signed or expired; code 3 for a signer
                without root and for somebody else's credential.
        """
        if not isinstance(text, str):
            raise malformed("Could not parse credential: it is not a string")
        credential = self._good.get(text)
        if credential is None:
            credential = self._read(text)
            if len(self._good) >= _KEPT:
                self._good.clear()
            self._good[text] = credential
        if credential.expires <= self._clock.now():
            raise malformed(f"invalid credential (expired at {dates.zulu(credential.expires)})")
        if credential.owner != caller:
            raise forbidden("This is not your credential")
        return credential

    def _read(self, text: str) -> Credential:
        try:
            root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
            signer = _certificate(root.findtext(f".//{{{_DSIG}}}X509Certificate"))
            if not self._authority.issued(signer) or not any(
                "+authority+" in urn for urn in pki.urns(signer)
            ):
                raise forbidden("Cannot find root certificate for credential signer")
            verified = XMLVerifier().verify(
                root, x509_cert=signer, expect_config=_ACCEPTED, validate_schema=False
            )
            signed = None if isinstance(verified, list) else verified.signed_xml
            if signed is None or signed.tag != "credential":
                raise malformed("invalid credential (the signature is for something else)")
            uuids = [urn for urn in pki.urns(_certificate(signed.findtext("target_gid"))) if ":uuid:" in urn]
            return Credential(
                owner=_text(signed, "owner_urn"),
                owner_gid=_text(signed, "owner_gid"),
                target=_text(signed, "target_urn"),
                target_gid=_text(signed, "target_gid"),
                target_uuid=uuids[0].rpartition(":")[2] if uuids else "",
                expires=dates.read_date(_text(signed, "expires")),
                privileges=frozenset(e.text or "" for e in signed.iterfind("privileges/privilege/name")),
            )
        except (etree.XMLSyntaxError, SignXMLException, ValueError) as error:
            raise malformed(f"invalid credential ({error})") from error


def _text(element: etree._Element, tag: str) -> str:
    text = element.findtext(tag)
    if not text:
        raise ValueError(f"<{tag}> is missing")
    return text


def _certificate(text: str | None) -> x509.Certificate:
    if not text:
        raise ValueError("a certificate is missing")
    return x509.load_der_x509_certificate(b64decode(text))


def check_list(params: Mapping[str, object], caller: str, checker: Checker) -> list[Credential]:
    """Check ``credentials``; one bad credential fails the whole call.

    Raises:
        RefusalError: codes 1 and 3 as in §2.
    """
    texts = params.get("credentials")
    if not isinstance(texts, list):
        raise malformed("Credentials should be a array not a singleton")
    if not texts:
        raise malformed("You did not supply any credentials!")
    return [checker.check(text, caller) for text in texts]


def check_one_or_list(params: Mapping[str, object], caller: str, checker: Checker) -> list[Credential]:
    """Check ``credential`` or ``credentials``, as SA methods take them.

    Raises:
        RefusalError: as ``check_list``; code 1 when both are absent.
    """
    if "credential" in params:
        return [checker.check(params["credential"], caller)]
    if "credentials" not in params:
        raise malformed()
    return check_list(params, caller, checker)
