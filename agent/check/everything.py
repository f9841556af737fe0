"""Everything that ``esagent check`` looks at, in the order in which a person would mend it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cache, partial
from pathlib import Path

from agent.admin.settings import AdminSettings
from agent.check.access import Reader
from agent.check.barrier import barrier
from agent.check.cloudlab import (
    callback_answers,
    check_authorities,
    check_callback_port,
    check_clocks,
    check_from_outside,
    check_lans,
    check_public_key,
)
from agent.check.files import (
    check_callback,
    check_cas,
    check_identity,
    check_mail,
    check_places,
    check_rest,
    check_ssh_key,
)
from agent.check.finding import Finding, Grade, fault, fine, look, skipped, warning
from agent.check.holdings import Remembered, check_departed, check_left_behind, read_held, recall
from agent.check.idle import check_idle
from agent.check.lease import check_sliver_ends
from agent.check.names import files_to_read, files_to_write
from agent.check.ownership import Said, check_lonely_lans, check_ownership, is_shared, ours_of, say_whose
from agent.check.program import become, check_program, program
from agent.check.request import check_request
from agent.check.sandbox import find_sandbox
from agent.check.slurm import check_pieces, check_primary, check_slurm
from agent.check.types import check_types
from agent.check.user import UNIT, User, caller, find_user, running, unit, user_name
from agent.cloudlab.connect import connect, identity_of, slice_urn_of
from agent.cloudlab.server import ProtoGeniServer
from agent.cluster.memory.machine_types import read_shapes
from agent.config import Settings, load
from agent.core.errors import ConfigError, LedgerError, SlurmError
from agent.core.ports import Clock
from agent.core.request.escaping import meant
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.parts import cluster_settings, ownership_of
from agent.slurm.choice import choose, slurm_commands
from agent.slurm.cli.scheduling import parse_config
from agent.slurm.names import expand
from agent.slurm.primary import parse_ping
from agent.ssh.shell import SshShell

_OF_THE_USER = ("settings", "certificates, keys and files", "Cloudlab", "Slurm", "rights in Slurm")
"""What stands as it stands only for the daemon's user."""


def check_everything(path: Path, clock: Clock, *, offline: bool, asked: User | None) -> Iterator[Finding]:
    """Look at the settings, and at all that they name, as the daemon's user.

    A process of root becomes one of that user; what it has read of agent.conf before, it goes on with.

    Args:
        path: agent.conf.
        clock: time.
        offline: ask neither Cloudlab nor Slurm.
        asked: whom the daemon runs as; None to find that out.
    """
    settings, faults = _load(path)
    try:
        admin_socket = (settings.admin if settings else AdminSettings()).socket
        properties, daemon = unit(), running(admin_socket)
        user, told = find_user(asked, properties, daemon)
        sandbox = find_sandbox(asked, properties, daemon)
    except ConfigError as error:
        yield fault("user", str(error), f"make that user, or name another: systemctl edit {UNIT}")
        return
    me = os.geteuid()
    if me not in {0, user.uid}:
        yield from _as_a_bystander(path, faults, told, user)
        return
    yield told
    if me != user.uid:
        try:
            bars = list(check_program(user, program()))
            if not bars:
                become(user)
        except OSError as error:
            bars = [fault("user", f"root may not become {user.name} here: {error}", "run it as that user")]
        if bars:
            yield from bars
            for subject in _OF_THE_USER:
                yield skipped(subject, f"{user.name} cannot look")
            return
    reader = Reader(user, path.absolute().parent, sandbox)
    barred = list(reader.settings(path))
    # Who may not read it has no other fault to tell; root has read it.
    yield from [*barred, *(faults if me == 0 or not barred else [])] or [fine("settings", str(path))]
    if settings is not None:
        yield from _with_settings(settings, clock, reader, offline=offline)


def _load(path: Path) -> tuple[Settings | None, list[Finding]]:
    mend = "see agent.conf.example, or `esagent config example`"
    try:
        return load(path), []
    except ConfigError as error:
        return None, [fault("settings", line, mend) for line in str(error).splitlines()]


