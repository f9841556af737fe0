"""Faults of calls: each strikes exactly as often as it was asked to (protogeni.md §7.1.4)."""

from __future__ import annotations

import http.client
import ssl
import time
import xml.parsers.expat
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from testbed.cloudlab.journal import NOT_CARRIED_OUT
from testbed.cloudlab.steering.control import SteeringError
from testbed.cloudlab.steering.faults import CALL_KINDS, INSIDE_METHODS, Kind

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"


def outcome(client, method, params, *, timeout=10):
    """Call once, without the second attempt that xmlrpc.client makes; tell in a word or two how it ended."""
    parts = urlsplit(client.cloudlab.cms[0].url)
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port, context=client.context, timeout=timeout
    )
    try:
        body = xmlrpc.client.dumps((params,), method)
        connection.request("POST", parts.path, body, {"Content-Type": "text/xml"})
        response = connection.getresponse()
        data = response.read()
    except http.client.RemoteDisconnected:
        return "closed"
    except (ConnectionResetError, ssl.SSLError):
        return "unreachable"
    except TimeoutError:
        return "late"
    finally:
        connection.close()
    if response.status != 200:
        return f"http {response.status}"
    if response.headers["Content-Type"] != "text/xml":
        return response.headers["Content-Type"]
    try:
        ((answer,), _) = xmlrpc.client.loads(data)
    except xmlrpc.client.Fault as fault:
        return f"fault {fault.faultCode}"
    except xml.parsers.expat.ExpatError:
        return "not xml"
    return f"code {answer['code']}"


def held(cloudlab):
    return {machine.client_id for machine in cloudlab.machines() if machine.slice_urn}


@pytest.fixture
def kept(shared_sliver):
    """The shared client; machines that a test adds are given back after it."""
    yield shared_sliver
    added = sorted(held(shared_sliver.cloudlab) - {"node-1"})
    assert shared_sliver.unlocked("DeleteNodes", nodes=added)["code"] == 0


TABLE = [
    ("GetVersion", "busy", "code 14"),
    ("GetVersion", "fault503", "fault 503"),
    ("GetVersion", "http503", "http 503"),
    ("GetVersion", "drop-before", "closed"),
    ("GetVersion", "drop-after", "closed"),
    ("GetVersion", "slow", "code 0"),
    ("GetVersion", "silent", "closed"),
    ("GetVersion", "internal-error", "fault -32600"),
    ("GetVersion", "garbage", "not xml"),
    ("GetVersion", "html", "text/html"),
    ("SliverStatus", "expired-credential", "code 1"),
    ("SliverStatus", "server-error-locked", "fault -32600"),
    ("GetVersion", "no-such-method", "fault -32497"),
    ("AddNodes", "insufficient", "code 26"),
    ("AddNodes", "addnodes-error-although-added", "code 2"),
    ("AddNodes", "no-fast-interfaces", "code 26"),
    ("AddNodes", "no-mapping", "code 28"),
    ("AddNodes", "admission-control", "code 28"),
    ("AddNodes", "no-addresses", "code 28"),
    ("AddNodes", "renewed-meanwhile", "code 7"),
    ("DiscoverResources", "other-advertisement", "code 0"),
    ("GetVersion", "dies-after", "fault -32400"),
    ("CreateSliver", "code5", "code 5"),
    *(("AddNodes", f"code{code}", f"code {code}") for code in (9, 10, 23, 24, 25, 27, 35)),
    ("AddNodes", "code29", "code 25"),
]


def test_the_table_is_whole():
    lasting = {Kind.CUT_OFF, Kind.GONE_IN_PHASE_TWO}
    assert {kind for _, kind, _ in TABLE} == (CALL_KINDS | INSIDE_METHODS) - lasting


