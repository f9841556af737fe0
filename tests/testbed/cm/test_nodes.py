"""CreateSliver, AddNodes, DeleteNodes, manifests (protogeni.md §3.3, §3.7, §3.8, §4)."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
import xmlrpc.client

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing

V3 = "{http://www.geni.net/resources/rspec/3}"
EMULAB = "{http://www.protogeni.net/resources/rspec/ext/emulab/1}"
SITE_INFO = "{http://www.protogeni.net/resources/rspec/ext/site-info/1}"
LAN_RSPEC = """<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">
  <node client_id="a"><sliver_type name="raw"/><interface client_id="a:lan0"/></node>
  <node client_id="b"><interface client_id="b:lan0"/></node>
  <node client_id="far" component_manager_id="urn:publicid:IDN+east.example.net+authority+cm"/>
  <link client_id="lan0"><interface_ref client_id="a:lan0"/><interface_ref client_id="b:lan0"/>
    <link_type name="lan"/></link>
</rspec>"""


def nodes(manifest):
    return {node.get("client_id"): node for node in ET.fromstring(manifest).iter(f"{V3}node")}


def image(name):
    sliver_type = f'<sliver_type name="raw-pc"><disk_image name="{name}"/></sliver_type>'
    return f'<node client_id="a">{sliver_type}</node>'


def service(element):
    return f'<node client_id="a"><services><{element}/></services></node>'


def held(cloudlab):
    return {m.client_id: m.node_id for m in cloudlab.machines() if m.slice_urn}


# --- CreateSliver


def test_the_manifest_is_the_request_annotated(cloudlab, ada, rspec):
    """§4.2: prefixes of the server's own, login only with keys, control address, vnode, host."""
    ada.register("myslice")
    extra = '<hardware_type name="m510"/><services><execute shell="/bin/sh" command="true"/></services>'
    _, manifest = ada.create(
        rspec("node-1", extra=extra), keys=[{"login": "ada", "keys": [{"type": "ssh", "key": "ssh-rsa A"}]}]
    )
    root = ET.fromstring(manifest)
    node = root.find(f"{V3}node")
    assert root.get("type") == "manifest"
    assert "<rs:site_info" in manifest
    assert root.find(f"{SITE_INFO}site_info") is not None
    assert node.get("component_id") == "urn:publicid:IDN+cluster.example.net+node+pc100"
    assert node.find(f"{V3}sliver_type").get("name") == "raw-pc"
    assert node.find(f"{V3}hardware_type") is not None
    assert node.find(f"{V3}services/{V3}execute") is not None
    login = node.find(f"{V3}services/{V3}login")
    assert (login.get("hostname"), login.get("username")) == ("pc100.cluster.example.net", "ada")
    assert dict(node.find(f"{EMULAB}vnode").attrib) == {"name": "pc100", "hardware_type": "m510"}
    host = node.find(f"{V3}host")
    assert host.get("name") == "node-1.myslice.labproj.cluster.example.net"
    assert host.get("ipv4") == cloudlab.machines()[0].address


def test_without_keys_there_is_no_login(eva):
    """§4.2."""
    eva.register()
    _, manifest = eva.create()
    assert nodes(manifest)["node-1"].find(f"{V3}services/{V3}login") is None
    eva.unlocked("DeleteSlice", cancel=1)


def test_lans_have_addresses_and_nodes_of_other_cms_are_left_alone(cloudlab, ada):
    """§4.1, §4.2."""
    ada.register()
    _, manifest = ada.create(LAN_RSPEC)
    found = nodes(manifest)
    assert held(cloudlab) == {"a": "pc100", "b": "pc101"}
    assert found["far"].get("sliver_id") is None
    link = ET.fromstring(manifest).find(f"{V3}link")
    assert link.get("vlantag").isdecimal()
    interface = found["b"].find(f"{V3}interface")
    assert len(interface.get("mac_address")) == 12
    assert interface.find(f"{V3}ip").get("address") == "10.10.1.2"
    details = ada.unlocked("SliverStatus")["value"]["details"]
    assert {key: details[link.get("sliver_id")][key] for key in ("component_urn", "status")} == {
        "component_urn": "lan0",
        "status": "ready",
    }
    assert "rawstate" not in details[link.get("sliver_id")]


def test_a_second_create_is_refused(sliver, rspec):
    """§3.3."""
    answer = sliver.unlocked("CreateSliver", rspec=rspec("x"))
    assert (answer["code"], answer["output"]) == (7, "Must delete existing slice first")


