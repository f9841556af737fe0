"""Machine life and what the simulator asks of the machine room (protogeni.md §3.5)."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from testbed.cloudlab import DEFAULT_SITES, RoomError, Timing

SITES = DEFAULT_SITES[:1]


class Room:
    """Machines that do as they are told; a test may hold or break their boot."""

    def __init__(self):
        self.calls = []
        self.boots = []
        self.broken = set()
        self.exit_status = 0
        self.may_boot = threading.Event()
        self.may_boot.set()
        self.closed = False

    def address(self, node_id):
        return f"198.51.100.{node_id[-1]}"

    def power_on(self, node_id, boot):
        assert self.may_boot.wait(10)
        self.calls.append(("on", node_id))
        self.boots.append(boot)
        if node_id in self.broken:
            raise RoomError(f"{node_id}: no answer on port 22")

    def power_off(self, node_id):
        self.calls.append(("off", node_id))

    def run(self, node_id, command, timeout):
        self.calls.append(("run", node_id, command))
        assert timeout > 0
        if self.exit_status is None:
            raise RoomError("killed")
        return self.exit_status

    def close(self):
        self.may_boot.set()
        self.closed = True


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def bed(start, room):
    return start(sites=SITES, room=room)


@pytest.fixture
def user(bed, foreign):
    return foreign(bed).register("myslice")


def entry(status, client_id="node-1"):
    return next(e for e in status["details"].values() if e["client_id"] == client_id)


def test_a_boot_goes_through_all_events_and_is_ready_at_the_end(bed, user):
    """§3.5: with an image load."""
    user.create()
    user.ready()
    events = [state.event for state in bed.journal.states("pc100")]
    assert events == [*(event for event, _ in Timing().boot), "ISUP"]


def test_the_machine_is_switched_on_with_name_users_and_keys(bed, room, user):
    """A fresh disk at the first boot; the same disk after a restart."""
    user.create(keys=[{"login": "ada", "keys": [{"type": "ssh", "key": "ssh-ed25519 AAAA me"}]}])
    user.ready()
    first = room.boots[0]
    assert room.calls == [("off", "pc100"), ("on", "pc100")]
    assert (first.client_id, first.host_name) == ("node-1", "node-1.myslice.labproj.cluster.example.net")
    assert (first.users, first.authorized_keys, first.fresh) == (("ada",), ("ssh-ed25519 AAAA me",), True)
    user.unlocked("RestartSliver")
    bed.journal.wait_for(lambda: len(room.boots) == 2)
    assert dataclasses.replace(first, fresh=False) == room.boots[1]


def test_started_and_changing_until_the_machine_answers(bed, room, user):
    """§3.5: state is «started» as soon as the reboot is issued; a hung machine reads changing."""
    room.may_boot.clear()
    user.create()
    bed.journal.wait_for(lambda: bed.machines()[0].state == "BOOTING")
    status = user.unlocked("SliverStatus")["value"]
    node = entry(status)
    assert (status["state"], status["status"], status["error"]) == ("started", "changing", "")
    assert (node["component_urn"], node["rawstate"], node["status"]) == ("pc100", "BOOTING", "changing")
    assert isinstance(node["nodestatus"], int)
    room.may_boot.set()
    user.ready()


def test_before_the_reboot_a_free_machine_reads_stopped_and_maybe_ready(start, foreign, room):
    """§3.5: status alone can be left over from before."""
    slow = dataclasses.replace(SITES[0], timing=Timing(start=1e9))
    bed = start(sites=(slow,), room=room)
    user = foreign(bed).register()
    user.create()
    bed.cm(bed.cms[0].urn).slices[user.slice_urn].lock.free()
    node = entry(user.ok("SliverStatus"))
    assert (node["state"], node["status"], node["rawstate"]) == ("stopped", "ready", "ISUP")


def test_a_machine_that_does_not_come_up_failed_with_its_boot_log(bed, room, user, rspec):
    """§3.5: the boot-failure flag forces the aggregate; new nodes clear it."""
    room.broken.add("pc100")
    user.create(rspec("node-1", "n-2"))
    failed = "no answer on port 22"

    def seen():
        status = user.unlocked("SliverStatus")["value"]
        return status if status["status"] == "failed" and entry(status, "n-2")["status"] == "ready" else None

    status = bed.journal.wait_for(seen)
    node = entry(status)
    assert (node["status"], node["rawstate"], failed in node["error"]) == ("failed", "TBFAILED", True)
    assert entry(status, "n-2")["error"] == ""
    user.unlocked("DeleteNodes", nodes=["node-1"])
    bed.journal.wait_for(lambda: user.unlocked("SliverStatus")["value"]["status"] == "ready")


@pytest.mark.parametrize(("exit_status", "shown"), [(0, 0), (3, 3), (None, 255)])
def test_the_startup_command_runs_after_boot_and_its_status_is_shown(
    bed, room, user, rspec, exit_status, shown
):
    """§3.5: execute_state and execute_status only where there is a command."""
    room.exit_status = exit_status
    extra = '<services><execute shell="/bin/sh" command="/local/setup.sh"/></services>'
    user.create(rspec("node-1", extra=extra))

    def ended():
        node = entry(user.unlocked("SliverStatus")["value"])
        return node if node["execute_state"] == "exited" else None

    assert bed.journal.wait_for(ended)["execute_status"] == shown
    assert ("run", "pc100", "/local/setup.sh") in room.calls
    user.unlocked("AddNodes", nodes={"n-2": {}})
    status = user.ready()
    assert "execute_state" not in entry(status, "n-2")


def test_a_released_machine_is_switched_off_even_while_it_boots(bed, room, user, rspec):
    """§3.8: deleting does not need it to be booted; the old boot does not go on."""
    room.may_boot.clear()
    user.create(rspec("node-1", "n-2"))
    bed.journal.wait_for(lambda: bed.machines()[0].state == "BOOTING")
    user.unlocked("DeleteNodes", nodes=["node-1"])
    room.may_boot.set()
    bed.journal.wait_for(lambda: bed.machines()[0].available)
    assert [call for call in room.calls if call[1] == "pc100"][-1] == ("off", "pc100")
    assert "ISUP" not in [state.event for state in bed.journal.states("pc100")]
    assert user.ready()["details"]


def test_held_time_is_counted_from_the_grant_to_the_release(bed, user):
    user.create()
    assert bed.journal.held("pc100")[0].cause == ""
    user.unlocked("DeleteNodes", nodes=["node-1"])
    (interval,) = bed.journal.held("pc100")
    assert (interval.slice_urn, interval.client_id, interval.cause) == (
        user.slice_urn,
        "node-1",
        "DeleteNodes",
    )
    assert bed.journal.held_seconds("pc100") == interval.end - interval.start > 0
    assert bed.journal.held_seconds("pc101") == 0


def test_stop_closes_the_room_and_the_open_intervals(bed, room, user):
    user.create()
    bed.stop()
    assert room.closed
    assert bed.journal.held("pc100")[0].cause == "the test bed stopped"