@pytest.mark.parametrize(("method", "kind", "seen"), TABLE)
def test_a_fault_strikes_exactly_so_often_and_then_the_method_works_again(kept, method, kind, seen):
    """§1.3 to §1.6, §3.2, §3.7: every kind, and the journal shows each strike."""
    cloudlab = kept.cloudlab
    before = len(cloudlab.journal.faults())
    cloudlab.fault(method, kind, times=2, seconds=0)
    base = {"slice_urn": kept.slice_urn, "credentials": [kept.credential]}

    def call(number):
        if method == "AddNodes":
            kept.unlocked("GetSliver")
        return outcome(kept, method, {**base, "nodes": {f"{kind[:12]}-{number}": {}}})

    for number in range(2):
        assert call(number) == seen
        assert cloudlab.unlock() == ([f"{CM}: {kept.slice_urn}"] if kind == "server-error-locked" else [])
    assert cloudlab.faults() == ()
    assert call(2) == ("code 1" if method == "CreateSliver" else "code 0")
    struck = cloudlab.journal.faults()[before:]
    assert [(s.authority, s.place, s.fault, s.left) for s in struck] == [
        (CM, method, kind, 1),
        (CM, method, kind, 0),
    ]


# --- what was done, and what was not


@pytest.mark.parametrize(
    ("kind", "done"),
    [("drop-before", False), ("silent", False), ("internal-error", False),
     ("http503", False), ("html", False), ("busy", False), ("fault503", False),
     ("insufficient", False), ("drop-after", True), ("garbage", True)],
)  # fmt: skip
def test_a_reply_that_is_lost_says_nothing_about_the_work(kept, kind, done):
    """§3.13: the manifest decides."""
    cloudlab = kept.cloudlab
    kept.unlocked("GetSliver")
    cloudlab.fault("AddNodes", kind, seconds=0)
    nodes = {"slice_urn": kept.slice_urn, "credentials": [kept.credential], "nodes": {"n-2": {}}}
    assert outcome(kept, "AddNodes", nodes) != "code 0"
    assert ("n-2" in kept.resolved()["manifest"], "n-2" in held(cloudlab)) == (done, done)
    assert (cloudlab.journal.calls("AddNodes")[-1].code == 0) is done


def test_a_slow_reply_comes_after_the_work_and_does_not_hold_others_up(cloudlab, sliver):
    """§1.5: a client whose limit is shorter has lost the reply; stop does not wait for it."""
    cloudlab.fault("AddNodes", "slow", seconds=600)
    nodes = {"slice_urn": sliver.slice_urn, "credentials": [sliver.credential], "nodes": {"n-2": {}}}
    assert outcome(sliver, "AddNodes", nodes, timeout=1.5) == "late"
    assert held(cloudlab) == {"node-1", "n-2"}
    assert sliver.unlocked("SliverStatus")["code"] == 0
    cloudlab.stop()
    assert "did not end in time" not in cloudlab.journal.path.read_text()


def test_silence_ends_when_the_faults_are_cleared(cloudlab, sliver):
    cloudlab.fault("SliverStatus", "silent", seconds=600)
    with ThreadPoolExecutor(1) as pool:
        base = {"slice_urn": sliver.slice_urn, "credentials": [sliver.credential]}
        call = pool.submit(outcome, sliver, "SliverStatus", base, timeout=60)
        cloudlab.journal.wait_for(lambda: cloudlab.journal.calls("SliverStatus", code=NOT_CARRIED_OUT))
        assert sliver.resolved()["urn"] == sliver.slice_urn
        assert not call.done()
        cloudlab.clear_faults()
        assert call.result() == "closed"


def test_a_cut_network_loses_the_reply_and_all_calls_after_it_at_that_cm_alone(cloudlab, sliver):
    cloudlab.fault("AddNodes", "cut-off")
    base = {"slice_urn": sliver.slice_urn, "credentials": [sliver.credential]}
    assert outcome(sliver, "AddNodes", {**base, "nodes": {"n-2": {}}}) == "closed"
    assert held(cloudlab) == {"node-1", "n-2"}
    for method in ("Resolve", "GetVersion", "Resolve"):
        assert outcome(sliver, method, {**base, "urn": sliver.slice_urn}) == "unreachable"
    assert sliver.cm("GetVersion", site=1)["code"] == 0
    cloudlab.clear_faults()
    assert 'client_id="n-2"' in sliver.resolved()["manifest"]


def test_both_texts_of_fault_503_come_in_turn(cloudlab, ada):
    """§1.5 (a) and (b)."""
    cloudlab.fault("GetCredential", "fault503", times=2)
    texts = set()
    for _ in range(2):
        with pytest.raises(xmlrpc.client.Fault) as caught:
            ada.sa("GetCredential")
        assert caught.value.faultCode == 503
        texts.add(caught.value.faultString)
    assert texts == {
        "Server is WAY too busy; please try again later",
        "CM temporarily offline; please try again later",
    }


