"""Faults of machines: boots that fail or never end, machines that vanish (protogeni.md §3.5, §3.7, §6.4)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from testbed.cloudlab import DEFAULT_SITES

DOMAIN = "cluster.example.net"


def entries(status):
    return {entry["client_id"]: entry for entry in status["details"].values()}


def status_when(client, wanted):
    """Read SliverStatus until ``wanted`` holds for its value."""
    found = []

    def looked():
        found.append(client.unlocked("SliverStatus")["value"])
        return wanted(found[-1])

    client.cloudlab.journal.wait_for(looked)
    return found[-1]


def settled(status):
    return all(entry["status"] in {"ready", "failed"} for entry in status["details"].values())


@pytest.mark.parametrize(("kind", "event"), [("boot-fails", "TBFAILED"), ("reload-fails", "RELOADFAILED")])
def test_so_many_boots_of_a_cm_fail_and_the_next_works(cloudlab, ada, rspec, kind, event):
    """§3.5: failed, with the boot log in error; the aggregate is failed."""
    cloudlab.fault(DOMAIN, kind, times=2)
    ada.register().create(rspec("a", "b", "c"))
    status = status_when(ada, settled)
    nodes = entries(status)
    assert [nodes[name]["rawstate"] for name in "abc"] == [event, event, "ISUP"]
    assert event in nodes["a"]["error"]
    assert (nodes["c"]["error"], status["status"]) == ("", "failed")
    assert [(s.place, s.left) for s in cloudlab.journal.faults(fault=kind)] == [("pc100", 1), ("pc101", 0)]
    cloudlab.journal.wait_for(lambda: ada.unlocked("RestartSliver")["code"] == 0)
    ada.ready()


def test_a_failed_reload_waits_for_a_boot_that_loads_an_image(cloudlab, ada):
    """§3.5, §3.11: a restart loads none."""
    ada.register().create()
    ada.ready()
    cloudlab.fault("pc100", "reload-fails")
    cloudlab.journal.wait_for(lambda: ada.unlocked("RestartSliver")["code"] == 0)
    ada.ready()
    assert len(cloudlab.faults()) == 1
    cloudlab.journal.wait_for(lambda: ada.unlocked("ReloadSliver")["code"] == 0)
    status_when(ada, lambda status: status["status"] == "failed")
    assert cloudlab.faults() == ()


def test_a_boot_that_never_ends_reads_changing_until_the_machine_is_deleted(cloudlab, ada, rspec):
    """§3.5, §3.8: it is not failed; deleting does not need it to be booted."""
    cloudlab.fault("pc101", "boot-never-ends")
    ada.register().create(rspec("a", "b"))

    def hangs(status):
        nodes = entries(status)
        return (nodes["a"]["status"], nodes["b"]["rawstate"]) == ("ready", "BOOTING")

    status = status_when(ada, hangs)
    assert (entries(status)["b"]["status"], status["status"], status["state"]) == (
        "changing",
        "mixed",
        "started",
    )
    assert ada.call("RestartSliver")["output"] == "start/restart in progress; try again later"
    ada.ok("DeleteNodes", nodes=["b"])
    ada.ready()
    (struck,) = cloudlab.journal.faults("pc101")
    assert (struck.fault, struck.left) == ("boot-never-ends", 0)


def test_a_machine_vanishes_from_the_manifest_without_a_word(start, foreign, rspec):
    """§6.4: no callback; the manifest is the authority."""
    bed = start(sites=DEFAULT_SITES[:1], callback_url="https://127.0.0.1:9/")
    ada = foreign(bed).register()
    ada.create(rspec("a", "b"))
    ada.ready()
    bed.fault("pc100", "vanishes")
    bed.journal.wait_for(lambda: 'client_id="a"' not in ada.resolved()["manifest"])
    assert [entry.cause for entry in bed.journal.held("pc100")] == ["vanishes"]
    assert list(entries(ada.unlocked("SliverStatus")["value"])) == ["b"]
    assert ada.unlocked("DeleteNodes", nodes=["a"])["output"] == "No such node a in the topology!"
    assert not bed.journal.callbacks("NotifyDeletePending") + bed.journal.callbacks("NotifyDeleteComplete")
    assert not bed.machines()[0].available


def test_a_vanishing_waits_for_a_machine_that_is_held(cloudlab, ada, rspec):
    cloudlab.fault(DOMAIN, "vanishes", times=2)
    assert len(cloudlab.faults()) == 1
    ada.register().create(rspec("a", "b", "c"))
    cloudlab.journal.wait_for(lambda: cloudlab.faults() == ())
    assert [m.client_id for m in cloudlab.machines() if m.slice_urn] == ["c"]
    assert [s.left for s in cloudlab.journal.faults(fault="vanishes")] == [1, 0]


def test_a_machine_that_is_not_reserved_any_more_spoils_the_slice_until_it_is_deleted(cloudlab, ada, rspec):
    """§3.5, §3.11: SliverStatus and actions answer with 2, AddNodes with 28; §3.8: DeleteNodes heals it."""
    ada.register().create(rspec("a", "b"))
    ada.ready()
    ada.unlocked("GetSliver")
    cloudlab.fault("pc100", "unreserved")
    cloudlab.journal.wait_for(lambda: cloudlab.faults() == ())
    assert 'client_id="a"' in ada.resolved()["manifest"]
    answer = ada.unlocked("SliverStatus")
    assert (answer["code"], answer["output"]) == (2, "Error")
    answer = ada.unlocked("AddNodes", nodes={"c": {}})
    fixed = "*** Fixed physical node: pc100 not available.\n"
    assert (answer["code"], answer["output"].startswith(fixed)) == (28, True)
    assert 'client_id="c"' not in ada.resolved()["manifest"]
    answer = ada.unlocked("RestartSliver")
    assert (answer["code"], answer["value"], answer["output"]) == (2, "Could not restart sliver", "Error")
    manifest = ada.unlocked("DeleteNodes", nodes=["a"])["value"]
    assert 'client_id="a"' not in manifest
    assert [entry.cause for entry in cloudlab.journal.held("pc100")] == ["unreserved"]
    assert ada.unlocked("AddNodes", nodes={"c": {}})["code"] == 0
    assert set(entries(ada.ready())) == {"b", "c"}


def test_the_whole_slice_can_be_deleted_with_a_machine_that_is_not_reserved(cloudlab, ada, rspec):
    """§3.9: whoever has the machine now keeps it."""
    ada.register().create(rspec("a", "b"))
    ada.ready()
    cloudlab.fault("pc100", "unreserved")
    assert ada.unlocked("DeleteSlice", cancel=1)["code"] == 0
    cloudlab.journal.wait_for(lambda: not [m for m in cloudlab.machines() if m.slice_urn])
    causes = {entry.node_id: entry.cause for entry in cloudlab.journal.held()}
    assert causes == {"pc100": "unreserved", "pc101": "DeleteSlice"}


SLIVER = "{http://www.geni.net/resources/rspec/3}node"


def sliver_ids(text):
    return {node.get("client_id"): node.get("sliver_id") for node in ET.fromstring(text).iter(SLIVER)}


def test_a_manifest_lacks_a_machine_once_and_another_has_all_that_are_held(cloudlab, ada, rspec):
    """As every fault, only so often; the machine is held all the while."""
    ada.register().create(rspec("a", "b"))
    cloudlab.fault("pc100", "not-listed")
    assert list(sliver_ids(ada.resolved()["manifest"])) == ["b"]
    assert list(sliver_ids(ada.resolved()["manifest"])) == ["a", "b"]
    cloudlab.fault(DOMAIN, "not-listed", times=2)
    assert sliver_ids(ada.resolved()["manifest"]) == {}
    assert sliver_ids(ada.unlocked("AddNodes", nodes={"c": {}})["value"]).keys() == {"a", "b", "c"}
    assert {entry["client_id"] for entry in ada.ready()["details"].values()} == {"a", "b", "c"}


@pytest.mark.parametrize("kind", ["no-sliver-id", "empty-sliver-id", "equal-sliver-id"])
def test_a_manifest_has_machines_with_sliver_ids_that_tell_nothing_apart(cloudlab, ada, rspec, kind):
    ada.register().create(rspec("a", "b"))
    true = sliver_ids(ada.resolved()["manifest"])
    cloudlab.fault(DOMAIN, kind, times=2)
    told = sliver_ids(ada.resolved()["manifest"])
    whole = ada.resolved()["sliver_urn"]
    wrong = {"no-sliver-id": None, "empty-sliver-id": "", "equal-sliver-id": whole}[kind]
    assert told == {"a": wrong, "b": wrong}
    assert sliver_ids(ada.resolved()["manifest"]) == true
    assert None not in true.values()
