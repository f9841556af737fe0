"""Who we are to Cloudlab: the user's certificate and key, and the TLS settings made from them."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.cloudlab.age import Age, age_of
from agent.cloudlab.times import format_time
from agent.cloudlab.urn import Urn, is_public
from agent.core.errors import ConfigError

PASSPHRASE_VARIABLE = "ESAGENT_PASSPHRASE"  # noqa: S105 - the variable's name
_SA_ACCESS = x509.ObjectIdentifier("2.25.305821105408246119474742976030998643995")


@dataclass(frozen=True)
class Identity:
    """A user of Cloudlab, as the certificate tells it (mkusercert).

    Attributes:
        urn: the caller's URN: the last ``urn:publicid:`` among the subjectAltNames, as the server reads it.
        email: "" where the certificate has none.
        expires: when the certificate ends.
        sa_url: the SA in authorityInfoAccess; "" where the certificate has none.
        warnings: what a person should mend though it works, such as a key that others can read.
        age: what of the certificate OpenSSL presents at lower security levels only.
    """

    urn: Urn
    email: str
    expires: datetime
    sa_url: str
    warnings: tuple[str, ...]
    certificate: Path
    key: Path
    age: Age
    _passphrase: bytes = field(repr=False)

    def client_context(self, ca_bundle: Path, *, check_hostname: bool, security_level: int) -> ssl.SSLContext:
        """Make the TLS settings of calls to the SA and the CMs: TLS 1.2 or newer, no trust but the bundle.

        Args:
            ca_bundle: PEM file with the roots that servers must chain to.
            check_hostname: the server's certificate must name its host.
            security_level: OpenSSL's (``age`` tells what the certificate needs).

        Raises:
            ConfigError: the bundle, or a certificate that OpenSSL refuses at this level.
        """
        context = self.present(security_level)
        context.check_hostname = check_hostname
        _read(ca_bundle, "a PEM file with the CAs of Cloudlab's servers")
        try:
            context.load_verify_locations(cafile=ca_bundle)
        except ssl.SSLError as error:
            raise ConfigError(f"{ca_bundle}: expected PEM certificates of CAs: {error}") from error
        return context

    def present(self, security_level: int) -> ssl.SSLContext:
        """Make TLS settings that present the certificate, and trust nobody yet.

        Raises:
            ConfigError: OpenSSL refuses it at this level; the message says which level would do.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"DEFAULT:@SECLEVEL={security_level}")
        try:
            context.load_cert_chain(self.certificate, self.key, lambda: self._passphrase)
        except ssl.SSLError as error:
            raise ConfigError(
                f"{self.certificate}: OpenSSL refuses this certificate or key at tls_security_level "
                f"{security_level}: {error}; {self.age.advice(security_level) or 'a lower level may do'}"
            ) from error
        return context


def load_identity(
    certificate: Path,
    *,
    now: datetime,
    key: Path | None = None,
    passphrase_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Identity:
    """Read the certificate as Cloudlab hands it out: one PEM file with the key, often encrypted, and it.

    Args:
        certificate: PEM file with the certificate, and with the key when ``key`` is None.
        now: the time that the certificate must be valid at.
        key: PEM file with the key: traditional or PKCS 8, encrypted or not.
        passphrase_file: its first line opens the key; without it the variable ESAGENT_PASSPHRASE does.
        environ: where that variable is.

    Raises:
        ConfigError: names the file and what was expected of it.
    """
    leaf = _certificate(certificate, now)
    key = key or certificate
    passphrase = _passphrase(passphrase_file, environ)
    _check_key(key, leaf, passphrase)
    return Identity(
        urn=_caller(certificate, leaf),
        email=_email(leaf),
        expires=leaf.not_valid_after_utc,
        sa_url=_sa_url(leaf),
        warnings=tuple(_exposed(p) for p in (key, passphrase_file) if p and _others_can_read(p)),
        certificate=certificate,
        key=key,
        age=age_of(leaf),
        _passphrase=passphrase,
    )


def _certificate(path: Path, now: datetime) -> x509.Certificate:
    data = _read(path, "a PEM file with the user's certificate")
    try:
        leaf = x509.load_pem_x509_certificates(data)[0]
        _ = leaf.extensions
    except ValueError as error:
        raise ConfigError(f"{path}: expected a PEM certificate: {error}") from error
    if now >= leaf.not_valid_after_utc:
        raise ConfigError(
            f"{path}: the certificate expired at {format_time(leaf.not_valid_after_utc)}; "
            "download a new one from the Cloudlab portal"
        )
    if now < leaf.not_valid_before_utc:
        raise ConfigError(
            f"{path}: the certificate is not valid before {format_time(leaf.not_valid_before_utc)}; "
            "is this machine's clock right?"
        )
    return leaf


def _passphrase(path: Path | None, environ: Mapping[str, str]) -> bytes:
    if path is None:
        return environ.get(PASSPHRASE_VARIABLE, "").encode()
    lines = _read(path, "a file whose first line is the passphrase of the key").splitlines()
    if not lines or not lines[0]:
        raise ConfigError(f"{path}: expected the passphrase of the key in the first line")
    return lines[0]


def _check_key(path: Path, leaf: x509.Certificate, passphrase: bytes) -> None:
    data = _read(path, "a PEM file with the private key")
    if b"PRIVATE KEY-----" not in data:
        raise ConfigError(f"{path}: expected a PEM private key, found none")
    encrypted = b"ENCRYPTED" in data
    if encrypted and not passphrase:
        raise ConfigError(
            f"{path}: the key is encrypted: set passphrase_file, or the variable {PASSPHRASE_VARIABLE}"
        )
    try:
        private = load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        expected = "a PEM private key that the passphrase opens" if encrypted else "a PEM private key"
        raise ConfigError(f"{path}: expected {expected}: {error}") from error
    if private.public_key() != leaf.public_key():
        raise ConfigError(f"{path}: the key does not belong to the certificate")


def _caller(path: Path, leaf: x509.Certificate) -> Urn:
    uris = _alternative_names(leaf, x509.UniformResourceIdentifier)
    public = [uri for uri in uris if is_public(uri)]
    if not public:
        raise ConfigError(f"{path}: expected a user certificate of Cloudlab: no urn:publicid: subjectAltName")
    try:
        return Urn.parse(public[-1])
    except ValueError as error:
        raise ConfigError(f"{path}: expected a user certificate of Cloudlab: {error}") from error


def _email(leaf: x509.Certificate) -> str:
    named = _alternative_names(leaf, x509.RFC822Name)
    subject = leaf.subject.get_attributes_for_oid(x509.NameOID.EMAIL_ADDRESS)
    return next(iter([*named, *(str(a.value) for a in subject)]), "")


def _alternative_names(
    leaf: x509.Certificate, kind: type[x509.UniformResourceIdentifier | x509.RFC822Name]
) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(kind)


def _sa_url(leaf: x509.Certificate) -> str:
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return ""
    for entry in access:
        location = entry.access_location
        if entry.access_method == _SA_ACCESS and isinstance(location, x509.UniformResourceIdentifier):
            return location.value
    return ""


def _read(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: expected {expected}: {error.strerror or error}") from error


def _others_can_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _exposed(path: Path) -> str:
    return f"{path}: other users can read it; chmod 600 it"
