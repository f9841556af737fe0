"""DiscoverResources, Resolve and SliverStatus (protogeni.md §3.2, §3.4, §3.5)."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
import zlib

import pytest

from testbed.cloudlab import DEFAULT_SITES

V2 = "{http://www.protogeni.net/resources/rspec/2}"
EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"
V3 = "{http://www.geni.net/resources/rspec/3}"


def free(advertisement, space):
    return {
        node.get("component_name")
        for node in ET.fromstring(advertisement).iter(f"{space}node")
        if node.get("exclusive") == "true"
        and any(kind.get("name") == "raw-pc" for kind in node.iter(f"{space}sliver_type"))
        and node.find(f"{space}available").get("now") == "true"
    }


# --- advertisements


def test_the_advertisement_is_version_2_unless_3_is_asked_for(eva):
    """§3.2."""
    ask = {"credentials": [eva.self_credential()]}
    assert ET.fromstring(eva.cm("DiscoverResources", ask)["value"]).tag == f"{V2}rspec"
    for version in (3, "3"):
        value = eva.cm("DiscoverResources", {**ask, "rspec_version": version})["value"]
        assert free(value, V3) == {f"pc{number}" for number in range(100, 108)}
    answer = eva.cm("DiscoverResources", {**ask, "rspec_version": "7"})
    assert (answer["code"], answer["output"]) == (1, "Malformed arguments: Improper version request")


@pytest.mark.parametrize("version", [0.1, "0.1", "PG 0.1", 0.2, "PG 0.2"])
def test_the_old_advertisements_have_other_names_and_flags_as_text(shared_sliver, version):
    """§3.2, §4.3: rspec 0.x puts available as element text and uses other attribute names."""
    ask = {"credentials": [shared_sliver.credential], "rspec_version": version, "available": 1}
    root = ET.fromstring(shared_sliver.cm("DiscoverResources", ask)["value"])
    space = f"{{http://www.protogeni.net/resources/rspec/{str(version)[-3:]}}}"
    assert root.tag == f"{space}rspec"
    found = {
        node.get("component_name"): (node.findtext(f"{space}available"), node.findtext(f"{space}exclusive"))
        for node in root
    }
    assert found["pc100"] == ("false", "true"), "the slice's own"
    assert found["pc101"] == found["switch1"] == ("true", "true")
    assert found["pcshared1"] == ("true", "false")
    assert root[0].get("component_uuid") == "urn:publicid:IDN+cluster.example.net+node+pc100"
    assert [kind.get("type_name") for kind in root[0].iter(f"{space}node_type")] == ["pc", "m510"]


def test_the_advertisement_holds_switches_and_shared_hosts(eva):
    """§4.3."""
    ask = {"credentials": [eva.self_credential()], "rspec_version": "3", "available": 1}
    nodes = {
        n.get("component_name"): n
        for n in ET.fromstring(eva.cm("DiscoverResources", ask)["value"]).iter(f"{V3}node")
    }
    assert nodes["switch1"].find(f"{V3}hardware_type").get("name") == "switch"
    assert nodes["pcshared1"].get("exclusive") == "false"
    kinds = [kind.get("name") for kind in nodes["pc100"].iter(f"{V3}hardware_type")]
    assert kinds == ["pc", "m510"]


def test_flags_of_discover_resources_are_real_booleans_and_compressed_is_zlib(eva):
    """§1.3, §3.2."""
    ask = {"credentials": [eva.self_credential()], "available": False, "compress": False}
    plain = eva.cm("DiscoverResources", ask)["value"]
    packed = eva.cm("DiscoverResources", {**ask, "compress": True})["value"]
    assert zlib.decompress(packed.data).decode()[:100] == plain[:100]


def test_reserved_and_promised_machines_are_flagged(cloudlab, ada):
    """§3.2: «available» leaves out what is reserved; promised ones and the caller's own slip in."""
    ada.register().create()
    cloudlab.promise("pc107", "other")

    def listed(*credentials, **more):
        ask = {"credentials": list(credentials), "rspec_version": "3", **more}
        value = ada.cm("DiscoverResources", ask)["value"]
        names = {n.get("component_name") for n in ET.fromstring(value).iter(f"{V3}node")}
        return names, free(value, V3)

    own = ada.self_credential()
    names, usable = listed(own)
    assert {"pc100", "pc107"} <= names
    assert not {"pc100", "pc107"} & usable
    names, usable = listed(own, available=1)
    assert ("pc100" in names, "pc107" in names, "pc107" in usable) == (False, True, False)
    names, usable = listed(ada.credential, available=1)
    assert ("pc100" in names, "pc100" in usable) == (True, False)


def test_the_newer_server_lists_exact_type_architecture_and_class(eva):
    """protogeni-2021.md §9."""
    ask = {"credentials": [eva.self_credential()], "rspec_version": "3"}
    root = ET.fromstring(eva.cm("DiscoverResources", ask, site=1)["value"])
    kinds = {
        node.get("component_name"): [kind.get("name") for kind in node.iter(f"{V3}hardware_type")]
        for node in root.iter(f"{V3}node")
    }
    assert kinds["pc200"][:3] == ["d430", "x86_64", "pc"]
    assert "d430" not in kinds["pcshared1"]
    reservable = root.find(f"{EMULAB}reservable_types/{EMULAB}reservable_type")
    assert (reservable.get("name"), reservable.get("architecture")) == ("d430", "x86_64")
    assert root.find(f"{EMULAB}reservable_nodes") is not None


