"""AddNodes and DeleteNodes where the servers of 2016 and of 2021 differ (protogeni-2021.md §3, §4)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES
from testbed.cloudlab.cm.reservations import Reservation

OLD, NEW = 0, 1
BOTH = pytest.mark.parametrize("site", [OLD, NEW], ids=["2016", "2021"])
V3 = "{http://www.geni.net/resources/rspec/3}"
WORKER = "urn:publicid:IDN+example.net+image+labproj:worker-os"


@pytest.fixture
def two(ada, rspec, cloudlab):
    """Make a sliver of two machines, a and b; return the inside of its CM."""

    def make(site):
        cm = cloudlab.cms[site].urn
        image = f'<sliver_type name="raw-pc"><disk_image name="{WORKER}"/></sliver_type>'
        plain = '<sliver_type name="raw-pc"/>'
        request = rspec("a", "b", cm=cm)
        first, second = request.split("</node>", 1)
        ada.register().create(f"{first.replace(plain, image)}</node>{second}", site)
        ada.unlocked("GetSliver", site)
        return cloudlab.cm(cm)

    return make


def nodes(manifest):
    return {node.get("client_id"): node for node in ET.fromstring(manifest).iter(f"{V3}node")}


def names(cloudlab):
    return {m.client_id: m.node_id for m in cloudlab.machines() if m.slice_urn}


# --- fields of a node


def test_the_newer_server_gives_a_machine_of_the_type_that_is_asked_for(two, ada):
    two(NEW)
    manifest = ada.unlocked("AddNodes", NEW, nodes={"c": {"hardware_type": "d430"}})["value"]
    assert nodes(manifest)["c"].find(f"{V3}hardware_type").get("name") == "d430"
    answer = ada.unlocked("AddNodes", NEW, nodes={"d": {"hardware_type": "m'510"}})
    assert (answer["code"], "Could not parse XML for d" in answer["output"]) == (2, True)
    assert ada.unlocked("AddNodes", NEW, nodes={"d": {"hardware_type": "m510"}})["code"] == 26
    assert ada.unlocked("AddNodes", NEW, nodes={"d": {"hardware_type": "pc"}})["code"] == 0


def test_the_older_server_ignores_the_type(two, ada):
    two(OLD)
    manifest = ada.unlocked("AddNodes", OLD, nodes={"c": {"hardware_type": "no-such"}})["value"]
    assert nodes(manifest)["c"].find(f"{V3}hardware_type") is None


def test_pairs_tell_where_a_tarball_goes_and_which_shell_runs_a_command(two, ada):
    fields = {"tarballs": [["https://x/k.tgz", "/opt"], "https://x/l.tgz"], "startup": ["true", "/bin/csh"]}
    two(NEW)
    node = nodes(ada.unlocked("AddNodes", NEW, nodes={"c": fields})["value"])["c"]
    installs = [(i.get("url"), i.get("install_path")) for i in node.iter(f"{V3}install")]
    assert installs == [("https://x/k.tgz", "/opt"), ("https://x/l.tgz", "/")]
    execute = node.find(f"{V3}services/{V3}execute")
    assert (execute.get("shell"), execute.get("command")) == ("/bin/csh", "true")
    two(OLD)
    assert ada.unlocked("AddNodes", OLD, nodes={"c": fields})["code"] == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"tarballs": [["https://x/k.tgz"]]},
            (
                "tarballs (for c) malformed; tarballs is a list of tarballs, or a list of "
                "[ tarball, install-path ] tuples!"
            ),
        ),
        (
            {"startup": ["a", "b", "c"]},
            (
                "startup commands (for c) malformed; startup commands is a list of startup commands, or a "
                "list of [ command, shell ] tuples!"
            ),
        ),
    ],
)
def test_lists_of_another_length_are_malformed(two, ada, fields, words):
    two(NEW)
    answer = ada.unlocked("AddNodes", NEW, nodes={"c": fields})
    assert (answer["code"], answer["output"]) == (1, f"Malformed arguments: {words}")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"c": {"lans": "lan0"}}, "Malformed arguments: lans for c is not a list"),
        ({"c": {"tarballs": "x"}}, "Malformed arguments: tarballs for c is not a list"),
        ({"c": {"lans": ["lan0"]}}, "Malformed arguments: No such lan0"),
        ({"A": {}}, "Duplicate node A"),
        ({"c.d": {}}, "Invalid client id for node: c.d"),
        ({"c": {"diskimage": "x"}}, "Malformed image URN: x"),
        ({"c": {"startup": ["true", "/bin/zsh"]}}, "Invalid shell in execute"),
        ({"c": {"tarballs": ["https://x/?"]}}, "Invalid tarfiles: https://x/?"),
    ],
)
def test_what_is_wrong_with_a_node_is_told_in_the_newer_servers_words(two, ada, wanted, words):
    """GeniCMV2 AddNodes, GeniCM GetTicketAuxAux: only the former speaks of malformed arguments."""
    two(NEW)
    answer = ada.unlocked("AddNodes", NEW, nodes=wanted)
    assert (answer["code"], answer["output"]) == (1, words)


def test_the_newer_server_makes_no_sliver_of_nothing(ada):
    ada.register()
    answer = ada.call("CreateSliver", NEW, rspec=f'<rspec xmlns="{V3[1:-1]}" type="request"/>')
    assert (answer["code"], answer["output"]) == (1, "No nodes or links in your topology")


# --- DeleteNodes


def test_the_newer_server_does_not_delete_all_machines(two, ada, cloudlab):
    two(NEW)
    answer = ada.unlocked("DeleteNodes", NEW, nodes=["a", "b"])
    assert (answer["code"], answer["output"]) == (1, "Not allowed to delete all nodes from the topology!")
    assert names(cloudlab).keys() == {"a", "b"}
    assert ada.call("DeleteNodes", NEW, nodes=["a", "x"])["output"] == "No such node x in the topology!"
    assert ada.unlocked("DeleteNodes", NEW, nodes=["a"])["code"] == 0
    assert ada.unlocked("DeleteNodes", NEW, nodes=["b"])["code"] == 1


def test_an_over_booked_slice_gets_a_refusal_of_a_delete(two, ada, cloudlab, rspec, clock):
    """§4: the rest of the slice goes through the mapper."""
    cm = two(NEW)
    ada.unlocked("AddNodes", NEW, nodes={"c": {}})
    now = clock.now()
    cm.reservations.keep(Reservation(1, "other", "", "d430", 3, now, now + timedelta(hours=1), now))
    answer = ada.unlocked("DeleteNodes", NEW, nodes=["c"])
    words = "2 nodes of type d430 requested, but only 1 available because"
    assert (answer["code"], words in answer["output"]) == (26, True)
    assert names(cloudlab).keys() == {"a", "b", "c"}
    assert ada.unlocked("DeleteSlice", NEW, cancel=1)["code"] == 0


# --- images of machines that nobody touches


IMAGE_FAULTS = [
    ("restricted", 1, f"Not allowed to use restricted image {WORKER}"),
    ("unknown", 1, f"Unknown image URN: {WORKER}"),
    ("version", 1, f"No version 1 exists for {WORKER}"),
    ("unreachable", 1, f"Could not lookup image at the image server: {WORKER}"),
    ("system", 1, f"Not allowed to import system image: {WORKER}"),
    ("import", 2, f"Image importer failure for {WORKER}"),
    ("setup", 2, "Could not setup images:\n"),
    (
        "deprecated",
        1,
        (
            "Image labproj/worker-os is deprecated and no longer available to use: take v2. "
            "Please choose a different image!"
        ),
    ),
]


@pytest.mark.parametrize(("kind", "code", "words"), IMAGE_FAULTS, ids=[case[0] for case in IMAGE_FAULTS])
def test_an_image_that_turned_bad_stops_every_change_while_a_machine_runs_it(
    two, ada, cloudlab, kind, code, words
):
    """§3.6: AddNodes of other machines, and DeleteNodes of others, too."""
    cm = two(NEW)
    cm.rules.images["labproj:worker-os"] = (kind, "take v2")
    for method, wanted in (("AddNodes", {"c": {}}), ("DeleteNodes", ["b"])):
        answer = ada.unlocked(method, NEW, nodes=wanted)
        assert (answer["code"], answer["output"].startswith(words)) == (code, True), answer
    assert names(cloudlab).keys() == {"a", "b"}
    assert ada.unlocked("RenewSlice", NEW, valid_until="2026-01-01")["code"] == 7
    assert ada.unlocked("DeleteNodes", NEW, nodes=["a"])["code"] == 0
    assert ada.unlocked("AddNodes", NEW, nodes={"c": {}})["code"] == 0


def test_the_older_server_knows_no_deprecation_and_checks_at_adds(two, ada):
    cm = two(OLD)
    cm.rules.images["labproj:worker-os"] = ("restricted", "")
    answer = ada.unlocked("AddNodes", OLD, nodes={"c": {}})
    assert (answer["code"], answer["output"]) == (1, f"Insufficient permission to use {WORKER}")
    cm.rules.images["labproj:worker-os"] = ("deprecated", "take v2")
    assert ada.unlocked("AddNodes", OLD, nodes={"c": {}})["code"] == 0


def test_a_renewal_in_the_middle_of_a_change_refuses_it(two, ada, cloudlab):
    two(NEW)
    for method, wanted in (("AddNodes", {"c": {}}), ("DeleteNodes", ["b"])):
        cloudlab.fault(method, "renewed-meanwhile")
        answer = ada.unlocked(method, NEW, nodes=wanted)
        assert (answer["code"], answer["output"]) == (7, "Not allowed to change expiration when updating")
        assert ada.unlocked(method, NEW, nodes=wanted)["code"] == 0


# --- machines that are not ours any more


@BOTH
def test_a_machine_that_somebody_else_has_is_named_by_the_mapper(two, ada, cloudlab, site):
    """§3.11: reserved to somebody else, in both generations."""
    cm = two(site)
    lost = cm.slices[ada.slice_urn].aggregate.nodes["a"].machine
    cm.lives.release(lost, "test", taken=True)
    answer = ada.unlocked("AddNodes", site, nodes={"c": {}})
    log = f"*** Fixed physical node: {lost.node_id} not available.\n*** Some fixed nodes failed to map\n"
    assert (answer["code"], answer["output"]) == (28, log)
    assert ada.unlocked("SliverStatus", site)["code"] == 2
    assert ada.unlocked("DeleteNodes", site, nodes=["a"])["code"] == 0
    assert ada.unlocked("AddNodes", site, nodes={"c": {}})["code"] == 0


@BOTH
def test_a_machine_that_was_lost_and_is_free_is_taken_again(two, ada, cloudlab, site):
    """§3.11: whatever is asked for."""
    cm = two(site)
    lost = cm.slices[ada.slice_urn].aggregate.nodes["a"].machine
    cm.lives.release(lost, "test", taken=False)
    cloudlab.journal.wait_for(lambda: lost.available)
    assert lost.holder is None
    assert ada.unlocked("AddNodes", site, nodes={})["code"] == 0
    assert names(cloudlab) == {
        "a": lost.node_id,
        "b": cm.slices[ada.slice_urn].aggregate.nodes["b"].machine.node_id,
    }
    assert cloudlab.journal.held(lost.node_id)[-1].cause == ""
    assert ada.ready(site)["status"] == "ready"


@BOTH
def test_a_machine_that_goes_between_the_phases_is_named_with_its_brackets(two, ada, cloudlab, site):
    """§3.11: a node prints so."""
    cm = two(site)
    lost = cm.slices[ada.slice_urn].aggregate.nodes["a"].machine
    cloudlab.fault("AddNodes", "gone-in-phase-two")
    answer = ada.unlocked("AddNodes", site, nodes={"c": {}})
    node_urn = f"urn:publicid:IDN+{DEFAULT_SITES[site].domain}+node+{lost.node_id}"
    assert (answer["code"], answer["output"]) == (2, f"{node_urn} ([Node: {lost.node_id}]) is not available")
    assert 'client_id="c"' not in ada.resolved(site)["manifest"]
    assert ada.unlocked("SliverStatus", site)["code"] == 2


def test_a_delete_is_refused_where_another_machine_is_lost_and_one_of_both_is_not(two, ada):
    """§4: the rest of the slice is mapped."""
    cm = two(NEW)
    ada.unlocked("AddNodes", NEW, nodes={"c": {}})
    for name in ("a", "b"):
        cm.lives.release(cm.slices[ada.slice_urn].aggregate.nodes[name].machine, "test", taken=True)
    assert ada.unlocked("DeleteNodes", NEW, nodes=["a"])["code"] == 28
    assert ada.unlocked("DeleteNodes", NEW, nodes=["a", "b"])["code"] == 0
