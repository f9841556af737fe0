"""What the rooms of the cluster are tested with: a Slurm, a Cloudlab and machines in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.desk import Desk
from agent.cluster.grow.supply import DemandSettings
from agent.cluster.join.plan import JoinSettings
from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.moment import History, Moment
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.steer.weights import WeightSettings
from agent.core.config import ManagerConfig
from agent.core.errors import SlurmRefusedError, UnreachableError
from agent.core.model import AdvertisedNode, NodeStatus, Sliver, SliverNode, SliverStatus
from agent.core.ownership import Ownership
from agent.core.ports import HostResult
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.slice.facts import SliceFacts
from agent.ledger.ledger import Ledger
from agent.slurm.model import Snapshot

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
CLOUDLAB_STEPS = ("ensure_slice", "update_all", "update_available", "ensure_sliver", "update_sliver_status")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = timedelta(hours=40)
ANY_OWNERSHIP = Ownership()


def settings_with(demand=None, weights=None, drain=None, join=None, **others):
    """The defaults of agent.conf, with these sections."""
    return ClusterSettings(
        demand or DemandSettings(),
        weights or WeightSettings(),
        drain or DrainSettings(),
        join or JoinSettings(),
        **others,
    )


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self, time=NOW):
        self.time = time
        self.ahead = timedelta()

    def now(self):
        return self.time + self.ahead

    def steady(self):
        return self.time

    def monotonic(self):
        return self.time.timestamp()

    def advance(self, seconds):
        self.time += timedelta(seconds=seconds)

    def set_ahead(self, seconds):
        """Set the wall clock ahead, with a negative number back."""
        self.ahead += timedelta(seconds=seconds)


class Events(list):
    """What was told, in order."""

    def record(self, event):
        self.append(event)

    @property
    def kinds(self):
        return [event.kind for event in self]

    @property
    def words(self):
        return [event.message for event in self]


def a_desk(settings=None, clock=None, events=None, **others):
    """A desk with the defaults of agent.conf, at which nothing happens but what a test does."""
    told = Events() if events is None else events
    return Desk(settings or settings_with(), clock or Clock(), told, **others)


def a_machine(n=1, cm=UTAH, hardware_type="m510"):
    """A machine of ours: pc1, which is node-1."""
    return SliverNode(f"node-{n}", f"pc{n}", cm, f"urn:sliver+{n}", hardware_type, f"10.0.0.{n}")


def a_moment(*nodes, machines=(), jobs=(), settings=None, now=NOW, facts=None, **fields):
    """A moment in which Slurm was read and has these nodes and jobs, and these machines are ours.

    Args:
        nodes: what Slurm has.
        machines: ours.
        jobs: what is queued or runs.
        settings: ``settings_with(...)``; the defaults of agent.conf if there are none.
        now: when it is; Slurm was read then too.
        facts: further fields of ``SliceFacts``.
        fields: further fields of ``Moment``; ``snapshot=None`` before Slurm was read.
    """
    known = {
        "snapshot": Snapshot(now, {node.name: node for node in nodes}, tuple(jobs)),
        "history": History(),
        "read_back": frozenset({UTAH, WISC}),
        **fields,
    }
    return Moment(now, settings or settings_with(), a_slice(*machines, **(facts or {})), **known)


def a_slice(*machines, **fields):
    """What Cloudlab said where every manifest was read, and these machines are ours.

    What it said of machines may be given by node_id alone: it did not tell the CM then. Machines that are
    ready, failed or unexplained may be given by their sliver_ids.
    """
    keys = {machine.sliver_id: machine.key for machine in machines}
    for named in {"ready", "failed", "unexplained"} & fields.keys():
        fields[named] = frozenset(keys.get(each, each) for each in fields[named])
    for said in {"values", "revocations", "taken"} & fields.keys():
        fields[said] = {("", k) if isinstance(k, str) else k: v for k, v in fields[said].items()}
    told = {"cms": (UTAH,), "all_read": True, "read": frozenset({UTAH, WISC}), **fields}
    return SliceFacts(machines=machines, **told)


def a_status(machine):
    """It has booted."""
    return NodeStatus(machine.client_id, machine.node_id, machine.sliver_id, "started", "ready")


class Cloudlab:
    """A slice whose machines a test sets, at CMs of which each may be silent; what it is asked is kept."""

    slice_urn = "urn:publicid:IDN+example.net+slice+demo"
    email = "ada@example.net"

    def __init__(self, *machines, cms=(UTAH,), free=()):
        self.cms = cms
        self.machines = list(machines)
        self.free = list(free)
        self.silent = set()
        self.asked = []
        self.lasts = LEASE

    def orphans(self):
        return {}

    def find_slice(self):
        return NOW + self.lasts

    def find_sliver(self, cm):
        if cm in self.silent:
            raise UnreachableError("no route")
        mine = tuple(m for m in self.machines if m.cm == cm)
        return Sliver(cm, f"{cm}+sliver", NOW + self.lasts, mine, "")

    def sliver_status(self, cm):
        nodes = tuple(a_status(m) for m in self.machines if m.cm == cm)
        return SliverStatus(cm, "ready", "ready", "", nodes)

    def discover(self, cm, *, available):
        return tuple(n for n in self.free if n.cm == cm)

    def add_nodes(self, cm, nodes):
        self.asked.append(("add", cm, dict(nodes)))
        for client_id, fields in nodes.items():
            self._lend(cm, client_id, fields.get("node"))
        return self.find_sliver(cm)

    def _lend(self, cm, client_id, node_id=None):
        """Lend the first machine that is free, or a given one."""
        ours = {machine.node_id for machine in self.machines}
        free = (n.node_id for n in self.free if n.cm == cm and n.node_id not in ours)
        new = replace(a_machine(len(self.machines) + 100, cm), client_id=client_id)
        self.machines.append(replace(new, node_id=node_id or next(free)))

    def delete_nodes(self, cm, client_ids):
        self.asked.append(("delete", cm, tuple(sorted(client_ids))))
        self.machines = [m for m in self.machines if m.client_id not in set(client_ids)]
        return self.find_sliver(cm)

    def delete_sliver(self, cm):
        self.asked.append(("delete sliver", cm, ()))

    def renew_slice(self, expires):
        return expires

    def find_short_types(self, cm, held, begin, end):
        return ()

    def renew_sliver(self, cm, expires):
        return expires


def free_machine(n, cm=UTAH, hardware_type="m510"):
    """A machine that a CM could lend."""
    return AdvertisedNode(f"pc{n}", cm, (hardware_type,), available=True)


class Slurm:
    """Nodes, jobs and reservations that a test sets; what is changed is changed there, and kept as ``acts``.

    A test refuses changes of a node by its name in ``refuses``.
    """

    def __init__(self, *nodes, jobs=(), reservations=(), clock=None):
        self.nodes = {node.name: node for node in nodes}
        self.jobs = list(jobs)
        self.reserved = {r.name: r for r in reservations}
        self.acts = []
        self.refuses = set()
        self.fault = None
        self.scheduled = None
        self.reads = 0
        self.requests = 0
        self._clock = clock or Clock()

    def snapshot(self):
        self._reach()
        self.reads += 1
        jobs = (replace(j, requeueable=True) if j.requeueable is None else j for j in self.jobs)
        return Snapshot(self._clock.now(), dict(self.nodes), tuple(jobs))

    def reservations(self):
        self._reach()
        return tuple(self.reserved.values())

    def scheduling(self):
        self._reach()
        if self.scheduled is None:
            raise SlurmRefusedError("nothing tells how Slurm chooses nodes")
        return self.scheduled

    def reserve(self, reservation):
        self._act("reserve", reservation.nodes)
        self.reserved[reservation.name] = reservation

    def remove_reservation(self, name):
        self._act("remove_reservation", [name])
        self.reserved.pop(name, None)

    def drain(self, nodes, reason):
        for name in self._act("drain", nodes):
            self._change(name, reason=reason, flags=self.nodes[name].flags | {"DRAIN"})

    def undrain(self, nodes):
        for name in self._act("undrain", nodes):
            self._change(name, reason="", flags=self.nodes[name].flags - {"DRAIN"})

    def resume(self, nodes):
        for name in self._act("resume", nodes):
            self._change(name, state="IDLE", reason="", flags=frozenset())

    def set_down(self, nodes, reason):
        for name in self._act("set_down", nodes):
            if name in self.nodes:
                self._change(name, state="DOWN", reason=reason)

    def set_weight(self, nodes, weight):
        for name in self._act("set_weight", nodes):
            self._change(name, weight=weight)

    def delete_nodes(self, nodes):
        for name in self._act("delete_nodes", nodes):
            self.nodes.pop(name, None)

    def set_address(self, node, address, hostname=""):
        for name in self._act("set_address", [node]):
            if name in self.nodes:
                self._change(name, address=address)

    def power_up(self, nodes):
        self._act("power_up", nodes)

    def power_down(self, nodes):
        self._act("power_down", nodes)

    def comments(self, job_ids):
        return {}

    def own_signals(self, job_ids):
        return {}

    def comment_all(self, job_ids, text):
        self._act("comment_all", job_ids)
        return {}

    def signal_all(self, job_ids, signal, target=None):
        self._act("signal_all", job_ids)
        return {}

    def requeue_all(self, job_ids, *, hold=False):
        ids = self._act("requeue_all", job_ids)
        self.jobs = [replace(j, state="PENDING", nodes=frozenset()) if j.id in ids else j for j in self.jobs]
        return {}

    def let_start(self, job_ids):
        self._act("let_start", job_ids)
        return {}

    def cancel_all(self, job_ids):
        ids = self._act("cancel_all", job_ids)
        self.jobs = [j for j in self.jobs if j.id not in ids]
        return {}

    def notify(self, job_id, text):
        self._act("notify", [job_id])

    def _reach(self):
        self.requests += 1
        if self.fault is not None:
            raise self.fault

    def _act(self, what, names):
        self._reach()
        names = sorted(names)
        if refused := self.refuses & set(names):
            raise SlurmRefusedError(f"{', '.join(sorted(refused))}: Invalid node name specified")
        self.acts.append((what, *names))
        return names

    def _change(self, name, **fields):
        self.nodes[name] = replace(self.nodes[name], **fields)


class Shell:
    """Machines on which every command works; what was run is kept by node_id."""

    def __init__(self):
        self.ran = []

    def run(self, hosts, *, timeout):
        self.ran += [(host.name, tuple(commands)) for host, commands in hosts.items()]
        return {host: HostResult(host, "") for host in hosts}

    def forget(self, host):
        self.ran.append((host.name, "forget"))


@pytest.fixture
def ledger():
    store = Ledger(":memory:")
    yield store
    store.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_manager(clock, ledger):
    """Make a manager that has read Cloudlab, of machines that have booted."""

    def make(cloudlab, slurm, *, read=True, ownership=ANY_OWNERSHIP, left_behind=(), **sections):
        manager = SlurmElasticSliceManager(
            cloudlab,
            ManagerConfig(clock=clock, events=ledger, ownership=ownership, left_behind=left_behind),
            backend=slurm,
            shell=Shell(),
            settings=settings_with(**sections),
            wishes=ledger,
        )
        manager.set_helper(SimpleElasticSliceHelper(server=cloudlab))
        for step in CLOUDLAB_STEPS if read else ():
            getattr(manager, step)()
        return manager

    return make
