"""The CM's methods that change no machine, its locks, and the end of slices (protogeni.md §1.6, §3)."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
import xmlrpc.client
import zlib
from datetime import timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing

V2 = "{http://www.protogeni.net/resources/rspec/2}"
V3 = "{http://www.geni.net/resources/rspec/3}"
FOREVER = 1e9


def site(**timing):
    return (dataclasses.replace(DEFAULT_SITES[0], timing=Timing(**timing)),)


def stamp(clock, **later):
    return (clock.now() + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%SZ")


def free(advertisement, space):
    return {
        node.get("component_name")
        for node in ET.fromstring(advertisement).iter(f"{space}node")
        if node.get("exclusive") == "true"
        and any(kind.get("name") == "raw-pc" for kind in node.iter(f"{space}sliver_type"))
        and node.find(f"{space}available").get("now") == "true"
    }


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


# --- advertisements


def test_the_advertisement_is_version_2_unless_3_is_asked_for(eva):
    """§3.2."""
    ask = {"credentials": [eva.self_credential()]}
    assert ET.fromstring(eva.cm("DiscoverResources", ask)["value"]).tag == f"{V2}rspec"
    for version in (3, "3"):
        value = eva.cm("DiscoverResources", {**ask, "rspec_version": version})["value"]
        assert free(value, V3) == {f"pc{number}" for number in range(100, 108)}
    answer = eva.cm("DiscoverResources", {**ask, "rspec_version": "7"})
    assert (answer["code"], answer["output"]) == (1, "Malformed arguments: Improper version request")


@pytest.mark.parametrize("version", [0.1, "0.1", "PG 0.1", 0.2, "PG 0.2"])
def test_the_old_advertisements_have_other_names_and_flags_as_text(shared_sliver, version):
    """§3.2, §4.3: rspec 0.x puts available as element text and uses other attribute names."""
    ask = {"credentials": [shared_sliver.credential], "rspec_version": version, "available": 1}
    root = ET.fromstring(shared_sliver.cm("DiscoverResources", ask)["value"])
    space = f"{{http://www.protogeni.net/resources/rspec/{str(version)[-3:]}}}"
    assert root.tag == f"{space}rspec"
    found = {
        node.get("component_name"): (node.findtext(f"{space}available"), node.findtext(f"{space}exclusive"))
        for node in root
    }
    assert found["pc100"] == ("false", "true"), "the slice's own"
    assert found["pc101"] == found["switch1"] == ("true", "true")
    assert found["pcshared1"] == ("true", "false")
    assert root[0].get("component_uuid") == "urn:publicid:IDN+cluster.example.net+node+pc100"
    assert [kind.get("type_name") for kind in root[0].iter(f"{space}node_type")] == ["pc", "m510"]


def test_the_advertisement_holds_switches_and_shared_hosts(eva):
    """§4.3."""
    ask = {"credentials": [eva.self_credential()], "rspec_version": "3", "available": 1}
    nodes = {
        n.get("component_name"): n
        for n in ET.fromstring(eva.cm("DiscoverResources", ask)["value"]).iter(f"{V3}node")
    }
    assert nodes["switch1"].find(f"{V3}hardware_type").get("name") == "switch"
    assert nodes["pcshared1"].get("exclusive") == "false"
    kinds = [kind.get("name") for kind in nodes["pc100"].iter(f"{V3}hardware_type")]
    assert kinds == ["pc", "m510"]


def test_flags_of_discover_resources_are_real_booleans_and_compressed_is_zlib(eva):
    """§1.3, §3.2."""
    ask = {"credentials": [eva.self_credential()], "available": False, "compress": False}
    plain = eva.cm("DiscoverResources", ask)["value"]
    packed = eva.cm("DiscoverResources", {**ask, "compress": True})["value"]
    assert zlib.decompress(packed.data).decode()[:100] == plain[:100]


def test_reserved_and_promised_machines_are_flagged(cloudlab, ada):
    """§3.2: «available» leaves out what is reserved; promised ones and the caller's own slip in."""
    ada.register().create()
    cloudlab.promise("pc107", "other")

    def listed(*credentials, **more):
        ask = {"credentials": list(credentials), "rspec_version": "3", **more}
        value = ada.cm("DiscoverResources", ask)["value"]
        names = {n.get("component_name") for n in ET.fromstring(value).iter(f"{V3}node")}
        return names, free(value, V3)

    own = ada.self_credential()
    names, usable = listed(own)
    assert {"pc100", "pc107"} <= names
    assert not {"pc100", "pc107"} & usable
    names, usable = listed(own, available=1)
    assert ("pc100" in names, "pc107" in names, "pc107" in usable) == (False, True, False)
    names, usable = listed(ada.credential, available=1)
    assert ("pc100" in names, "pc100" in usable) == (True, False)


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
    """§3: another uuid."""
    ada.register("again").create()
    ada.unlocked("RenewSlice", valid_until=stamp(clock, hours=1))
    cloudlab.sa._forget(cloudlab.sa.slices[ada.slice_urn])
    ada.register("again")
    answer = ada.call("SliverStatus")
    assert (answer["code"], answer["output"]) == (1, "Duplicate slice URN already exists here")


# --- resolve and status


