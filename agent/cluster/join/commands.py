"""The shell commands that are run on a machine when it joins and when it leaves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from agent.cluster.settings.join import PLACEHOLDERS, JoinSettings, node_name
from agent.core.errors import ConfigError
from agent.core.model import SliverNode

_SAFE = re.compile(r"[A-Za-z0-9._:-]*")


def join_commands(node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that join this machine.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command.
    """
    return _fill(settings.commands, node, settings)


def leave_commands(node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that clean this machine up before it is released.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command.
    """
    return _fill(settings.leave_commands, node, settings)


def probe_commands(node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that tell whether this machine is fit for jobs.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command.
    """
    return _fill(settings.probe, node, settings)


def _fill(commands: Sequence[str], node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    values = {name: getattr(node, name, "") for name in PLACEHOLDERS} | {
        "node_name": node_name(node, settings)
    }
    for name, value in values.items():
        # Quoting alone is no guard: the site's template may stand in quotes of its own.
        if _SAFE.fullmatch(value) is None:
            raise ConfigError(f"machine {node.client_id!r}: {name} {value!r} is not fit for a shell command")
    quoted = {name: shlex.quote(value) for name, value in values.items()}
    return tuple(command.format_map(quoted) for command in commands)
