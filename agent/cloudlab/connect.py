"""From [cloudlab] to our slice at Cloudlab: the identity, TLS, the SA and the CMs, joined."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from agent.cloudlab.api import ComponentManager, SliceAuthority
from agent.cloudlab.identity import Identity, load_identity
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.settings import CloudlabSettings, check_url
from agent.cloudlab.transport import Limits, Observe, Remote, Transport
from agent.cloudlab.urn import Urn
from agent.core.errors import ConfigError
from agent.core.ports import Clock, CredentialStore

_PUBLIC_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[-A-Za-z0-9@.]+ [A-Za-z0-9+/]+=*")


def identity_of(settings: CloudlabSettings, now: datetime) -> Identity:
    """Read who we are to Cloudlab.

    Raises:
        ConfigError: names the file and what was expected of it.
    """
    return load_identity(
        settings.certificate, now=now, key=settings.key, passphrase_file=settings.passphrase_file
    )


def tls_of(settings: CloudlabSettings, identity: Identity) -> ssl.SSLContext:
    """Make the TLS settings of calls to the SA and the CMs.

    Raises:
        ConfigError: the bundle, or a certificate that OpenSSL refuses at this level.
    """
    return identity.client_context(
        settings.ca_bundle,
        check_hostname=settings.check_hostname,
        security_level=settings.tls_security_level,
    )


def slice_urn_of(settings: CloudlabSettings, identity: Identity) -> str:
    """Tell which slice the settings mean."""
    return str(Urn(_authority(settings, identity), "slice", settings.slice))


def _authority(settings: CloudlabSettings, identity: Identity) -> str:
    domain = identity.urn.authority.split(":")[0]
    return f"{domain}:{settings.project}" if settings.project else domain


def _project_urn(settings: CloudlabSettings, identity: Identity) -> str:
    domain = identity.urn.authority.split(":")[0]
    return str(Urn(domain, "project", settings.project)) if settings.project else ""


def connect(
    settings: CloudlabSettings,
    *,
    clock: Clock,
    observe: Observe | None = None,
    retired: Mapping[str, str] = MappingProxyType({}),
    store: CredentialStore | None = None,
    slivers: Mapping[str, str] = MappingProxyType({}),
) -> ProtoGeniServer:
    """Make the server from settings; nothing is called yet.

    Args:
        settings: the section [cloudlab].
        clock: time.
        observe: told of each call's end: method, authority, outcome in one word, seconds with all retries.
        retired: URN -> URL of CMs besides those of the settings, which come last; one without URL is left.
        store: keeps slice credentials over a restart; None for nowhere.
        slivers: CM -> URN of the sliver that it had when it was last heard.

    Raises:
        ConfigError: names the file or the setting to mend.
    """
    identity = identity_of(settings, clock.now())
    context = tls_of(settings, identity)
    limits = Limits(settings.connect_timeout, settings.read_timeout, settings.retry_for)
    transport = Transport(context, limits, observe=observe)
    sa = Remote(_sa_url(settings, identity), str(Urn(_authority(settings, identity), "authority", "sa")))
    places = {**{cm.urn: cm.url for cm in settings.cms}, **{urn: url for urn, url in retired.items() if url}}
    return ProtoGeniServer(
        identity=identity,
        slice_urn=slice_urn_of(settings, identity),
        sa=SliceAuthority(transport, sa),
        cms=[ComponentManager(transport, Remote(url, urn), identity.urn.id) for urn, url in places.items()],
        transport=transport,
        clock=clock,
        urls=places,
        project_urn=_project_urn(settings, identity),
        extra_keys=[_public_key(path) for path in settings.ssh_keys],
        store=store,
        slivers=slivers,
    )


def _sa_url(settings: CloudlabSettings, identity: Identity) -> str:
    url = settings.sa_url or identity.sa_url
    if not url:
        raise ConfigError(f"{settings.certificate}: names no SA; set [cloudlab] sa_url")
    try:
        check_url(url)
    except ValueError as error:
        raise ConfigError(f"{settings.certificate}: the SA's URL {url!r}: {error}; set sa_url") from error
    if not settings.project or "/project/" in url:
        return url
    base, slash, module = url.rstrip("/").rpartition("/")
    if not slash or module != "sa":
        raise ConfigError(
            f"[cloudlab] sa_url: {url!r} does not end in /sa, so the project has no place in it"
        )
    return f"{base}/project/{settings.project}/sa"


def _public_key(path: Path) -> str:
    """Return the type and the key of a public key file; the comment may hold what cannot be sent."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[cloudlab] ssh_keys: {path}: cannot be read: {error}") from error
    key = " ".join(text.split()[:2])
    if not _PUBLIC_KEY.fullmatch(key):
        raise ConfigError(f"[cloudlab] ssh_keys: {path}: expected one SSH public key, such as id_ed25519.pub")
    return key
