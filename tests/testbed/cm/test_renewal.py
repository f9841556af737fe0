"""RenewSlice as servers of 2016 and of 2021 have it (protogeni.md §3.6, protogeni-2021.md §7)."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing
from testbed.cloudlab.cm.reservations import Reservation

OLD, NEW = 0, 1
BOTH = pytest.mark.parametrize("site", [OLD, NEW], ids=["2016", "2021"])
REFUSED = "Extension refused by reservation system: "


def stamp(clock, **later):
    return (clock.now() + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def holding(ada, rspec, cloudlab, clock):
    """Make a sliver of two machines that ends in two hours, in a slice that ends much later."""

    def make(site, *, hours=2):
        ada.register(expiration=stamp(clock, days=80))
        ada.create(rspec("a", "b", cm=cloudlab.cms[site].urn), site)
        ada.unlocked("RenewSlice", site, valid_until=stamp(clock, hours=hours))
        return cloudlab.cm(cloudlab.cms[site].urn)

    return make


def renew(client, site, until, **more):
    answer = client.unlocked("RenewSlice", site, valid_until=until, **more)
    return answer["code"], answer["value"] if answer["code"] == 0 else answer["output"]


def reserve(cm, clock, count, start, end, *, project="other", kind="", user=""):
    index = cm.reservations.next_index()
    now = clock.now().replace(microsecond=0)
    cm.reservations.keep(
        Reservation(
            index,
            project,
            user,
            kind or cm.site.hardware_type,
            count,
            now + timedelta(hours=start),
            now + timedelta(hours=end),
            now,
        )
    )
    return cm.reservations.get(index)


# --- texts and limits


@pytest.mark.parametrize(("site", "code"), [(OLD, 1), (NEW, 12)])
def test_a_slice_that_is_not_here_is_said_with_another_code(ada, clock, site, code):
    ada.register()
    assert renew(ada, site, stamp(clock, hours=1)) == (code, "No such slice here")


@BOTH
def test_a_short_life_and_too_long_a_life_are_refused(holding, ada, clock, site):
    """§15.12: the texts are the same in both generations."""
    cm = holding(site)
    assert renew(ada, site, stamp(clock, minutes=4)) == (7, "such a short life for a sliver?")
    cm.rules.max_sliver_lifetime = timedelta(days=5)
    wanted = stamp(clock, days=6)
    words = "expiration increment is greater then the maximum number (7200) of minutes"
    assert renew(ada, site, wanted) == (7, words)
    assert renew(ada, site, wanted, alap=1)[0] == 0
    assert renew(ada, site, stamp(clock, days=90)) == (7, "expiration is greater then slice expiration")


@BOTH
def test_limits_of_the_slice_itself_are_not_cut_to(holding, ada, clock, site):
    """§7 rule 9: alap cuts to the site's maximum, and to no other."""
    record = holding(site).slices[ada.slice_urn]
    record.renew_limit = timedelta(0)
    idle = "you are not allowed to renew cause it was idle for too long"
    assert renew(ada, site, stamp(clock, hours=1), alap=1) == (7, idle)
    record.renew_limit = timedelta(hours=36, minutes=30)
    limit = "expiration increment is greater then local slice setting: 36:30:00"
    assert renew(ada, site, stamp(clock, hours=37), alap=1) == (7, limit)
    assert renew(ada, site, stamp(clock, hours=36))[0] == 0
    record.renew_limit, record.expiration_max = None, datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert renew(ada, site, stamp(clock, hours=50))[0] == 0
    record.expiration_max = clock.now().replace(microsecond=0) + timedelta(hours=60)
    until = record.expiration_max.strftime("%Y-%m-%dT%H:%M:%SZ")
    words = f"expiration is greater then local slice setting: {until}"
    assert renew(ada, site, stamp(clock, hours=61)) == (7, words)


def test_without_a_time_the_newer_server_takes_the_credentials_end(holding, ada):
    """§7 rule 6."""
    holding(NEW)
    granted = ada.ok("RenewSlice", NEW)
    assert granted[:16] >= (datetime.now(UTC) + timedelta(days=79)).strftime("%Y-%m-%dT%H:%M")
    holding(OLD)
    assert ada.call("RenewSlice", OLD)["output"] == "such a short life for a sliver?"