@pytest.mark.parametrize(
    ("request_text", "code", "words"),
    [
        ("<rspec", 2, "rspec is not well formed"),
        ("<rspec/>", 1, "Unknown RSpec Version"),
        ("gr\x7fn", 1, "Bad characters in rspec"),
        ('<node client_id="A"/><node client_id="a"/>', 1, "Duplicate node"),
        ('<node client_id="a b"/>', 1, "client_id"),
        (image("x"), 1, "Malformed image URN: x"),
        (image("urn:publicid:IDN+x+image+no:such"), 1, "Unknown image URN"),
        ('<node client_id="a" component_id="urn:publicid:IDN+x+node+pc999"/>', 1, "Bad resource urn:public"),
        (service(f'execute command="{"x" * 257}"'), 1, "Too Long"),
        (service('install url="https://x/?y"'), 1, "Invalid tarfiles"),
        ('<node client_id="a"/><link client_id="l"><interface_ref client_id="a:0"/></link>', 1, "Bad link"),
        ('<node client_id="a"><hardware_type name="d430"/></node>', 26, "d430"),
        ('<node client_id="a"><sliver_type name="emulab-xen"/></node>', 26, "emulab-xen"),
    ],
)  # fmt: skip
def test_a_bad_request_leaves_nothing_behind(shared, eva, request_text, code, words):
    """§3.3: codes and texts; the mapper's reason is in value."""
    eva.register()
    if request_text.startswith("<node"):
        request_text = f'<rspec xmlns="{V3[1:-1]}" type="request">{request_text}</rspec>'
    answer = eva.call("CreateSliver", rspec=request_text)
    assert (answer["code"], words in answer["output"]) == (code, True), answer
    assert answer["output"].startswith("Malformed arguments") == (words == "Bad characters in rspec")
    if code == 26:
        assert answer["value"].startswith("Could not map to resources")
    resolved = eva.cm("Resolve", {"credentials": [eva.credential], "urn": eva.slice_urn})
    assert resolved["code"] == 12
    assert eva.slice_urn not in {m.slice_urn for m in shared.machines()}


def test_both_spellings_of_an_image_are_one(eva, rspec):
    """§4.5."""
    for number, name in enumerate(("labproj:worker-os", "labproj//worker-os")):
        eva.register()
        text = rspec(f"n{number}").replace(
            '<sliver_type name="raw-pc"/>',
            '<sliver_type name="raw-pc">'
            f'<disk_image name="urn:publicid:IDN+anywhere.example.net+image+{name}"/></sliver_type>',
        )
        eva.create(text)
        eva.unlocked("DeleteSlice", cancel=1)


def test_an_expiry_in_the_request_needs_the_z(eva, rspec):
    """§3.3, §5."""
    eva.register()
    answer = eva.call("CreateSliver", rspec=rspec("a", attributes='expires="2031-05-04T18:00:00"'))
    assert (answer["code"], "Invalid Datetime Format" in answer["output"]) == (2, True)
    answer = eva.call("CreateSliver", rspec=rspec("a", attributes='expires="2031-05-04T18:00:00Z"'))
    assert answer["code"] == 7


def test_an_empty_list_of_keys_is_a_fault_and_the_lock_stays(ada, rspec):
    """§3.3."""
    ada.register()
    with pytest.raises(xmlrpc.client.Fault) as caught:
        ada.call("CreateSliver", rspec=rspec("a"), keys=[])
    assert caught.value.faultCode == -32600
    assert ada.call("CreateSliver", rspec=rspec("a"))["code"] == 14


def test_two_cms_hold_slivers_of_one_slice_side_by_side(cloudlab, ada, rspec):
    """§1.6: each CM has its own machines and its own lock."""
    ada.register().create()
    far = cloudlab.cms[1].urn
    _, manifest = ada.create(rspec("far", cm=far), site=1)
    assert nodes(manifest)["far"].get("component_manager_id") == far
    assert held(cloudlab) == {"node-1": "pc100", "far": "pc200"}
    ada.ready(0)
    ada.ready(1)


# --- AddNodes


