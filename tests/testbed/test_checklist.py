"""What protogeni.md §7.1 asks of a simulator, where no other file shows it."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing

V2 = "{http://www.protogeni.net/resources/rspec/2}"
V3 = "{http://www.geni.net/resources/rspec/3}"
EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"
KEY = {"type": "ssh", "key": "ssh-ed25519 AAAA"}


@pytest.mark.parametrize(("length", "code"), [(1, 0), (32, 0), (33, 1)])
def test_client_ids_have_1_to_32_characters(cloudlab, eva, length, code):
    """§7.1.6, §3.7."""
    eva.register().create()
    name = "n" * length
    assert eva.unlocked("AddNodes", nodes={name: {}})["code"] == code
    assert eva.unlocked("DeleteSlice", cancel=1)["code"] == 0
    eva.cloudlab.journal.wait_for(lambda: eva.slice_urn not in {m.slice_urn for m in eva.cloudlab.machines()})


def test_bind_to_slice_and_shutdown_meet_the_lock_and_shutdown_sets_its_flag_all_the_same(cloudlab, sliver):
    """§7.1.7, the table of §1.6; §3.12."""
    lock = cloudlab.cm(DEFAULT_SITES[0].urn).slices[sliver.slice_urn].lock
    lock.take("slice")
    for method in ("BindToSlice", "Shutdown"):
        assert sliver.call(method, keys=[KEY])["code"] == 14, method
    lock.free()
    assert sliver.call("AddNodes", nodes={"n-2": {}})["output"] == "Slice has been shutdown"


def test_a_slice_that_was_shut_down_cannot_be_changed_until_that_is_cleared(cloudlab, sliver):
    """§3.12: 3 for changes, 2 for a renewal; clear has to be an int."""
    sliver.ready()
    assert sliver.unlocked("Shutdown")["value"] == 0
    for method, more, code in [
        ("AddNodes", {"nodes": {"n-2": {}}}, 3),
        ("DeleteNodes", {"nodes": ["node-1"]}, 3),
        ("RestartSliver", {}, 3),
        ("RenewSlice", {"valid_until": "2031-05-04T18:00:00Z"}, 2),
    ]:
        answer = sliver.unlocked(method, **more)
        assert (answer["code"], answer["output"]) == (code, "Slice has been shutdown"), method
    cloudlab.journal.wait_for(lambda: cloudlab.machines()[0].state == "POWEROFF")
    assert sliver.ok("SliverStatus")["state"] == "stopped"
    assert sliver.ok("Shutdown", clear=1) == 0
    assert sliver.unlocked("AddNodes", nodes={"n-2": {}})["code"] == 0
    sliver.ready()


def test_a_shutdown_of_an_unknown_slice_is_a_success(eva):
    """§3.12."""
    assert eva.register().ok("Shutdown") == 0


def test_bind_to_slice_writes_the_logins_anew(sliver):
    """§3.12, §7.1.14: login entries only with keys, one per account."""
    assert "<login" not in sliver.resolved()["manifest"]
    assert (
        sliver.call("BindToSlice", keys=[{"login": "bob"}])["output"] == "Malformed arguments: Malformed keys"
    )
    for keys in ([KEY], [{"login": "bob", "keys": [KEY]}], [KEY]):
        sliver.ok("BindToSlice", keys=keys)
    logins = ET.fromstring(sliver.resolved()["manifest"]).iter(f"{V3}login")
    assert [(login.get("username"), login.get("hostname")) for login in logins] == [
        ("ada", "pc100.cluster.example.net"),
        ("bob", "pc100.cluster.example.net"),
    ]
    assert [user["login"] for user in sliver.resolved()["users"]] == ["ada", "bob"]


def test_the_prefix_is_declared_anew_in_every_node(sliver):
    """§7.1.14, §4.2."""
    manifest = sliver.unlocked("AddNodes", nodes={"n-2": {}})["value"]
    assert manifest.count("<rs:vnode xmlns:rs=") == 2
    vnodes = [vnode.get("name") for vnode in ET.fromstring(manifest).iter(f"{EMULAB}vnode")]
    assert vnodes == ["pc100", "pc101"]


def test_a_concurrent_caller_may_get_the_document_of_the_other_call(cloudlab, sliver):
    """§7.1.13, §3.2: another version and another filter than were asked for."""
    cloudlab.fault("DiscoverResources", "other-advertisement", times=2)
    ask = {"credentials": [sliver.credential], "available": 1}

    def found(**more):
        root = ET.fromstring(sliver.cm("DiscoverResources", {**ask, **more})["value"])
        space = root.tag.removesuffix("rspec")
        return space, {node.get("component_name") for node in root.iter(f"{space}node")}

    space, names = found(rspec_version="3")
    assert (space, "pc100" in names) == (V2, True)
    assert found(rspec_version="2")[0] == V3
    assert found(rspec_version="3")[0] == V3


def test_a_machine_that_hangs_for_too_long_makes_the_slice_failed_and_itself_reads_changing(start, foreign):
    """§7.1.11, §7.1.12, §3.5: the monitor gives up, and the boot-failure flag overrides the aggregate."""
    hasty = dataclasses.replace(DEFAULT_SITES[0], timing=Timing(patience=0.1))
    cloudlab = start(sites=(hasty,))
    ada = foreign(cloudlab)
    cloudlab.fault("pc100", "boot-never-ends")
    ada.register().create()
    found = []

    def given_up():
        found.append(ada.unlocked("SliverStatus")["value"])
        return found[-1]["status"] == "failed"

    cloudlab.journal.wait_for(given_up)
    (node,) = found[-1]["details"].values()
    assert (node["status"], node["rawstate"], node["error"]) == ("changing", "BOOTING", "")
    assert ada.unlocked("AddNodes", nodes={})["code"] == 0
    assert ada.unlocked("SliverStatus")["value"]["status"] == "changing"
