"""DeleteSlice, and Start-, Stop- and RestartSliver (protogeni.md §3.9, §3.11)."""

from __future__ import annotations

import dataclasses

from testbed.cloudlab import DEFAULT_SITES, Timing

FOREVER = 1e9


def site(**timing):
    return (dataclasses.replace(DEFAULT_SITES[0], timing=Timing(**timing)),)


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
