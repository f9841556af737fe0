"""Slices that a portal made, and what people do there (protogeni-2021.md §12, protogeni-2025.md §5)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.cloudlab.steering.control import SteeringError

V3 = "{http://www.geni.net/resources/rspec/3}"
EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"
EAST = "east.example.net"


def run(cloudlab, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(cloudlab.directory)])
    return result.exit_code, result.output


def take_up(client, slice_urn):
    """Act on a slice that is there already, with the credential that the SA gives its creator."""
    ask = {"credential": client.self_credential(), "urn": slice_urn}
    client.slice_urn = slice_urn
    client.credential = client.sa("GetCredential", ask)["value"]
    return client


def nodes(client):
    return {n.get("client_id"): n for n in ET.fromstring(manifest(client)).iter(f"{V3}node")}


def manifest(client):
    return client.resolved(1)["manifest"]


def held(cloudlab):
    return {machine.client_id: machine.node_id for machine in cloudlab.machines() if machine.client_id}


@pytest.fixture
def slice_urn(cloudlab):
    return cloudlab.portal.make("exp", EAST, ["a", "b"])


@pytest.fixture
def creator(cloudlab, ada, slice_urn):
    """The user in whose name the portal made the slice; all machines are up."""
    client = take_up(ada, slice_urn)
    client.ready(1)
    return client


def test_the_creators_certificate_may_act_on_it(cloudlab, creator):
    """§12.2: nothing at the CM asks whether a portal made the slice."""
    assert held(cloudlab).keys() == {"a", "b"}
    creator.unlocked("AddNodes", 1, nodes={"c": {}})
    creator.ready(1)
    creator.unlocked("DeleteNodes", 1, nodes=["b"])
    assert held(cloudlab).keys() == {"a", "c"}
    until = {"valid_until": creator.cloudlab.expiry_moves()["SA"][1].strftime("%Y-%m-%dT%H:%M:%SZ")}
    assert creator.unlocked("RenewSlice", 1, **until)["code"] == 0


def test_another_member_of_the_project_is_not_given_its_credential(cloudlab, foreign, slice_urn):
    bob = foreign(cloudlab, "bob")
    answer = bob.sa("GetCredential", {"credential": bob.self_credential(), "urn": slice_urn})
    assert (answer["code"], answer["output"]) == (3, "Not your slice!")


def test_its_manifest_names_the_portal_and_has_a_login_of_each_member(creator):
    """§10."""
    logins = [sorted(x.get("username") for x in node.iter(f"{V3}login")) for node in nodes(creator).values()]
    assert logins == [["ada", "bob"], ["ada", "bob"]]
    portal = ET.fromstring(manifest(creator)).find(f"{EMULAB}portal")
    told = {key: portal.get(key) for key in ("name", "project", "experiment", "sequence")}
    assert told == {"name": "example", "project": "labproj", "experiment": "exp", "sequence": "1"}
    assert portal.get("url").startswith("https://")


def test_a_host_of_virtual_machines_is_beside_the_nodes(cloudlab, ada):
    take_up(ada, cloudlab.portal.make("vms", EAST, ["a"], hosts=True))
    root = ET.fromstring(manifest(ada))
    assert root.find(f"{EMULAB}vhost") is not None
    assert len(root.findall(f"{V3}node")) == 1


def test_a_name_that_is_taken_is_refused(cloudlab, slice_urn):
    with pytest.raises(SteeringError, match=f"{slice_urn} already a registered slice".replace("+", r"\+")):
        cloudlab.portal.make("exp", EAST, ["a"])


def test_while_the_portal_works_the_sa_is_busy(cloudlab, creator):
    """§12.3."""
    ask = {"credential": creator.self_credential(), "urn": creator.slice_urn}
    cloudlab.portal.lock("exp", on=True)
    assert creator.sa("GetCredential", ask)["code"] == 14
    with pytest.raises(SteeringError, match="busy"):
        cloudlab.portal.lock("exp", on=True)
    cloudlab.portal.lock("exp", on=False)
    assert creator.sa("GetCredential", ask)["code"] == 0


@pytest.mark.parametrize(("at", "moved"), [("sa", "SA"), (EAST, f"CM {EAST}")])
def test_the_end_is_moved_at_one_authority_alone(cloudlab, creator, at, moved):
    """§12.4: earlier too, which no call can."""
    before = cloudlab.expiry_moves()
    cloudlab.portal.expiry(creator.slice_urn, at, 3600)
    after = cloudlab.expiry_moves()
    assert after[moved][1] < before[moved][1]
    assert [name for name in after if after[name] != before[name]] == [moved]


def test_a_slice_whose_end_was_moved_into_the_past_is_gone(cloudlab, creator):
    cloudlab.portal.expiry("exp", EAST, 0)
    cloudlab.journal.wait_for(lambda: not held(cloudlab))
    assert {entry.cause for entry in cloudlab.journal.held()} == {"expired"}


def test_modify_adds_and_removes_machines_at_once_also_while_others_boot(cloudlab, creator):
    """Machines that stay keep what tells them apart."""
    before = nodes(creator)["a"].get("sliver_id")
    creator.unlocked("AddNodes", 1, nodes={"c": {}})
    cloudlab.journal.wait_for(
        lambda: not cloudlab.cm(cloudlab.cms[1].urn).slices[creator.slice_urn].lock.held
    )
    cloudlab.portal.modify("exp", EAST, add=["d"], remove=["b"])
    assert held(cloudlab).keys() == {"a", "c", "d"}
    assert nodes(creator).keys() == {"a", "c", "d"}
    assert nodes(creator)["a"].get("sliver_id") == before
    assert ET.fromstring(manifest(creator)).find(f"{EMULAB}portal").get("sequence") == "2"
    assert creator.ready(1)["details"]


def test_a_modify_that_finds_no_machines_leaves_those_that_run_and_says_why(cloudlab, creator):
    """protogeni-2025.md §5.2: Resolve of the slice has no manifest then; that of the sliver has it."""
    sliver = creator.resolved(1)["sliver_urn"]
    names = [f"n{number}" for number in range(20)]
    cloudlab.portal.modify("exp", EAST, add=names)
    assert held(cloudlab).keys() == {"a", "b"}
    answer = creator.resolved(1)
    assert (answer["async_code"], "manifest" in answer) == (26, False)
    whole = creator.cm("Resolve", {"credentials": [creator.credential], "urn": sliver}, site=1)["value"]
    assert "pc200" in whole["manifest"]
    assert creator.ready(1)["details"]
    cloudlab.portal.modify("exp", EAST, add=["c"])
    assert nodes(creator).keys() == {"a", "b", "c"}, "only the next one clears it"


@pytest.mark.parametrize(("failure", "left"), [("mapping", {"a", "b"}), ("redeeming", set())])
def test_a_modify_can_be_made_to_fail(cloudlab, creator, failure, left):
    cloudlab.portal.modify("exp", EAST, remove=["b"], failure=failure)
    assert held(cloudlab).keys() == left
    assert "manifest" not in creator.resolved(1)


def test_it_is_steered_by_commands(cloudlab):
    assert run(cloudlab, "portal-slice", "exp", EAST, "a", "b") == (
        0,
        "made urn:publicid:IDN+example.net:labproj+slice+exp\n",
    )
    record = cloudlab.cm(cloudlab.cms[1].urn).slices["urn:publicid:IDN+example.net:labproj+slice+exp"]
    cloudlab.journal.wait_for(lambda: not record.lock.held)
    done = run(cloudlab, "portal-modify", "exp", EAST, "--add", "c", "--remove", "a")
    assert done == (0, f"exp: modified at {EAST}\n")
    assert held(cloudlab).keys() == {"b", "c"}
    assert run(cloudlab, "sa-lock", "exp", "--on") == (0, "exp: the SA's lock is held\n")
    assert run(cloudlab, "sa-lock", "exp", "--off") == (0, "exp: the SA's lock is free\n")
    assert run(cloudlab, "expiry", "exp", "sa", "--in", "600") == (0, "exp: ends at sa in 600 s\n")
    assert "a person pressed Modify for exp at east.example.net: +c -a" in run(cloudlab, "journal")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["portal-slice", "x", "far.example.net", "a"], "there is no CM 'far.example.net'"),
        (["portal-slice", "x", EAST, "a", "--user", "eve"], "there is no user 'eve'; there are ada, bob"),
        (["portal-slice", "x", EAST, *(f"n{n}" for n in range(9))], "requested"),
        (["portal-modify", "none", EAST, "--add", "c"], f"{EAST} has no slice 'none'"),
        (["portal-modify", "none", EAST, "--failure", "x"], "fails in mapping, redeeming, not in 'x'"),
        (["sa-lock", "none"], "the SA has no slice 'none'"),
        (["expiry", "none", "sa", "--in", "5"], "the SA has no slice 'none'"),
        (["expiry", "none", "here", "--in", "5"], "there is no CM 'here'"),
    ],
)
def test_what_cannot_be_is_refused(shared, arguments, words):
    code, output = run(shared, *arguments)
    assert (code, words in output) == (1, True), output