def test_busy_names_what_the_method_locks(cloudlab, sliver):
    """§1.4: slice at the SA and for writers, resource for most others."""
    cloudlab.fault("*", "busy", times=3)
    assert sliver.sa("GetCredential")["output"] == "slice is busy; try again later"
    assert sliver.call("AddNodes", nodes={})["output"] == "slice is busy; try again later"
    assert sliver.call("SliverStatus")["output"] == "resource is busy; try again later"


def test_insufficient_tells_the_reason_in_value(cloudlab, sliver):
    """§3.3: value is short, output the long log."""
    cloudlab.fault("AddNodes", "insufficient")
    answer = sliver.call("AddNodes", nodes={"n-2": {}})
    assert answer["value"].startswith("Could not map to resources: ")
    assert "mapper" in answer["output"]


def test_an_expired_credential_says_when(cloudlab, sliver):
    """§2: code 1, «expired at»."""
    cloudlab.fault("SliverStatus", "expired-credential")
    answer = sliver.call("SliverStatus")
    assert answer["code"] == 1
    assert answer["output"].startswith("Malformed arguments: invalid credential (expired at 2")


def test_nodes_that_were_added_in_spite_of_the_error_are_started_by_the_next_call(cloudlab, sliver):
    """§3.7, check 13: in the manifest and allocated, and not started; ``nodes:{}`` starts them."""
    cloudlab.fault("AddNodes", "addnodes-error-although-added")
    answer = sliver.call("AddNodes", nodes={"n-2": {"node": "pc103"}})
    assert (answer["code"], answer["output"]) == (2, "Internal Error")
    assert "n-2" in sliver.resolved()["manifest"]
    details = sliver.ok("SliverStatus")["details"].values()
    assert {d["client_id"]: d["state"] for d in details} == {"node-1": "started", "n-2": "stopped"}
    assert sliver.call("AddNodes", nodes={"n-2": {}})["output"] == "Already have n-2 in the topology!"
    sliver.ok("AddNodes", nodes={})
    sliver.ready()


# --- locks left held


def test_a_lock_left_held_stays_until_an_operator_frees_it(cloudlab, sliver):
    """§1.5, §1.6: all that locks gets 14, Resolve reads on, the SA has a lock of its own."""
    cloudlab.fault("AddNodes", "server-error-locked")
    with pytest.raises(xmlrpc.client.Fault) as caught:
        sliver.call("AddNodes", nodes={"n-2": {}})
    assert (caught.value.faultCode, caught.value.faultString) == (-32600, "Internal Error executing AddNodes")
    for _ in range(3):
        assert sliver.call("SliverStatus")["code"] == 14
        assert sliver.call("DeleteNodes", nodes=["node-1"])["code"] == 14
    assert "n-2" not in sliver.resolved()["manifest"]
    ask = {"credential": sliver.self_credential(), "urn": sliver.slice_urn}
    assert sliver.sa("GetCredential", ask)["code"] == 0
    assert cloudlab.unlock() == [f"{CM}: {sliver.slice_urn}"]
    sliver.ok("AddNodes", nodes={"n-2": {}})


def test_a_create_that_dies_leaves_a_locked_slice_without_an_aggregate(cloudlab, ada):
    """§1.5, §3.4: a slice without sliver_urn."""
    cloudlab.fault("CreateSliver", "server-error-locked")
    ada.register()
    with pytest.raises(xmlrpc.client.Fault):
        ada.create()
    assert ada.call("CreateSliver", rspec="<rspec/>")["code"] == 14
    assert set(ada.resolved()) == {"urn"}
    cloudlab.unlock()
    ada.create()


def test_the_sa_can_be_left_locked_too(cloudlab, ada):
    """§1.6: two lock domains."""
    ada.register()
    cloudlab.fault("RenewSlice", "server-error-locked", at="sa")
    with pytest.raises(xmlrpc.client.Fault):
        ada.sa("RenewSlice", {"credential": ada.credential, "expiration": "2031-05-04T18:00:00Z"})
    ask = {"credential": ada.self_credential(), "urn": ada.slice_urn}
    assert ada.sa("GetCredential", ask)["code"] == 14
    ada.create()
    assert len(cloudlab.unlock()) == 1
    assert ada.sa("GetCredential", ask)["code"] == 0


