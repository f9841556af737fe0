"""Each peer hangs in turn, and every lane that does not need it goes on: a manager with all its threads."""

import itertools
import socket
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace

import pytest

from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.core.config import CycleSettings, ManagerConfig
from agent.core.errors import AgentError, LedgerError
from agent.core.events import EventKind
from agent.core.ports import SystemClock
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.ledger import bounded as bounded_ledger
from agent.ledger.bounded import BoundedLedger, Clerk
from agent.ledger.ledger import Ledger
from agent.slurm.model import Job, Node
from agent.tell.mail import Mailer, MailSettings, make_post
from tests.faults.test_hanging_disk import Disk
from tests.unit.cluster.conftest import (
    LEASE,
    UTAH,
    WISC,
    Cloudlab,
    Shell,
    Slurm,
    a_machine,
    free_machine,
    settings_with,
)

SOON = 0.05
OURS = {UTAH: range(1, 7), WISC: range(11, 17)}
"""CM -> numbers of its machines that Slurm has at work."""


def a_busy_node(name):
    return Node(name, "ALLOCATED", cpus=1, allocated_cpus=1, partitions=("main",))


def a_waiting_job(number):
    return Job(str(number), "PENDING", reason="Resources", partitions=("main",))


class Peers:
    """Those of whom each may hang."""

    def __init__(self):
        self.hung = set()
        self.reached = set()
        self.gate = threading.Event()
        self.lock = threading.RLock()
        self.met_under_lock = set()

    def meet(self, name):
        if self.lock._is_owned():
            self.met_under_lock.add(name)
        if name in self.hung:
            self.reached.add(name)
            self.gate.wait(120)


class HangingCloudlab(Cloudlab):
    """An SA and CMs that may hang, and count what they are asked."""

    def __init__(self, peers, *machines, **options):
        super().__init__(*machines, **options)
        self.peers = peers
        self.count = Counter()

    def _meet(self, what, at):
        self.peers.meet(at)
        self.count[what, at] += 1

    def orphans(self):
        return {}

    def find_slice(self):
        self._meet("find_slice", "sa")
        return SystemClock().now() + LEASE

    def renew_slice(self, expires):
        self._meet("renew_slice", "sa")
        return expires

    def find_sliver(self, cm):
        self._meet("find_sliver", cm)
        return replace(super().find_sliver(cm), expires=SystemClock().now() + LEASE)

    def sliver_status(self, cm):
        self._meet("sliver_status", cm)
        return super().sliver_status(cm)

    def discover(self, cm, *, available):
        self._meet("discover", cm)
        return super().discover(cm, available=available)

    def add_nodes(self, cm, nodes):
        self._meet("add_nodes", cm)
        return super().add_nodes(cm, nodes)

    def find_short_types(self, cm, held, begin, end):
        return ()

    def renew_sliver(self, cm, expires):
        self._meet("renew_sliver", cm)
        return expires


class HangingSlurm(Slurm):
    """A Slurm that may hang."""

    def __init__(self, peers, *nodes, **options):
        super().__init__(*nodes, **options)
        self.peers = peers

    def _reach(self):
        self.peers.meet("slurm")
        super()._reach()


class HangingShell(Shell):
    """Machines that may hang, and have joined once their commands have run."""

    def __init__(self, peers, slurm):
        super().__init__()
        self.peers = peers
        self.slurm = slurm

    def run(self, hosts, *, timeout):
        for host, commands in hosts.items():
            self.peers.meet(host.name)
            if any("slurmd -Z" in str(command) for command in commands):
                # A job that waited elsewhere takes it at once: what waits here goes on waiting.
                self.slurm.nodes[host.name] = a_busy_node(host.name)
                self.slurm.jobs = [*self.slurm.jobs, Job(host.name, "RUNNING", nodes=frozenset({host.name}))]
        return super().run(hosts, timeout=timeout)


class WatchedClerk(Clerk):
    """Notes who hands something in while it holds the lock of all that is remembered."""

    peers = Peers()

    def do(self, call, undo=None):
        self.peers.meet(f"ledger: {call}")
        return super().do(call, undo)

    def leave(self, call, patience):
        self.peers.meet(f"ledger: {call}")
        return super().leave(call, patience)


