"""A slice server in memory, with a clock that stands still and faults that are switched on by method."""

import logging
from collections import Counter, defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from agent.core.config import CycleSettings, ManagerConfig, MemoryIntents, MemoryRevocations
from agent.core.errors import (
    AlreadyExistsError,
    BadArgumentsError,
    BusyError,
    CloudlabError,
    EarlierSliceError,
    InsufficientNodesError,
    LostReplyError,
    MalformedReplyError,
    NotFoundError,
    SliceGoneError,
    UnreachableError,
    UnreservedError,
)
from agent.core.manager import SimpleElasticSliceManager
from agent.core.model import AdvertisedNode, NodeStatus, Orphan, Sliver, SliverNode, SliverStatus
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.request.rspec import request_client_ids
from agent.core.settings import LeaseSettings

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"


class FakeClock:
    def __init__(self):
        self.time = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.ticks = 1000.0
        self.ahead = timedelta()

    def now(self):
        return self.time + self.ahead

    def steady(self):
        return self.time

    def monotonic(self):
        return self.ticks

    def advance(self, seconds):
        self.time += timedelta(seconds=seconds)
        self.ticks += seconds

    def set_ahead(self, seconds):
        """Set the wall clock ahead, with a negative number back."""
        self.ahead += timedelta(seconds=seconds)


class ListedEvents:
    def __init__(self):
        self.events = []

    def record(self, event):
        self.events.append(event)

    def kinds(self):
        return Counter(e.kind for e in self.events)

    def of(self, kind):
        return [e for e in self.events if e.kind == kind]


@dataclass
class FakeMachine:
    node: SliverNode
    since: datetime
    boot: str = "well"
    """well, hangs or fails."""
    reserved: bool = True
    """False once somebody else may have it, though it still is in the manifest."""


@dataclass
class FakeCm:
    urn: str
    pool: dict[str, str]
    """node_id -> hardware type."""
    expires: datetime | None = None
    machines: dict[str, FakeMachine] = field(default_factory=dict)
    exists: bool = False
    made_for: int = 0
    """Number of the slice that its sliver was made for."""


class Killed(BaseException):
    """Stands for kill -9 in the middle of a call."""


