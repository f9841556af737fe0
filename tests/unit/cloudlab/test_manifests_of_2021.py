"""Documents as servers of 2021 and 2025 write them: what is new does no harm, and what counts is read."""

import pytest
from lxml import etree

from agent.cloudlab.rspec import parse_advertisement, parse_manifest
from agent.core.model import Lan, LanPort

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"
OTHER = "urn:publicid:IDN+other.example.net+authority+cm"
HEAD = """<rspec xmlns="http://www.geni.net/resources/rspec/3"
  xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1"
  xmlns:tour="http://www.protogeni.net/resources/rspec/ext/apt-tour/1"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="manifest" expires="2031-05-04T18:00:00Z"
  xsi:schemaLocation="http://www.geni.net/resources/rspec/3 http://www.geni.net/resources/rspec/3/manifest.xsd">
"""
PORTAL = """  <emulab:portal name="cloudlab" url="https://www.cloudlab.us/status.php?uuid=1" project="labproj"
    experiment="exp" sequence="{}"/>
"""
NODE = """  <node client_id="{name}" exclusive="true"
    component_id="urn:publicid:IDN+cluster.example.net+node+pc{number}"
    component_manager_id="{cm}" sliver_id="urn:publicid:IDN+cluster.example.net+sliver+40{number}">
    <sliver_type name="raw-pc"/>
    <services>
      <emulab:console server="boss.cluster.example.net"/>
      <emulab:recovery available="true"/><emulab:powercycle available="true"/>
      <emulab:imageable available="true"/><emulab:flashable available="false"/>
{logins}
      <execute shell="/bin/sh" command="true"/>
    </services>
    <interface client_id="{name}:if0" mac_address="02aabb0011{number:02}">
      <ip address="10.10.1.{number}" type="ipv4" netmask="255.255.255.0"/>
    </interface>
    <emulab:vnode name="pc{number}" hardware_type="m510"{image}/>
    <host name="{name}.exp.labproj.cluster.example.net" ipv4="192.0.2.{number}"/>
  </node>
"""
LOGIN = '      <login authentication="ssh-keys" hostname="pc{}.cluster.example.net" port="22" username="{}"/>'
TAIL = """  <emulab:vhost name="vhost-0" hardware_type="d430"
    component_id="urn:publicid:IDN+cluster.example.net+node+pc99">
    <emulab:vm client_id="vm-1"/>
  </emulab:vhost>
  <link client_id="lan-0" sliver_id="urn:publicid:IDN+cluster.example.net+sliver+4999" vlantag="301">
    <interface_ref client_id="n-1:if0"/><interface_ref client_id="n-2:if0"/>
    <emulab:switchpath>procurve1;procurve2</emulab:switchpath>
  </link>
</rspec>"""


def manifest(logins: str, *, booted: bool = False, sequence: int = 1) -> str:
    image = ' disk_image="urn:publicid:IDN+cluster.example.net+image+emulab-ops:UBUNTU22"' if booted else ""
    nodes = [
        NODE.format(
            name=f"n-{n}",
            number=n,
            cm=CM,
            image=image,
            logins="\n".join(LOGIN.format(n, user) for user in logins.split()),
        )
        for n in (1, 2)
    ]
    return HEAD + PORTAL.format(sequence) + "".join(nodes) + TAIL


def test_the_machines_of_a_portals_slice_are_read_and_its_hosts_are_none() -> None:
    read = parse_manifest(manifest("ada bob"), CM, "ada")
    assert [(n.client_id, n.node_id, n.hardware_type, n.address) for n in read.nodes] == [
        ("n-1", "pc1", "m510", "192.0.2.1"),
        ("n-2", "pc2", "m510", "192.0.2.2"),
    ]
    assert [(n.username, n.hostname) for n in read.nodes] == [
        ("ada", "pc1.cluster.example.net"),
        ("ada", "pc2.cluster.example.net"),
    ]
    assert (read.unread, read.knows_types, read.generator) == (0, True, "")
    ports = (
        LanPort("lan-0", "10.10.1.1", "255.255.255.0", "02aabb001101"),
        LanPort("lan-0", "10.10.1.2", "255.255.255.0", "02aabb001102"),
    )
    assert read.lans == (Lan("lan-0", ports),)


@pytest.mark.parametrize("logins", ["ada bob eve", "eve ada bob", "bob eve ada"])
def test_our_own_login_is_taken_in_whatever_order_those_of_the_project_come(logins: str) -> None:
    for node in parse_manifest(manifest(logins), CM, "ada").nodes:
        assert (node.username, node.hostname) == ("ada", f"{node.node_id}.cluster.example.net")


def test_a_machine_is_the_same_after_its_boot_a_modify_and_another_order_of_logins() -> None:
    before = parse_manifest(manifest("ada bob"), CM, "ada")
    after = parse_manifest(manifest("bob eve ada", booted=True, sequence=7), CM, "ada")
    assert [n.key for n in after.nodes] == [n.key for n in before.nodes]
    assert after.nodes == before.nodes


def test_without_logins_there_is_nobody_to_log_in_as() -> None:
    node, _ = parse_manifest(manifest(""), CM, "ada").nodes
    assert (node.username, node.hostname, node.address) == ("", "", "192.0.2.1")


def test_what_the_server_wrote_is_one_document() -> None:
    assert etree.fromstring(manifest("ada").encode()).get("type") == "manifest"


ADVERTISED = """<rspec xmlns="http://www.geni.net/resources/rspec/3"
  xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1" type="advertisement">
  <node component_id="urn:publicid:IDN+cluster.example.net+node+pc1" component_manager_id="{cm}"
    exclusive="true">
    {types}
    <sliver_type name="raw-pc"/><sliver_type name="emulab-docker"/><available now="true"/>
  </node>
  <node component_id="urn:publicid:IDN+cluster.example.net+node+pcshared1" component_manager_id="{cm}"
    exclusive="false"><hardware_type name="x86_64"/><hardware_type name="pc"/><sliver_type name="emulab-xen"/>
    <available now="true"/></node>
  <emulab:reservable_types>
    <emulab:reservable_type name="m510" architecture="x86_64" disksize="256"/>
  </emulab:reservable_types>
  <emulab:reservable_nodes><emulab:reservable_node name="pc1"/></emulab:reservable_nodes>
</rspec>"""


@pytest.mark.parametrize(
    "names",
    ["m510 x86_64 pc firewall delay pcvm m510-vm", "m510 pc", "pc m510"],
    ids=["2021", "2016", "mixed"],
)
def test_a_machine_is_of_each_type_that_is_listed_in_whatever_order(names: str) -> None:
    types = "".join(f'<hardware_type name="{name}"/>' for name in names.split())
    (machine,) = parse_advertisement(ADVERTISED.format(cm=CM, types=types), CM)
    assert (machine.node_id, machine.available) == ("pc1", True)
    assert set(machine.hardware_types) == set(names.split())
    assert parse_advertisement(ADVERTISED.format(cm=OTHER, types=types), CM) == ()