def test_resolve_reads_slice_sliver_and_node(eva):
    """§3.4."""
    eva.register()
    keys = [{"type": "ssh", "key": "ssh-ed25519 AAAA ada"}]
    sliver_credential, manifest = eva.create(keys=keys)

    def resolve(urn, credential=""):
        return eva.cm("Resolve", {"credentials": [credential or eva.credential], "urn": urn})

    found = resolve(eva.slice_urn)["value"]
    assert found["manifest"] == manifest
    assert found["users"] == [{"urn": "urn:publicid:IDN+example.net+user+ada", "login": "ada", "keys": keys}]
    assert resolve(found["sliver_urn"], sliver_credential)["value"]["urn"] == found["sliver_urn"]
    node = ET.fromstring(manifest).find(f"{V3}node")
    part = resolve(node.get("sliver_id"))["value"]["manifest"]
    assert ET.fromstring(part).get("client_id") == "node-1"
    machine = resolve(node.get("component_id"))["value"]
    assert machine["physctrl"] == node.find(f"{V3}host").get("ipv4")
    domain = "urn:publicid:IDN+cluster.example.net"
    assert resolve(f"{domain}+sliver+1")["output"] == "Nothing here by that name"
    assert resolve(f"{domain}+node+pc999")["code"] == 12
    assert resolve(f"{domain}+image+x")["code"] == 13
    assert resolve("urn:publicid:IDN+far.example.net+node+pc1")["output"] == "Authority mismatch"
    assert resolve(eva.slice_urn, eva.self_credential())["code"] == 3
    eva.unlocked("DeleteSlice", cancel=1)


def test_status_takes_the_credential_of_the_sliver_too(eva):
    """§3.5, §3.10: GetSliver returns it, cached."""
    eva.register()
    sliver_credential, _ = eva.create()
    assert eva.unlocked("GetSliver")["value"] == sliver_credential
    answer = eva.unlocked("SliverStatus", credentials=[sliver_credential])
    assert answer["code"] == 0
    answer = eva.unlocked("RenewSlice", credentials=[sliver_credential], valid_until="2031-05-04T18:00:00Z")
    assert (answer["code"], answer["output"]) == (2, "No local slice found")
    eva.unlocked("DeleteSlice", cancel=1)


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


def test_delete_slice_answers_at_once_and_the_slice_goes_later(start, foreign):
    """§3.9: 14 in between; Resolve still reads."""
    ada = foreign(start(sites=site(teardown=FOREVER))).register()
    ada.create()
    ada.ready()
    assert ada.unlocked("DeleteSlice")["value"] == 0
    assert ada.call("SliverStatus")["code"] == 14
    assert ada.cm("Resolve", {"credentials": [ada.credential], "urn": ada.slice_urn})["code"] == 0


def test_a_blocking_delete_waits_until_the_slice_is_gone(ada):
    """§3.9."""
    ada.register().create()
    ada.ready()
    assert ada.unlocked("DeleteSlice", blocking=1)["value"] == 0
    assert ada.call("DeleteSlice")["code"] == 12


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


# --- actions


def test_restart_boots_again_without_a_fresh_disk(cloudlab, ada, rspec):
    """§3.11: with slice_urn the whole slice, whatever the list says; a list alone only its slivers."""
    ada.register().create(rspec("a", "b"))
    details = ada.ready()["details"]
    urns = {entry["client_id"]: name for name, entry in details.items()}

    def boots(node_id):
        events = [state.event for state in cloudlab.journal.states(node_id)]
        return events.count("BOOTING"), events.count("RELOADING")

    assert ada.unlocked("RestartSliver", sliver_urns=[urns["a"]])["code"] == 0
    cloudlab.journal.wait_for(lambda: boots("pc100") == boots("pc101") == (2, 1))
    ada.ready()
    ada.unlocked("GetSliver")
    only = {"credentials": [ada.credential], "sliver_urns": [urns["a"]]}
    cloudlab.journal.wait_for(lambda: ada.cm("RestartSliver", only)["code"] == 0)
    cloudlab.journal.wait_for(lambda: boots("pc100") == (3, 1))
    assert boots("pc101") == (2, 1)
    assert ada.cm("RestartSliver", {**only, "sliver_urns": ["urn:publicid:IDN+x+sliver+1"]})["code"] == 12


def test_a_stopped_sliver_is_started_again(cloudlab, ada):
    """§3.11: the gates, too."""
    ada.register().create()
    ada.ready()
    cloudlab.journal.wait_for(lambda: ada.call("StartSliver")["code"] == 7)
    assert ada.unlocked("StopSliver")["code"] == 0
    assert ada.call("RestartSliver")["output"] == "Sliver is not started (yet)"
    cloudlab.journal.wait_for(lambda: cloudlab.machines()[0].state == "POWEROFF")
    assert ada.ok("SliverStatus")["state"] == "stopped"
    assert ada.unlocked("StartSliver")["code"] == 0
    ada.ready()


def test_a_fraction_of_a_second_corrupts_the_stored_expiry_at_the_cm(cloudlab, clock, sliver):
    """§5: it survives parsing, and what is stored is no date; the slice is as good as expired."""
    when = (clock.now() + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.5Z")
    assert sliver.unlocked("RenewSlice", valid_until=when)["value"] == "1970-01-01T00:00:00 GMT"
    cloudlab.journal.wait_for(lambda: not cloudlab.machines()[0].slice_urn)