class FakeServer:
    """The SA and the CMs.

    Faults before the work: busy, unreachable, lost, insufficient, killed; after it: done-lost, done-garbage,
    done-error, done-cut, done-killed; late: a lost reply, and the work is done 200 s later.
    """

    slice_urn = "urn:publicid:IDN+example.net+slice+demo"
    email = "ada@example.net"

    def __init__(self, clock, cms=(UTAH,), pool=10, types=("m510",)):
        self.clock = clock
        self.cms = list(cms)
        self.slice_expires = None
        self.slice_number = 0
        """The SA's newest slice of our name is another one than those before."""
        self.keeps_credentials = True
        """Whether the credentials of slices that are gone are known still."""
        self.grant_limit = None
        self.keeps_empty_slivers = False
        """Whether it is known what happens to a sliver whose last machine goes by its name."""
        self.tells_ends = True
        self.boot_time = 90.0
        self.boots = deque()
        self.sites = {
            cm: FakeCm(cm, {f"pc{i}{n:02}": types[n % len(types)] for n in range(pool)})
            for i, cm in enumerate(self.cms, 1)
        }
        self.faults = defaultdict(deque)
        self.calls = []
        self.late = []
        self.short_types = ()
        self.sliver_ids = 0
        self.odd = lambda _cm, sliver: sliver
        """Changes what a manifest says."""
        self.added = []
        self.returned = []
        self.vanished = []

    # --- what a test does

    def fault(self, method, *kinds, cm=None):
        self.faults[method, cm].extend(kinds)

    def vanish(self, cm, client_id):
        self.vanished.append(self.sites[cm].machines.pop(client_id).node)

    def unreserve(self, cm, client_id):
        """Let a machine be ours no more, and stay in the manifest (``GeniCMV2 AddNodes``)."""
        machine = self.sites[cm].machines[client_id]
        machine.reserved = False
        self.vanished.append(machine.node)

    def machines(self, cm=None):
        return [m.node for c in self.cms if cm in {None, c} for m in self.sites[c].machines.values()]

    def remove_slice(self):
        """Let the SA forget the slice, as an administrator or a portal does."""
        self.slice_expires = None

    def orphans(self):
        acts_until = self.clock.now() + timedelta(days=1) if self.keeps_credentials else None
        return {cm: Orphan(acts_until) for cm in self.cms if self._is_orphan(cm)}

    def _is_orphan(self, cm):
        site = self.sites[cm]
        return site.exists and (self._is_gone() or site.made_for not in {0, self.slice_number})

    def _is_gone(self):
        return self.slice_number > 0 and self.slice_expires is None

    def _may_act(self, cm):
        if self._is_orphan(cm) and not self.keeps_credentials:
            raise EarlierSliceError("Duplicate slice URN already exists here", authority=cm, code=1)

    def _may_make(self, cm):
        if self._is_gone():
            error = SliceGoneError("No such Slice", method="GetCredential", authority="sa", code=12)
            error.begun = False
            raise error
        if self._is_orphan(cm):
            raise EarlierSliceError("Duplicate slice URN already exists here", authority=cm, code=1)

    def _check_reserved(self, cm, leaving=()):
        for name, machine in self.sites[cm].machines.items():
            if not machine.reserved and name not in leaving:
                node_id = machine.node.node_id
                text = f"urn:publicid:IDN+example.net+node+{node_id} ([Node: {node_id}]) is not available"
                raise UnreservedError(text, node_id=node_id, method="AddNodes", authority=cm, code=2)

    def count(self, method, cm=None):
        return sum(1 for name, at, _ in self.calls if name == method and cm in {None, at})

    # --- faults

    def _do(self, method, cm, work, detail=None):
        for due, do in [entry for entry in self.late if entry[0] <= self.clock.now()]:
            self.late.remove((due, do))
            do()
        self.calls.append((method, cm, detail))
        queue = self.faults[method, cm] or self.faults[method, None]
        fault = queue.popleft() if queue else ""
        where = {"method": method, "authority": cm or "sa"}
        match fault:
            case "busy":
                raise BusyError("resource is busy", code=14, **where)
            case "unreachable":
                raise UnreachableError("no connection", **where)
            case "killed":
                raise Killed
            case "lost":
                raise LostReplyError("read timed out", **where)
            case "insufficient":
                raise InsufficientNodesError("not enough nodes of a type", code=26, **where)
            case "late":

                def do():
                    with suppress(CloudlabError):
                        work()

                self.late.append((self.clock.now() + timedelta(seconds=200), do))
                raise LostReplyError("read timed out", **where)
        result = work()
        match fault:
            case "done-lost":
                raise LostReplyError("read timed out", **where)
            case "done-killed":
                raise Killed
            case "done-garbage":
                raise MalformedReplyError("not XML", **where)
            case "done-cut":
                error = UnreachableError("no connection", **where)
                error.begun = True
                raise error
            case "done-error":
                raise CloudlabError("Internal Error", code=2, **where)
            case "":
                return result
        raise AssertionError(fault)

    # --- the SA

    def find_slice(self):
        return self._do("find_slice", None, lambda: self.slice_expires)

    def create_slice(self, expires):
        def work():
            if self.slice_expires is not None:
                raise AlreadyExistsError("already a registered slice", method="Register", code=2)
            self.slice_expires = expires
            self.slice_number += 1
            return expires

        return self._do("create_slice", None, work)

    def renew_slice(self, expires):
        def work():
            assert expires >= self.slice_expires, "the SA does not shorten"
            self.slice_expires = max(self.slice_expires, self._grant(expires))
            return self.slice_expires

        return self._do("renew_slice", None, work)

    def _grant(self, expires):
        assert expires.microsecond == 0
        if self.grant_limit is None:
            return expires
        return min(expires, self.clock.now().replace(microsecond=0) + timedelta(seconds=self.grant_limit))

    # --- the CMs

    def _sliver(self, cm):
        site = self.sites[cm]
        if not site.exists:
            return None
        nodes = tuple(m.node for m in site.machines.values())
        return Sliver(cm, f"{cm}+sliver", site.expires if self.tells_ends else None, nodes, "<rspec/>")

    def find_sliver(self, cm):
        return self._do("find_sliver", cm, lambda: self.odd(cm, self._sliver(cm)))

    def create_sliver(self, cm, rspec):
        def work():
            self._may_make(cm)
            if self.sites[cm].exists:
                raise AlreadyExistsError("Must delete existing slice first", code=7)
            names = request_client_ids(rspec, cm)
            self._place(cm, {name: {} for name in names})
            self.sites[cm].exists = True
            self.sites[cm].made_for = self.slice_number
            self.sites[cm].expires = self.slice_expires
            return self._sliver(cm)

        return self._do("create_sliver", cm, work, rspec)

    def add_nodes(self, cm, nodes):
        def work():
            self._may_make(cm)
            assert self.sites[cm].exists
            for name in nodes:
                if name.lower() in {n.lower() for n in self.sites[cm].machines}:
                    raise AlreadyExistsError(f"Already have {name} in the topology!", code=1)
            self._check_reserved(cm)
            self._place(cm, nodes)
            return self._sliver(cm)

        return self._do("add_nodes", cm, work, dict(nodes))

    def _place(self, cm, nodes):
        site = self.sites[cm]
        used = {m.node.node_id for m in site.machines.values()}
        free = [n for n in site.pool if n not in used]
        if len(free) < len(nodes):
            raise InsufficientNodesError("not enough nodes", code=26)
        for name, fields in nodes.items():
            node_id = fields.get("node") or free[0]
            if node_id not in free:
                raise BadArgumentsError(f"Physical node {node_id} is not available", code=1)
            free.remove(node_id)
            self.sliver_ids += 1
            node = SliverNode(name, node_id, cm, f"sliver-{self.sliver_ids}", site.pool[node_id], "10.0.0.1")
            boot = self.boots.popleft() if self.boots else "well"
            site.machines[name] = FakeMachine(node, self.clock.now(), boot)
            self.added.append(node)

    def delete_nodes(self, cm, client_ids):
        def work():
            self._may_act(cm)
            machines = self.sites[cm].machines
            for name in client_ids:
                if name not in machines:
                    raise NotFoundError(f"No such node {name} in the topology!", code=1)
            assert self.keeps_empty_slivers or len(machines) > len(client_ids), "what happens then?"
            self._check_reserved(cm, leaving=client_ids)
            self._give_back([machines.pop(name) for name in client_ids])
            return self._sliver(cm)

        return self._do("delete_nodes", cm, work, list(client_ids))

    def delete_sliver(self, cm):
        def work():
            self._may_act(cm)
            if not self.sites[cm].exists:
                raise NotFoundError("No such slice here", code=12)
            self._give_back(self.sites[cm].machines.values())
            self.sites[cm].machines.clear()
            self.sites[cm].exists = False

        self._do("delete_sliver", cm, work)

    def _give_back(self, machines):
        self.returned += [m.node for m in machines if m.reserved]

    def renew_sliver(self, cm, expires):
        def work():
            site = self.sites[cm]
            assert not self._is_orphan(cm), "its credential ends when it does"
            assert expires <= self.slice_expires, "expiration is greater then slice expiration"
            assert expires >= site.expires, "a CM would shorten it (GeniCM RenewSliverAux)"
            site.expires = max(site.expires, self._grant(expires))
            return site.expires

        return self._do("renew_sliver", cm, work, expires)

    def find_short_types(self, cm, held, begin, end):
        return self._do("find_short_types", cm, lambda: self.short_types, (dict(held), begin, end))

    def sliver_status(self, cm):
        def work():
            if not self.sites[cm].exists:
                return None
            self._may_act(cm)
            if not all(m.reserved for m in self.sites[cm].machines.values()):
                raise CloudlabError("Error", method="SliverStatus", authority=cm, code=2)
            nodes = tuple(self._status(m) for m in self.sites[cm].machines.values())
            return SliverStatus(cm, "started", "mixed", "", nodes)

        return self._do("sliver_status", cm, work)

    def _status(self, machine):
        age = (self.clock.now() - machine.since).total_seconds()
        status = "changing"
        if age >= self.boot_time and machine.boot != "hangs":
            status = "ready" if machine.boot == "well" else "failed"
        n = machine.node
        return NodeStatus(n.client_id, n.node_id, n.sliver_id, "started", status, rawstate="BOOTING")

    def discover(self, cm, *, available):
        def work():
            site = self.sites[cm]
            used = {m.node.node_id for m in site.machines.values()}
            nodes = [AdvertisedNode(n, cm, ("pc", t), n not in used) for n, t in site.pool.items()]
            return tuple(n for n in nodes if n.available or not available)

        return self._do("discover", cm, work, available)

    def survey(self, cm):
        def work():
            site = self.sites[cm]
            used = {m.node.node_id: m.reserved for m in site.machines.values()}
            nodes = [AdvertisedNode(n, cm, ("pc", t), n not in used) for n, t in site.pool.items()]
            return tuple(n for n in nodes if n.available or used[n.node_id])

        return self._do("survey", cm, work)


