"""A slice that is at work or marked for termination (protogeni.md §1.6, protogeni-2021.md §3.9, §5)."""

from __future__ import annotations

import dataclasses

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing

HASTY = 3.0
"""Real seconds until a machine is given up: enough for one that boots, on a computer that is busy."""
BUSY = (14, "resource is busy; try again later")
STARTING = (14, "start/restart in progress; try again later")
MARKED = (16, "Slice is marked for termination")


def site(generation, **fields):
    timing = Timing(**fields.pop("timing", {"patience": 600.0}))
    return dataclasses.replace(DEFAULT_SITES[0], generation=generation, timing=timing, **fields)


def said(answer):
    return answer["code"], answer["output"]


@pytest.fixture
def begin(start, foreign, rspec):
    """Start a site of a generation with a machine «up» and one «hangs», which boots for ever."""

    def begin_at(generation, *, kind="boot-never-ends", **fields):
        cloudlab = start(sites=(site(generation, **fields),))
        client = foreign(cloudlab).register()
        if kind:
            cloudlab.fault("pc101", kind)
        client.create(rspec("up", "hangs"))
        client.unlocked("GetSliver")
        return client

    return begin_at


def changes(client):
    """Every call that changes a slice -> its arguments besides slice and credential."""
    details = client.unlocked("SliverStatus")["value"]["details"]
    some = next(iter(details))
    return {
        "AddNodes": {"nodes": {"more": {}}},
        "DeleteNodes": {"nodes": ["up"]},
        "StartSliver": {},
        "StopSliver": {},
        "RestartSliver": {"sliver_urns": [some]},
        "ReloadSliver": {},
        "PowerCycleSliver": {},
        "DeleteSlice": {},
    }


def test_until_every_boot_has_ended_a_slice_takes_no_change(begin, rspec):
    """3.9, 2021: adds and deletes alike; no «start/restart in progress» any more."""
    ada = begin(2021)
    for method, params in changes(ada).items():
        assert said(ada.call(method, **params)) == BUSY, method
    own = ada.ok("GetSliver")
    sliver_urn = ada.resolved()["sliver_urn"]
    for method in ("DeleteSliver", "UpdateSliver"):
        params = {"sliver_urn": sliver_urn, "credentials": [own], "rspec": rspec("up", "hangs")}
        assert said(ada.cm(method, params)) == BUSY, method


def test_a_server_of_2016_takes_nodes_while_others_boot(begin):
    """1.6: only what has to do with all machines waits for the monitor."""
    ada = begin(2016)
    for method in ("RestartSliver", "DeleteSlice"):
        assert said(ada.call(method)) == STARTING
    assert ada.unlocked("AddNodes", nodes={"more": {}})["code"] == 0
    assert ada.unlocked("DeleteNodes", nodes=["more"])["code"] == 0


@pytest.mark.parametrize("generation", [2016, 2021])
def test_reads_and_renewals_go_on_meanwhile(begin, generation):
    """3.9."""
    ada = begin(generation)
    assert ada.ok("SliverStatus")["details"]
    assert "manifest" in ada.resolved()
    answer = ada.call("RenewSlice", valid_until="2031-05-04T18:00:00Z")
    assert answer["output"] == "expiration is greater then slice expiration", "it was looked at"
    ada.ok("BindToSlice", keys=[{"type": "ssh", "key": "ssh-ed25519 AAAA"}])


@pytest.mark.parametrize("kind", ["boot-never-ends", "reload-never-ends"])
def test_a_machine_that_hangs_is_given_up_and_the_slice_is_free_again(begin, kind):
    """3.9, 6: boot_failure and the names are told until the next start."""
    ada = begin(2021, kind=kind, timing={"patience": HASTY})
    answer = ada.unlocked("AddNodes", nodes={"more": {}})
    assert answer["code"] == 0
    ada.cloudlab.journal.wait_for(lambda: ada.unlocked("SliverStatus")["value"]["status"] != "changing")
    assert ada.ok("SliverStatus")["boot_failure"] == 0, "cleared by the start that AddNodes began"
    status = ada.ok("SliverStatus")
    entries = {entry["client_id"]: entry for entry in status["details"].values()}
    assert entries["hangs"]["status"] == "changing", "computed anew when nothing is waited for"