class World:
    """A manager that runs, and everybody it talks to."""

    def __init__(self, path, listener):
        self.peers = Peers()
        machines = [a_machine(n, cm) for cm, numbers in OURS.items() for n in numbers]
        self.cloudlab = HangingCloudlab(self.peers, *machines, cms=(UTAH, WISC))
        nodes = [a_busy_node(machine.node_id) for machine in machines]
        jobs = [Job(str(n), "RUNNING", nodes=frozenset({m.node_id})) for n, m in enumerate(machines, 1)]
        self.slurm = HangingSlurm(self.peers, *nodes, jobs=jobs, clock=SystemClock())
        self.shell = HangingShell(self.peers, self.slurm)
        below = Ledger(path)
        self.disk = Disk(below)
        self.ledger = BoundedLedger(below)
        for clerk in (self.ledger._writer, self.ledger._reader):
            clerk.__class__ = WatchedClerk
            clerk.peers = self.peers
        self.listener = listener
        self.callers = []
        port = listener.getsockname()[1]
        mail = MailSettings(host="127.0.0.1", port=port, recipient="ada@example.net", min_interval=0)
        self.mailer = Mailer(make_post(mail, ""))
        self.mailer.start()
        self.numbers = itertools.count(50)
        self.left = {cm: list(numbers) for cm, numbers in OURS.items()}
        """Machines that no notice named yet."""
        self.manager = SlurmElasticSliceManager(
            self.cloudlab,
            ManagerConfig(
                intents=self.ledger,
                revocations=self.ledger,
                holdings=self.ledger,
                events=self.ledger,
                mail=self.mailer,
                cycle=CycleSettings(settled_status=SOON),
            ),
            backend=self.slurm,
            shell=self.shell,
            settings=settings_with(
                demand=DemandSettings(max_nodes=1000, grow_after=0),
                join=JoinSettings(timeout=600, retry_interval=600),
                plugin=PluginSettings(lease="/run/esagent/lease", orphan_after=0),
            ),
            wishes=self.ledger,
            manage_intervals=dict.fromkeys(SlurmElasticSliceManager.DEF_ORDER, SOON),
            retry_interval=SOON,
            percent_available_minimum=0,
        )
        self.peers.lock = self.manager.rlock
        self.manager.set_helper(SimpleElasticSliceHelper(server=self.cloudlab))

    def hang(self, who):
        """Have somebody hang, and somebody wait for him."""
        self.peers.hung.add(who)
        if who == "disk":
            self.disk.hang()
            in_time(lambda: self.manager.tell(EventKind.ADMIN, "", "is written down"))
            until(self.disk.reached.is_set)
        elif who == "smtp":
            self.manager.tell(EventKind.FATAL, "", "is mailed")
            self.callers.append(self.listener.accept()[0])
        elif who.startswith("pc"):
            self._come(UTAH, who)
            until(lambda: who in self.peers.reached)
        else:
            until(lambda: who in self.peers.reached)

    def end(self):
        self.peers.hung.clear()
        self.peers.gate.set()
        self.disk.go_on()
        for caller in self.callers:
            caller.close()
        self.manager.stop()
        self.mailer.stop(1)
        self.ledger.close()
        assert self.peers.met_under_lock == set()

    def _come(self, cm, node_id=""):
        """Have a machine come that is to join; return its node_id."""
        number = next(self.numbers)
        machine = replace(a_machine(number, cm), node_id=node_id or f"pc{number}")
        self.cloudlab.machines = [*self.cloudlab.machines, machine]
        return machine.node_id

    # --- what goes on

    def reads_slurm(self, _):
        before = self.manager.memory.known.read_at()
        until(lambda: self.manager.memory.known.read_at() != before)

    def looks_at_drains(self, _):
        before = self.manager.drainer._looked
        self.manager.desk.look_at_drains()
        until(lambda: self.manager.drainer._looked != before)

    def asks_the_sa(self, _):
        before = self.cloudlab.count["find_slice", "sa"]
        until(lambda: self.cloudlab.count["find_slice", "sa"] > before + 1)

    def reads_cloudlab(self, cm):
        for what in ("find_sliver", "sliver_status", "discover"):
            before = self.cloudlab.count[what, cm]
            until(lambda what=what, before=before: self.cloudlab.count[what, cm] > before + 1)

    def joins(self, cm):
        node_id = self._come(cm)
        until(lambda: node_id in [name for name, _ in list(self.shell.ran)])

    def weighs(self, cm):
        name = f"pc{self.left[cm][0]}"
        before = self.slurm.nodes[name].weight
        values = itertools.cycle([0.1, 0.9])

        def weighed():
            item = {"node_id": name, "value": next(values)}
            assert in_time(lambda: self.manager.SetResourceValues({"nodelist": [item]}))["code"] == 0
            return self.slurm.nodes[name].weight != before

        until(weighed, pause=0.2)

    def grows(self, cm):
        number = next(self.numbers)
        self.cloudlab.free = [*self.cloudlab.free, free_machine(number, cm)]
        before = self.asked(cm)
        self.slurm.jobs = [*self.slurm.jobs, a_waiting_job(number)]
        until(lambda: self.asked(cm) > before)

    def asked(self, cm):
        return sum(1 for what, at, _ in list(self.cloudlab.asked) if (what, at) == ("add", cm))

    def answers_notices(self, cm):
        number = self.left[cm].pop()
        item = {"node_id": f"pc{number}", "client_id": f"node-{number}", "max_wait_time": 600}
        assert in_time(lambda: self.manager.NotifyDeletePending({"nodelist": [item]}))["code"] == 0
        return f"pc{number}"

    def drains(self, cm):
        name = self.answers_notices(cm)
        until(lambda: ("drain", name) in [act[:2] for act in list(self.slurm.acts)])

    def is_seen(self, _):
        assert in_time(self.manager.view).nodes
        assert in_time(self.manager.memory.now)
        in_time(self.ledger.events)

    def obeys(self, _):
        in_time(lambda: self.manager.orders.pause("ada"))
        in_time(lambda: self.manager.orders.unpause("ada"))