def test_force_needs_an_administrators_credential(holding, ada, clock):
    holding(NEW)
    words = "SetSliceExpiration: Refused force mode cause credential was too weak"
    assert renew(ada, NEW, stamp(clock, hours=1), force=1) == (7, words)
    holding(OLD)
    assert renew(ada, OLD, stamp(clock, hours=1), force=1)[0] == 0


def test_the_newer_server_waits_for_the_lock(start, foreign, rspec, clock):
    """§7 rule 2: up to ten seconds, then 14; the older one answers at once."""
    sites = tuple(dataclasses.replace(site, timing=Timing(start=2.0)) for site in DEFAULT_SITES)
    ada = foreign(start(sites=sites, clock=clock, speed=10.0)).register()
    for site, code in ((OLD, 14), (NEW, 0)):
        ada.create(rspec("a", cm=ada.cloudlab.cms[site].urn), site)
        answer = ada.call("RenewSlice", site, valid_until=stamp(clock, hours=1))
        assert answer["code"] == code, answer
    lock = ada.cloudlab.cm(ada.cloudlab.cms[NEW].urn).slices[ada.slice_urn].lock
    ada.cloudlab.journal.wait_for(lambda: not lock.held)
    lock.take("slice")
    answer = ada.call("RenewSlice", NEW, valid_until=stamp(clock, hours=1))
    assert (answer["code"], answer["output"]) == (14, "slice is busy; try again later")


# --- machines that are set aside by name


@BOTH
def test_a_machine_set_aside_refuses_every_time_and_is_named(holding, ada, clock, site):
    """§7 rule 4: also where the time is the present one, which makes it a harmless probe."""
    cm = holding(site)
    present = cm.slices[ada.slice_urn].expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    second = cm.slices[ada.slice_urn].aggregate.nodes["b"].machine
    second.next_for = "other"
    assert renew(ada, site, present) == (7, f"Refused cause {second.node_id} is sched-reserved.")
    second.promised_to = "other"
    assert renew(ada, site, present) == (7, f"Refused cause {second.node_id} is pre-reserved.")
    ada.unlocked("DeleteNodes", site, nodes=["b"])
    assert renew(ada, site, stamp(clock, hours=9))[0] == 0


@BOTH
def test_a_machine_set_aside_for_the_own_project_refuses_nothing(holding, ada, clock, site):
    cm = holding(site)
    cm.slices[ada.slice_urn].aggregate.nodes["a"].machine.promised_to = "LabProj"
    assert renew(ada, site, stamp(clock, hours=9))[0] == 0


def test_a_machine_set_aside_from_later_on_bounds_the_lease_without_a_word_of_when(holding, ada, clock):
    """protogeni-2025.md §7."""
    cm = holding(NEW)
    machine = cm.slices[ada.slice_urn].aggregate.nodes["a"].machine
    machine.promised_to, machine.promised_from = "other", clock.now() + timedelta(hours=10)
    assert renew(ada, NEW, stamp(clock, hours=11)) == (
        7,
        f"{REFUSED}Could not extend because of a prereserve",
    )
    assert renew(ada, NEW, stamp(clock, hours=9))[0] == 0
    clock.offset = timedelta(hours=8)
    machine.promised_from = clock.now() - timedelta(minutes=1)
    answer = renew(ada, NEW, stamp(clock, hours=1))
    assert answer == (7, f"Refused cause {machine.node_id} is pre-reserved.")


# --- reservations by type


def test_an_extension_into_a_reservation_is_refused_with_the_moment_and_granted_up_to_it(holding, ada, clock):
    """§7 rule 10: the server's local time, in C's form; alap does not shorten."""
    cm = holding(NEW)
    made = reserve(cm, clock, 3, 5, 9)
    local = made.start - timedelta(hours=7)
    words = f"{REFUSED}Insufficient free nodes at {local.ctime()} (1 more needed)."
    until = made.start + timedelta(seconds=1)
    for more in ({}, {"alap": 1}):
        assert renew(ada, NEW, until.strftime("%Y-%m-%dT%H:%M:%SZ"), **more) == (7, words)
    assert renew(ada, NEW, stamp(clock, hours=24)) == (7, words)
    assert renew(ada, NEW, made.start.strftime("%Y-%m-%dT%H:%M:%SZ"))[0] == 0
    cm.reservations.cancel(made.index)
    assert renew(ada, NEW, stamp(clock, hours=24))[0] == 0


