"""Slurm's commands, over SSH where they are on another machine."""

from __future__ import annotations

from agent.config import Settings
from agent.core.ports import Clock, Host
from agent.slurm.cli.backend import CliBackend
from agent.ssh.shell import SshShell


def slurm_commands(settings: Settings, clock: Clock, shell: SshShell | None) -> CliBackend:
    """Reach Slurm's commands, on this machine or, by the shell, on [slurm] host."""
    user, at, name = settings.slurm.host.rpartition("@")
    if not name:
        return CliBackend(settings.slurm, clock)
    assert shell is not None, "[slurm] host is reached over SSH"
    head = Host(name, name, user if at else settings.ssh.user or "root")
    return CliBackend(settings.slurm, clock, head=(head, shell))
