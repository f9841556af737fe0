"""Request RSpecs as sites and the portal write them."""

from __future__ import annotations

import pytest
from lxml import etree

from agent.core.errors import ConfigError
from agent.core.request.document import Execute, parse_document
from agent.core.request.rspec import EMULAB, GENERATOR, RSPEC, request_client_ids
from agent.core.request.tarballs import Tarball

IMAGE = "urn:publicid:IDN+example.net+image+lab:worker"
CM = "urn:publicid:IDN+example.net+authority+cm"
CLUSTER = f"""
<rspec xmlns="{RSPEC}" xmlns:emulab="{EMULAB}" xmlns:jacks="http://www.protogeni.net/resources/rspec/ext/jacks/1"
       type="request">
  <!-- drawn in the portal -->
  <rspec_tour xmlns="http://www.protogeni.net/resources/rspec/ext/apt-tour/1">
    <description type="markdown">Head — NFS</description>
  </rspec_tour>
  <link client_id="lan-0"><interface_ref client_id="nfs:eth1"/><interface_ref client_id="cp-1:eth1"/>
    <link_type name="lan"/><emulab:vlan_tagging enabled="true"/></link>
  <link client_id="three"><interface_ref client_id="nfs:eth2"/><interface_ref client_id="cp-1:eth2"/>
    <interface_ref client_id="vm:eth0"/></link>
  <link client_id="cable"><interface_ref client_id="nfs:eth3"/><interface_ref client_id="cp-1:eth3"/></link>
  <link client_id="data"><interface_ref client_id="nfs:eth4"/><interface_ref client_id="store:if0"/>
    <link_type name="lan"/></link>
  <node client_id="nfs" exclusive="true">
    <sliver_type name="raw"><disk_image name="{IMAGE}"/></sliver_type>
    <interface client_id="nfs:eth1"><ip address="10.10.1.1" netmask="255.255.255.0" type="ipv4"/></interface>
    <interface client_id="nfs:eth2"/><interface client_id="nfs:eth3"/><interface client_id="nfs:eth4"/>
    <emulab:blockstore name="bs" mountpoint="/nfs" class="local" size="200GB" placement="any"/>
  </node>
  <node client_id="store"><sliver_type name="emulab-blockstore"/><interface client_id="store:if0"/></node>
  <node client_id="vm"><sliver_type name="emulab-xen"/><interface client_id="vm:eth0"/></node>
  <node client_id="cp-1" component_manager_id="{CM}">
    <sliver_type name="raw-pc"><disk_image url="https://f.example.net/image"/></sliver_type>
    <hardware_type name="m510"/>
    <services>
      <install url="https://f.example.net/a.tgz" install_path="/opt"/>
      <execute shell="/bin/bash" command="one &gt; /tmp/log"/><execute command="two"/><execute command=""/>
    </services>
    <interface client_id="cp-1:eth1"/><interface client_id="cp-1:eth2"/><interface client_id="cp-1:eth3"/>
    <jacks:site id="Site 1"/>
  </node>
  <emulab:password name="adminPass"/>
  <data_set xmlns="http://www.protogeni.net/resources/rspec/ext/profile-parameters/1">
    <data_item name="emulab.net.parameter.count">1</data_item>
    <data_list name="emulab.net.parameter.disks"/>
  </data_set>
</rspec>
"""


def node(name, text=CLUSTER):
    return next(each for each in parse_document(text).nodes if each.client_id == name)


def meaning(text):
    """All elements with names, attributes and words, whatever the prefixes are, and but for our mark."""
    root = etree.fromstring(text.encode(), etree.XMLParser(remove_comments=True))
    root.attrib.pop("generated_by", None)
    return [(e.tag, sorted(e.attrib.items()), (e.text or "").strip()) for e in root.iter()]


