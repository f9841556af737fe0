"""What is in the files that the settings name, and whether the agent can write where it has to."""

from __future__ import annotations

import os
import shlex
import ssl
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from agent.check.barrier import mode_of
from agent.check.finding import Finding, fault, fine, look, warning
from agent.check.sandbox import Sandbox
from agent.check.user import User
from agent.cloudlab.callback import CallbackServer, CallbackSettings
from agent.cloudlab.connect import identity_of, tls_of
from agent.cloudlab.settings import CloudlabSettings
from agent.core.errors import ConfigError
from agent.core.notices.endpoint import SimpleElasticSliceClientEndpoint
from agent.slurm.rest.transport import read_token
from agent.slurm.settings import SlurmSettings
from agent.ssh.shell import SshSettings, SshShell
from agent.tell.mail import MailSettings, make_post

EARLY = timedelta(days=30)
"""How long before its end a certificate is worth a word."""
ROOM = 1 << 20
"""Bytes that a file system has to have left: with less, nothing is asked for and no order is taken."""


def check_identity(settings: CloudlabSettings, now: datetime) -> Iterator[Finding]:
    """Look at the user's certificate and its key."""

    def at() -> Iterator[Finding]:
        identity = identity_of(settings, now)
        level = settings.tls_security_level
        identity.present(level)
        yield _until("certificate", f"{identity.urn}", identity.expires, now)
        if advice := identity.age.advice(level):
            yield warning("certificate", f"newer releases of OpenSSL refuse it at level {level}", advice)

    mend = "see [cloudlab]; the Cloudlab portal gives certificate and key"
    return look("certificate", at, mend)


def check_cas(settings: CloudlabSettings, now: datetime) -> Iterator[Finding]:
    """Look at the CAs of Cloudlab's servers; the certificate has to be good."""

    def at() -> Iterator[Finding]:
        tls_of(settings, identity_of(settings, now))
        yield fine("CAs of Cloudlab", str(settings.ca_bundle))

    mend = "see [cloudlab] ca_bundle and tls_security_level; Cloudlab's operators have the CAs"
    return look("CAs of Cloudlab", at, mend)


def check_callback(settings: CallbackSettings, now: datetime) -> Iterator[Finding]:
    """Look at the certificate of the server that Cloudlab calls, and at who may call."""

    def at() -> Iterator[Finding]:
        CallbackServer(SimpleElasticSliceClientEndpoint(), settings)
        leaf = x509.load_pem_x509_certificates(settings.certificate.read_bytes())[0]
        yield _until("callback certificate", str(settings.certificate), leaf.not_valid_after_utc, now)
        yield fine("callers", ", ".join(settings.allowed_urns))

    return look("callback certificate", at, "see [callback] certificate, key and ca_bundle")


def check_ssh_key(settings: SshSettings) -> Iterator[Finding]:
    """Look at the key that opens machines."""

    def at() -> Iterator[Finding]:
        kind, _ = SshShell(settings).public_key.split()
        yield fine("SSH key", f"{settings.key}, of type {kind}")

    return look("SSH key", at, "see [ssh] key")


def check_rest(settings: SlurmSettings) -> Iterator[Finding]:
    """Look at what is shown to slurmrestd, and asked of it."""
    token, ca = settings.rest_token, settings.rest_ca

    def at_token(path: Path) -> Iterator[Finding]:
        read_token(path)
        yield fine("token for slurmrestd", str(path))

    def at_ca(path: Path) -> Iterator[Finding]:
        try:
            ssl.create_default_context(cafile=path)
        except OSError as error:
            raise ConfigError(
                f"[slurm] rest_ca: {path}: expected PEM certificates of CAs: {error}"
            ) from error
        yield fine("CAs of slurmrestd", str(path))

    if token:
        yield from look("token for slurmrestd", lambda: at_token(token), "see scontrol token")
    if ca:
        yield from look("CAs of slurmrestd", lambda: at_ca(ca), "see [slurm] rest_ca")


def check_mail(settings: MailSettings) -> Iterator[Finding]:
    """Look at how mail leaves, without sending any."""

    def at() -> Iterator[Finding]:
        # To whom it goes is of no matter here, and may stand in the certificate.
        if make_post(settings, settings.sender) is not None:
            yield fine("mail", f"leaves by {settings.host} port {settings.port}")

    return look("mail", at, "see [mail]")


def check_places(places: Iterable[tuple[str, Path]], user: User, sandbox: Sandbox) -> Iterator[Finding]:
    """Look whether the agent can write where it has to.

    Args:
        places: what is written, and its path.
        user: who this process is.
        sandbox: what the daemon has of the file system, and this process all of.
    """
    for subject, path in places:
        if barred := sandbox.bars_writing(path):
            yield fault(subject, f"{path}: {barred}", "name a place there, or open this one to the unit")
            continue
        place = next(part for part in path.absolute().parents if _is_there(part))
        if not place.is_dir() or (_is_there(path) and path.is_dir()):
            why = f"{place} is no directory" if not place.is_dir() else "there is a directory"
            yield fault(subject, f"{path}: {why}", "name another place")
            continue
        can_write = os.access(place, os.W_OK | os.X_OK) and (not _is_there(path) or os.access(path, os.W_OK))
        if can_write and _is_full(place):
            yield fault(subject, f"{path}: its file system is full", "make room there, or name another place")
        elif can_write:
            yield fine(subject, str(path))
        elif place != path.absolute().parent and os.access(place, os.X_OK):
            mend = "the systemd unit makes it when it starts; else make it for the agent's user"
            yield warning(subject, f"{path.parent} is not there yet", mend)
        else:
            part = path if os.access(place, os.W_OK | os.X_OK) else place
            seen = f"{path}: {user.name} may not write {part} ({mode_of(part)})"
            give = f"chown -R {user.login} {shlex.quote(str(part))}"
            yield fault(subject, seen, f"{give} if it is the agent's alone, else name another place")


def _is_there(path: Path) -> bool:
    # Path.exists() raises where a directory on the way may not be searched.
    return os.path.exists(path)  # noqa: PTH110


def _is_full(place: Path) -> bool:
    there = os.statvfs(place)
    # Some file systems do not count what they have; they tell 0 in all.
    has_room = not there.f_blocks or there.f_bavail * there.f_frsize >= ROOM
    return not has_room or (bool(there.f_files) and not there.f_favail)


def _until(subject: str, what: str, end: datetime, now: datetime) -> Finding:
    words = f"{what}, until {end:%Y-%m-%d}"
    if end <= now:
        return fault(subject, f"{words}: it has expired", "get a new one")
    if end - now < EARLY:
        return warning(subject, f"{words}: {(end - now).days} days are left", "get a new one in time")
    return fine(subject, words)