def test_failed_boots_are_told_by_number_and_name_until_the_next_start(begin):
    """6: 151, also when the machine reads otherwise again."""
    ada = begin(2021, timing={"patience": HASTY})
    status = []

    def done():
        status.append(ada.unlocked("SliverStatus")["value"])
        return status[-1]["status"] != "changing"

    ada.cloudlab.journal.wait_for(done)
    assert (status[-1]["status"], status[-1]["boot_failure"]) == ("failed", 151)
    assert status[-1]["error"] == "The following nodes failed to setup: pc101"
    assert ada.unlocked("DeleteNodes", nodes=["hangs"])["code"] == 0
    ada.ready()
    assert (ada.ok("SliverStatus")["boot_failure"], ada.ok("SliverStatus")["error"]) == (0, "")


def test_at_work_the_whole_is_changing_and_each_machine_tells_its_own(begin):
    """6: pollers see single machines become ready."""
    ada = begin(2021)

    def up():
        status = ada.unlocked("SliverStatus")["value"]
        found = {entry["client_id"]: entry["status"] for entry in status["details"].values()}
        return status["status"] == "changing" and found == {"up": "ready", "hangs": "changing"}

    ada.cloudlab.journal.wait_for(up)


def test_at_work_a_machine_that_is_lost_does_not_break_the_status(begin):
    """6: nothing is computed then, and code 2 cannot come."""
    ada = begin(2021)
    ada.cloudlab.journal.wait_for(lambda: ada.cloudlab.machines()[0].state == "ISUP")
    ada.cloudlab.fault("pc100", "unreserved")
    assert ada.cloudlab.faults() == ()
    status = ada.ok("SliverStatus")
    assert {e["client_id"]: e["status"] for e in status["details"].values()}["up"] == "ready"


def test_a_delete_resyncs_and_is_at_work_for_that_only(begin):
    """3.9."""
    ada = begin(2021, kind="")
    ada.ready()
    assert ada.unlocked("DeleteNodes", nodes=["hangs"])["code"] == 0
    ada.ready()
    assert ada.unlocked("AddNodes", nodes={"more": {}})["code"] == 0


# --- termination


def test_cancel_marks_a_slice_at_work_and_a_daemon_ends_it(begin):
    """5: 16 for every change; RenewSlice has 2."""
    ada = begin(2021, timing={"patience": 600.0, "teardown": 1e9})
    every = changes(ada)
    del every["DeleteSlice"]
    assert ada.call("DeleteSlice", cancel=1)["value"] == 0
    for method, params in every.items():
        assert said(ada.call(method, **params)) == MARKED, method
    assert said(ada.call("Shutdown")) == MARKED
    assert said(ada.call("BindToSlice", keys=[])) == MARKED
    assert said(ada.call("RenewSlice", valid_until="2031-05-04T18:00:00Z")) == (2, MARKED[1])
    again = (16, "Slice is already marked for termination, be patient")
    assert said(ada.call("DeleteSlice")) == said(ada.call("DeleteSlice", cancel=1)) == again
    status = ada.ok("SliverStatus")
    found = {entry["client_id"]: entry["status"] for entry in status["details"].values()}
    assert (found["hangs"], status["status"]) == ("canceled", "failed")


def test_a_slice_that_is_marked_goes_after_a_while(begin):
    ada = begin(2021)
    assert ada.call("DeleteSlice", cancel=1)["code"] == 0
    ada.cloudlab.journal.wait_for(lambda: ada.call("SliverStatus")["code"] == 12)
    assert {machine.slice_urn for machine in ada.cloudlab.machines()} == {""}


def test_cancel_in_2016_ends_the_slice_under_its_lock(begin):
    """3.9."""
    ada = begin(2016)
    assert ada.call("DeleteSlice", cancel=1)["code"] == 0
    ada.cloudlab.journal.wait_for(lambda: ada.call("DeleteSlice")["code"] == 12)


