"""LANs as servers of 2016 and of 2021 have them (protogeni.md §3.7, protogeni-2021.md §3.4, §4)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from testbed.cloudlab.documents.manifest import cards
from testbed.cloudlab.documents.rspec import parse_xml

V3 = "{http://www.geni.net/resources/rspec/3}"
OLD, NEW = 0, 1
MASK = "255.255.255.0"
ALL_OR_NONE = "lan0: Must supply IP/MASK on all members, or no members"


def lan_request(cm, *members):
    """Write a request for machines in a LAN; each member is a client_id with what its interface says."""
    nodes = "".join(
        f'<node client_id="{name}" component_manager_id="{cm}"><interface client_id="{name}:lan0">{ip}'
        "</interface></node>"
        for name, ip in members
    )
    references = "".join(f'<interface_ref client_id="{name}:lan0"/>' for name, _ in members)
    return (
        f'<rspec xmlns="{V3[1:-1]}" type="request">{nodes}'
        f'<link client_id="lan0">{references}<link_type name="lan"/></link></rspec>'
    )


@pytest.fixture
def with_lan(ada, cloudlab):
    """Make a slice with machines a and b in a LAN at a site; return the answer."""

    def make(site, *members):
        request = lan_request(cloudlab.cms[site].urn, *(members or (("a", ""), ("b", ""))))
        return ada.register().call("CreateSliver", site, rspec=request)

    return make


def ips(manifest):
    """Return interface -> its address and what else is told of it."""
    return {
        interface.get("client_id"): [dict(ip.attrib) for ip in interface.iter(f"{V3}ip")]
        for interface in ET.fromstring(manifest).iter(f"{V3}interface")
    }


def ip(address, **more):
    return " ".join([f'<ip address="{address}"', *(f'{key}="{value}"' for key, value in more.items()), "/>"])


def test_the_newer_server_tells_the_netmask_of_each_address(with_lan):
    """§3.4."""
    _, manifest = with_lan(NEW)["value"]
    assert ips(manifest)["b:lan0"] == [{"address": "10.10.1.2", "type": "ipv4", "netmask": MASK}]
    _, manifest = with_lan(OLD)["value"]
    assert ips(manifest)["b:lan0"] == [{"address": "10.10.1.2", "type": "ipv4"}]


def test_the_newer_server_takes_a_machine_into_a_lan_with_address_and_mask_alone(with_lan, ada):
    """§3.4: all members have an address, or none."""
    with_lan(NEW)

    def add(lan):
        answer = ada.unlocked("AddNodes", NEW, nodes={"c": {"lans": [lan]}})
        return answer["code"], answer["value"] or answer["output"]

    assert add("lan0") == (1, ALL_OR_NONE)
    assert add({"name": "lan0"}) == (1, ALL_OR_NONE)
    no_mask = {"name": "lan0", "address": "10.10.1.9"}
    assert add(no_mask) == (1, "lan0:c must provide a netmask if you specify an IP address")
    assert add({**no_mask, "name": "lan9"}) == (1, "Malformed arguments: No such lan9")
    code, manifest = add({**no_mask, "netmask": MASK})
    assert code == 0
    assert ips(manifest)["c:lan0"] == [{"address": "10.10.1.9", "netmask": MASK, "type": "ipv4"}]


def test_the_older_server_takes_names_and_chooses_the_address(with_lan, ada):
    """§3.3, §3.4."""
    with_lan(OLD)
    struct = {"name": "lan0", "address": "10.10.1.9", "netmask": MASK}
    answer = ada.unlocked("AddNodes", OLD, nodes={"c": {"lans": [struct]}})
    assert (answer["code"], answer["output"]) == (1, "Malformed arguments: No such HASH(0x55d0c8a1)")
    manifest = ada.unlocked("AddNodes", OLD, nodes={"c": {"lans": ["lan0"]}})["value"]
    assert ips(manifest)["c:lan0"] == [{"address": "10.10.1.3", "type": "ipv4"}]


def test_a_request_has_all_addresses_or_none_at_the_newer_server(with_lan):
    """§3.4."""
    with_mask = ip("10.1.0.1", netmask=MASK)
    assert with_lan(NEW, ("a", with_mask), ("b", ""))["output"] == ALL_OR_NONE
    assert with_lan(NEW, ("a", ip("10.1.0.1")), ("b", ""))["code"] == 1
    assert with_lan(OLD, ("a", with_mask), ("b", ""))["code"] == 0
    _, manifest = with_lan(NEW, ("a", with_mask), ("b", ip("10.1.0.2", netmask=MASK)))["value"]
    assert [told["address"] for [told] in ips(manifest).values()] == ["10.1.0.1", "10.1.0.2"]


def test_a_lan_that_one_machine_is_left_in_goes_at_the_newer_server(with_lan, ada):
    """protogeni-2021.md §4."""
    with_lan(NEW)
    manifest = ada.unlocked("DeleteNodes", NEW, nodes=["b"])["value"]
    assert (ips(manifest), "<link" in manifest) == ({}, False)
    answer = ada.unlocked("AddNodes", NEW, nodes={"c": {"lans": ["lan0"]}})
    assert (answer["code"], answer["output"]) == (1, "Malformed arguments: No such lan0")


def test_a_machine_has_a_card_for_each_link_in_which_it_has_an_address():
    node = (
        '<node client_id="a"><interface client_id="a:0" mac_address="0201de0003e8">{}</interface></node>'
        '<node client_id="b"><interface client_id="b:0" mac_address="0201de0003e9"/></node>'
    ).format(ip("10.1.0.1", netmask="255.255.0.0"))
    link = '<link client_id="l" sliver_id="urn:l"><interface_ref client_id="a:0"/></link>'
    root = parse_xml(f'<rspec xmlns="{V3[1:-1]}">{node}{link}</rspec>')
    [card] = cards(root, "a")
    assert (card.lan, card.address, card.mac) == ("urn:l", "10.1.0.1/16", "02:01:de:00:03:e8")
    assert cards(root, "b") == ()
    assert cards(parse_xml(f'<rspec xmlns="{V3[1:-1]}">{node}</rspec>'), "a") == ()
