"""DeleteSliver, UpdateSliver and their tickets (protogeni.md §1.6, §3.4, §3.9, §3.12)."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing

V3 = "{http://www.geni.net/resources/rspec/3}"


def held(cloudlab):
    return {m.client_id: m.node_id for m in cloudlab.machines() if m.slice_urn}


@pytest.fixture
def by_sliver(sliver):
    """Call a method of the sliver with the sliver's credential, or with another."""
    own = sliver.unlocked("GetSliver")["value"]
    sliver_urn = sliver.resolved()["sliver_urn"]

    def call(method, credential=own, **params):
        found = []

        def tried():
            found.append(sliver.cm(method, {"sliver_urn": sliver_urn, "credentials": [credential], **params}))
            return "resource is busy" not in found[-1]["output"]

        sliver.cloudlab.journal.wait_for(tried)
        return found[-1]

    return call


@pytest.fixture
def unwatched(sliver):
    """Wait until no boot is watched."""
    record = sliver.cloudlab.cm(DEFAULT_SITES[0].urn).slices[sliver.slice_urn]
    sliver.cloudlab.journal.wait_for(lambda: not record.monitor and not record.lock.held)


def test_delete_sliver_returns_a_ticket_and_keeps_the_machines_until_it_has_run_out(
    cloudlab, clock, sliver, by_sliver, unwatched
):
    """§3.9."""
    answer = by_sliver("DeleteSliver")
    assert answer["code"] == 0, answer
    ticket = ET.fromstring(answer["value"])
    assert ticket.findtext("credential/type") == "ticket"
    assert ticket.findtext("credential/target_urn") == sliver.slice_urn
    assert sliver.call("SliverStatus")["code"] == 12
    seen = sliver.resolved()
    assert "sliver_urn" not in seen
    shown = sliver.cm("Resolve", {"credentials": [sliver.credential], "urn": seen["ticket_urn"]})
    assert shown["value"] == answer["value"]
    assert held(cloudlab) == {"node-1": "pc100"}
    clock.offset += timedelta(minutes=11)
    cloudlab.journal.wait_for(lambda: not held(cloudlab))
    assert "ticket_urn" not in sliver.resolved()


def test_delete_sliver_again_finds_no_sliver(by_sliver, unwatched):
    """§3.13."""
    assert by_sliver("DeleteSliver")["code"] == 0
    again = by_sliver("DeleteSliver")
    assert (again["code"], again["output"]) == (12, "Sliver does not exist")


@pytest.mark.parametrize("method", ["DeleteSliver", "UpdateSliver"])
def test_the_methods_of_slivers_want_the_urn_of_the_credentials_sliver(sliver, by_sliver, rspec, method):
    other = "urn:publicid:IDN+cluster.example.net+sliver+1"
    for credential in (sliver.ok("GetSliver"), sliver.credential):
        answer = by_sliver(method, credential, sliver_urn=other, rspec=rspec("node-1"))
        assert (answer["code"], answer["output"]) == (3, "Credential does not match the URN")


def test_a_sliver_is_updated_with_the_slices_credential_too_and_deleted_with_its_own_alone(
    sliver, by_sliver, unwatched, rspec
):
    """§3.9, GeniCMV2 UpdateSliver: Emulab's updatesliver.py gives the slice's."""
    answer = by_sliver("DeleteSliver", sliver.credential)
    assert (answer["code"], answer["output"]) == (12, "No such sliver")
    assert sliver.call("GetSliver")["code"] == 0, "the lock is free"
    assert by_sliver("UpdateSliver", sliver.credential, rspec=rspec("node-1"))["code"] == 0


def test_tickets_wait_for_the_lock_and_for_the_monitor(start, foreign, rspec):
    """§1.6."""
    patient = dataclasses.replace(DEFAULT_SITES[0], timing=Timing(patience=600.0))
    cloudlab = start(sites=(patient,))
    ada = foreign(cloudlab)
    cloudlab.fault("pc100", "boot-never-ends")
    ada.register().create()
    own = ada.unlocked("GetSliver")["value"]
    sliver_urn = ada.resolved()["sliver_urn"]
    record = cloudlab.cm(DEFAULT_SITES[0].urn).slices[ada.slice_urn]
    cloudlab.journal.wait_for(lambda: record.monitor and not record.lock.held)
    ask = {"sliver_urn": sliver_urn, "credentials": [own], "rspec": rspec("node-1")}
    for method in ("DeleteSliver", "UpdateSliver"):
        answer = ada.cm(method, ask)
        assert (answer["code"], answer["output"]) == (14, "start/restart in progress; try again later")
    record.lock.take("slice")
    for method in ("DeleteSliver", "UpdateSliver"):
        answer = ada.cm(method, ask)
        assert (answer["code"], answer["output"]) == (14, "resource is busy; try again later")


