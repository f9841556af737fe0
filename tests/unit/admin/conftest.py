"""The real local API over a real manager that knows three machines, with Cloudlab and Slurm in memory."""

import os
import pwd
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.admin.acts import Acts
from agent.admin.answers import ConfigAnswer
from agent.admin.questions import Questions
from agent.admin.routes import Operations
from agent.admin.server import AdminServer
from agent.admin.settings import AdminSettings
from agent.cli import app
from agent.cli.client import call
from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.config import ManagerConfig
from agent.core.events import Event, EventKind
from agent.core.model import AdvertisedNode, Sliver, SliverNode
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.said import ResourceValue
from agent.ledger.ledger import Ledger
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.scheduling import Scheduling

CM = "urn:publicid:IDN+utah.example.net+authority+cm"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ME = pwd.getpwuid(os.getuid()).pw_name
NOBODY = pwd.getpwnam("nobody")


def machine(n):
    return SliverNode(f"node-{n}", f"pc10{n}", CM, f"urn:sliver-{n}", "m510", f"10.0.0.{n}")


MACHINES = (machine(1), machine(2), machine(3))
JOB = Job("7", "RUNNING", "ada", nodes=frozenset({"pc101"}), ends=NOW + timedelta(hours=1))


class Clock:
    def __init__(self):
        self.time = NOW

    def now(self):
        return self.time

    def steady(self):
        return self.time

    def monotonic(self):
        return self.time.timestamp()


class Cloudlab:
    """A slice with one sliver."""

    slice_urn = "urn:publicid:IDN+example.net+slice+demo"
    cms = (CM,)
    email = "ada@example.net"

    def __init__(self):
        self.renewed = []
        self.machines = MACHINES

    def orphans(self):
        return {}

    def find_slice(self):
        return NOW + timedelta(hours=20)

    def find_sliver(self, cm):
        return Sliver(cm, "urn:sliver", NOW + timedelta(hours=20), self.machines, "")

    def renew_slice(self, expires):
        self.renewed.append(("sa", expires))
        return expires

    def find_short_types(self, cm, held, begin, end):
        return ()

    def renew_sliver(self, cm, expires):
        self.renewed.append((cm, expires))
        return expires

    def discover(self, cm, *, available):
        return tuple(AdvertisedNode(f"pc2{n:02}", cm, ("m510",), True) for n in range(10))


class Slurm:
    """Three idle nodes, a job on the first, and one that waits."""

    def __init__(self):
        self.nodes = {m.node_id: Node(m.node_id, "IDLE", cpus=2, weight=10) for m in MACHINES}
        self.nodes["pc101"] = replace(self.nodes["pc101"], state="ALLOCATED")
        self.jobs = [JOB, Job("8", "PENDING", "bob", reason="Dependency")]

    def snapshot(self):
        return Snapshot(NOW, dict(self.nodes), tuple(self.jobs))

    def scheduling(self):
        return Scheduling()

    def reservations(self):
        return ()


class Shell:
    """Machines that are never reached."""

    def forget(self, host):
        pass


@dataclass
class Rig:
    """Everything that a test may touch."""

    socket: object
    settings: dict
    slurm: Slurm = field(default_factory=Slurm)
    cloudlab: Cloudlab = field(default_factory=Cloudlab)
    clock: Clock = field(default_factory=Clock)
    ledger: Ledger = field(default_factory=lambda: Ledger(":memory:"))

    def __post_init__(self):
        self.cluster_settings = ClusterSettings(
            DemandSettings(max_nodes=5), WeightSettings(), DrainSettings(), JoinSettings()
        )
        self.begin()
        self.server = self.serve(AdminSettings(socket=self.socket))

    def begin(self):
        """Make the parts that know nothing yet but what the ledger does, as after a restart."""
        self.manager = SlurmElasticSliceManager(
            self.cloudlab,
            ManagerConfig(clock=self.clock, events=self.ledger),
            backend=self.slurm,
            shell=Shell(),
            settings=self.cluster_settings,
            wishes=self.ledger,
        )
        self.manager.set_helper(SimpleElasticSliceHelper(server=self.cloudlab))
        self.questions = Questions(self.manager, self.ledger, self.config)
        self.acts = Acts(self.manager)

    def serve(self, settings):
        return AdminServer(settings, Operations(self.questions, self.acts), self.ledger, self.clock)

    def config(self):
        return ConfigAnswer(path="/etc/esagent/agent.conf", settings=self.settings, reloadable=("demand",))

    def look(self):
        """Read Cloudlab and Slurm, as the cycle does."""
        for step in ("ensure_slice", "ensure_sliver", "update_all", "update_available", "get_system_state"):
            getattr(self.manager, step)()

    def add_machine(self, n):
        """Have Cloudlab lend one more, which Slurm has at work."""
        self.cloudlab.machines += (machine(n),)
        self.slurm.nodes[f"pc10{n}"] = Node(f"pc10{n}", "IDLE", cpus=2, weight=10)

    def add_foreign(self, client_id, node_id):
        """Put a machine into the slice that nobody asked us for."""
        urn = f"urn:sliver-{client_id}"
        self.cloudlab.machines += (SliverNode(client_id, node_id, CM, urn, "m510", "10.0.0.99"),)

    def value(self, node_id, value):
        self.manager.resource_values["", node_id] = ResourceValue(node_id, value, NOW)

    def record(self, kind, subject, message="why", data=None):
        self.ledger.record(Event(self.clock.now(), EventKind(kind), subject, message, data))

    def told(self, kind):
        return [e for _, e in self.ledger.history(newest=1000) if e.kind == kind]

    def call(self, method, route, body=None):
        return call(self.socket, method, route, body)

    def ask(self, *arguments, code=0, **options):
        """Run a command in this process; return its result."""
        result = CliRunner().invoke(app, [*arguments, "--socket", str(self.socket)], **options)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result


@pytest.fixture
def rig(tmp_path):
    """A rig whose server answers, and that has read Cloudlab and Slurm."""
    rig = Rig(tmp_path / "a.sock", {"demand": {"max_nodes": 5}, "log": {"level": "info"}})
    rig.look()
    rig.server.start()
    yield rig
    rig.server.stop()
    rig.ledger.close()


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory):
    """A rig for a whole module, whose followers never wait."""
    rig = Rig(tmp_path_factory.mktemp("api") / "a.sock", {"demand": {"max_nodes": 5}})
    rig.look()
    rig.ledger.let_go()
    rig.server.start()
    yield rig
    rig.server.stop()
    rig.ledger.close()


def as_nobody(act, path: Path) -> bool:
    """Do something in a process of another user; tell whether it was as expected."""
    # The directories above may be closed to it: it comes in through one that is open already.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY.pw_gid)
            os.setuid(NOBODY.pw_uid)
            status = 0 if act(Path(f"/proc/self/fd/{directory}") / path.name) else 1
        finally:
            os._exit(status)
    os.close(directory)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0
