"""The module ``cluster``: reservations as users may ask for them (protogeni-2021.md §8.3, §8.4)."""

from __future__ import annotations

import xmlrpc.client
from datetime import timedelta

import pytest

from testbed.cloudlab.cm.reservations import Reservation

OLD, NEW = 0, 1
PROJECT = "urn:publicid:IDN+example.net+project+labproj"


def stamp(clock, **later):
    return (clock.now() + timedelta(**later)).strftime("%Y-%m-%dT%H:%M:%SZ")


def project_credential(client):
    answer = client.sa("GetCredential", {"credential": client.self_credential(), "urn": PROJECT})
    assert answer["code"] == 0, answer
    return answer["value"]


def ask(client, method, site=NEW, **params):
    url = client.cloudlab.cms[site].url.replace("/cm/2.0", "/cluster")
    return client.raw(url, method, {"credentials": [project_credential(client)], **params})


@pytest.fixture
def cm(cloudlab):
    return cloudlab.cm(cloudlab.cms[NEW].urn)


@pytest.fixture
def holding(ada, rspec, cloudlab, clock):
    """A client with two machines of four, that ends in two hours."""
    ada.register(expiration=stamp(clock, days=80))
    ada.create(rspec("a", "b", cm=cloudlab.cms[NEW].urn), NEW)
    ada.unlocked("RenewSlice", NEW, valid_until=stamp(clock, hours=2))
    return ada


def others(cm, clock, count, start, end):
    now = clock.now().replace(microsecond=0)
    begins, ends = now + timedelta(hours=start), now + timedelta(hours=end)
    made = Reservation(cm.reservations.next_index(), "other", "", "d430", count, begins, ends, now)
    cm.reservations.keep(made)
    return made


def test_a_dry_run_tells_whether_it_would_fit_and_changes_nothing(holding, cm, clock):
    answer = ask(holding, "Reserve", count=2, type="d430", end=stamp(clock, hours=9), check=1)
    assert (answer["code"], answer["value"]) == (0, {"approved": 1})
    answer = ask(holding, "Reserve", count=4, type="d430", end=stamp(clock, hours=90), check=1)
    assert answer["value"] == {"approved": 0}
    assert cm.reservations.all() == ()


def test_a_dry_run_that_would_not_fit_tells_when_and_how_many(holding, cm, clock):
    """As the renewal would be refused, and with a zone."""
    made = others(cm, clock, 3, 5, 9)
    answer = ask(holding, "Reserve", count=2, type="d430", end=stamp(clock, hours=24), check=1)
    local = made.start - timedelta(hours=7)
    words = f"Insufficient free nodes at {local.ctime()} (1 more needed)."
    when = made.start.strftime("%Y-%m-%dT%H:%M:%SZ")
    conflict = {"error": words, "when": when, "needed": 1}
    assert (answer["code"], answer["output"]) == (7, words)
    assert answer["value"] == {"code": 1, "error": words, "conflict": conflict}
    answer = ask(holding, "Reserve", count=1, type="d430", end=stamp(clock, hours=24), check=1)
    assert answer["code"] == 0


def test_a_reservation_of_ones_own_keeps_the_machines_through_anothers(holding, cm, clock):
    answer = ask(holding, "Reserve", count=2, type="d430", start=stamp(clock), end=stamp(clock, hours=24))
    assert (answer["code"], answer["value"]["approved"]) == (0, 1)
    others(cm, clock, 2, 5, 9)
    assert holding.unlocked("RenewSlice", NEW, valid_until=stamp(clock, hours=20))["code"] == 0
    found = ask(holding, "Reservations")["value"]["reservations"]
    (one,) = found.values()
    shown = {key: one[key] for key in ("pid", "nodes", "type", "using", "uid", "project")}
    assert shown == {
        "pid": "labproj",
        "nodes": 2,
        "type": "d430",
        "using": 2,
        "uid": "ada",
        "project": PROJECT,
    }
    assert one["approved"] != ""


def test_what_is_not_approved_counts_for_nothing(holding, cm, clock):
    """§8.4: more than 128 machine hours, or by wish."""
    answer = ask(holding, "Reserve", count=4, type="d430", end=stamp(clock, hours=50))
    assert answer["value"]["approved"] == 0
    answer = ask(holding, "Reserve", count=1, type="d430", end=stamp(clock, hours=5), noapprove=1)
    assert answer["value"]["approved"] == 0
    found = ask(holding, "Reservations")["value"]["reservations"].values()
    assert [one["approved"] for one in found] == ["", ""]
    others(cm, clock, 2, 5, 9)
    assert holding.unlocked("RenewSlice", NEW, valid_until=stamp(clock, hours=20))["code"] == 0


def test_an_update_may_shrink_what_is_approved_and_not_grow_it(holding, cm, clock):
    made = ask(holding, "Reserve", count=2, type="d430", end=stamp(clock, hours=9))["value"]
    grown = ask(holding, "Reserve", update=made["uuid"], count=3)
    assert (grown["code"], "may no longer expand it" in grown["output"]) == (7, True)
    assert ask(holding, "Reserve", update=str(made["idx"]), count=1)["code"] == 0
    assert [one.count for one in cm.reservations.all()] == [1]
    assert ask(holding, "Reserve", update="99", count=1)["output"] == "No such reservation"


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ({"type": "d430.v1", "count": 1, "end": "2031-05-04T18:00:00Z"}, 1, "Invalid type"),
        ({"type": "d430", "end": "2031-05-04"}, 1, "Malformed arguments: Missing count"),
        ({"type": "d430", "count": "some", "end": "2031-05-04T18:00:00Z"}, 1, "Invalid count"),
        ({"type": "d430", "count": 1, "end": "soon"}, 1, "End time: Could not parse date"),
        ({"type": "m510", "count": 1, "end": "2031-05-04T18:00:00Z"}, 12, "No such node/type"),
    ],
)
def test_rubbish_is_refused(holding, params, code, words):
    answer = ask(holding, "Reserve", **params)
    assert (answer["code"], words in answer["output"]) == (code, True)


def test_it_wants_a_credential_for_the_project(holding):
    answer = ask(holding, "Reserve", credentials=[holding.credential], count=1)
    assert answer["output"] == "Malformed arguments: Not a project/user credential"
    answer = ask(holding, "InUse")
    assert (answer["code"], answer["output"]) == (3, "Only the root authority can access this interface")


def test_a_site_may_admit_no_users(holding, cm):
    cm.rules.cluster = "forbidden"
    answer = ask(holding, "Reservations")
    assert (answer["code"], answer["output"]) == (3, "Only Cloudlab clusters permit this interface")
    cm.rules.cluster = "offline"
    with pytest.raises(xmlrpc.client.Fault) as caught:
        ask(holding, "Reservations")
    assert caught.value.faultCode == 503
    cm.rules.cluster = "users"
    assert ask(holding, "GetVersion")["code"] == 0


def test_the_older_server_has_no_such_module(holding):
    with pytest.raises(xmlrpc.client.Fault, match="Invalid module: cluster"):
        ask(holding, "GetVersion", OLD)