def test_the_newer_server_shows_machines_that_are_set_aside_by_whose_credential_it_is_given(
    cloudlab, ada, rspec
):
    """protogeni-2021.md §9: free for one's own project, and with the slice's credential alone."""
    ada.register()
    for name, project in (("pc200", "labproj"), ("pc201", "other")):
        cloudlab.promise(name, project)

    def listed(credential, **more):
        ask = {"credentials": [credential], "rspec_version": "3", **more}
        value = ada.cm("DiscoverResources", ask, site=1)["value"]
        names = {n.get("component_name") for n in ET.fromstring(value).iter(f"{V3}node")}
        return names & {"pc200", "pc201"}, free(value, V3)

    everybodys = {"pc202", "pc203"}
    assert listed(ada.self_credential()) == ({"pc200", "pc201"}, everybodys)
    assert listed(ada.self_credential(), available=1) == (set(), everybodys)
    assert listed(ada.credential) == ({"pc200", "pc201"}, everybodys | {"pc200"})
    assert listed(ada.credential, available=1) == ({"pc200"}, everybodys | {"pc200"})

    ada.create(rspec("a", cm=cloudlab.cms[1].urn), site=1)
    added = {f"n{number}": {"node": f"pc{number}"} for number in (200, 202, 203)}
    held = [m.node_id for m in cloudlab.machines() if m.slice_urn]
    added = {name: fields for name, fields in added.items() if fields["node"] not in held}
    assert ada.unlocked("AddNodes", 1, nodes=added)["code"] == 0, "and the mapper gives it"


# --- resolve and status


def test_resolve_reads_slice_sliver_and_node(eva):
    """§3.4."""
    eva.register()
    keys = [{"type": "ssh", "key": "ssh-ed25519 AAAA ada"}]
    sliver_credential, manifest = eva.create(keys=keys)

    def resolve(urn, credential=""):
        return eva.cm("Resolve", {"credentials": [credential or eva.credential], "urn": urn})

    found = resolve(eva.slice_urn)["value"]
    assert found["manifest"] == manifest
    assert found["users"] == [{"urn": "urn:publicid:IDN+example.net+user+ada", "login": "ada", "keys": keys}]
    assert resolve(found["sliver_urn"], sliver_credential)["value"]["urn"] == found["sliver_urn"]
    node = ET.fromstring(manifest).find(f"{V3}node")
    part = resolve(node.get("sliver_id"))["value"]["manifest"]
    assert ET.fromstring(part).get("client_id") == "node-1"
    machine = resolve(node.get("component_id"))["value"]
    assert machine["physctrl"] == node.find(f"{V3}host").get("ipv4")
    domain = "urn:publicid:IDN+cluster.example.net"
    assert resolve(f"{domain}+sliver+1")["output"] == "Nothing here by that name"
    assert resolve(f"{domain}+node+pc999")["code"] == 12
    assert resolve(f"{domain}+image+x")["code"] == 13
    assert resolve("urn:publicid:IDN+far.example.net+node+pc1")["output"] == "Authority mismatch"
    assert resolve(eva.slice_urn, eva.self_credential())["code"] == 3
    eva.unlocked("DeleteSlice", cancel=1)


def test_status_takes_the_credential_of_the_sliver_too(eva):
    """§3.5, §3.10: GetSliver returns it, cached."""
    eva.register()
    sliver_credential, _ = eva.create()
    assert eva.unlocked("GetSliver")["value"] == sliver_credential
    answer = eva.unlocked("SliverStatus", credentials=[sliver_credential])
    assert answer["code"] == 0
    answer = eva.unlocked("RenewSlice", credentials=[sliver_credential], valid_until="2031-05-04T18:00:00Z")
    assert (answer["code"], answer["output"]) == (2, "No local slice found")
    eva.unlocked("DeleteSlice", cancel=1)


def test_machines_that_are_reserved_singly_are_told_and_others_do_not_see_them_free(start, foreign):
    """protogeni-2021.md §9: with the slice's credential they are left out, without one they are not."""
    site = dataclasses.replace(
        DEFAULT_SITES[1], reservable=frozenset({"pc203"}), other_types={"pc202": "rare"}
    )
    bed = start(sites=(site,))
    bed.reserving.reserve(site.urn, "pc203", 1, seconds=3600)
    ada = foreign(bed).register()
    told = ada.cm("DiscoverResources", {"credentials": [ada.credential], "available": 1})["value"]
    root = ET.fromstring(told)
    types = [each.get("name") for each in root.iter(f"{EMULAB}reservable_type")]
    assert types == ["d430", "rare"]
    (node,) = root.find(f"{EMULAB}reservable_nodes")
    assert node.get("component_id") == "urn:publicid:IDN+east.example.net+node+pc203"
    names = [each.get("component_name") for each in root if each.tag.endswith("}node")]
    assert "pc203" not in names
    asked = {"credentials": [ada.self_credential()], "available": 1}
    assert 'component_name="pc203"' in ada.cm("DiscoverResources", asked)["value"]
