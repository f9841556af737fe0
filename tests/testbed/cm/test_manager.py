"""What every method of a CM starts with, renewal, locks, and slices that expire (protogeni.md §1.6, §3)."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
import xmlrpc.client
from datetime import timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing

FOREVER = 1e9


def site(**timing):
    return (dataclasses.replace(DEFAULT_SITES[0], timing=Timing(**timing)),)


def stamp(clock, **later):
    return (clock.now() + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def slow(start, foreign):
    """A client with a sliver whose background phase never ends."""
    client = foreign(start(sites=site(start=FOREVER))).register()
    client.create()
    return client


@pytest.fixture
def booting(start, foreign):
    """A client with a sliver whose machine never comes up: the lock is free, the monitor runs."""
    client = foreign(start(sites=site(boot=(("SHUTDOWN", 0), ("BOOTING", FOREVER))))).register()
    client.create()
    client.unlocked("GetSliver")
    return client


# --- prologue


def test_the_prologue_checks_in_order(eva):
    """§3: arguments, URN, credentials, existence, match."""
    eva.register()
    cases = [
        ({}, 1, "Malformed arguments: Missing arguments"),
        ({"slice_urn": "x", "credentials": ["y"]}, 1, "Malformed arguments: Bad characters in URN"),
        ({"slice_urn": eva.slice_urn, "credentials": "y"}, 1, "array not a singleton"),
        ({"slice_urn": eva.slice_urn, "credentials": [eva.credential]}, 12, "No slice or aggregate here"),
    ]
    for params, code, words in cases:
        answer = eva.cm("SliverStatus", params)
        assert (answer["code"], words in answer["output"]) == (code, True), answer
    eva.create()
    other = {"slice_urn": "urn:publicid:IDN+example.net+slice+other", "credentials": [eva.credential]}
    assert eva.cm("SliverStatus", other)["output"] == "Credential does not match the URN"
    eva.unlocked("DeleteSlice", cancel=1)


def test_an_argument_that_is_no_struct_is_a_fault(eva):
    """§1.3: every method takes one struct."""
    with pytest.raises(xmlrpc.client.Fault) as caught:
        eva.cm("SliverStatus", "text")
    assert caught.value.faultCode == -32600


def test_a_slice_made_anew_under_an_old_name_is_not_the_old_one(cloudlab, ada, clock):
    """§3: another uuid. What acts says so; Resolve and DiscoverResources compare URNs alone."""
    ada.register("again").create()
    ada.unlocked("RenewSlice", valid_until=stamp(clock, hours=1))
    before, old = ada.resolved(), ada.credential
    cloudlab.portal.expiry("again", "sa", 0)
    cloudlab.journal.wait_for(lambda: not cloudlab.sa.slices)
    ada.register("again")
    for method, arguments in CHANGES.items():
        answer = ada.call(method, **arguments)
        assert (answer["code"], answer["output"]) == (1, "Duplicate slice URN already exists here"), method
    assert ada.resolved() == before
    found = ada.cm("DiscoverResources", {"credentials": [ada.credential], "available": 1})
    assert found["code"] == 0
    ada.credential = old
    assert ada.unlocked("SliverStatus")["code"] == 0, "the credential that made it acts on it"
    assert ada.unlocked("DeleteSlice", cancel=1)["code"] == 0


CHANGES = {
    "SliverStatus": {},
    "RenewSlice": {"valid_until": "2031-05-04T18:00:00Z"},
    "CreateSliver": {"rspec": "<rspec/>"},
    "AddNodes": {"nodes": {"n-9": {}}},
    "DeleteNodes": {"nodes": ["node-1"]},
    "DeleteSlice": {},
    "GetSliver": {},
}


# --- renewal


def test_renewal_at_the_cm(cloudlab, ada, clock):
    """§3.6, §5, in the order of the checks."""
    ada.register(expiration=stamp(clock, days=60)).create()
    ask = {"credential": ada.self_credential(), "urn": ada.slice_urn}
    assert ada.unlocked("RenewSlice", valid_until="soon")["code"] == 7
    assert "such a short life" in ada.call("RenewSlice", valid_until=stamp(clock, minutes=4))["output"]
    assert "such a short life" in ada.call("RenewSlice")["output"]
    answer = ada.call("RenewSlice", valid_until=stamp(clock, days=61))
    assert (answer["code"], answer["output"]) == (7, "expiration is greater then slice expiration")
    shorter = stamp(clock, days=2)
    assert ada.ok("RenewSlice", valid_until=shorter) == shorter.replace("Z", " GMT")
    assert ada.ok("RenewSlice", expiration=shorter) == shorter.replace("Z", " GMT")
    unwrapped = xmlrpc.client.DateTime(shorter.replace("-", "").removesuffix("Z"))
    assert ada.ok("RenewSlice", valid_until=unwrapped) == shorter.replace("Z", " GMT")
    offset = shorter.replace("Z", "+05:00")
    assert ada.ok("RenewSlice", valid_until=offset) == shorter.replace("Z", " GMT")
    manifest = ada.cm("Resolve", {"credentials": [ada.credential], "urn": ada.slice_urn})["value"]["manifest"]
    assert ET.fromstring(manifest).get("expires") == shorter
    assert ada.sa("GetCredential", ask)["value"] == ada.credential
    cloudlab.promise("pc100", "other")
    answer = ada.call("RenewSlice", valid_until=shorter)
    assert (answer["code"], answer["output"]) == (7, "Refused cause pc100 is pre-reserved.")


def test_an_equal_time_is_granted_although_it_is_too_near(ada, clock):
    """§3.6."""
    ada.register(expiration=stamp(clock, minutes=10)).create()
    until = stamp(clock, minutes=6)
    ada.unlocked("RenewSlice", valid_until=until)
    clock.offset = timedelta(minutes=3)
    assert ada.ok("RenewSlice", valid_until=until) == until.replace("Z", " GMT")


def test_a_site_may_lower_the_maximum_and_alap_cuts_to_it(start, foreign, clock):
    """§3.6: without alap it is refused; a boolean is always true (§1.3)."""
    lower = dataclasses.replace(DEFAULT_SITES[0], max_sliver_lifetime=timedelta(days=5))
    ada = foreign(start(sites=(lower,), clock=clock))
    ada.register(expiration=stamp(clock, days=60)).create()
    wanted = stamp(clock, days=30)
    assert ada.unlocked("RenewSlice", valid_until=wanted)["code"] == 7
    assert ada.call("RenewSlice", valid_until=wanted, alap=0)["code"] == 7
    for alap in (1, False):
        assert ada.ok("RenewSlice", valid_until=wanted, alap=alap) < wanted


def test_a_slice_longer_than_90_days_gets_90_hours_at_the_cm(cloudlab, ada, clock):
    """§3.3: the real code mixes the units."""
    ada.register(expiration=stamp(clock, days=89))
    clock.offset = timedelta(days=-2)
    _, manifest = ada.create()
    until = ET.fromstring(manifest).get("expires")
    assert stamp(clock, hours=89, minutes=58) < until <= stamp(clock, hours=90)


def test_a_fraction_of_a_second_corrupts_the_stored_expiry_at_the_cm(cloudlab, clock, sliver):
    """§5: it survives parsing, and what is stored is no date; the slice is as good as expired."""
    when = (clock.now() + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.5Z")
    assert sliver.unlocked("RenewSlice", valid_until=when)["value"] == "1970-01-01T00:00:00 GMT"
    cloudlab.journal.wait_for(lambda: not cloudlab.machines()[0].slice_urn)


# --- locks


def test_the_background_phase_locks_the_slice_for_all_but_resolve(slow):
    """§1.6, §1.7."""
    for method, more in [
        ("SliverStatus", {}),
        ("GetSliver", {}),
        ("RenewSlice", {"valid_until": "2031-05-04T18:00:00Z"}),
        ("AddNodes", {"nodes": {"n-2": {}}}),
        ("DeleteNodes", {"nodes": ["node-1"]}),
        ("RestartSliver", {}),
        ("DeleteSlice", {}),
    ]:
        answer = slow.call(method, **more)
        assert (answer["code"], "is busy; try again later" in answer["output"]) == (14, True), (
            method,
            answer,
        )
    read = {"credentials": [slow.credential], "urn": slow.slice_urn}
    assert slow.cm("Resolve", read)["code"] == 0


def test_the_lock_of_the_sa_is_another_one(slow):
    """§1.6."""
    ask = {"credential": slow.self_credential(), "urn": slow.slice_urn}
    assert slow.sa("GetCredential", ask)["code"] == 0


def test_the_monitor_stops_restart_and_delete_but_not_more_nodes(booting):
    """§1.6: code 14 too, with other words; cancel overrides it for DeleteSlice."""
    for method in ("RestartSliver", "StopSliver", "DeleteSlice"):
        answer = booting.call(method)
        assert (answer["code"], answer["output"]) == (14, "start/restart in progress; try again later")
    assert booting.ok("SliverStatus")["status"] == "changing"
    booting.ok("AddNodes", nodes={"n-2": {}})
    assert booting.unlocked("DeleteNodes", nodes=["n-2"])["code"] == 0
    assert booting.unlocked("DeleteSlice", cancel=1)["value"] == 0


# --- ends


def test_an_expired_sliver_is_torn_down(cloudlab, ada, clock):
    """§5: by the daemon, which frees its machines."""
    ada.register(expiration=stamp(clock, hours=2)).create()
    ada.ready()
    ada.ok("RenewSlice", valid_until=stamp(clock, hours=1))
    clock.offset = timedelta(hours=1, minutes=1)
    cloudlab.journal.wait_for(lambda: not [m for m in cloudlab.machines() if m.slice_urn])
    assert ada.call("SliverStatus")["code"] == 12
    assert [held.cause for held in cloudlab.journal.held("pc100")] == ["expired"]


def test_between_expiry_and_teardown_changes_are_refused(start, foreign, clock):
    """§5: 7 «Slice has expired»."""
    ada = foreign(start(clock=clock, speed=1.0, sites=site(start=0.0)))
    ada.register(expiration=stamp(clock, hours=2)).create()
    ada.unlocked("RenewSlice", valid_until=stamp(clock, hours=1))
    clock.offset = timedelta(hours=1, minutes=1)
    for method, nodes in (("AddNodes", {"n-2": {}}), ("DeleteNodes", ["node-1"])):
        answer = ada.call(method, nodes=nodes)
        assert (answer["code"], answer["output"]) == (7, "Slice has expired")