def test_unlock_leaves_a_lock_that_somebody_works_under(cloudlab, sliver):
    """§1.7: only locks that were left held."""
    lock = cloudlab.cm(CM).slices[sliver.slice_urn].lock
    lock.take("slice")
    assert cloudlab.unlock() == []
    assert lock.held


def test_a_lock_that_is_held_is_not_left(cloudlab, sliver):
    """§1.6: the call gets 14 as ever, and the fault waits for the next."""
    lock = cloudlab.cm(CM).slices[sliver.slice_urn].lock
    lock.take("slice")
    cloudlab.fault("SliverStatus", "server-error-locked")
    assert sliver.call("SliverStatus")["code"] == 14
    lock.free()
    with pytest.raises(xmlrpc.client.Fault):
        sliver.call("SliverStatus")


# --- where


def test_a_fault_of_one_authority_leaves_the_others_alone(cloudlab, ada):
    """Methods of one name: Resolve at the SA and at two CMs."""
    cloudlab.fault("GetVersion", "busy", at="east.example.net")
    assert ada.sa("GetVersion")["code"] == 0
    assert ada.cm("GetVersion")["code"] == 0
    assert ada.cm("GetVersion", site=1)["code"] == 14


def test_faults_of_a_method_strike_in_the_order_they_were_given(cloudlab, ada):
    cloudlab.fault("GetVersion", "http503")
    cloudlab.fault("*", "busy")
    seen = [outcome(ada, "GetVersion", {}) for _ in range(3)]
    assert seen == ["http 503", "code 14", "code 0"]


def test_cleared_faults_strike_no_more(cloudlab, ada):
    cloudlab.fault("GetVersion", "busy", times=5)
    assert ada.cm("GetVersion")["code"] == 14
    assert [fault.left for fault in cloudlab.faults()] == [4]
    assert cloudlab.clear_faults() == 1
    assert ada.cm("GetVersion")["code"] == 0


@pytest.mark.parametrize(
    ("place", "kind", "options", "words"),
    [
        ("AddNodes", "tired", {}, "unknown fault 'tired'; there are busy, "),
        ("AddNode", "busy", {}, "there is no method 'AddNode'; there are AddNodes, "),
        ("pc100", "busy", {}, "there is no method 'pc100'"),
        ("AddNodes", "boot-fails", {}, "'AddNodes' is neither a machine nor a CM"),
        ("DeleteNodes", "insufficient", {}, "insufficient is a fault of AddNodes and CreateSliver"),
        ("GetVersion", "server-error-locked", {}, "GetVersion takes no lock"),
        ("AddNodes", "busy", {"times": 0}, "times must be from 1"),
        ("AddNodes", "busy", {"at": "west"}, "there is no authority 'west'; there are sa, "),
        ("AddNodes", "slow", {"seconds": float("nan")}, "seconds must be a number"),
        ("AddNodes", "slow", {"seconds": -1}, "seconds must be a number"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(shared, place, kind, options, words):
    with pytest.raises(SteeringError) as caught:
        shared.fault(place, kind, **options)
    assert words in str(caught.value)
    assert shared.faults() == ()


# --- certificates


def test_users_can_be_given_certificates_that_have_expired(start):
    """§1.2: the handshake fails, whatever is called."""
    bed = start(certificate_life=timedelta(days=-1)).bed_file()
    context = ssl.create_default_context(cafile=str(bed.ca_bundle))
    context.load_cert_chain(str(bed.user_pem), password=bed.passphrase)
    with (
        pytest.raises(OSError, match=r"(?i)expired|reset|eof"),
        xmlrpc.client.ServerProxy(bed.sa_url, context=context) as proxy,
    ):
        proxy.GetVersion()


def test_users_can_be_given_certificates_that_expire_soon(start, foreign):
    """§1.2: good until then."""
    cloudlab = start(certificate_life=timedelta(days=3))
    ends = cloudlab.identities.users["ada"].certificate.not_valid_after_utc.timestamp()
    assert 2.9 < (ends - time.time()) / 86400 <= 3
    assert foreign(cloudlab).sa("GetVersion")["code"] == 0
