"""Files on this machine: certificates, keys, and where the agent writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from agent.check.finding import Finding, fault, fine, look, warning
from agent.cloudlab.callback import CallbackServer, CallbackSettings
from agent.cloudlab.server import CloudlabSettings, identity_of, tls_of
from agent.core.endpoint import SimpleElasticSliceClientEndpoint
from agent.ssh import SshSettings, SshShell

EARLY = timedelta(days=30)
"""How long before its end a certificate is worth a word."""


def check_identity(settings: CloudlabSettings, now: datetime) -> Iterator[Finding]:
    """Look at the user's certificate, its key, and the CAs of Cloudlab's servers."""

    def at() -> Iterator[Finding]:
        identity = identity_of(settings, now)
        yield _until("certificate", f"{identity.urn}", identity.expires, now)
        for words in identity.warnings:
            yield warning("certificate", words, "keep the key to the agent's user")
        tls_of(settings, identity)
        yield fine("CAs of Cloudlab", str(settings.ca_bundle))

    return look("certificate", at, "download certificate and key from the Cloudlab portal, see [cloudlab]")


def check_callback(settings: CallbackSettings, now: datetime) -> Iterator[Finding]:
    """Look at the certificate of the server that Cloudlab calls, and at who may call."""

    def at() -> Iterator[Finding]:
        CallbackServer(SimpleElasticSliceClientEndpoint(), settings)
        leaf = x509.load_pem_x509_certificates(settings.certificate.read_bytes())[0]
        yield _until("callback certificate", str(settings.certificate), leaf.not_valid_after_utc, now)
        yield fine("callers", ", ".join(settings.allowed_urns))

    return look("callback certificate", at, "see [callback] certificate, key and ca_bundle")


def check_places(ledger: Path, known_hosts: Path, socket: Path) -> Iterator[Finding]:
    """Look whether the agent can write where it has to."""
    for subject, path in (("ledger", ledger), ("known_hosts", known_hosts), ("socket", socket)):
        place = next(p for p in (path.parent, *path.parent.parents) if p.exists())
        if os.access(place, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK)):
            yield fine(subject, str(path))
        else:
            yield fault(subject, f"{path}: this user may not write there", "run as the agent's user")


def check_ssh_key(settings: SshSettings) -> Iterator[Finding]:
    """Look at the key that opens machines."""

    def at() -> Iterator[Finding]:
        SshShell(settings)
        if settings.key.stat().st_mode & 0o077:
            yield warning("SSH key", f"{settings.key}: other users can read it", f"chmod 600 {settings.key}")
        else:
            yield fine("SSH key", str(settings.key))

    return look("SSH key", at, "see [ssh] key")


def _until(subject: str, what: str, end: datetime, now: datetime) -> Finding:
    words = f"{what}, until {end:%Y-%m-%d}"
    if end <= now:
        return fault(subject, f"{words}: it has expired", "get a new one")
    if end - now < EARLY:
        return warning(subject, f"{words}: {(end - now).days} days are left", "get a new one in time")
    return fine(subject, words)