def test_add_nodes_takes_a_machine_an_image_a_startup_tarballs_and_lans(cloudlab, ada):
    """§3.7."""
    ada.register().create(LAN_RSPEC)
    fields = {
        "node": "pc105",
        "diskimage": "urn:publicid:IDN+cluster.example.net+image+labproj:worker-os",
        "startup": "echo &apos;a&apos; &lt; b",
        "tarballs": ["https://files.example.net/kit.tgz"],
        "lans": ["lan0"],
        "unknown": "ignored",
    }
    manifest = ada.unlocked("AddNodes", nodes={"n-4": fields})["value"]
    node = nodes(manifest)["n-4"]
    assert held(cloudlab)["n-4"] == "pc105"
    assert node.get("exclusive") == "true"
    assert node.find(f"{V3}sliver_type").get("name") == "raw-pc"
    install = node.find(f"{V3}services/{V3}install")
    assert dict(install.attrib) == {"url": "https://files.example.net/kit.tgz", "install_path": "/"}
    execute = node.find(f"{V3}services/{V3}execute")
    assert dict(execute.attrib) == {"shell": "/bin/bash", "command": "echo 'a' < b"}
    assert node.find(f"{V3}interface/{V3}ip").get("address") == "10.10.1.3"
    references = ET.fromstring(manifest).iter(f"{V3}interface_ref")
    assert [reference.get("client_id") for reference in references] == ["a:lan0", "b:lan0", "n-4:lan0"]


def test_existing_machines_keep_their_sliver_ids_and_a_new_one_of_the_same_name_does_not(sliver):
    """§4.2."""
    first = nodes(sliver.unlocked("AddNodes", nodes={"n-2": {}})["value"])
    second = nodes(sliver.unlocked("DeleteNodes", nodes=["n-2"])["value"])
    third = nodes(sliver.unlocked("AddNodes", nodes={"n-2": {}})["value"])
    kept = {tree["node-1"].get("sliver_id") for tree in (first, second, third)}
    assert len(kept) == 1
    assert first["n-2"].get("sliver_id") != third["n-2"].get("sliver_id")


@pytest.mark.parametrize(
    ("wanted", "code", "words"),
    [
        ({"node-1": {}, "n-2": {}}, 1, "Already have node-1 in the topology!"),
        ({"n-2": {"node": "pc999"}}, 1, "Physical node pc999 does not exist"),
        ({"n-2": {"node": "pc100"}}, 1, "Physical node pc100 is not available"),
        ({"n-2": {"lans": "lan0"}}, 1, "lans for n-2 is not a list"),
        ({"n-2": {"lans": ["lan0"]}}, 1, "No such lan0"),
        ({"n-2": {"tarballs": "x"}}, 1, "tarballs for n-2 is not a list"),
        ({"n-2": {"startup": "echo 'hi'"}}, 2, "Could not parse XML for n-2"),
        ({"n-2": {"startup": "a & b"}}, 2, "Could not parse XML for n-2"),
        ({"n-2": {"startup": "a < b"}}, 2, "Could not parse XML for n-2"),
        ({"n-2": {"startup": "x" * 257}}, 1, "Too Long"),
        ({"n-2": {"tarballs": ["http://x/k.tgz?a=1"]}}, 1, "Invalid tarfiles"),
        ({"n-2": {"tarballs": ["http://x/" + "y" * 510] * 2}}, 1, "Invalid tarfiles"),
        ({"n-2": {"diskimage": "x"}}, 1, "Malformed image URN"),
        ({"NODE-1": {}}, 1, "Duplicate node"),
        ({"n.2": {}}, 1, "client_id"),
        ({"n-2": {"node": "pc101"}, "n-3": {"node": "pc101"}}, 28, "pc101"),
        ({f"n-{number}": {} for number in range(2, 11)}, 26, "pc requested"),
    ],
)  # fmt: skip
def test_add_nodes_is_all_or_nothing(shared_sliver, wanted, code, words):
    """§3.7: the checks, in their order."""
    answer = shared_sliver.unlocked("AddNodes", nodes=wanted)
    assert (answer["code"], words in answer["output"]) == (code, True), answer
    is_argument = words.endswith("not a list") or words.startswith("No such")
    assert answer["output"].startswith("Malformed arguments: ") == is_argument
    assert list(held(shared_sliver.cloudlab)) == ["node-1"]
    manifest = shared_sliver.resolved()["manifest"]
    assert list(nodes(manifest)) == ["node-1"]
    assert list(shared_sliver.ok("SliverStatus")["details"]) == [nodes(manifest)["node-1"].get("sliver_id")]


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("AddNodes", {}, "Missing arguments"),
        ("AddNodes", {"nodes": ["n-2"]}, "nodes is not a hash"),
        ("DeleteNodes", {}, "Missing arguments"),
        ("DeleteNodes", {"nodes": {"n-2": {}}}, "nodes is not a list"),
    ],
)
def test_the_nodes_argument_has_to_be_of_its_kind(eva, method, params, words):
    """§3.7, §3.8."""
    eva.register()
    answer = eva.call(method, **params)
    assert (answer["code"], words in answer["output"]) == (1, True)
    right = {"AddNodes": {}, "DeleteNodes": []}[method]
    assert eva.call(method, nodes=right)["output"] == "No slice here"


