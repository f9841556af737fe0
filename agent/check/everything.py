"""Everything that ``esagent check`` looks at, in the order in which a person would mend it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from agent.check.cloudlab import check_authorities, check_callback_port, check_clocks
from agent.check.files import check_callback, check_identity, check_places, check_ssh_key
from agent.check.finding import Finding, fault, fine, look, skipped
from agent.check.slurm import check_pieces, check_primary, check_slurm, parse_config
from agent.cloudlab.server import connect
from agent.config import Settings, load
from agent.core.errors import ConfigError, SlurmError
from agent.core.ports import Clock
from agent.slurm.backends.choice import choose
from agent.slurm.primary import parse_ping
from agent.slurm_access import slurm_commands
from agent.ssh import SshShell


def check_everything(path: Path, clock: Clock, *, offline: bool) -> Iterator[Finding]:
    """Look at the settings, and at all that they name.

    Args:
        path: agent.conf.
        clock: time.
        offline: ask neither Cloudlab nor Slurm.
    """
    try:
        settings = load(path)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield fault("settings", line, "see agent.conf.example, or `esagent config example`")
        return
    yield fine("settings", str(path))
    now = clock.now()
    yield from check_identity(settings.cloudlab, now)
    yield from check_callback(settings.callback, now)
    yield from check_ssh_key(settings.ssh)
    yield from check_places(settings.ledger.path, settings.ssh.known_hosts, settings.admin.socket)
    if offline:
        yield skipped("Cloudlab and Slurm", "asked not to (--offline)")
        return
    yield from check_callback_port(settings.callback, settings.cloudlab.connect_timeout)
    yield from look("Cloudlab", lambda: _cloudlab(settings, clock), "see [cloudlab]")
    yield from look("Slurm", lambda: _slurm(settings, clock), "see [slurm]")


def _cloudlab(settings: Settings, clock: Clock) -> Iterator[Finding]:
    # A person waits: a server that does not answer is a finding, and not to be waited for.
    asked = settings.cloudlab.model_copy(update={"retry_for": 0.0, "read_timeout": 60.0})
    server = connect(asked, clock=clock)
    try:
        yield from check_authorities(server)
    finally:
        server.close()
    yield from check_clocks(asked, server.identity, clock)


def _slurm(settings: Settings, clock: Clock) -> Iterator[Finding]:
    shell = SshShell(settings.ssh)
    commands = slurm_commands(settings, clock, shell)
    way_in = choose(settings.slurm, clock, commands)
    # Asked for twice below, and the same for as long as we look.
    config = cache(commands.config)
    try:
        yield from check_slurm(
            way_in.backend,
            config,
            join=settings.join,
            max_nodes=settings.demand.max_nodes,
            offers=settings.demand.offers(),
            way_in="; ".join((way_in.name, *way_in.passed_over)),
            shortcomings=way_in.remarks,
            drain=settings.drain,
            fence=commands.limited_partitions if settings.drain.fence else None,
        )
        stated = parse_config(config())
        always = settings.slurm.act == "always"
        yield check_primary(parse_ping(commands.ping()), socket.gethostname(), acts_always=always)
    except SlurmError:
        return
    finally:
        way_in.close()
    conf = settings.slurm.conf or Path(stated.get("SLURM_CONF", "/etc/slurm/slurm.conf"))
    yield from check_pieces(stated, conf.parent, settings.plugin)
