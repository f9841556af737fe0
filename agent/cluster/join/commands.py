"""The shell commands that are run on a machine when it joins and when it leaves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from string import Formatter

from agent.cluster.settings.join import PLACEHOLDERS, JoinSettings, address_of
from agent.core.errors import ConfigError
from agent.core.model import SliverNode

_SAFE = re.compile(r"[A-Za-z0-9._:-]*")


def join_commands(node: SliverNode, name: str, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that join this machine under this node name.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command, or an address is not there.
    """
    # Where no command names it, Slurm is told it all the same.
    address_of(node, settings.address)
    return _fill(settings.commands, node, name, settings)


def leave_commands(node: SliverNode, name: str, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that clean this machine up before it is released.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command, or an address is not there.
    """
    return _fill(settings.leave_commands, node, name, settings)


def probe_commands(node: SliverNode, name: str, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that tell whether this machine is fit for jobs.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command, or an address is not there.
    """
    return _fill(settings.probe, node, name, settings)


def _fill(
    commands: Sequence[str], node: SliverNode, node_name: str, settings: JoinSettings
) -> tuple[str, ...]:
    values = {name: getattr(node, name, "") for name in PLACEHOLDERS if name != "address"} | {
        "node_name": node_name
    }

    def value(name: str, network: str) -> str:
        text = address_of(node, network or settings.address) if name == "address" else values[name]
        # Quoting alone is no guard: the site's template may stand in quotes of its own.
        if _SAFE.fullmatch(text) is None:
            raise ConfigError(f"machine {node.client_id!r}: {name} {text!r} is not fit for a shell command")
        return shlex.quote(text)

    for name in values:
        value(name, "")
    return tuple(
        "".join(
            text + ("" if name is None else value(name, network or ""))
            for text, name, network, _ in Formatter().parse(command)
        )
        for command in commands
    )
