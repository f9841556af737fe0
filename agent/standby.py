"""What an agent does while another one acts: answers politely, and looks which slurmctld is primary."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from agent.admin.server import AdminServer
from agent.admin.standby import StandbyEndpoint, standby_operations
from agent.cloudlab.callback import CallbackServer
from agent.config import Settings
from agent.core.config import LoggedEvents
from agent.core.ports import SystemClock
from agent.slurm.choice import slurm_commands
from agent.slurm.primary import Lookout
from agent.ssh.shell import SshShell
from agent.tell.metrics import Metrics


def begin(settings: Settings, parts: ExitStack) -> Lookout:
    """Begin to answer and to look; what answers ends with ``parts``, and the caller ends the lookout.

    The ledger is not touched: it belongs to the agent that acts.

    Raises:
        ConfigError: a part cannot be built from these settings.
        UnavailableError: an address or a socket cannot be used.
    """
    clock = SystemClock()
    commands = slurm_commands(settings.slurm, clock, SshShell(settings.ssh), settings.ssh.user)
    lookout = Lookout(commands.ping, commands.config, socket.gethostname(), settings.slurm.ping_interval)

    def why() -> str:
        return str(lookout.standing)

    admin = AdminServer(settings.admin, standby_operations(why), LoggedEvents(), clock)
    callback = CallbackServer(StandbyEndpoint(why), settings.callback)
    for part in (admin, callback):
        part.start()
        parts.callback(part.stop)
    parts.callback(Metrics().serve(settings.metrics)[1])
    lookout.start()
    return lookout
