"""How commands reach a machine of ours."""

from __future__ import annotations

from collections.abc import Callable

from agent.cluster.desk import Desk
from agent.core.model import SliverNode
from agent.core.ports import Host, HostResult, RemoteShell, Series


class Reach:
    """Runs commands on one machine at a time.

    Args:
        desk: has the settings in force.
        shell: runs commands over SSH.
        may_touch: tells whether a machine is ours to act on.
    """

    def __init__(self, desk: Desk, shell: RemoteShell, may_touch: Callable[[SliverNode], bool]) -> None:
        self._desk = desk
        self._shell = shell
        self._may_touch = may_touch

    def host(self, machine: SliverNode) -> Host:
        """Tell where to log in, and as whom."""
        user = self._desk.settings.ssh_user or machine.username
        # A machine that was given back comes again with another host key, and as another sliver.
        return Host(machine.node_id, machine.address or machine.hostname, user, life=machine.life)

    def run(self, machine: SliverNode, commands: Series, timeout: float) -> HostResult:
        """Run commands in order, within so many seconds in all; a fault is in the result."""
        host = self.host(machine)
        if not self._may_touch(machine):
            return HostResult(host, "", "it is not ours any more")
        return self._shell.run({host: commands}, timeout=timeout)[host]

    def forget(self, machine: SliverNode) -> None:
        """Drop its known host key: it was given back.

        Raises:
            SshError: the key stays known.
        """
        self._shell.forget(self.host(machine))