def test_a_node_that_is_no_struct_and_a_slice_without_aggregate_are_faults(cloudlab, sliver):
    """§3.7 checks 7 and 4: no lock is left."""
    for wanted in ({"n-2": "pc101"}, {"n-2": []}):
        with pytest.raises(xmlrpc.client.Fault) as caught:
            sliver.unlocked("AddNodes", nodes=wanted)
        assert caught.value.faultCode == -32600
    sliver.ok("SliverStatus")
    cloudlab.cm(cloudlab.cms[0].urn).slices[sliver.slice_urn].aggregate = None
    for method, wanted in (("AddNodes", {"n-2": {}}), ("DeleteNodes", ["n-2"])):
        with pytest.raises(xmlrpc.client.Fault):
            sliver.call(method, nodes=wanted)
    with pytest.raises(xmlrpc.client.Fault):
        sliver.call("RenewSlice", valid_until="2031-05-04T18:00:00Z")
    assert sliver.call("RenewSlice", valid_until="2031-05-04T18:00:00Z")["code"] == 14


def test_no_nodes_at_all_is_a_success(sliver):
    """§3.7."""
    assert list(nodes(sliver.unlocked("AddNodes", nodes={})["value"])) == ["node-1"]


def test_nodes_added_under_a_prefixed_namespace_are_silently_not_seen(cloudlab, ada):
    """§3.7, the default-namespace rule."""
    prefixed = f'<r:rspec xmlns:r="{V3[1:-1]}" type="request"><r:node client_id="a"/></r:rspec>'
    ada.register().create(prefixed)
    manifest = ada.unlocked("AddNodes", nodes={"n-2": {}})["value"]
    assert 'client_id="n-2"' in manifest
    assert list(nodes(manifest)) == ["a"]
    assert list(held(cloudlab)) == ["a"]


def test_promised_machines_are_not_given_away(cloudlab, ada, rspec):
    """§3.2: free means not reserved in advance for another project."""
    cloudlab.promise("pc100", "other")
    ada.register().create(rspec("a"))
    assert held(cloudlab) == {"a": "pc101"}


# --- DeleteNodes


def test_an_unknown_name_deletes_nothing(sliver, cloudlab):
    """§3.8."""
    answer = sliver.unlocked("DeleteNodes", nodes=["node-1", "n-9"])
    assert (answer["code"], answer["output"]) == (1, "No such node n-9 in the topology!")
    assert list(held(cloudlab)) == ["node-1"]


def test_deleted_nodes_leave_their_links_and_duplicates_are_allowed(cloudlab, ada):
    """§3.8: the links stay even if empty."""
    ada.register().create(LAN_RSPEC)
    manifest = ada.unlocked("DeleteNodes", nodes=["a", "b", "a"])["value"]
    assert list(nodes(manifest)) == ["far"]
    link = ET.fromstring(manifest).find(f"{V3}link")
    assert link is not None
    assert link.findall(f"{V3}interface_ref") == []
    assert held(cloudlab) == {}
    status = ada.unlocked("SliverStatus")["value"]
    assert (status["state"], status["status"]) == ("stopped", "ready")


def test_a_deleted_machine_is_not_free_again_at_once(start, foreign):
    """§3.8: it goes through a reload first."""
    site = dataclasses.replace(DEFAULT_SITES[0], timing=Timing(reload=1e9))
    cloudlab = start(sites=(site,))
    ada = foreign(cloudlab).register()
    ada.create()
    ada.unlocked("DeleteNodes", nodes=["node-1"])
    machine = cloudlab.machines()[0]
    assert (machine.slice_urn, machine.available) == ("", False)
    answer = ada.unlocked("AddNodes", nodes={"n-2": {"node": "pc100"}})
    assert answer["output"] == "Physical node pc100 is not available"