def test_nodes_have_what_the_document_says():
    worker = node("cp-1")
    assert (worker.cm, worker.image, worker.hardware_type) == (CM, "https://f.example.net/image", "m510")
    assert worker.installs == (Tarball("https://f.example.net/a.tgz", "/opt"),)
    assert worker.executes == (Execute("one > /tmp/log", "/bin/bash"), Execute("two", "sh"))
    assert node("nfs").blockstores == ("/nfs",)


def test_a_raw_pc_is_a_machine_and_nothing_else_is():
    document = parse_document(CLUSTER)
    assert [each.client_id for each in document.machines] == ["nfs", "cp-1"]
    assert (node("store").kind, node("vm").kind) == ("emulab-blockstore", "emulab-xen")
    assert request_client_ids(CLUSTER, CM) == ("nfs", "cp-1")


def test_a_link_of_two_or_to_a_block_store_is_no_lan():
    assert (node("cp-1").lans, node("cp-1").cables) == (("lan-0",), ("three", "cable"))
    assert node("nfs").cables == ("three", "cable", "data")


def test_a_link_of_three_machines_is_a_lan_though_it_does_not_say_so():
    text = CLUSTER.replace('"emulab-xen"', '"raw"')
    assert node("cp-1", text).lans == ("lan-0", "three")


def test_a_link_of_another_kind_is_no_lan_however_many_are_on_it():
    tagged = CLUSTER.replace('vm:eth0"/></link>', 'vm:eth0"/><link_type name="vlan"/></link>')
    assert node("cp-1", tagged).lans == ("lan-0",)
    assert node("cp-1", tagged).cables == ("three", "cable")


def test_what_a_node_does_not_say_is_what_a_cm_makes_of_it():
    bare = CLUSTER.replace(' install_path="/opt"', "").replace(' mountpoint="/nfs"', "")
    assert node("cp-1", bare).installs == (Tarball("https://f.example.net/a.tgz", "/"),)
    assert node("nfs", bare).blockstores == ("bs",)
    assert node("nfs", bare.replace(' name="bs"', "")).blockstores == ("",)


def test_the_parameters_of_a_profile_are_known_by_their_own_names():
    assert parse_document(CLUSTER).parameters == {"count", "disks"}


def test_what_no_cm_takes_is_written_otherwise_and_means_the_same():
    text = parse_document(CLUSTER).text
    assert text.isascii()
    assert meaning(text) == meaning(CLUSTER)


def test_the_manifest_will_tell_that_the_request_was_ours():
    assert etree.fromstring(parse_document(CLUSTER).text).get("generated_by") == GENERATOR


def test_what_stands_before_the_document_does_not_matter():
    text = '\ufeff \n<?xml version="1.0" encoding="UTF-8"?>' + CLUSTER
    assert parse_document(text).text == parse_document(CLUSTER).text


PREFIXED = f"""
<g:rspec xmlns:g="{RSPEC}" xmlns:emulab="{EMULAB}" type="request">
  <tour xmlns="http://www.protogeni.net/resources/rspec/ext/apt-tour/1"><steps>one &amp; two</steps></tour>
  <g:node client_id="cp-1" emulab:note="x">
    <!-- a worker --><g:services><g:execute shell="sh" command="one"/></g:services><emulab:rootkey/>
  </g:node>
</g:rspec>
"""


def test_the_namespace_becomes_the_default_one_where_it_has_a_prefix():
    document = parse_document(PREFIXED)
    assert [each.executes for each in document.machines] == [(Execute("one", "sh"),)]
    root = etree.fromstring(document.text.encode())
    assert {e.prefix for e in root.iter(f"{{{RSPEC}}}*")} == {None}
    assert meaning(document.text) == meaning(PREFIXED)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<rspec", "not well formed"),
        ("", "not well formed"),
        ("<rspec/>", "namespace"),
        (CLUSTER.replace(' client_id="cp-1"', ""), "without a client_id"),
        (
            CLUSTER.replace('type="request"', 'type="manifest"'),
            "is a manifest.*request of its profile is expected",
        ),
    ],
)
def test_what_is_no_request_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_document(text)