def _as_a_bystander(path: Path, faults: list[Finding], told: Finding, user: User) -> Iterator[Finding]:
    """Tell what holds for everybody: the words of agent.conf, where the caller may read it."""
    yield warning("user", f"{told.seen}, and {caller().name} looks", f"run it as root or {user.name}")
    why = f"only root or {user.name} can tell more: run it as root"
    if barrier(path) is not None:
        yield skipped("settings", why)
    else:
        yield from faults or [skipped("settings", f"{path} is well formed; {why}")]
    for subject in _OF_THE_USER[1:]:
        yield skipped(subject, why)


def _with_settings(settings: Settings, clock: Clock, reader: Reader, *, offline: bool) -> Iterator[Finding]:
    now = clock.now()
    cloudlab, callback = settings.cloudlab, settings.callback
    barred = yield from reader.check(files_to_read(settings))

    def can_read(*paths: Path | None) -> bool:
        return barred.isdisjoint(paths)

    can_be_us = can_read(cloudlab.certificate, cloudlab.key, cloudlab.passphrase_file)
    identity = list(check_identity(cloudlab, now)) if can_be_us else []
    is_us = can_be_us and _is_faultless(identity)
    cas = list(check_cas(cloudlab, now)) if is_us and can_read(cloudlab.ca_bundle) else []
    can_call = is_us and _is_faultless(cas) and can_read(cloudlab.ca_bundle, *cloudlab.ssh_keys)
    request = [Path(name) for name in (settings.request.rspec_file, settings.request.profile_script) if name]
    mail = [Path(name) for name in (settings.mail.password_file, settings.mail.ca_file) if name]
    yield from identity
    yield from cas
    if can_call:
        # The files stand: what is left are the keys in them, and the SA that the certificate names.
        yield from look("cloudlab", lambda: _connect(settings, clock), "see [cloudlab] ssh_keys and sa_url")
    helpers: list[SimpleElasticSliceHelper] = []
    if can_read(*request):
        yield from check_request(settings, helpers.append)
    if can_read(callback.certificate, callback.key, callback.ca_bundle):
        yield from check_callback(callback, now)
    if can_read(settings.ssh.key):
        yield from check_ssh_key(settings.ssh)
    yield check_idle(cluster_settings(settings))
    if can_read(settings.slurm.rest_token, settings.slurm.rest_ca):
        yield from check_rest(settings.slurm)
    if can_read(*mail):
        yield from check_mail(settings.mail)
    places = list(check_places(files_to_write(settings), reader.user, reader.sandbox))
    yield from places
    known = Remembered()
    try:
        slice_urn = slice_urn_of(cloudlab, identity_of(cloudlab, now)) if is_us else ""
        known = recall(settings.ledger.path, slice_urn, now)
    except LedgerError as error:
        if _is_faultless(places):
            yield warning("ledger", str(error), "see [ledger] path; without it only names tell what is ours")
    yield from check_departed(cloudlab.cms, known, callback.allowed_urns)
    yield from check_left_behind(known)
    yield from check_types(settings.demand, read_shapes(known.machine_types))
    if offline:
        yield skipped("Cloudlab and Slurm", "asked not to (--offline)")
        return
    is_up = callback_answers(callback, cloudlab.connect_timeout)
    yield from check_callback_port(callback, is_up=is_up)
    if can_call and can_read(settings.ssh.key):
        # What has its names is ours, also where the request itself is at fault.
        helper = helpers[0] if helpers else SimpleElasticSliceHelper(node_prefix=settings.request.node_prefix)
        look_there = partial(_cloudlab, settings, helper, clock, known, is_up=is_up)
        yield from look("Cloudlab", look_there, "see [cloudlab]")
    else:
        yield skipped("Cloudlab", "a file that it takes is at fault: see above")
    yield from look("Slurm", lambda: _slurm(settings, clock), "see [slurm]")