def test_fewer_machines_are_renewed_through_a_reservation(holding, ada, clock):
    """§7: giving back what is short lets the rest go on."""
    cm = holding(NEW)
    reserve(cm, clock, 3, 5, 9)
    ada.unlocked("DeleteNodes", NEW, nodes=["b"])
    assert renew(ada, NEW, stamp(clock, hours=24))[0] == 0


def test_shortening_and_the_present_time_are_never_refused_by_reservations(holding, ada, clock):
    cm = holding(NEW, hours=6)
    reserve(cm, clock, 4, 1, 9)
    present = cm.slices[ada.slice_urn].expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert renew(ada, NEW, present)[0] == 0
    assert renew(ada, NEW, stamp(clock, hours=7))[0] == 7
    assert renew(ada, NEW, stamp(clock, hours=5))[0] == 0


def test_a_reservation_of_the_own_project_covers_its_machines(holding, ada, clock):
    """§8.4: it counts as using the larger of what is used and what is reserved."""
    cm = holding(NEW)
    reserve(cm, clock, 3, 0, 24, project="labproj")
    reserve(cm, clock, 1, 5, 9)
    assert renew(ada, NEW, stamp(clock, hours=20))[0] == 0
    reserve(cm, clock, 1, 6, 9)
    assert "(1 more needed)" in renew(ada, NEW, stamp(clock, hours=21))[1]


def test_where_reservations_are_for_users_a_mates_refuses_like_a_strangers(start, foreign, rspec, clock):
    """protogeni-2025.md §8."""
    far = dataclasses.replace(DEFAULT_SITES[1], reservations_for="user")
    bed = start(sites=(far,), clock=clock)
    ada = foreign(bed).register(expiration=stamp(clock, days=80))
    ada.create(rspec("a", "b", cm=bed.cms[0].urn))
    ada.unlocked("RenewSlice", valid_until=stamp(clock, hours=2))
    cm = bed.cm(bed.cms[0].urn)
    urn = "urn:publicid:IDN+example.net+user+{}"
    mates = reserve(cm, clock, 4, 5, 9, project="labproj", user=urn.format("bob"))
    assert renew(ada, 0, stamp(clock, hours=6))[0] == 7
    cm.reservations.cancel(mates.index)
    reserve(cm, clock, 4, 5, 9, project="labproj", user=urn.format("ada"))
    assert renew(ada, 0, stamp(clock, hours=6))[0] == 0


def test_the_older_server_asks_no_reservations(holding, ada, clock):
    """§8: neither mapper nor renewal asked them."""
    cm = holding(OLD)
    reserve(cm, clock, 8, 5, 9)
    assert renew(ada, OLD, stamp(clock, hours=24))[0] == 0


def test_all_types_of_a_slice_are_looked_at_and_the_type_is_not_told(start, foreign, rspec, clock):
    far = dataclasses.replace(DEFAULT_SITES[1], other_types={"pc203": "rare"})
    bed = start(sites=(far,), clock=clock)
    ada = foreign(bed).register(expiration=stamp(clock, days=80))
    ada.create(rspec("a", cm=bed.cms[0].urn))
    ada.unlocked("AddNodes", nodes={"b": {"hardware_type": "rare"}})
    ada.unlocked("RenewSlice", valid_until=stamp(clock, hours=2))
    cm = bed.cm(bed.cms[0].urn)
    reserve(cm, clock, 1, 5, 9, kind="rare")
    code, words = renew(ada, 0, stamp(clock, hours=6))
    assert (code, "rare" in words, "(1 more needed)" in words) == (7, False, True)
    ada.unlocked("DeleteNodes", nodes=["b"])
    assert renew(ada, 0, stamp(clock, hours=6))[0] == 0