class Remembering(SimpleElasticSliceHelper):
    """A helper that remembers what it was told."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.told = []

    def handle_added_node(self, node, status):
        self.told.append((node["client_id"], node["sliver_id"], status))

    def handle_deleted_node(self, node):
        self.told.append((node["client_id"], node["sliver_id"], "deleted"))


@pytest.fixture(scope="module", autouse=True)
def quiet_log():
    """Thousands of simulated cycles would mostly write logs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def events():
    return ListedEvents()


@dataclass
class Bench:
    """A manager, its helper and its server."""

    clock: FakeClock
    events: ListedEvents
    server: FakeServer
    helper: Remembering
    manager: SimpleElasticSliceManager
    config: ManagerConfig

    def cycles(self, count, seconds=60.0, check=lambda: None):
        said = ""
        for _ in range(count):
            said = self.manager.manage_once()
            check()
            self.clock.advance(seconds)
        return said


@pytest.fixture
def make_bench():
    """Build a bench: ``server`` for the fake server's arguments, the rest for the manager."""

    def make(*, server=None, manager_class=SimpleElasticSliceManager, config=None, helper=None, **kwargs):
        clock, events = FakeClock(), ListedEvents()
        settings = ManagerConfig(
            **{
                "clock": clock,
                "events": events,
                "intents": MemoryIntents(),
                "revocations": MemoryRevocations(),
                "lease": LeaseSettings(duration="24h", renew_when_left="18h"),
                "cycle": CycleSettings(boot_timeout="10m"),
                **(config or {}),
            }
        )
        clock = settings.clock
        fake = server if isinstance(server, FakeServer) else FakeServer(clock, **(server or {}))
        remembering = Remembering(fake, **(helper or {}))
        manager = manager_class(fake, settings, **kwargs)
        manager.set_helper(remembering)
        return Bench(clock, settings.events, fake, remembering, manager, settings)

    return make