def _is_faultless(findings: Iterable[Finding]) -> bool:
    return all(finding.grade is not Grade.FAULT for finding in findings)


def _connect(settings: Settings, clock: Clock) -> Iterator[Finding]:
    connect(settings.cloudlab, clock=clock).close()
    yield from ()


def _cloudlab(
    settings: Settings, helper: SimpleElasticSliceHelper, clock: Clock, known: Remembered, *, is_up: bool
) -> Iterator[Finding]:
    # A person waits: a server that does not answer is a finding, and not to be waited for.
    asked = settings.cloudlab.model_copy(update={"retry_for": 0.0, "read_timeout": 60.0})
    server = connect(asked, clock=clock)
    try:
        yield from check_authorities(server, settings.lease, clock.now())
        if lans := helper.lans_of_added():
            yield from look("LANs", lambda: check_lans(server, lans), "see [request] lans")
        said: list[Said] = []
        yield from look(
            "machines",
            lambda: _machines(settings, helper, server, known, said.append, clock.now()),
            "see [cloudlab]",
        )
        shell = SshShell(settings.ssh)
        key, outside = "SSH key at Cloudlab", "callback port from outside"
        startup, shared = meant(helper.startup_command or ""), is_shared(said, asked.slice_is)
        given = partial(check_public_key, shell.public_key, startup=startup, is_shared=shared)
        yield from look(key, lambda: [given(server.public_keys(added=shared))], "see [ssh]")
        if is_up:
            machines, login = ours_of(said), settings.ssh.user
            yield from look(
                outside, lambda: [check_from_outside(machines, shell, login, settings.callback)], "see [ssh]"
            )
        else:
            yield skipped(outside, "the daemon is not up")
    finally:
        server.close()
    yield from check_clocks(asked, server.identity, clock)


def _machines(
    settings: Settings,
    helper: SimpleElasticSliceHelper,
    server: ProtoGeniServer,
    known: Remembered,
    tell: Callable[[Said], object],
    now: datetime,
) -> Iterator[Finding]:
    """Tell whose the machines of the slice are; ``tell`` is given it too."""
    helds, ownership = read_held(server, known), ownership_of(settings)
    said = say_whose(helds, ownership, helper)
    tell(said)
    words = {"own": settings.request.own, "never": settings.request.never}
    sets = {key: {word: expand(word) for word in each} for key, each in words.items()}
    yield from check_ownership(helds, said, ownership, sets)
    yield from check_sliver_ends(helds, settings.lease, now)
    yield from check_lonely_lans(said, helper.lans_of_added())


def _slurm(settings: Settings, clock: Clock) -> Iterator[Finding]:
    # A Slurm on this machine is judged also where the SSH key is at fault.
    shell = SshShell(settings.ssh) if settings.slurm.host else None
    commands = slurm_commands(settings.slurm, clock, shell, settings.ssh.user)
    way_in = choose(settings.slurm, clock, commands)
    # Asked for twice below, and the same for as long as we look.
    config = cache(commands.config)
    try:
        yield from check_slurm(
            way_in.backend,
            config,
            # pyslurm looks for the node itself, and never asks whether we may change it.
            (way_in.backend if way_in.name == "rest" else commands).resume,
            join=settings.join,
            max_nodes=settings.demand.most_at_once,
            offers=settings.demand.offers(),
            way_in="; ".join((way_in.name, *way_in.passed_over)),
            user=_slurm_user(settings, way_in.name),
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
    yield from check_pieces(stated, conf.parent, settings.plugin, settings.admin.socket)


def _slurm_user(settings: Settings, way_in: str) -> str:
    """Tell whom Slurm takes the agent for."""
    if way_in == "rest" and settings.slurm.rest_token:
        return settings.slurm.rest_user
    if settings.slurm.host:
        return settings.slurm.host.rpartition("@")[0] or settings.ssh.user or "root"
    return user_name(os.geteuid())
