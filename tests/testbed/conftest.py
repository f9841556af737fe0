"""A simulated Cloudlab, and a foreign client: nothing but xmlrpc.client and ssl of the standard library."""

from __future__ import annotations

import itertools
import shutil
import ssl
import xmlrpc.client
from datetime import UTC, datetime, timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES, SimulatedCloudlab, User
from testbed.cloudlab.identities import make_identities

SPEED = 10000.0
USERS = (User("ada", "ada@example.net", "Ada Example"), User("bob", "bob@example.net", "Bob Example"))
V3 = "http://www.geni.net/resources/rspec/3"


_numbers = itertools.count(1)


class SettableClock:
    """The machine's clock, with an offset that tests move."""

    def __init__(self):
        self.offset = timedelta(0)

    def now(self):
        return datetime.now(UTC) + self.offset


class Foreign:
    """A client that shares no code with the simulator or the agent."""

    def __init__(self, cloudlab, uid="ada"):
        self.cloudlab = cloudlab
        self._proxies = {}
        bed = cloudlab.bed_file()
        self.context = ssl.create_default_context(cafile=str(bed.ca_bundle))
        if uid == "ada":
            self.context.load_cert_chain(str(bed.user_pem), password=bed.passphrase)
        else:
            identity = cloudlab.identities.users[uid]
            self.context.load_cert_chain(str(identity.cert_path), str(identity.key_path))
        self.slice_urn = ""
        self.credential = ""

    def raw(self, url, method, *params):
        """Call a method; return the whole envelope."""
        proxy = self._proxies.get((url, self.context))
        if proxy is None:
            proxy = self._proxies[url, self.context] = xmlrpc.client.ServerProxy(url, context=self.context)
        return getattr(proxy, method)(*params)

    def close(self):
        """Close all connections."""
        for proxy in self._proxies.values():
            proxy("close")()

    def sa(self, method, *params, project=""):
        """Call the SA."""
        url = self.cloudlab.sa_url
        if project:
            url = url.replace("/xmlrpc/sa", f"/xmlrpc/project/{project}/sa")
        return self.raw(url, method, *params)

    def cm(self, method, *params, site=0):
        """Call a CM with the arguments as they are."""
        return self.raw(self.cloudlab.cms[site].url, method, *params)

    def call(self, method, site=0, **params):
        """Call a slice method of a CM, with slice and credential filled in."""
        full = {"slice_urn": self.slice_urn, "credentials": [self.credential], **params}
        return self.cm(method, full, site=site)

    def ok(self, method, site=0, **params):
        """The same, and it has to succeed; return the value."""
        answer = self.call(method, site, **params)
        assert answer["code"] == 0, answer
        return answer["value"]

    def self_credential(self):
        """Fetch the credential that every user gets."""
        return self.sa("GetCredential")["value"]

    def register(self, name="", project="labproj", **params):
        """Make a slice, by default of a new name, and keep its credential."""
        name = name or f"slice-{next(_numbers)}"
        domain = f"example.net:{project}" if project else "example.net"
        self.slice_urn = f"urn:publicid:IDN+{domain}+slice+{name}"
        full = {"credential": self.self_credential(), "urn": self.slice_urn, **params}
        answer = self.sa("Register", full, project=project)
        assert answer["code"] == 0, answer
        self.credential = answer["value"]
        return self

    def resolved(self, site=0):
        """Read the slice without a lock; return the value."""
        answer = self.cm("Resolve", {"credentials": [self.credential], "urn": self.slice_urn}, site=site)
        assert answer["code"] == 0, answer
        return answer["value"]

    def create(self, rspec=None, site=0, **params):
        """Make a sliver; return its credential and manifest."""
        return self.ok("CreateSliver", site, rspec=rspec or request("node-1"), **params)

    def unlocked(self, method, site=0, **params):
        """Call until the slice is not busy any more; return the envelope."""
        answers = []

        def tried():
            answers.append(self.call(method, site, **params))
            return answers[-1]["code"] != 14

        self.cloudlab.journal.wait_for(tried)
        return answers[-1]

    def ready(self, site=0):
        """Wait until every machine is ready for use; return the status."""
        found = []

        def looked():
            found.append(self.call("SliverStatus", site))
            value = found[-1]["value"]
            return found[-1]["code"] == 0 and (value["state"], value["status"]) == ("started", "ready")

        self.cloudlab.journal.wait_for(looked)
        return found[-1]["value"]


