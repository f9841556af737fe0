"""The tables that tell Slurm's own parts what is borrowed: contrib/slurm-plugin reads them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from agent.cluster.settings.plugin import PluginSettings
from agent.core.errors import ConfigError


def borrowed_table(
    settings: PluginSettings, *, partitions: Sequence[str], lease_end: datetime | None, now: datetime
) -> str:
    """Write the table: a line for each key, times in seconds since 1970.

    Args:
        settings: [plugin].
        partitions: whose jobs may land on borrowed machines; empty for all.
        lease_end: until when the machines are ours; None while unknown.
        now: the time of writing; the policy takes no notice of a table that is old.
    """
    lines = {
        "version": "1",
        "feature": settings.feature,
        "own_feature": settings.own_feature,
        "partitions": " ".join(partitions),
        "written": f"{now.timestamp():.0f}",
        "lease_end": f"{lease_end.timestamp():.0f}" if lease_end else "",
        "notice": f"{settings.notice:.0f}",
        "default": settings.default,
        "requeue": "yes" if settings.requeue else "no",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items() if value)


def lease_table(settings: PluginSettings, *, lease_end: datetime | None, now: datetime) -> str:
    """Write what a borrowed machine is told, in the form of the table.

    Args:
        settings: [plugin].
        lease_end: until when it is ours; None while unknown.
        now: the time of writing; esagent-orphan counts the agent's silence from it.
    """
    lines = {
        "version": "1",
        "written": f"{now.timestamp():.0f}",
        "lease_end": f"{lease_end.timestamp():.0f}" if lease_end else "",
        "notice": f"{settings.notice:.0f}",
        "orphan_after": f"{settings.orphan_after:.0f}" if settings.orphan_after else "",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items() if value)


def write_table(path: Path, text: str) -> None:
    """Put a table in place, whole or not at all: slurmctld may read it at any moment.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise ConfigError(f"[plugin] table {path}: {error}") from error
