"""Files on this machine: certificates, keys, and where the agent writes."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from agent.check.finding import Finding, fault, fine, look, warning
from agent.cloudlab.callback import CallbackServer, CallbackSettings
from agent.cloudlab.connect import identity_of, tls_of
from agent.cloudlab.settings import CloudlabSettings
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
        elif not path.parent.exists():
            mend = "the systemd unit makes it when it starts; else make it for the agent's user"
            yield warning(subject, f"{path.parent} is not there yet", mend)
        else:
            yield fault(subject, f"{path}: this user may not write there", "run as the agent's user")


def check_user(home: Path, uid: int) -> Iterator[Finding]:
    """Tell where the daemon is somebody else than who looks: one may read what the other may not."""
    try:
        owner = home.stat().st_uid
    except OSError:
        return
    if owner != uid:
        seen = f"{user_name(uid)} looks, and {home} belongs to {user_name(owner)}"
        yield warning(
            "user", seen, f"look as the daemon will: runuser -u {user_name(owner)} -- esagent check"
        )


def user_name(uid: int) -> str:
    """Name a user, by the number where there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def check_secrets(secrets: Mapping[str, Path | None]) -> Iterator[Finding]:
    """Look at files that nobody else may read.

    Args:
        secrets: what holds a secret, such as ``[callback] key`` -> the file; None where there is none.
    """
    for subject, path in secrets.items():
        if path is None:
            continue
        try:
            with path.open("rb"):
                mode = path.stat().st_mode
        except OSError as error:
            yield fault(subject, f"{path}: {error.strerror}", "give it to the daemon's user")
            continue
        if mode & 0o077:
            yield warning(subject, f"{path}: other users can read it", f"chmod 600 {path}")
        else:
            yield fine(subject, str(path))


def check_ssh_key(settings: SshSettings) -> Iterator[Finding]:
    """Look at the key that opens machines."""

    def at() -> Iterator[Finding]:
        SshShell(settings)
        yield from check_secrets({"SSH key": settings.key})

    return look("SSH key", at, "see [ssh] key")


def _until(subject: str, what: str, end: datetime, now: datetime) -> Finding:
    words = f"{what}, until {end:%Y-%m-%d}"
    if end <= now:
        return fault(subject, f"{words}: it has expired", "get a new one")
    if end - now < EARLY:
        return warning(subject, f"{words}: {(end - now).days} days are left", "get a new one in time")
    return fine(subject, words)