def request(*client_ids, extra="", attributes="", cm="urn:publicid:IDN+cluster.example.net+authority+cm"):
    """Write a request RSpec; ``extra`` goes into every node."""
    nodes = "".join(
        f'<node client_id="{name}" exclusive="true" component_manager_id="{cm}">'
        f'<sliver_type name="raw-pc"/>{extra}</node>'
        for name in client_ids
    )
    return f'<rspec xmlns="{V3}" type="request" {attributes}>{nodes}</rspec>'


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """All keys that a simulator needs, made once."""
    directory = tmp_path_factory.mktemp("keys") / "pki"
    make_identities(
        directory,
        sites=DEFAULT_SITES,
        users=USERS,
        bind="127.0.0.1",
        sa_url="https://localhost/",
        callback_url=None,
    )
    return directory


@pytest.fixture
def start(tmp_path, keys):
    """Start a simulator with other than the default arguments; it is stopped after the test."""
    running = []

    def begin(**arguments):
        directory = arguments.pop("directory", tmp_path / f"bed{len(running)}")
        shutil.copytree(keys, directory / "pki", dirs_exist_ok=True)
        simulator = SimulatedCloudlab(directory, **{"speed": SPEED, "users": USERS, **arguments})
        simulator.start()
        running.append(simulator)
        return simulator

    yield begin
    for simulator in running:
        simulator.stop()


@pytest.fixture
def clock():
    """Time that a test can set forward."""
    return SettableClock()


@pytest.fixture
def cloudlab(start, clock):
    """A simulator of the default sites."""
    return start(clock=clock)


@pytest.fixture(scope="session")
def make_foreign():
    """Make a client that the caller closes."""
    return Foreign


@pytest.fixture
def foreign():
    """Make clients: ``foreign(cloudlab, uid)``."""
    made = []

    def client(cloudlab, uid="ada"):
        made.append(Foreign(cloudlab, uid))
        return made[-1]

    yield client
    for client_made in made:
        client_made.close()


@pytest.fixture
def ada(cloudlab, foreign):
    """The first user, who has no slice yet."""
    return foreign(cloudlab)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, keys):
    """A simulator that all tests of a module share: for those that leave nothing behind but a slice."""
    directory = tmp_path_factory.mktemp("shared")
    shutil.copytree(keys, directory / "pki")
    with SimulatedCloudlab(directory, speed=SPEED, users=USERS) as simulator:
        yield simulator


@pytest.fixture
def eva(shared, foreign):
    """A client of the shared simulator; she may register any number of slices."""
    return foreign(shared)


@pytest.fixture
def sliver(ada):
    """A client with one machine, node-1, and the lock free."""
    ada.register().create()
    ada.unlocked("GetSliver")
    return ada


@pytest.fixture(scope="module")
def shared_sliver(tmp_path_factory, keys, make_foreign):
    """A client with one machine, node-1, on a simulator that all tests of a module share."""
    directory = tmp_path_factory.mktemp("shared-sliver")
    shutil.copytree(keys, directory / "pki")
    with SimulatedCloudlab(directory, speed=SPEED) as cloudlab:
        client = make_foreign(cloudlab).register()
        client.create()
        client.unlocked("GetSliver")
        yield client
        client.close()


@pytest.fixture
def rspec():
    """Write request RSpecs: ``rspec(client_id, ..., extra=..., attributes=...)``."""
    return request
