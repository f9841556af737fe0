"""The certificates and keys of a simulator, made for the addresses of this run."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from testbed import pki
from testbed.cloudlab import urn
from testbed.cloudlab.sites import Site, User

SA_DOMAIN = "example.net"
PROJECT = "labproj"
PASSPHRASE = "correct horse battery staple"


class UserCertificates(StrEnum):
    """How the users' certificates are made (protogeni-2021.md §11)."""

    TODAY = "today"
    """2048 bits, SHA-256, a year: what a site may do by now."""
    OF_2021 = "2021"
    """2048 bits, SHA-1, 1000 days."""
    OF_2016 = "2016"
    """1024 bits, SHA-1, a year."""

    @property
    def life(self) -> timedelta:
        """How long they last."""
        return timedelta(days=1000 if self is UserCertificates.OF_2021 else 365)

    @property
    def bits(self) -> int:
        """Length of their keys."""
        return 1024 if self is UserCertificates.OF_2016 else 2048


@dataclass(frozen=True)
class Identities:
    """Who is who. All files are in one directory."""

    authority: pki.CertificateAuthority
    server: pki.Identity
    """For the HTTPS of the SA and of all CMs."""
    sa: pki.Identity
    cms: Mapping[str, pki.Identity]
    """CM URN -> what it signs credentials and calls the agent with."""
    users: Mapping[str, pki.Identity]
    """uid -> certificate."""
    callback: pki.Identity
    """For the agent's callback server."""
    download: Path
    """The first user's certificate as Cloudlab hands it out: encrypted key, then certificate."""
    passphrase_file: Path


def user_urn(user: User) -> str:
    """Return a user's URN."""
    return urn.make(SA_DOMAIN, "user", user.uid)


def user_uuid(user: User) -> str:
    """Return a user's uuid: the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, user_urn(user)))


def make_identities(
    directory: Path,
    *,
    sites: Sequence[Site],
    users: Sequence[User],
    bind: str,
    sa_url: str,
    callback_url: str | None,
    user_ends: datetime | None = None,
    user_certificates: UserCertificates = UserCertificates.TODAY,
) -> Identities:
    """Issue all certificates into ``directory``; keys that are there already are used again.

    ``user_ends`` is when the users' certificates expire; None for a year from now.
    """
    authority = pki.CertificateAuthority(directory)
    here = ("localhost", "127.0.0.1", socket.gethostname())
    hosts = tuple(dict.fromkeys([*here, bind]))
    agent = urlsplit(callback_url).hostname if callback_url else None
    identities = {
        user.uid: authority.issue(
            user.uid,
            pki.Names(
                common_name=user_uuid(user),
                unit=f"{SA_DOMAIN}.{user.uid}",
                uris=(user_urn(user), f"urn:uuid:{user_uuid(user)}"),
                emails=(user.email,),
                sa_url=sa_url,
            ),
            not_after=user_ends,
            bits=user_certificates.bits,
            sha1=user_certificates is not UserCertificates.TODAY,
        )
        for user in users
    }
    made = Identities(
        authority=authority,
        server=authority.issue("server", pki.Names("boss.example.net", hosts=hosts)),
        sa=authority.issue(
            "sa", pki.Names(f"{SA_DOMAIN} SA", uris=(urn.make(SA_DOMAIN, "authority", "sa"),))
        ),
        cms={
            site.urn: authority.issue(f"cm-{site.domain}", pki.Names(f"{site.domain} CM", uris=(site.urn,)))
            for site in sites
        },
        users=identities,
        callback=authority.issue(
            "callback", pki.Names("agent", hosts=tuple(dict.fromkeys([*hosts, agent or bind])))
        ),
        download=directory / f"{users[0].uid}-download.pem",
        passphrase_file=directory / "passphrase",
    )
    pki.write_file(made.download, identities[users[0].uid].download(PASSPHRASE), secret=True)
    pki.write_file(made.passphrase_file, f"{PASSPHRASE}\n".encode(), secret=True)
    return made


def ssh_public_key(path: Path) -> str:
    """Return the public half of a private SSH key file, one line; make the key if there is none."""
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        text = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        pki.write_file(path, text, secret=True)
    key = load_ssh_private_key(path.read_bytes(), password=None)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    line = f"{public} esagent-testbed"
    pki.write_file(path.with_name(f"{path.name}.pub"), f"{line}\n".encode())
    return line
