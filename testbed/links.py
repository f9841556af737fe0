"""The host's network interfaces and routes, through ip(8)."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network

from testbed.registry import BedError

_TIMEOUT = 20.0


def ip(*arguments: str, namespace_of: int | None = None, batch: Sequence[str] = ()) -> str:
    """Run one command of iproute2, or several, and return what it prints.

    Args:
        arguments: the arguments of ip(8); none with ``batch``.
        namespace_of: a process, in whose network namespace to run; None is the host's.
        batch: several commands, run in order until one fails.

    Raises:
        BedError: it failed; its own words are in the message.
    """
    command = ["ip", *(["-batch", "-"] if batch else arguments)]
    if namespace_of is not None:
        command = ["nsenter", f"--net=/proc/{namespace_of}/ns/net", *command]
    done = subprocess.run(
        command, input="\n".join(batch), capture_output=True, check=False, timeout=_TIMEOUT, text=True
    )
    if done.returncode != 0:
        raise BedError(f"{' '.join(command)} {'; '.join(batch)}: {done.stderr.strip()}")
    return done.stdout


def link_names() -> tuple[str, ...]:
    """List the names of the host's network interfaces."""
    return tuple(name for _, name in socket.if_nameindex())


def delete_link(name: str) -> None:
    """Remove a network interface of the host; one that is gone already is no error.

    Raises:
        BedError: it is still there.
    """
    try:
        ip("link", "delete", "dev", name)
    except BedError:
        # The kernel removes a machine's cable by itself some time after the machine's last process.
        if name in link_names():
            raise


def routes() -> tuple[IPv4Network, ...]:
    """List the networks that the host has a route to, but for the default route."""
    found = json.loads(ip("-j", "-4", "route", "show"))
    return tuple(IPv4Network(route["dst"]) for route in found if route["dst"] != "default")
