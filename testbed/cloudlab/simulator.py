"""The simulated Cloudlab as one object: start it, steer it, read it, stop it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

from testbed.bedfile import BedFile, CallbackFiles, CmEntry
from testbed.cloudlab.clock import Clock, SystemClock
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.engine import Engine, Plan
from testbed.cloudlab.hands.doors import DoorSteering
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.hands.portal import PortalSteering
from testbed.cloudlab.hands.reserving import ReserveSteering
from testbed.cloudlab.hands.ruling import RuleSteering
from testbed.cloudlab.hands.servers import ServerSteering
from testbed.cloudlab.hands.slices import SliceSteering
from testbed.cloudlab.hands.telling import TellingSteering
from testbed.cloudlab.identities import PASSPHRASE, PROJECT, Identities, UserCertificates, user_urn
from testbed.cloudlab.journal import Journal
from testbed.cloudlab.room import MachineRoom, NoMachines
from testbed.cloudlab.sa.authority import SliceAuthority
from testbed.cloudlab.sites import DEFAULT_SITES, DEFAULT_USERS, Generation, Site, User, names_of
from testbed.cloudlab.state import Machine
from testbed.cloudlab.steering.commands import carry_out
from testbed.cloudlab.steering.control import SteeringError
from testbed.cloudlab.steering.faults import Fault, Known, checked

_LONGEST_NOTICE = 365 * 86400.0


@dataclass(frozen=True)
class MachineInfo:
    """One machine as it is now."""

    node_id: str
    name: str
    """What it is called here, also where other CMs have its node_id: ``pc1-east``."""
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


class SimulatedCloudlab:
    """A slice authority and component managers over HTTPS, with machines in scaled time.

    All methods are safe to call from any thread.
    """

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
        certificate_life: timedelta | None = None,
        user_certificates: UserCertificates = UserCertificates.TODAY,
        sa_generation: Generation | None = None,
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
            certificate_life: how long the users' certificates last from ``start`` on; not positive: expired.
                None: as long as such certificates do.
            user_certificates: how the users' certificates are made.
            sa_generation: which server the SA is like; None: as the first site.

        Raises:
            SteeringError: speed or ports make no sense, or two machines would have one name.
        """
        if not (math.isfinite(speed) and speed > 0):
            raise SteeringError(f"speed must be a positive number, not {speed}")
        if ports and len(ports) != len(sites) + 1:
            raise SteeringError(f"{len(sites) + 1} ports are needed (SA, CMs), not {len(ports)}")
        names = [name for of_site in names_of(sites).values() for name in of_site.values()]
        self.directory = directory.resolve()
        self.speed = speed
        self.sites = tuple(sites)
        self.callback_url = callback_url
        self.ssh_key = ssh_key or self.directory / "id_ed25519"
        self._users = tuple(users)
        self._engine = Engine(
            Plan(
                directory=self.directory,
                speed=speed,
                sites=self.sites,
                users=self._users,
                room=room or NoMachines(names),
                bind=bind,
                ports=tuple(ports) or (0,) * (len(sites) + 1),
                callback_url=callback_url,
                ssh_key=self.ssh_key,
                clock=clock or SystemClock(),
                certificate_life=user_certificates.life if certificate_life is None else certificate_life,
                user_certificates=user_certificates,
                sa_generation=sa_generation or self.sites[0].generation,
            )
        )
        self._mutex = self._engine.mutex
        self._places = Places(self._engine)
        self.doors = DoorSteering(self._engine)
        """Who is let in: accounts, logins, experiments, portals."""
        self.telling = TellingSteering(self._engine)
        """Whether CMs call the agent."""
        self.portal = PortalSteering(self._engine)
        """What a portal and the people at it do to slices."""
        self.others = SliceSteering(self._engine)
        """What others do to slices: they end them, or lock them down."""
        self.servers = ServerSteering(self._engine)
        """Reboots of servers, and machines in the recovery system."""
        self.reserving = ReserveSteering(self._engine)
        """Machines that are set aside for others, by type and by name."""
        self.rules = RuleSteering(self._engine)
        """Limits, quota, images and leases of the sites."""
        steerings = (
            *(self.doors, self.telling, self.portal, self.others),
            *(self.servers, self.reserving, self.rules),
        )
        self.commands = {name: each for one in steerings for name, each in one.commands.items()}
        """Commands of the control socket that other modules carry out, by name."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything; return when the SA and all CMs answer.

        Raises:
            SteeringError: a test bed is running in the directory already.
            OSError: a port or the directory cannot be used.
        """
        self._engine.start(partial(carry_out, self))

    def stop(self) -> None:
        """End everything within a few seconds; doing so again is harmless."""
        self._engine.stop()

    # --- reading; what is not said otherwise is there from ``start`` on

    @property
    def journal(self) -> Journal:
        """What happened."""
        return self._engine.journal

    @property
    def identities(self) -> Identities:
        """Certificates and keys."""
        return self._engine.identities

    @property
    def sa(self) -> SliceAuthority:
        """The inside of the SA, for tests of what no client can see."""
        return self._engine.sa

    @property
    def sa_url(self) -> str:
        """URL of the SA."""
        return self._engine.urls[0]

    @property
    def cms(self) -> tuple[CmEntry, ...]:
        """The CMs, in the order of the sites."""
        return tuple(
            CmEntry(site.urn, url) for site, url in zip(self.sites, self._engine.urls[1:], strict=True)
        )

    def cm(self, cm_urn: str) -> ComponentManager:
        """Return the inside of a CM, for tests of what no client can see."""
        return self._engine.parts[cm_urn].cm

    def machines(self) -> list[MachineInfo]:
        """Return all machines as they are now, site by site."""
        with self._mutex:
            return [
                MachineInfo(
                    node_id=machine.node_id,
                    name=machine.name,
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
                for cm_urn, parts in self._engine.parts.items()
                for machine in parts.cm.machines.values()
            ]

    def expiry_moves(self) -> dict[str, tuple[datetime, datetime]]:
        """Return first and present expiry of the newest slice at ``SA`` and each ``CM DOMAIN``."""
        with self._mutex:
            if not self.sa.slices:
                return {}
            newest = list(self.sa.slices.values())[-1]
            moves = {"SA": (newest.first_expires, newest.expires)}
            for parts in self._engine.parts.values():
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

        0 takes them at once. A machine with a countdown gets the new one. Machines are named as in
        ``MachineInfo.name``, here and wherever one is steered.

        Raises:
            SteeringError: no such machine, not held by a slice, or no sensible number of seconds.
        """
        if not (math.isfinite(seconds) and 0 <= seconds <= _LONGEST_NOTICE):
            raise SteeringError(f"seconds must be a number from 0 to {_LONGEST_NOTICE:g}, not {seconds}")
        with self._mutex:
            groups: dict[str, list[Machine]] = {}
            for name in [nodes] if isinstance(nodes, str) else nodes:
                parts, machine = self._places.machine(name)
                if machine.holder is None:
                    raise SteeringError(f"{name} is not held by any slice: there is nothing to revoke")
                groups.setdefault(parts.cm.urn, []).append(machine)
            for cm_urn, machines in groups.items():
                self.journal.note(f"revoke {' '.join(machine.name for machine in machines)} in {seconds:g} s")
                node_ids = [machine.node_id for machine in machines]
                self._engine.parts[cm_urn].revocations.revoke(node_ids, seconds)

    def withdraw(self, name: str) -> None:
        """Stop the countdown of a machine, without a word to the agent.

        Raises:
            SteeringError: no such machine, or it has no countdown.
        """
        with self._mutex:
            parts, machine = self._places.machine(name)
            if not parts.revocations.withdraw(machine.node_id):
                raise SteeringError(f"{name} has no revocation that could be withdrawn")
            self.journal.note(f"withdraw the revocation of {name}")

    def value(self, name: str, value: float) -> None:
        """Set a machine's resource value and push all values of its CM.

        Raises:
            SteeringError: no such machine, or not a number from 0 to 1.
        """
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise SteeringError(f"a resource value is a number from 0 to 1, not {value}")
        with self._mutex:
            parts, machine = self._places.machine(name)
            machine.value = value
            self.journal.note(f"resource value of {name} is {value:g}")
            if parts.values is not None:
                parts.values.changed()

    def fault(self, place: str, kind: str, times: int = 1, *, at: str = "", seconds: float = 5.0) -> None:
        """Switch a fault on, which strikes so many times and is journalled each time it does.

        Args:
            place: for faults of calls a method, or ``*`` for all; for faults of machines a machine, or domain
                or URN of a CM for its next ones, or ``*``. A machine that is held vanishes within a minute of
                simulated time.
            kind: one of ``testbed.cloudlab.steering.faults.Kind``.
            times: how often.
            at: ``sa``, or domain or URN of a CM, where alone it strikes; "" for everywhere.
            seconds: real seconds that a slow reply, or silence, takes.

        Raises:
            SteeringError: no such kind, place or authority, no kind for this place, or numbers out of range.
        """
        fault = checked(place, kind, times, at=at, seconds=seconds, known=self._known())
        with self._mutex:
            self.journal.note(f"fault {place} {kind}, {times} to come")
            self._engine.faults.add(fault)
            self._engine.vanish()

    def faults(self) -> tuple[Fault, ...]:
        """Return the faults that will still strike, oldest first."""
        return self._engine.faults.all()

    def clear_faults(self) -> int:
        """Switch all faults off; return how many there were. What was slow or silent ends its call.

        Locks and machines stay as they are.
        """
        count = self._engine.faults.clear()
        self.journal.note(f"faults cleared: {count}")
        return count

    def unlock(self) -> list[str]:
        """Free the slice locks that were left held, as an operator does.

        Returns ``URN of the authority: URN of the slice`` of each.
        """
        with self._mutex:
            locks = [(self.sa.urn, record.urn, record.lock) for record in self.sa.slices.values()]
            for parts in self._engine.parts.values():
                locks += [(parts.cm.urn, record.urn, record.lock) for record in parts.cm.slices.values()]
            freed = []
            for authority, slice_urn, lock in locks:
                if lock.left:
                    lock.free()
                    freed.append(f"{authority}: {slice_urn}")
            self.journal.note(f"unlock {' '.join(freed)}".rstrip())
            return freed

    def _known(self) -> Known:
        parts = list(self._engine.parts.values())
        cms = [each.cm for each in parts]
        names = {"sa": self.sa.urn, self.sa.urn: self.sa.urn}
        for cm in cms:
            names |= {cm.site.domain: cm.urn, cm.urn: cm.urn}
        return Known(
            methods=self.sa.methods.keys() | {m for p in parts for m in (*p.cm.methods, *p.cluster.methods)},
            machines={m.name: (m.node_id, cm.urn) for cm in cms for m in cm.machines.values()},
            authorities=names,
        )

    def promise(self, name: str, project: str) -> None:
        """Reserve a machine for another project in advance ("" ends that): leases with it cannot be renewed.

        Raises:
            SteeringError: no such machine.
        """
        self.reserving.promise(name, project)