ALL = (
    "reads_slurm",
    "looks_at_drains",
    "asks_the_sa",
    "reads_cloudlab",
    "joins",
    "weighs",
    "grows",
    "drains",
)
ALL += ("is_seen", "obeys")
CMS = (UTAH, WISC)
GOES_ON = {
    "sa": (CMS, set(ALL) - {"asks_the_sa"}),
    UTAH: ((WISC,), set(ALL)),
    WISC: ((UTAH,), set(ALL)),
    "slurm": (CMS, {"asks_the_sa", "reads_cloudlab", "answers_notices", "is_seen", "obeys"}),
    "pc40": (CMS, set(ALL)),
    "smtp": (CMS, set(ALL)),
    "disk": (CMS, set(ALL) - {"grows", "obeys"}),
}
"""Who hangs -> at which CMs all goes on, and what that is."""


def until(condition, seconds=30.0, pause=0.01):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not go on"
        threading.Event().wait(pause)


def in_time(call):
    """Call, in a thread of its own, what must not hang."""
    answer = Future()

    def work():
        try:
            answer.set_result(call())
        except (AgentError, AssertionError) as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return answer.result(30)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr("agent.core.cycle.first_round.FIRST_WAIT", 0.3)
    monkeypatch.setattr("agent.core.notices.store.PATIENCE", 0.3)
    monkeypatch.setattr("agent.core.slice.lease.RENEWAL_WAIT", 0.3)
    monkeypatch.setattr("agent.core.slice.lease.LOCK_WAIT", 0.1)
    monkeypatch.setattr(bounded_ledger, "LIMIT", 0.5)
    monkeypatch.setattr(bounded_ledger, "EVENT_PATIENCE", 0.1)
    monkeypatch.setattr(bounded_ledger, "CLOSE_TIME", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = World(tmp_path / "ledger.db", listener)
        yield made
        made.end()


@pytest.mark.parametrize("who", GOES_ON)
def test_whoever_hangs_all_that_does_not_need_him_goes_on(world, who):
    cms, what = GOES_ON[who]
    world.manager.start()
    for cm in CMS:
        world.grows(cm)
    world.hang(who)
    for cm in cms:
        for name in sorted(what):
            getattr(world, name)(cm)
    assert who in world.peers.hung


@pytest.mark.parametrize("who", ["sa", UTAH, WISC, "slurm"])
def test_who_hangs_from_the_start_holds_up_nobody(world, who):
    cms, what = GOES_ON[who]
    world.peers.hung.add(who)
    world.manager.start()
    # Nothing is asked for before every CM was heard: what one holds might pass the most.
    left_out = {"grows"} if who in CMS else set()
    for cm in cms:
        for name in sorted(what - left_out):
            getattr(world, name)(cm)
    assert who in world.peers.reached


def test_without_a_disk_no_machine_is_asked_for_and_orders_are_refused(world):
    world.manager.start()
    world.grows(UTAH)
    world.hang("disk")
    asked = len(world.cloudlab.asked)
    number = next(world.numbers)
    world.cloudlab.free = [free_machine(number, UTAH)]
    world.slurm.jobs = [*world.slurm.jobs, a_waiting_job(number)]
    world.reads_slurm(UTAH)
    world.reads_cloudlab(UTAH)
    with pytest.raises(LedgerError, match="does its disk hang"):
        in_time(lambda: world.manager.orders.pause("ada"))
    assert len(world.cloudlab.asked) == asked
    world.disk.go_on()
    until(lambda: len(world.cloudlab.asked) > asked)


def test_a_machine_that_hangs_as_it_is_left_holds_up_no_other(world):
    world.manager.start()
    name = f"pc{world.left[UTAH][-1]}"
    world.slurm.jobs = [job for job in world.slurm.jobs if name not in job.nodes]
    world.slurm.nodes[name] = Node(name, "IDLE", cpus=1)
    world.peers.hung.add(name)
    assert world.answers_notices(UTAH) == name
    until(lambda: name in world.peers.reached)
    for cm in CMS:
        for what in ALL:
            getattr(world, what)(cm)
