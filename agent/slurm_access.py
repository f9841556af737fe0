"""The way in to Slurm that the settings ask for, over SSH where Slurm's commands are on another machine."""

from __future__ import annotations

from agent.config import Settings
from agent.core.ports import Clock, Host
from agent.slurm.backends.choice import Choice, choose
from agent.slurm.backends.cli import CliBackend
from agent.ssh import SshShell


def open_slurm(settings: Settings, clock: Clock, shell: SshShell) -> Choice:
    """Choose the way in (``choose``), with Slurm's commands on this machine or on [slurm] host.

    Raises:
        ConfigError: the one that is asked for by name cannot work here.
    """
    return choose(settings.slurm, clock, slurm_commands(settings, clock, shell))


def slurm_commands(settings: Settings, clock: Clock, shell: SshShell) -> CliBackend:
    """Reach Slurm's commands."""
    user, at, name = settings.slurm.host.rpartition("@")
    head = Host(name, name, user if at else settings.ssh.user or "root")
    return CliBackend(settings.slurm, clock, head=(head, shell) if name else None)
