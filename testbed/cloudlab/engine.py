"""What runs while a simulator runs: servers, the control socket, threads, and the daemons of SA and CMs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Condition

from testbed.cloudlab.assembly import SiteParts, dispatcher_for, make_doors, make_sa, make_site, modules_of
from testbed.cloudlab.callbacks.endpoint import TICK
from testbed.cloudlab.clock import Clock, Pace
from testbed.cloudlab.cm.manager import Surroundings
from testbed.cloudlab.cm.vanishing import vanish
from testbed.cloudlab.identities import Identities, UserCertificates, make_identities
from testbed.cloudlab.journal import NAME as JOURNAL_NAME
from testbed.cloudlab.journal import Journal
from testbed.cloudlab.room import MachineRoom
from testbed.cloudlab.sa.authority import SliceAuthority
from testbed.cloudlab.sites import Generation, Site, User, names_of
from testbed.cloudlab.steering.control import ControlServer, SteeringError, is_running
from testbed.cloudlab.steering.faults import Faults
from testbed.cloudlab.wire.doors import Doors
from testbed.cloudlab.wire.https import HttpsServer, server_context
from testbed.cloudlab.wire.modules import Modules
from testbed.cloudlab.workers import Workers

_STOP_LIMIT = 5.0


@dataclass(frozen=True)
class Plan:
    """What to run; ``SimulatedCloudlab`` explains it."""

    directory: Path
    speed: float
    sites: tuple[Site, ...]
    users: tuple[User, ...]
    room: MachineRoom
    bind: str
    ports: tuple[int, ...]
    """Of the SA and then of each CM; 0 for any free one."""
    callback_url: str | None
    ssh_key: Path
    clock: Clock
    certificate_life: timedelta
    user_certificates: UserCertificates
    sa_generation: Generation


class Engine:
    """Starts and stops all parts.

    Attributes, from ``start`` on:
        journal: what happened.
        identities: certificates and keys.
        faults: what goes wrong when it is its turn.
        sa: the SA.
        sa_doors: who is let in to the SA.
        parts: URN of a CM -> its parts.
        urls: of the SA and then of each CM.
    """

    journal: Journal
    identities: Identities
    faults: Faults
    sa: SliceAuthority
    sa_doors: Doors

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.mutex = Condition()
        """Guards all records; see ``Surroundings``."""
        self.parts: dict[str, SiteParts] = {}
        self.urls: tuple[str, ...] = ()
        self._workers = Workers()
        self._running = ExitStack()

    @property
    def clock(self) -> Clock:
        """What expiries are measured by."""
        return self._plan.clock

    @property
    def users(self) -> tuple[User, ...]:
        """The SA's users."""
        return self._plan.users

    def start(self, steer: Callable[[object], object]) -> None:
        """Start everything; return when the SA and all CMs answer. ``steer`` carries out commands.

        Raises:
            SteeringError: a test bed is running in the directory already.
            OSError: a port or the directory cannot be used.
        """
        plan = self._plan
        if is_running(plan.directory):
            raise SteeringError(f"a test bed is running in {plan.directory} already")
        plan.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.journal = Journal(plan.directory / JOURNAL_NAME)
            stack.callback(self.journal.close)
            stack.callback(self._join_workers)
            stack.callback(plan.room.close)
            servers: list[HttpsServer] = []
            stack.callback(_end_together, servers)
            servers.extend(HttpsServer(plan.bind, port) for port in plan.ports)
            self.urls = tuple(
                f"https://{plan.bind}:{server.port}/protogeni/xmlrpc/{module}"
                for server, module in zip(servers, ["sa", *["cm/2.0"] * len(plan.sites)], strict=True)
            )
            stack.callback(self._end_work)
            self._build(servers)
            control = ControlServer(plan.directory, steer)
            stack.callback(control.end)
            self._running = stack.pop_all()

    def stop(self) -> None:
        """End everything within a few seconds; doing so again is harmless."""
        self._running.close()

    def vanish(self) -> None:
        """Let those machines go that a fault is switched on for; the caller holds the mutex."""
        for parts in self.parts.values():
            vanish(parts.cm, parts.nodes)

    def _end_work(self) -> None:
        with self.mutex:
            self._workers.stopping.set()
            for parts in self.parts.values():
                parts.cm.lives.end_all(list(parts.cm.machines.values()))
            self.mutex.notify_all()

    def _join_workers(self) -> None:
        left = self._workers.join(_STOP_LIMIT)
        if left:
            self.journal.note(f"did not end in time: {', '.join(left)}")

    def _build(self, servers: Sequence[HttpsServer]) -> None:
        plan = self._plan
        self.identities = make_identities(
            plan.directory / "pki",
            sites=plan.sites,
            users=plan.users,
            bind=plan.bind,
            sa_url=self.urls[0],
            callback_url=plan.callback_url,
            user_ends=datetime.now(UTC) + plan.certificate_life,
            user_certificates=plan.user_certificates,
        )
        self.faults = Faults(self.journal)
        around = Surroundings(
            authority=self.identities.authority,
            clock=plan.clock,
            pace=Pace(plan.speed),
            room=plan.room,
            journal=self.journal,
            faults=self.faults,
            workers=self._workers,
            mutex=self.mutex,
        )
        self.sa = make_sa(plan.users, plan.ssh_key, self.urls[0], self.identities, around)
        self.sa_doors = make_doors(plan.sa_generation, self.sa.members)
        names = names_of(plan.sites)
        for site in plan.sites:
            doors = make_doors(site.generation, self.sa.members, site)
            self.parts[site.urn] = make_site(
                site, names[site.urn], plan.callback_url, self.identities, around, doors
            )
        server = self.identities.server
        context = server_context(server.cert_path, server.key_path, self.identities.authority.bundle)
        main = dispatcher_for(self.sa, self.sa_doors, self.sa.projects, around)
        modules = [Modules(main, {}), *(modules_of(parts, around) for parts in self.parts.values())]
        for https, answering in zip(servers, modules, strict=True):
            https.begin(context, answering.answer, answering.is_reachable)
        for parts in self.parts.values():
            parts.revocations.start()
            if parts.values is not None:
                self._workers.start(f"values {parts.cm.urn}", parts.values.run)
        self._workers.start("daemons", self._run_daemons)

    def _run_daemons(self) -> None:
        """Expire what has expired, and tell the SA which CMs have which slices."""
        pace = Pace(self._plan.speed)
        while not pace.sleep(TICK, self._workers.stopping):
            self.sa.expire()
            for parts in self.parts.values():
                parts.cm.expire()
            with self.mutex:
                self.vanish()
                for parts in self.parts.values():
                    for slice_urn in parts.cm.slices:
                        self.sa.note_manager(slice_urn, parts.cm.urn)


def _end_together(servers: Sequence[HttpsServer]) -> None:
    """End all servers at once: each takes as long as its loop sleeps."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(HttpsServer.end, servers))
