"""Cloudlab: the SA, each CM, the clocks, and the port that Cloudlab calls."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from agent.check.finding import Finding, fault, fine, look, skipped, warning
from agent.check.lease import check_lease
from agent.cloudlab.callback import CallbackSettings
from agent.cloudlab.connect import tls_of
from agent.cloudlab.identity import Identity
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.settings import CloudlabSettings
from agent.core.errors import ConfigError
from agent.core.model import SliverNode
from agent.core.ports import Clock, Host, RemoteShell, SliceServer
from agent.core.request.lans import require_lans
from agent.core.settings import LeaseSettings

MAX_SKEW = 60.0
"""Seconds that two clocks may differ: credentials and deadlines are compared across them."""
_OUTSIDE_TIME = 30.0
"""Seconds for a machine to look at our callback port."""


def check_authorities(server: ProtoGeniServer, lease: LeaseSettings, now: datetime) -> Iterator[Finding]:
    """Ask the SA for our slice, which takes a credential, and each CM for its free machines."""
    mend = "is the address right, the network open, and the account in order at the Cloudlab portal?"

    def at_sa() -> Iterator[Finding]:
        until = server.find_slice()
        words = "is to be made" if until is None else f"lasts until {until:%Y-%m-%dT%H:%M:%SZ}"
        ends = server.credential_expiries().get("self")
        credential = f"a credential until {ends:%Y-%m-%d}" if ends else "a credential"
        yield fine("SA", f"gave us {credential}; the slice {server.slice_urn} {words}")
        if until is not None:
            yield check_lease(until, lease, now)

    yield from look("SA", at_sa, mend)
    for cm in server.cms:

        def at_cm(cm: str = cm) -> Iterator[Finding]:
            free = sum(node.available for node in server.discover(cm, available=True))
            yield fine(f"CM {cm}", f"{free} machines are free")

        yield from look(f"CM {cm}", at_cm, mend)


def check_lans(server: SliceServer, wanted: Sequence[str]) -> Iterator[Finding]:
    """Look whether each CM that holds something for us has the LANs that added machines are to join.

    Args:
        server: is asked for manifests.
        wanted: names of LANs.
    """
    for cm in server.cms:
        sliver = server.find_sliver(cm)
        if sliver is None:
            continue
        try:
            require_lans(cm, wanted, sliver.lans)
        except ConfigError as error:
            yield fault(f"LANs at {cm}", str(error), "see [request] lans")
        else:
            yield fine(f"LANs at {cm}", f"{', '.join(wanted)}: new machines can join")


def check_public_key(
    ours: str, given: Collection[str], *, startup: str = "", is_shared: bool = False
) -> Finding:
    """Tell whether new machines will let us in.

    Args:
        ours: the public half of our key, as ``TYPE BASE64``.
        given: the keys that Cloudlab puts on new machines.
        startup: the command that new machines run, which may put it there.
        is_shared: the slice is not ours alone.
    """
    if ours in given:
        return fine("SSH key at Cloudlab", f"one of {len(given)} that new machines are given")
    if re.search(rf"(?<![\w+/-]){re.escape(ours)}(?![\w+/=])", startup):
        return fine("SSH key at Cloudlab", "[request] startup_command puts it on new machines")
    # An existing sliver's machines have the accounts that it was made with (``GeniCMV2 AddNodes``).
    mend = (
        "add the public half at the Cloudlab portal before the experiment is made, or have"
        " [request] startup_command add it to authorized_keys"
        if is_shared
        else "add the public half at the Cloudlab portal, or its file to [cloudlab] ssh_keys"
    )
    seen = f"not among the {len(given)} that new machines are given: none will let us in"
    return fault("SSH key at Cloudlab", seen, mend)


def check_from_outside(
    machines: Iterable[SliverNode], shell: RemoteShell, login: str, settings: CallbackSettings
) -> Finding:
    """Have a borrowed machine connect to the callback port, from where Cloudlab is; it has to be up.

    Args:
        machines: those that are held.
        shell: runs commands there.
        login: user to log in as; "" for that of the manifest.
        settings: the section [callback].
    """
    subject = "callback port from outside"
    machine = next((m for m in machines if m.address or m.hostname), None)
    if machine is None:
        return skipped(subject, "no machine is held that could look")
    host = Host(machine.node_id, machine.address or machine.hostname, login or machine.username)
    ask = f"timeout 10 bash -c '</dev/tcp/'${{SSH_CONNECTION%% *}}'/{settings.port}' && echo $SSH_CONNECTION"
    result = shell.run({host: [ask]}, timeout=_OUTSIDE_TIME)[host]
    if result.ok:
        return fine(subject, f"{host.name} reaches {result.output.split(maxsplit=1)[0]} port {settings.port}")
    return warning(
        subject,
        f"{host.name} does not reach port {settings.port}: {result.error}",
        "open the port in the firewalls between Cloudlab and this machine",
    )


def check_clocks(settings: CloudlabSettings, identity: Identity, clock: Clock) -> Iterator[Finding]:
    """Compare our clock with each CM's, by the Date of an HTTP reply."""
    context = tls_of(settings, identity)
    for cm in settings.cms:
        subject = f"clock of {urlsplit(cm.url).hostname}"
        try:
            theirs = _date(cm.url, context, settings.connect_timeout)
        except (OSError, http.client.HTTPException) as error:
            yield skipped(subject, f"no answer: {error}")
            continue
        if theirs is None:
            yield skipped(subject, "its replies carry no date")
            continue
        skew = (clock.now() - theirs).total_seconds()
        if abs(skew) > MAX_SKEW:
            yield fault(subject, f"ours is {skew:+.0f} s off", "let this machine's clock follow NTP")
        else:
            yield fine(subject, f"ours is {skew:+.0f} s off")


