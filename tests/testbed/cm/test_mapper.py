"""Why no machines are found, in the words of a server of 2021 (protogeni-2021.md §3.8)."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES
from testbed.cloudlab.cm.reservations import Reservation

OLD, NEW = 0, 1
FAR = DEFAULT_SITES[1]
"""Four machines of type d430, pc200 to pc203."""
NEVER = "Note that your topology cannot be instantiated on this cluster. You have most likely"
OTHERS = "available because of existing resource reservations to other projects.\n"


@pytest.fixture
def bed(start, clock):
    """Start a simulator whose newer site is as told."""

    def make(**site):
        return start(sites=(DEFAULT_SITES[0], dataclasses.replace(FAR, **site)), clock=clock)

    return make


@pytest.fixture
def with_one(bed, foreign, rspec, clock):
    """Make a client with one machine at the newer site, that ends in two hours."""

    def make(**site):
        simulator = bed(**site)
        days = (clock.now() + timedelta(days=80)).strftime("%Y-%m-%dT%H:%M:%SZ")
        client = foreign(simulator).register(expiration=days)
        client.create(rspec("a", cm=FAR.urn), NEW)
        soon = (clock.now() + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
        client.unlocked("RenewSlice", NEW, valid_until=soon)
        return client

    return make


def add(client, count=1, **fields):
    answer = client.unlocked("AddNodes", NEW, nodes={f"n-{number}": fields for number in range(count)})
    return answer["code"], answer["value"], answer["output"]


def held(client):
    return [m.client_id for m in client.cloudlab.machines() if m.slice_urn == client.slice_urn]


def reserve(client, clock, count, start, end, *, kind="d430", project="other"):
    cm = client.cloudlab.cm(FAR.urn)
    now = clock.now().replace(microsecond=0)
    begins, ends = now + timedelta(hours=start), now + timedelta(hours=end)
    made = Reservation(cm.reservations.next_index(), project, "", kind, count, begins, ends, now)
    cm.reservations.keep(made)
    return made.index


def test_a_type_of_which_too_few_are_free_is_told_with_what_is_held(with_one):
    """All machines of a type are counted, on both sides: those that are held too."""
    client = with_one()
    client.cloudlab.promise("pc203", "other")
    code, value, output = add(client, 3, hardware_type="d430")
    words = "  *** 4 nodes of type d430 requested, but only 3 available nodes of type d430 found\n"
    assert (code, value, output) == (26, "Could not map to resources: Precheck failure", words)
    assert held(client) == ["a"]
    assert add(client, 2, hardware_type="d430")[0] == 0


def test_a_machine_that_is_set_aside_for_the_project_comes_on_top_of_what_reservations_leave(with_one, clock):
    """Reservation MaxSwapIn."""
    client = with_one()
    client.cloudlab.promise("pc203", "labproj")
    reserve(client, clock, 2, 0, 9)
    code, _, output = add(client, 2, hardware_type="d430")
    assert (code, "3 nodes of type d430 requested, but only 2 available because" in output) == (26, True)
    assert add(client, 1, hardware_type="d430")[0] == 0


@pytest.mark.parametrize(("kind", "code"), [("c220g1", 26), ("c220-g_1", 26), ("c220.v1", 28), ("c220+", 28)])
def test_the_code_of_a_type_of_which_too_few_are_free_goes_by_its_name(with_one, kind, code):
    """GeniCM GetTicketAuxAux looks for letters, digits, dashes and underscores; of none, for no name."""
    client = with_one(other_types={"pc203": kind})
    answer = add(client, 2, hardware_type=kind)
    line = f"  *** 2 nodes of type {kind} requested, but only 1 available nodes of type {kind} found\n"
    assert (answer[0], line in answer[2]) == (code, True)
    assert add(client, hardware_type="no.such+type")[0] == 26


def test_a_class_of_which_too_few_are_free_is_told_with_what_is_new(with_one):
    client = with_one()
    client.cloudlab.promise("pc203", "other")
    code, _, output = add(client, 3)
    words = "  *** 3 nodes of type pc requested, but only 2 available nodes of type pc found\n"
    assert (code, output) == (26, words)


@pytest.mark.parametrize(
    ("count", "kind", "words"),
    [
        (4, "d430", "  *** 5 nodes of type d430 requested, but only 4 available nodes of type d430 found\n"),
        (1, "r7525", "  *** No available physical nodes of type r7525 found (1 requested)\n"),
    ],
)
def test_what_an_empty_site_could_not_give_either_is_never_possible(with_one, count, kind, words):
    """The words are in value and in output; the code stays."""
    code, value, output = add(with_one(), count, hardware_type=kind)
    assert code == 26
    assert value.startswith(f"Could not map to resources: Precheck failure\n\n{NEVER}")
    assert output.startswith(f"{words}\n\n{NEVER}")
    assert output.endswith("re-submitting as-is will always result in failure!")


def test_a_reservation_of_others_bounds_a_type_until_the_lease_ends(with_one, clock):
    """§8.2: the count has what is held already, value has no reason, and a shorter lease admits more."""
    client = with_one()
    reserve(client, clock, 2, 1, 9)
    code, value, output = add(client, 3, hardware_type="d430")
    words = f"*** Resource reservation violation: 4 nodes of type d430 requested, but only 2 {OTHERS}"
    assert (code, value, output) == (26, "Could not map to resources", words)
    soon = (clock.now() + timedelta(minutes=50)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert client.unlocked("RenewSlice", NEW, valid_until=soon)["code"] == 0
    assert add(client, 3, hardware_type="d430")[0] == 0


def test_free_flags_know_nothing_of_reservations(with_one, clock):
    """§8.1: free does not mean that one may have it."""
    client = with_one()
    index = reserve(client, clock, 3, 0, 9)
    assert [m.available for m in client.cloudlab.machines() if m.cm == FAR.urn] == [False, True, True, True]
    assert "but only 1 available because" in add(client, hardware_type="d430")[2]
    client.cloudlab.cm(FAR.urn).reservations.cancel(index)
    assert add(client, hardware_type="d430")[0] == 0


def test_machines_of_any_type_are_kept_back_without_numbers(with_one, clock):
    client = with_one()
    reserve(client, clock, 2, 1, 9)
    policy = (
        "Not enough free nodes because of policy restrictions, or existing resource reservations to other "
        "projects"
    )
    assert add(client, 2) == (26, f"Could not map to resources: {policy}", policy)
    assert add(client, 1)[0] == 0


def test_machines_of_any_type_are_taken_from_a_type_that_has_room(with_one, clock):
    client = with_one(other_types={"pc202": "rare", "pc203": "rare"})
    reserve(client, clock, 1, 1, 9)
    assert add(client, 2)[0] == 0
    types = [m.type for m in client.cloudlab.machines() if m.slice_urn]
    assert types == ["d430", "rare", "rare"]


def test_a_named_machine_counts_for_its_type(with_one, clock):
    client = with_one()
    reserve(client, clock, 3, 1, 9)
    code, _, output = add(client, node="pc202")
    assert (code, "2 nodes of type d430 requested, but only 1 available because" in output) == (26, True)


def test_a_machine_that_is_reserved_singly_is_refused_by_name(with_one, clock):
    client = with_one(reservable=frozenset({"pc203"}))
    index = reserve(client, clock, 1, 1, 9, kind="pc203")
    words = f"*** Resource reservation violation: Node pc203 requested, but is not {OTHERS}"
    assert add(client, node="pc203") == (26, "Could not map to resources", words)
    assert add(client, 2, hardware_type="d430")[0] == 0
    client.unlocked("DeleteNodes", NEW, nodes=["n-0", "n-1"])
    client.cloudlab.cm(FAR.urn).reservations.cancel(index)
    assert add(client, node="pc203")[0] == 0


def test_a_machine_that_is_set_aside_for_the_own_project_is_to_be_had(with_one):
    client = with_one()
    for name in ("pc201", "pc202", "pc203"):
        client.cloudlab.promise(name, "labproj")
    assert add(client, 3, hardware_type="d430")[0] == 0


def test_the_own_projects_reservation_is_not_counted_against_it(with_one, clock):
    client = with_one()
    reserve(client, clock, 4, 0, 9, project="labproj")
    assert add(client, 3, hardware_type="d430")[0] == 0


def test_policy_lets_one_use_so_many_of_a_type(with_one):
    client = with_one()
    client.cloudlab.cm(FAR.urn).rules.limits["d430"] = 2
    code, _, output = add(client, 2, hardware_type="d430")
    words = "  *** 3 nodes of type d430 requested, but you are only allowed to use 2\n"
    assert (code, output.startswith(words)) == (26, True)
    assert add(client, 2)[2].startswith("Not enough free nodes because of policy restrictions")
    assert add(client, 1, hardware_type="d430")[0] == 0


def test_a_machine_asked_for_by_name_that_is_not_to_be_had(with_one):
    """§3.7: set aside for others passes the door, and fails in the mapper."""
    client = with_one()
    client.cloudlab.promise("pc202", "other")
    log = "*** Fixed physical node: pc202 not available.\n*** Some fixed nodes failed to map\n"
    assert add(client, node="pc202", hardware_type="ignored") == (28, "Could not map to resources", log)


@pytest.mark.parametrize(
    ("kind", "codes", "words"),
    [
        ("code25", (25, 25), "Not enough bandwidth to connect some nodes"),
        ("no-fast-interfaces", (26, 26), "Not enough nodes with fast enough interfaces"),
        ("code27", (27, 27), "Not enough memory"),
        ("no-mapping", (28, 28), "*** No possible mapping for n-0"),
        ("code29", (25, 29), "Cannot map some links to physical devices"),
        ("admission-control", (28, 28), "*** Failed admission control checks!"),
        ("no-addresses", (28, 28), "Could not allocate public address pools"),
    ],
)
def test_other_causes_come_on_demand(with_one, rspec, kind, codes, words):
    client = with_one()
    client.create(rspec("b"), OLD)
    for site in (OLD, NEW):
        client.cloudlab.fault("AddNodes", kind, at=client.cloudlab.cms[site].urn)
        answer = client.unlocked("AddNodes", site, nodes={"n-0": {}})
        assert (answer["code"], words in answer["output"]) == (codes[site], True), answer
        assert client.unlocked("AddNodes", site, nodes={"n-0": {}})["code"] == 0


def test_more_nodes_than_a_slice_may_have(with_one):
    client = with_one()
    client.cloudlab.cm(FAR.urn).rules.most_nodes = 2
    words = "Experiment needs nodes(3) that are more than the limit(2) imposed by CM."
    assert add(client, 2)[::2] == (2, words)


def test_over_quota_no_slice_is_made_and_one_that_is_there_grows(with_one, foreign, rspec):
    client = with_one()
    client.cloudlab.cm(FAR.urn).rules.over_quota = True
    answer = (
        foreign(client.cloudlab, "bob").register().call("CreateSliver", NEW, rspec=rspec("b", cm=FAR.urn))
    )
    assert (answer["code"], answer["output"]) == (23, "Over disk quota, please clean up")
    assert add(client)[0] == 0
