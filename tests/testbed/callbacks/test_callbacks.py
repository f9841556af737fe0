"""Values and revocations, told to the agent's endpoint (protogeni.md §6)."""

from __future__ import annotations

import dataclasses
import ssl
import threading
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest

from testbed.cloudlab import DEFAULT_SITES, SimulatedCloudlab, Site, Timing
from testbed.cloudlab.steering.control import SteeringError
from testbed.pki import CertificateAuthority, Names

SITES = DEFAULT_SITES[:1]
CM = SITES[0].urn


class Agent:
    """A small endpoint of the test: keeps what it is told, answers as the test wants."""

    def __init__(self, authority, identity):
        self.told = []
        self.callers = []
        self.release = ()
        self.answer = None
        agent = self

        class Handler(SimpleXMLRPCRequestHandler):
            def _dispatch(self, method, params):
                names = self.connection.getpeercert()["subjectAltName"]
                agent.callers.append([value for kind, value in names if kind == "URI"])
                agent.told.append((method, params[0]["nodelist"]))
                if agent.answer is not None:
                    return agent.answer
                value = [
                    {**item, "max_wait_time": 0} if item["node_id"] in agent.release else item
                    for item in params[0]["nodelist"]
                ]
                return {"code": 0, "value": value if agent.release else 0, "output": ""}

            def handle(self):
                try:
                    super().handle()
                except OSError:
                    return

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.cert_path, identity.key_path)
        context.load_verify_locations(authority.bundle)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = SimpleXMLRPCServer(("127.0.0.1", 0), Handler, logRequests=False)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}/RPC2"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def nodelists(self, method):
        return [nodelist for name, nodelist in self.told if name == method]

    def end(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def listening(authority):
    return Agent(authority, authority.issue("callback", Names("agent", hosts=("127.0.0.1",))))


@pytest.fixture
def agent(keys):
    endpoint = listening(CertificateAuthority(keys))
    yield endpoint
    endpoint.end()


def taken_for(seconds):
    return (dataclasses.replace(SITES[0], timing=Timing(taken=seconds)),)


@pytest.fixture
def bed(agent, start):
    """Slow enough that a notice does not come at every moment: a tick is 60 ms. Stopped before the agent."""
    return start(sites=taken_for(1e9), callback_url=agent.url, speed=1000.0)


@pytest.fixture
def user(bed, foreign, rspec):
    """A client that holds pc100 as a and pc101 as b; the lock is free."""
    client = foreign(bed).register()
    client.create(rspec("a", "b"))
    client.unlocked("GetSliver")
    return client


def held(bed):
    return [m.node_id for m in bed.machines() if m.slice_urn]


def test_values_of_all_machines_are_pushed_at_once_on_a_change(bed, agent, user):
    """§6.2: client_id only for held machines; 0 and 1 go as int; the CM's own certificate."""
    bed.value("pc101", 0.9)
    bed.value("pc102", 1.0)

    def pushed():
        lists = agent.nodelists("SetResourceValues")
        return lists and {item["node_id"]: item for item in lists[-1]}["pc102"]["value"] == 1 and lists[-1]

    items = {item["node_id"]: item for item in bed.journal.wait_for(pushed)}
    assert list(items) == list(SITES[0].machines)
    assert items["pc101"]["value"] == 0.9
    assert [type(items[name]["value"]) for name in ("pc100", "pc102")] == [int, int]
    assert (items["pc100"]["client_id"], "client_id" in items["pc103"]) == ("a", False)
    assert agent.callers[0] == [CM]


def test_values_are_pushed_again_now_and_then(bed, agent):
    """Every ten simulated minutes, without a change."""
    bed.journal.wait_for(lambda: len(agent.nodelists("SetResourceValues")) >= 3)


def test_a_revocation_is_told_at_once_and_counted_down_until_it_is_taken(bed, agent, user):
    """§6.3, §6.4: all pending machines of the slice in each notice, real seconds as whole numbers."""
    bed.revoke(["pc100", "pc101"], 1.2)
    bed.journal.wait_for(lambda: agent.nodelists("NotifyDeleteComplete"))
    notices = agent.nodelists("NotifyDeletePending")
    assert notices[0] == [
        {"node_id": "pc100", "client_id": "a", "max_wait_time": 1},
        {"node_id": "pc101", "client_id": "b", "max_wait_time": 1},
    ]
    left = [item["max_wait_time"] for notice in notices for item in notice]
    assert left == sorted(left, reverse=True)
    assert set(left) == {1, 0}
    assert len(notices) > 5
    assert {type(seconds) for seconds in left} == {int}
    (complete,) = agent.nodelists("NotifyDeleteComplete")
    assert [(item["node_id"], item["max_wait_time"]) for item in complete] == [("pc100", 0), ("pc101", 0)]
    assert held(bed) == []
    assert [entry.cause for entry in bed.journal.held()] == ["revoked", "revoked"]
    manifest = user.cm("Resolve", {"credentials": [user.credential], "urn": user.slice_urn})["value"][
        "manifest"
    ]
    assert "<node" not in manifest


def test_a_0_in_the_reply_releases_that_machine_only(bed, agent, user):
    """§6.3, the second valid reply."""
    bed.revoke(["pc100", "pc101"], 600)
    agent.release = ("pc101",)
    (complete,) = bed.journal.wait_for(lambda: agent.nodelists("NotifyDeleteComplete"))
    assert complete == [{"node_id": "pc101", "client_id": "b", "max_wait_time": 0}]
    assert held(bed) == ["pc100"]
    assert [entry.cause for entry in bed.journal.held("pc101")] == ["released"]
    assert {name for call in bed.journal.callbacks("NotifyDeletePending") for name in call.released} == {
        "pc101"
    }
    agent.release = ()
    seen = len(agent.told)
    bed.journal.wait_for(lambda: [n for m, n in agent.told[seen:] if m == "NotifyDeletePending"][1:])
    assert [item["node_id"] for item in agent.nodelists("NotifyDeletePending")[-1]] == ["pc100"]


def test_0_seconds_take_the_machine_at_once_and_it_is_told_all_the_same(bed, agent, user):
    """§6.3: the node may already be gone on arrival."""
    bed.revoke("pc100", 0)
    bed.journal.wait_for(lambda: agent.nodelists("NotifyDeleteComplete"))
    assert agent.nodelists("NotifyDeletePending")[0][0]["max_wait_time"] == 0
    assert held(bed) == ["pc101"]


def test_a_taken_machine_is_used_by_somebody_else(bed, agent, user):
    bed.revoke("pc100", 0)
    bed.journal.wait_for(lambda: agent.nodelists("NotifyDeleteComplete"))
    bed.journal.wait_for(lambda: bed.machines()[0].state == "ISUP")
    assert not bed.machines()[0].available
    answer = user.unlocked("AddNodes", nodes={"c": {"node": "pc100"}})
    assert answer["output"] == "Physical node pc100 is not available"


def test_a_taken_machine_is_free_again_when_the_other_has_done(agent, start, foreign, rspec):
    bed = start(sites=taken_for(1.0), callback_url=agent.url, speed=1000.0)
    foreign(bed).register().create(rspec("a", "b"))
    bed.revoke("pc100", 0)
    bed.journal.wait_for(lambda: "free" in [state.note for state in bed.journal.states("pc100")])
    *_, last_use, _ = bed.journal.states("pc100")
    assert last_use.note.startswith("in use by ")
    assert bed.machines()[0].available


def test_a_withdrawn_revocation_is_silent_and_the_machine_stays(bed, agent, user):
    bed.revoke("pc100", 600)
    bed.journal.wait_for(lambda: len(agent.nodelists("NotifyDeletePending")) > 1)
    assert bed.machines()[0].deadline is not None
    bed.withdraw("pc100")
    assert bed.machines()[0].deadline is None
    bed.revoke("pc101", 600)
    bed.journal.wait_for(
        lambda: [i["node_id"] for i in agent.nodelists("NotifyDeletePending")[-1]] == ["pc101"]
    )
    assert held(bed) == ["pc100", "pc101"]


def test_a_machine_that_the_client_deletes_itself_has_no_revocation_any_more(bed, agent, user):
    """§6.4: no NotifyDeleteComplete for what the server did not do."""
    bed.revoke("pc100", 600)
    user.unlocked("DeleteNodes", nodes=["a"])
    assert bed.machines()[0].deadline is None
    bed.revoke("pc101", 0)
    bed.journal.wait_for(lambda: agent.nodelists("NotifyDeleteComplete"))
    assert [[i["node_id"] for i in told] for told in agent.nodelists("NotifyDeleteComplete")] == [["pc101"]]


def test_a_locked_slice_delays_the_taking(bed, agent, user):
    """§6.4: the server's own DeleteNodes takes the slice lock."""
    lock = bed.cm(CM).slices[user.slice_urn].lock
    lock.take("slice")
    bed.revoke("pc100", 0)
    bed.journal.wait_for(lambda: len(agent.nodelists("NotifyDeletePending")) > 2)
    assert held(bed) == ["pc100", "pc101"]
    lock.free()
    bed.journal.wait_for(lambda: held(bed) == ["pc101"])


@pytest.mark.parametrize(
    "answer", [{"code": 2, "value": 0, "output": "no"}, {"value": "x"}, "text", {"code": "0", "value": 0}]
)
def test_odd_replies_stop_nothing(bed, agent, user, answer):
    """§6: they are journalled; the countdown goes on and the machine is taken."""
    agent.answer = answer
    bed.revoke("pc100", 0.3)
    bed.journal.wait_for(lambda: bed.journal.callbacks("NotifyDeleteComplete"))
    assert held(bed) == ["pc101"]


def test_an_agent_that_does_not_answer_is_journalled_and_called_again(start, foreign, agent):
    agent.end()
    bed = start(sites=SITES, callback_url=agent.url, speed=1000.0)
    foreign(bed).register().create()
    calls = bed.journal.wait_for(lambda: bed.journal.callbacks("SetResourceValues")[2:])
    assert (calls[0].code, "refused" in calls[0].error) == (None, True)
    bed.revoke("pc100", 0)
    bed.journal.wait_for(lambda: bed.journal.callbacks("NotifyDeleteComplete"))
    assert held(bed) == []


def test_an_agent_with_a_foreign_certificate_is_not_trusted(start, tmp_path):
    stranger = listening(CertificateAuthority(tmp_path / "other"))
    try:
        bed = start(sites=SITES, callback_url=stranger.url)
        (call, *_) = bed.journal.wait_for(lambda: bed.journal.callbacks("SetResourceValues"))
        bed.stop()
    finally:
        stranger.end()
    assert (call.code, "CERTIFICATE_VERIFY_FAILED" in call.error) == (None, True), call.error


def test_without_an_endpoint_machines_are_taken_in_silence(start, foreign):
    bed = start(sites=SITES)
    foreign(bed).register().create()
    bed.revoke("pc100", 0)
    bed.journal.wait_for(lambda: held(bed) == [])
    assert bed.journal.callbacks() == []


def test_a_site_of_2021_takes_machines_without_a_word(agent, start, foreign):
    """protogeni-2021.md §13: nothing in a public server calls a client."""
    silent = dataclasses.replace(SITES[0], generation=2021)
    bed = start(sites=(silent,), callback_url=agent.url, speed=1000.0)
    foreign(bed).register().create()
    bed.value("pc101", 0.9)
    bed.revoke("pc100", 0)
    bed.journal.wait_for(lambda: held(bed) == [])
    assert (agent.told, bed.journal.callbacks()) == ([], [])


@pytest.mark.parametrize("generation", [2016, 2021])
def test_the_interface_of_the_reference_can_be_had_and_lost(agent, start, foreign, generation):
    site = dataclasses.replace(SITES[0], generation=generation, callbacks=True)
    bed = start(sites=(site,), callback_url=agent.url, speed=1000.0)
    bed.journal.wait_for(lambda: agent.nodelists("SetResourceValues"))
    foreign(bed).register().create()
    bed.telling.callbacks(site.domain, on=False)
    bed.revoke("pc100", 600)
    bed.value("pc101", 0.9)
    bed.telling.callbacks(site.urn, on=True)
    bed.journal.wait_for(lambda: agent.nodelists("NotifyDeletePending"))
    assert bed.machines()[0].deadline is not None
    bed.journal.wait_for(
        lambda: any(item["value"] == 0.9 for told in agent.nodelists("SetResourceValues") for item in told)
    )


def test_of_two_machines_with_one_node_id_each_cm_tells_its_own_and_with_its_own_certificate(
    agent, start, foreign, rspec
):
    """Racks call their machines pc1 to pc5 everywhere: who calls tells them apart."""
    east, west = (
        Site(f"{name}.example.net", ("pc1", "pc2"), "dl360", generation=generation, callbacks=True)
        for name, generation in (("east", 2016), ("west", 2021))
    )
    bed = start(sites=(east, west), callback_url=agent.url, speed=1000.0)
    client = foreign(bed).register()
    for number, site in enumerate((east, west)):
        client.create(rspec(f"a-{number}", cm=site.urn), site=number)
        client.unlocked("GetSliver", site=number)
    machines = {machine.name: machine for machine in bed.machines()}
    assert list(machines) == ["pc1-east", "pc2-east", "pc1-west", "pc2-west"]
    assert {machine.node_id for machine in machines.values()} == {"pc1", "pc2"}
    assert len({machine.address for machine in machines.values()}) == 4

    bed.revoke("pc1-west", 0)
    bed.journal.wait_for(lambda: agent.nodelists("NotifyDeleteComplete"))
    callers = {
        (caller[0], *(item["client_id"] for item in nodelist))
        for (method, nodelist), caller in zip(agent.told, agent.callers, strict=False)
        if method.startswith("Notify")
    }
    assert callers == {(west.urn, "a-1")}
    assert [m.name for m in bed.machines() if m.slice_urn] == ["pc1-east"]
    assert [entry.cause for entry in bed.journal.held("pc1", authority=west.urn)] == ["revoked"]
    assert [entry.cause for entry in bed.journal.held("pc1", authority=east.urn)] == [""]


def test_machines_that_would_have_one_name_here_are_refused(tmp_path):
    sites = [Site(f"rack.{name}.net", ("pc1",), "dl360") for name in ("one", "two")]
    with pytest.raises(SteeringError, match="two machines would be called pc1-rack here"):
        SimulatedCloudlab(tmp_path, sites=sites)