# --- the second way to start


def test_in_the_second_path_machines_read_stopped_until_all_are_done(begin):
    """3.9: «GeniOsSetup»."""
    ada = begin(2021, start_path="os_setup")
    ada.cloudlab.journal.wait_for(lambda: ada.cloudlab.machines()[0].state == "ISUP")
    status = ada.ok("SliverStatus")
    assert {entry["state"] for entry in status["details"].values()} == {"stopped"}
    assert status["status"] == "changing"


def states(client):
    status = client.unlocked("SliverStatus")["value"]
    return status["status"], {entry["client_id"]: entry["state"] for entry in status["details"].values()}


@pytest.mark.parametrize(("path", "state"), [("os_setup", "failed"), ("reconfigure", "stopped")])
def test_what_did_not_boot_there_is_failed_or_not_started(begin, path, state):
    """3.9; protogeni-2025.md 3.9: the word failed is no longer set."""
    ada = begin(2021, start_path=path, timing={"patience": HASTY})
    ada.cloudlab.journal.wait_for(lambda: states(ada)[0] == "failed")
    assert states(ada)[1] == {"up": "started", "hangs": state}
    assert ada.unlocked("AddNodes", nodes={"more": {}})["code"] == 0
    ada.ready()
    assert states(ada)[1] == dict.fromkeys(("up", "hangs", "more"), "started"), "it was set up again"


def test_there_running_machines_read_changing_with_newer_servers(begin):
    """protogeni-2025.md 3.9: and come back to ready."""
    ada = begin(2021, kind="", start_path="reconfigure")
    ada.ready()
    ada.cloudlab.fault("pc102", "boot-never-ends")
    assert ada.unlocked("AddNodes", nodes={"more": {}})["code"] == 0

    def up():
        status = ada.unlocked("SliverStatus")["value"]
        return {e["client_id"]: e["status"] for e in status["details"].values()}["up"]

    ada.cloudlab.journal.wait_for(lambda: up() == "changing")
    ada.cloudlab.journal.wait_for(lambda: ada.call("DeleteSlice", cancel=1)["code"] == 0)


# --- actions


def test_a_power_cycle_boots_without_an_image_and_is_new(begin):
    """5."""
    ada = begin(2021, kind="")
    ada.ready()
    assert ada.unlocked("PowerCycleSliver")["code"] == 0
    assert said(ada.call("AddNodes", nodes={"x": {}})) == BUSY
    ada.ready()
    events = [state.event for state in ada.cloudlab.journal.states("pc100")]
    assert (events.count("BOOTING"), events.count("RELOADING")) == (2, 1)


@pytest.mark.parametrize(
    ("generation", "output", "value"),
    [(2016, "Error", "Could not stop sliver"), (2021, "Could not stop sliver", 0)],
)
def test_the_reason_of_a_refused_action(begin, generation, output, value):
    """5: in output since 2021."""
    ada = begin(generation, kind="")
    ada.ready()
    ada.unlocked("GetSliver")
    ada.cloudlab.fault("pc100", "unreserved")
    answer = ada.unlocked("StopSliver")
    assert (answer["code"], answer["output"], answer["value"]) == (2, output, value)


@pytest.mark.parametrize("generation", [2016, 2021])
def test_a_machine_that_is_stopped_while_it_is_waited_for_stays_stopped(begin, generation):
    """protogeni.md 3.12: Shutdown waits for no boot; with newer servers it marks the slice, and is busy."""
    ada = begin(generation, timing={"patience": HASTY})
    answer = ada.call("Shutdown")
    assert answer["code"] == (0 if generation == 2016 else 14)
    record = ada.cloudlab.cm(DEFAULT_SITES[0].urn).slices[ada.slice_urn]
    ada.cloudlab.journal.wait_for(lambda: not record.phases)
    assert ada.ok("SliverStatus")["state"] == ("stopped" if generation == 2016 else "started")
    assert record.shut_down