def _date(url: str, context: ssl.SSLContext, timeout: float) -> datetime | None:
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port, timeout=timeout, context=context
    )
    try:
        connection.request("HEAD", parts.path or "/")
        date = connection.getresponse().getheader("Date")
    finally:
        connection.close()
    try:
        return parsedate_to_datetime(date) if date else None
    except ValueError:
        return None


def callback_answers(settings: CallbackSettings, timeout: float) -> bool:
    """Tell whether something takes connections at the callback port, at our outer address."""
    try:
        with socket.create_connection((_callback_address(settings), settings.port), timeout):
            return True
    except OSError:
        return False


def check_callback_port(settings: CallbackSettings, *, is_up: bool) -> Iterator[Finding]:
    """Look whether calls can arrive, as far as that can be seen from this machine.

    Args:
        settings: the section [callback].
        is_up: something takes connections there.
    """
    subject = "callback port"
    where = f"{settings.listen} port {settings.port}"
    if settings.port == 0:
        yield fault(subject, "port 0: any free one", "set [callback] port to the one that Cloudlab is told")
        return
    if _is_loopback(settings.listen):
        yield warning(
            subject, f"{where}: Cloudlab cannot reach it", 'set [callback] listen to "0.0.0.0" or our address'
        )
    if is_up:
        address = _callback_address(settings)
        yield fine(subject, f"{address} port {settings.port} takes connections from this machine")
    else:
        yield from _bind(subject, settings)


def _bind(subject: str, settings: CallbackSettings) -> Iterator[Finding]:
    """Tell whether the daemon, which is not up, could have the port."""
    family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen, settings.port))
        except OSError as error:
            yield fault(
                subject,
                f"{settings.listen} port {settings.port}: {error.strerror}, and nobody answers there",
                "see [callback] listen and port, and a firewall on this machine",
            )
        else:
            yield fine(subject, f"{settings.listen} port {settings.port} is free; the daemon is not up")


def _callback_address(settings: CallbackSettings) -> str:
    return _outer_address() if settings.listen in {"0.0.0.0", "::"} else settings.listen  # noqa: S104


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _outer_address() -> str:
    """Tell the address that packets to the world leave from; none is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
