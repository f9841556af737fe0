"""The test bed's own certificates: a private CA and all that it signs.

Keys are made once per directory and kept; certificates are issued again at every start, so that addresses
and URLs inside them are those of this run.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import textwrap
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier

SA_URL_ACCESS = ObjectIdentifier("2.25.305821105408246119474742976030998643995")
"""Access method of authorityInfoAccess that carries the SA's URL in a user certificate (mkusercert)."""

_KEY_BITS = 2048
_SHA256_WITH_RSA = bytes.fromhex("06092a864886f70d01010b")
_SHA1_WITH_RSA = bytes.fromhex("06092a864886f70d010105")
"""The two algorithms as X.509 names them: DER of 1.2.840.113549.1.1.11 and .5."""


def write_file(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Write a file whole or not at all; a secret one is readable by its owner only."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if secret else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    part.replace(path)


@dataclass(frozen=True)
class Names:
    """What a certificate says of its holder; uris, emails and hosts go into subjectAltName, in this order."""

    common_name: str
    unit: str = ""
    """Organizational unit; "" for none."""
    uris: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    """DNS names or addresses."""
    sa_url: str = ""
    """URL of the SA for authorityInfoAccess; "" for none."""


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, in memory and on disk."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey = field(repr=False)
    cert_path: Path
    key_path: Path

    @property
    def certificate_base64(self) -> str:
        """The certificate as GENI puts it into credentials: base64 of the DER form, no header."""
        return base64_of(self.certificate)

    def download(self, passphrase: str) -> bytes:
        """Return what Cloudlab hands out: one PEM of the encrypted RSA key, then the certificate."""
        return encrypted_key_pem(self.key, passphrase) + self.certificate.public_bytes(Encoding.PEM)


def signed_with_sha1(certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> x509.Certificate:
    """Return the same certificate with a SHA-1 signature, as mkusercert makes them.

    cryptography signs none: the algorithm is named twice, and its name and the signature keep their lengths.
    """
    der = certificate.public_bytes(Encoding.DER).replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA)
    signed = certificate.tbs_certificate_bytes.replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA)
    signature = key.sign(signed, PKCS1v15(), hashes.SHA1())
    return x509.load_der_x509_certificate(der[: -len(signature)] + signature)


def base64_of(certificate: x509.Certificate) -> str:
    """Write a certificate as GENI puts it into credentials: base64 of the DER form, no header."""
    return b64encode(certificate.public_bytes(Encoding.DER)).decode()


def encrypted_key_pem(key: rsa.RSAPrivateKey, passphrase: str) -> bytes:
    """Write a key as OpenSSL's traditional PEM, encrypted with 3DES.

    cryptography reads this form and no longer writes it: the key of the cipher is EVP_BytesToKey of the
    passphrase, with MD5 and the first 8 bytes of the IV as salt (openssl-pem(3), "PEM encryption format").
    """
    salt = secrets.token_bytes(8)
    derived = b""
    block = b""
    while len(derived) < 24:
        block = hashlib.md5(block + passphrase.encode() + salt).digest()
        derived += block
    padder = padding.PKCS7(64).padder()
    plain = padder.update(key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    encryptor = Cipher(TripleDES(derived[:24]), CBC(salt)).encryptor()
    sealed = encryptor.update(plain + padder.finalize()) + encryptor.finalize()
    lines = textwrap.wrap(b64encode(sealed).decode(), 64)
    head = ["Proc-Type: 4,ENCRYPTED", f"DEK-Info: DES-EDE3-CBC,{salt.hex().upper()}", ""]
    body = "\n".join([*head, *lines])
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n".encode()


class CertificateAuthority:
    """A private root in a directory: ``ca.pem``, and NAME.pem with NAME.key for each identity."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._key = self._load_or_make_key("ca")
        self.bundle = directory / "ca.pem"
        """Path of the root certificate: what every party of the test bed trusts."""
        if not self.bundle.exists():
            write_file(self.bundle, self._root().public_bytes(Encoding.PEM))
        self.certificate = x509.load_pem_x509_certificate(self.bundle.read_bytes())

    def issue(
        self,
        name: str,
        names: Names,
        *,
        not_after: datetime | None = None,
        bits: int = _KEY_BITS,
        sha1: bool = False,
    ) -> Identity:
        """Issue a certificate into NAME.pem, with a key in NAME.key that is kept between runs.

        It lasts 365 days unless ``not_after`` says otherwise. A key of other than the usual ``bits`` is in
        NAME-BITS.key.
        """
        key_name = name if bits == _KEY_BITS else f"{name}-{bits}"
        key = self._load_or_make_key(key_name, bits)
        certificate = self.certify(key.public_key(), names, not_after=not_after)
        if sha1:
            certificate = signed_with_sha1(certificate, self._key)
        path = self._directory / f"{name}.pem"
        write_file(path, certificate.public_bytes(Encoding.PEM))
        return Identity(certificate, key, path, self._directory / f"{key_name}.key")

    def certify(
        self, public_key: rsa.RSAPublicKey, names: Names, *, not_after: datetime | None = None
    ) -> x509.Certificate:
        """Issue a certificate for a key, without writing anything down."""
        now = datetime.now(UTC)
        ends = not_after or now + timedelta(days=365)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, names.common_name)]
        if names.unit:
            subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, names.unit))
        alternatives: list[x509.GeneralName] = [
            *(x509.UniformResourceIdentifier(uri) for uri in names.uris),
            *(x509.RFC822Name(email) for email in names.emails),
            *(_host_name(host) for host in names.hosts),
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, ends) - timedelta(days=1))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        )
        if names.sa_url:
            access = x509.AccessDescription(SA_URL_ACCESS, x509.UniformResourceIdentifier(names.sa_url))
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issued(self, certificate: x509.Certificate) -> bool:
        """Tell whether this authority signed the certificate."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def _load_or_make_key(self, name: str, bits: int = _KEY_BITS) -> rsa.RSAPrivateKey:
        path = self._directory / f"{name}.key"
        if path.exists():
            # Our own file: the test of its primes takes longer than all the rest of a start.
            key = load_pem_private_key(path.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise TypeError(f"{path} holds a key that is not RSA; remove it to have a new one made")
            return key
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        write_file(path, pem, secret=True)
        return key

    def _root(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test bed root")])
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def urns(certificate: x509.Certificate) -> list[str]:
    """Return the subjectAltName URIs of a certificate, in order."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)
