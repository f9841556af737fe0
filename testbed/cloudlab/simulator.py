"""The simulated Cloudlab as one object: start it, steer it, read it, stop it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Condition
from typing import Self

from testbed.bedfile import BedFile, CallbackFiles, CmEntry
from testbed.cloudlab.background import Background
from testbed.cloudlab.callbacks import TICK, Endpoint, ValuePush
from testbed.cloudlab.clock import Clock, Pace, SystemClock
from testbed.cloudlab.cm import ComponentManager, Surroundings
from testbed.cloudlab.cm_actions import ActionMethods
from testbed.cloudlab.cm_nodes import NodeMethods
from testbed.cloudlab.commands import carry_out
from testbed.cloudlab.control import ControlServer, SteeringError, is_running
from testbed.cloudlab.credentials import Subject
from testbed.cloudlab.dispatch import Dispatcher
from testbed.cloudlab.identities import (
    PASSPHRASE,
    PROJECT,
    SA_DOMAIN,
    Identities,
    make_identities,
    ssh_public_key,
    user_urn,
    user_uuid,
)
from testbed.cloudlab.journal import NAME as JOURNAL_NAME
from testbed.cloudlab.journal import Journal
from testbed.cloudlab.method import Method
from testbed.cloudlab.revocations import Revocations
from testbed.cloudlab.room import MachineRoom, NoMachines
from testbed.cloudlab.sa import Member, SliceAuthority
from testbed.cloudlab.server import HttpsServer, server_context
from testbed.cloudlab.sites import DEFAULT_SITES, DEFAULT_USERS, Site, User
from testbed.cloudlab.urn import Urn
from testbed.cloudlab.workers import Workers

_STOP_LIMIT = 5.0
_LONGEST_NOTICE = 365 * 86400.0


@dataclass(frozen=True)
class MachineInfo:
    """One machine as it is now."""

    node_id: str
    cm: str
    """URN of the CM."""
    type: str
    address: str
    state: str
    """Last event of its life, such as ISUP."""
    available: bool
    slice_urn: str
    """Slice that holds it; "" for none."""
    client_id: str
    value: float
    deadline: datetime | None
    """When it will be taken; None without a revocation."""


@dataclass(frozen=True)
class _SiteParts:
    cm: ComponentManager
    revocations: Revocations
    values: ValuePush | None


class SimulatedCloudlab:
    """A slice authority and component managers over HTTPS, with machines in scaled time.

    All methods are safe to call from any thread.

    Attributes, from ``start`` on:
        journal: what happened.
        identities: certificates and keys.
        sa: the inside of the SA, for tests of what no client can see.
    """

    journal: Journal
    identities: Identities
    sa: SliceAuthority

    def __init__(
        self,
        directory: Path,
        *,
        speed: float = 60.0,
        sites: Sequence[Site] = DEFAULT_SITES,
        users: Sequence[User] = DEFAULT_USERS,
        room: MachineRoom | None = None,
        bind: str = "127.0.0.1",
        ports: Sequence[int] = (),
        callback_url: str | None = None,
        ssh_key: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Describe a simulator; nothing is started or written before ``start``.

        Args:
            directory: gets ``pki/``, ``journal.jsonl``, ``control.sock`` and the SSH key.
            speed: simulated seconds per real second.
            sites: the CMs and their machines.
            users: the SA's users, all members of the project; the first is the one in the bed file.
            room: real machines; ``stop`` closes it. None: machines that exist on paper only.
            bind: address to listen on.
            ports: of the SA and then of each CM; empty for any free ones.
            callback_url: where the agent listens; None for no callbacks.
            ssh_key: the first user's private key file; made if missing. None: ``DIR/id_ed25519``.
            clock: what expiries are measured by; None for this computer's own.

        Raises:
            SteeringError: speed or ports make no sense.
        """
        if not (math.isfinite(speed) and speed > 0):
            raise SteeringError(f"speed must be a positive number, not {speed}")
        if ports and len(ports) != len(sites) + 1:
            raise SteeringError(f"{len(sites) + 1} ports are needed (SA, CMs), not {len(ports)}")
        self.directory = directory.resolve()
        self.speed = speed
        self.sites = tuple(sites)
        self.callback_url = callback_url
        self.ssh_key = ssh_key or self.directory / "id_ed25519"
        self._users = tuple(users)
        self._room = room or NoMachines([node_id for site in sites for node_id in site.machines])
        self._bind = bind
        self._ports = tuple(ports) or (0,) * (len(sites) + 1)
        self._clock = clock or SystemClock()
        self._mutex = Condition()
        self._workers = Workers()
        self._urls: tuple[str, ...] = ()
        self._parts: dict[str, _SiteParts] = {}
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- reading

    @property
    def sa_url(self) -> str:
        """URL of the SA."""
        return self._urls[0]

    @property
    def cms(self) -> tuple[CmEntry, ...]:
        """The CMs, in the order of the sites."""
        return tuple(CmEntry(site.urn, url) for site, url in zip(self.sites, self._urls[1:], strict=True))

    def cm(self, cm_urn: str) -> ComponentManager:
        """Return the inside of a CM, for tests of what no client can see."""
        return self._parts[cm_urn].cm

    def machines(self) -> list[MachineInfo]:
        """Return all machines as they are now, site by site."""
        with self._mutex:
            return [
                MachineInfo(
                    node_id=machine.node_id,
                    cm=cm_urn,
                    type=machine.hardware_type,
                    address=machine.address,
                    state=machine.event,
                    available=machine.available,
                    slice_urn=machine.holder.slice_urn if machine.holder else "",
                    client_id=machine.holder.client_id if machine.holder else "",
                    value=machine.value,
                    deadline=parts.revocations.deadline(machine.node_id),
                )
                for cm_urn, parts in self._parts.items()
                for machine in parts.cm.machines.values()
            ]

    def expiry_moves(self) -> dict[str, tuple[datetime, datetime]]:
        """Return first and present expiry of the newest slice at ``SA`` and each ``CM DOMAIN``."""
        with self._mutex:
            if not self.sa.slices:
                return {}
            newest = list(self.sa.slices.values())[-1]
            moves = {"SA": (newest.first_expires, newest.expires)}
            for parts in self._parts.values():
                record = parts.cm.slices.get(newest.urn)
                if record is not None:
                    moves[f"CM {parts.cm.site.domain}"] = (record.first_expires, record.expires)
            return moves

    def bed_file(self) -> BedFile:
        """Describe the running simulator; ``dataclasses.replace`` adds what only the caller knows."""
        user = self._users[0]
        identity = self.identities.users[user.uid]
        return BedFile(
            directory=self.directory,
            sa_url=self.sa_url,
            cms=self.cms,
            ca_bundle=self.identities.authority.bundle,
            user_urn=user_urn(user),
            user_pem=self.identities.download,
            user_cert=identity.cert_path,
            user_key=identity.key_path,
            passphrase=PASSPHRASE,
            passphrase_file=self.identities.passphrase_file,
            ssh_key=self.ssh_key.resolve(),
            callback=CallbackFiles(
                cert=self.identities.callback.cert_path,
                key=self.identities.callback.key_path,
                ca=self.identities.authority.bundle,
                urns=tuple(site.urn for site in self.sites),
            ),
            callback_url=self.callback_url,
            project=PROJECT,
            pid=os.getpid(),
            speed=self.speed,
            journal=self.journal.path,
        )

    # --- steering

    def revoke(self, nodes: str | Sequence[str], seconds: float) -> None:
        """Announce that held machines are taken in so many real seconds; several are told in one call.

        0 takes them at once. A machine with a countdown gets the new one.

        Raises:
            SteeringError: no such machine, not held by a slice, or no sensible number of seconds.
        """
        if not (math.isfinite(seconds) and 0 <= seconds <= _LONGEST_NOTICE):
            raise SteeringError(f"seconds must be a number from 0 to {_LONGEST_NOTICE:g}, not {seconds}")
        with self._mutex:
            groups: dict[str, list[str]] = {}
            for node_id in [nodes] if isinstance(nodes, str) else nodes:
                parts = self._parts_of(node_id)
                if parts.cm.machines[node_id].holder is None:
                    raise SteeringError(f"{node_id} is not held by any slice: there is nothing to revoke")
                groups.setdefault(parts.cm.urn, []).append(node_id)
            for cm_urn, node_ids in groups.items():
                self.journal.note(f"revoke {' '.join(node_ids)} in {seconds:g} s")
                self._parts[cm_urn].revocations.revoke(node_ids, seconds)

    def withdraw(self, node_id: str) -> None:
        """Stop the countdown of a machine, without a word to the agent.

        Raises:
            SteeringError: no such machine, or it has no countdown.
        """
        with self._mutex:
            if not self._parts_of(node_id).revocations.withdraw(node_id):
                raise SteeringError(f"{node_id} has no revocation that could be withdrawn")
            self.journal.note(f"withdraw the revocation of {node_id}")

    def value(self, node_id: str, value: float) -> None:
        """Set a machine's resource value and push all values of its CM.

        Raises:
            SteeringError: no such machine, or not a number from 0 to 1.
        """
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise SteeringError(f"a resource value is a number from 0 to 1, not {value}")
        with self._mutex:
            parts = self._parts_of(node_id)
            parts.cm.machines[node_id].value = value
            self.journal.note(f"resource value of {node_id} is {value:g}")
            if parts.values is not None:
                parts.values.changed()

    def promise(self, node_id: str, project: str) -> None:
        """Reserve a machine for another project in advance ("" ends that): leases with it cannot be renewed.

        Raises:
            SteeringError: no such machine.
        """
        with self._mutex:
            self._parts_of(node_id).cm.machines[node_id].promised_to = project

    def _parts_of(self, node_id: str) -> _SiteParts:
        for parts in self._parts.values():
            if node_id in parts.cm.machines:
                return parts
        known = ", ".join(name for parts in self._parts.values() for name in parts.cm.machines)
        raise SteeringError(f"there is no machine {node_id!r}; there are {known}")

    # --- life

    def start(self) -> None:
        """Start everything; return when the SA and all CMs answer.

        Raises:
            SteeringError: a test bed is running in the directory already.
            OSError: a port or the directory cannot be used.
        """
        if is_running(self.directory):
            raise SteeringError(f"a test bed is running in {self.directory} already")
        self.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.journal = Journal(self.directory / JOURNAL_NAME)
            stack.callback(self.journal.close)
            stack.callback(self._join_workers)
            stack.callback(self._room.close)
            servers: list[HttpsServer] = []
            stack.callback(_end_together, servers)
            servers.extend(HttpsServer(self._bind, port) for port in self._ports)
            self._urls = tuple(
                f"https://{self._bind}:{server.port}/protogeni/xmlrpc/{module}"
                for server, module in zip(servers, ["sa", *["cm/2.0"] * len(self.sites)], strict=True)
            )
            stack.callback(self._end_work)
            self._build(servers)
            control = ControlServer(self.directory, partial(carry_out, self))
            stack.callback(control.end)
            self._running = stack.pop_all()

    def stop(self) -> None:
        """End everything within a few seconds; doing so again is harmless."""
        self._running.close()

    def _end_work(self) -> None:
        with self._mutex:
            self._workers.stopping.set()
            for parts in self._parts.values():
                parts.cm.lives.end_all(list(parts.cm.machines.values()))
            self._mutex.notify_all()

    def _join_workers(self) -> None:
        left = self._workers.join(_STOP_LIMIT)
        if left:
            self.journal.note(f"did not end in time: {', '.join(left)}")

    def _build(self, servers: Sequence[HttpsServer]) -> None:
        self.identities = make_identities(
            self.directory / "pki",
            sites=self.sites,
            users=self._users,
            bind=self._bind,
            sa_url=self.sa_url,
            callback_url=self.callback_url,
        )
        self.sa = self._make_sa()
        around = Surroundings(
            authority=self.identities.authority,
            clock=self._clock,
            pace=Pace(self.speed),
            room=self._room,
            journal=self.journal,
            workers=self._workers,
            mutex=self._mutex,
        )
        for site in self.sites:
            self._parts[site.urn] = self._make_site(site, around)
        server = self.identities.server
        context = server_context(server.cert_path, server.key_path, self.identities.authority.bundle)
        sa = self._dispatcher("sa", self.sa.urn, self.sa.methods)
        servers[0].begin(context, sa.answer)
        for https, parts in zip(servers[1:], self._parts.values(), strict=True):
            https.begin(context, self._dispatcher("cm", parts.cm.urn, parts.cm.methods).answer)
        for parts in self._parts.values():
            parts.revocations.start()
            if parts.values is not None:
                self._workers.start(f"values {parts.cm.urn}", parts.values.run)
        self._workers.start("daemons", self._run_daemons)

    def _make_sa(self) -> SliceAuthority:
        first_key = ssh_public_key(self.ssh_key)
        members = [
            Member(
                user=user,
                urn=user_urn(user),
                uuid=user_uuid(user),
                subject=Subject(user_urn(user), self.identities.users[user.uid].certificate_base64),
                ssh_keys=(first_key,) if index == 0 else (),
            )
            for index, user in enumerate(self._users)
        ]
        return SliceAuthority(
            domain=SA_DOMAIN,
            projects={PROJECT: frozenset(user.uid for user in self._users)},
            members=members,
            identity=self.identities.sa,
            authority=self.identities.authority,
            clock=self._clock,
            mutex=self._mutex,
            url=self.sa_url,
        )

    def _make_site(self, site: Site, around: Surroundings) -> _SiteParts:
        identity = self.identities.cms[site.urn]
        cm = ComponentManager(site, identity, around)
        background = Background(cm)
        nodes = NodeMethods(cm, background)
        ActionMethods(cm, background)
        if self.callback_url is None:
            return _SiteParts(cm, Revocations(cm, nodes, None), None)
        endpoint = Endpoint(
            self.callback_url,
            site.urn,
            identity.cert_path,
            identity.key_path,
            self.identities.authority.bundle,
            self.journal,
        )
        return _SiteParts(cm, Revocations(cm, nodes, endpoint), ValuePush(cm, endpoint))

    def _dispatcher(self, module: str, authority: str, methods: dict[str, Method]) -> Dispatcher:
        return Dispatcher(
            module=module,
            authority=authority,
            methods=methods,
            projects=self.sa.projects if module == "sa" else (),
            known_user=self._known_user,
            mutex=self._mutex,
            journal=self.journal,
        )

    def _known_user(self, name: Urn) -> bool:
        return name.kind != "user" or name.domain != SA_DOMAIN or str(name) in self.sa.members

    def _run_daemons(self) -> None:
        """Expire what has expired, and tell the SA which CMs have which slices."""
        pace = Pace(self.speed)
        while not pace.sleep(TICK, self._workers.stopping):
            self.sa.expire()
            for parts in self._parts.values():
                parts.cm.expire()
                with self._mutex:
                    for slice_urn in parts.cm.slices:
                        self.sa.note_manager(slice_urn, parts.cm.urn)


def _end_together(servers: Sequence[HttpsServer]) -> None:
    """End all servers at once: each takes as long as its loop sleeps."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(HttpsServer.end, servers))