def test_a_ticket_of_update_sliver_changes_the_sliver_once_it_is_redeemed(
    cloudlab, sliver, by_sliver, rspec, unwatched
):
    """§3.12."""
    ticket = by_sliver("UpdateSliver", rspec=rspec("node-2", "node-3"))["value"]
    assert set(held(cloudlab)) == {"node-1", "node-2", "node-3"}, "reserved with the ticket"
    before = ET.fromstring(sliver.resolved()["manifest"])
    assert [n.get("client_id") for n in before.iter(f"{V3}node")] == ["node-1"]
    answer = sliver.unlocked("RedeemTicket", ticket=ticket)
    assert answer["code"] == 0, answer
    after = ET.fromstring(answer["value"][1])
    assert [n.get("client_id") for n in after.iter(f"{V3}node")] == ["node-2", "node-3"]
    assert set(held(cloudlab)) == {"node-2", "node-3"}
    sliver.ready()
    assert sliver.unlocked("RedeemTicket", ticket=ticket)["output"] == "This ticket is stale"


def test_a_ticket_that_is_released_gives_back_what_only_it_holds(
    cloudlab, sliver, by_sliver, rspec, unwatched
):
    """As when it runs out (§3.9), only sooner."""
    ticket = by_sliver("UpdateSliver", rspec=rspec("node-1", "node-2"))["value"]
    assert sliver.unlocked("ReleaseTicket", ticket=ticket)["code"] == 0
    assert set(held(cloudlab)) == {"node-1"}
    assert sliver.call("SliverStatus")["code"] == 0


def test_an_update_that_cannot_be_placed_changes_nothing(cloudlab, sliver, by_sliver, rspec, unwatched):
    """§3.3: 26 with the reason as value."""
    many = [f"n-{number}" for number in range(20)]
    answer = by_sliver("UpdateSliver", rspec=rspec("node-1", *many))
    assert answer["code"] == 26
    assert answer["value"].startswith("Could not map to resources")
    assert set(held(cloudlab)) == {"node-1"}


def test_a_slice_with_a_ticket_has_to_be_deleted_before_a_new_sliver_is_made(
    cloudlab, sliver, by_sliver, rspec, unwatched
):
    """§3.3, «Must delete existing slice first»: no machine of a ticket leaks."""
    assert by_sliver("DeleteSliver")["code"] == 0
    assert sliver.call("CreateSliver", rspec=rspec("x"))["code"] == 7
    assert sliver.unlocked("DeleteSlice")["code"] == 0
    cloudlab.journal.wait_for(lambda: not held(cloudlab))


def test_a_ticket_is_got_without_a_sliver_changed_and_redeemed(cloudlab, ada, rspec):
    """§1.6, §3.12: the machines are reserved with the ticket, and begin to boot when it is redeemed."""
    ada.register()
    ticket = ada.ok("GetTicket", rspec=rspec("node-1", "node-2"))
    assert set(held(cloudlab)) == {"node-1", "node-2"}
    assert "sliver_urn" not in ada.resolved()
    again = ada.call("GetTicket", rspec=rspec("node-9"))
    assert (again["code"], again["output"]) == (7, "Must release unredeemed ticket first")
    first = held(cloudlab)["node-2"]
    changed = ada.ok("UpdateTicket", ticket=ticket, rspec=rspec("node-2", "node-3"))
    assert set(held(cloudlab)) == {"node-2", "node-3"}
    assert held(cloudlab)["node-2"] == first
    stale = ada.call("UpdateTicket", ticket=ticket, rspec=rspec("node-2"))
    assert (stale["code"], stale["output"]) == (7, "Not an active ticket")
    stale = ada.call("RedeemTicket", ticket=ticket)
    assert (stale["code"], stale["output"]) == (1, "This ticket is stale")
    _, manifest = ada.ok("RedeemTicket", ticket=changed)
    assert [n.get("client_id") for n in ET.fromstring(manifest).iter(f"{V3}node")] == ["node-2", "node-3"]
    ada.ready()


def test_a_ticket_that_cannot_be_had_leaves_nothing_behind(cloudlab, ada, rspec):
    """§3.3: as a failed CreateSliver; an update that fails keeps the ticket as it was."""
    ada.register()
    many = [f"n-{number}" for number in range(20)]
    assert ada.call("GetTicket", rspec=rspec(*many))["code"] == 26
    assert ada.cm("Resolve", {"credentials": [ada.credential], "urn": ada.slice_urn})["code"] == 12
    ticket = ada.ok("GetTicket", rspec=rspec("node-1"))
    assert ada.call("UpdateTicket", ticket=ticket, rspec=rspec("node-1", *many))["code"] == 26
    assert set(held(cloudlab)) == {"node-1"}
    assert ada.ok("ReleaseTicket", ticket=ticket) == 0
    assert ada.ok("ReleaseTicket", ticket=ticket) == 0, "a ticket that is not kept need not be released"
    assert held(cloudlab) == {}


def test_an_active_sliver_has_no_ticket_of_its_slice(sliver, by_sliver, rspec, unwatched):
    """GeniCMV2.pm GetTicket, UpdateTicket, UpdateSliver."""
    for method, words in (("GetTicket", "Cannot get"), ("UpdateTicket", "Cannot update")):
        answer = sliver.unlocked(method, ticket="x", rspec=rspec("node-2"))
        assert (answer["code"], answer["output"]) == (7, f"{words} a ticket for active sliver")
    assert by_sliver("UpdateSliver", rspec=rspec("node-1", "node-2"))["code"] == 0
    again = by_sliver("UpdateSliver", rspec=rspec("node-1", "node-3"))
    assert (again["code"], again["output"]) == (7, "Must release unredeemed ticket first")
