"""Manifests as servers of 2016 and of 2021 write them (protogeni.md §4.2, protogeni-2021.md §10)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

V3 = "{http://www.geni.net/resources/rspec/3}"
EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"
OLD, NEW = 0, 1
MEMBERS = [f"user{number}" for number in range(5)]
KEYS = [
    {"urn": f"urn:publicid:IDN+example.net+user+{login}", "login": login, "keys": []} for login in MEMBERS
]


@pytest.fixture
def made(ada, cloudlab, rspec):
    """Make a slice with machines at a site, for all members of a project or without a login."""

    def make(site, *names, **params):
        ada.register().create(rspec(*names, cm=cloudlab.cms[site].urn), site, **params)
        ada.unlocked("GetSliver", site)
        return ada

    return make


def nodes(manifest):
    return {node.get("client_id"): node for node in ET.fromstring(manifest).iter(f"{V3}node")}


def logins(node):
    return [login.get("username") for login in node.iter(f"{V3}login")]


@pytest.mark.parametrize(("site", "there"), [(OLD, False), (NEW, True)])
def test_services_are_there_without_logins_at_the_newer_server_only(made, site, there):
    node = nodes(made(site, "a").resolved(site)["manifest"])["a"]
    assert (node.find(f"{V3}services") is not None) is there


def test_the_newer_server_tells_what_can_be_had_of_a_machine(made):
    services = nodes(made(NEW, "a", keys=KEYS).resolved(NEW)["manifest"])["a"].find(f"{V3}services")
    offered = {child.tag: dict(child.attrib) for child in services if child.tag.startswith(EMULAB)}
    available = {"available": "true"}
    assert offered == {
        f"{EMULAB}console": {"server": "boss.east.example.net"},
        **{f"{EMULAB}{word}": available for word in ("recovery", "powercycle", "imageable")},
    }


@pytest.mark.parametrize(("site", "image"), [(OLD, None), (NEW, "emulab-ops:DEBIAN12-64-STD")])
def test_the_newer_manifest_tells_the_image_once_a_machine_booted_it(made, site, image):
    """It changes without any call."""
    client = made(site, "a")
    client.ready(site)
    vnode = nodes(client.resolved(site)["manifest"])["a"].find(f"{EMULAB}vnode")
    assert vnode.get("disk_image") == (image and f"urn:publicid:IDN+east.example.net+image+{image}")


def test_the_image_that_was_asked_for_is_told(ada, rspec, cloudlab):
    image = "urn:publicid:IDN+east.example.net+image+labproj:worker-os"
    asked = rspec("a", cm=cloudlab.cms[NEW].urn).replace(
        '<sliver_type name="raw-pc"/>',
        f'<sliver_type name="raw-pc"><disk_image name="{image}"/></sliver_type>',
    )
    _, manifest = ada.register().create(asked, NEW)
    assert nodes(manifest)["a"].find(f"{EMULAB}vnode").get("disk_image") is None, "it has not booted"
    ada.ready(NEW)
    assert nodes(ada.resolved(NEW)["manifest"])["a"].find(f"{EMULAB}vnode").get("disk_image") == image


def test_the_newer_server_lists_the_logins_of_all_members_in_no_order(made):
    old = [
        logins(node) for node in nodes(made(OLD, "a", "b", "c", keys=KEYS).resolved()["manifest"]).values()
    ]
    assert old == [MEMBERS] * 3
    new = [
        logins(node) for node in nodes(made(NEW, "a", "b", "c", keys=KEYS).resolved(NEW)["manifest"]).values()
    ]
    assert [sorted(names) for names in new] == [MEMBERS] * 3
    assert len({tuple(names) for names in new}) > 1


def test_each_change_annotates_all_machines_anew_at_the_newer_server(made):
    """The machine that was there keeps what tells it apart, and says each thing once."""
    client = made(NEW, "a", keys=KEYS)
    client.ready(NEW)
    before = nodes(client.resolved(NEW)["manifest"])["a"]
    added = client.unlocked("AddNodes", NEW, nodes={"b": {}})["value"]
    after = nodes(added)["a"]
    assert after.attrib == before.attrib
    assert sorted(child.tag for child in after) == sorted(child.tag for child in before)
    assert sorted(logins(after)) == MEMBERS
    for tag in (f"{EMULAB}vnode", f"{V3}host", f"{V3}services/{EMULAB}console"):
        assert [dict(found.attrib) for found in after.findall(tag)] == [dict(before.find(tag).attrib)]
    assert "disk_image" in after.find(f"{EMULAB}vnode").attrib
