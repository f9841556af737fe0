from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from agent.cloudlab.credentials import parse_credential
from agent.cloudlab.rspec import escape_add_nodes, parse_advertisement, parse_manifest
from agent.core.model import Lan, LanPort
from agent.core.request.escaping import as_meant, escape
from agent.core.request.rspec import EMULAB, GENERATOR, RSPEC, RequestNode, build_request

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"
MANIFEST = """<?xml version="1.0" encoding="UTF-8"?>
<rspec xmlns="http://www.geni.net/resources/rspec/3"
       xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1"
       type="manifest" expires="2031-05-04T18:00:00Z">
  <!-- as protogeni.md shows it -->
  <node client_id="node-1" exclusive="true"
        component_id="urn:publicid:IDN+cluster.example.net+node+pc7"
        component_manager_id="urn:publicid:IDN+cluster.example.net+authority+cm"
        sliver_id="urn:publicid:IDN+cluster.example.net+sliver+4021">
    <sliver_type name="raw-pc"/>
    <services>
      <login authentication="ssh-keys" hostname="pc7.cluster.example.net" port="22" username="ada"/>
      <emulab:console server="boss.cluster.example.net"/>
    </services>
    <interface client_id="node-1:lan0" mac_address="02aabb001122"/>
    <emulab:vnode name="pc7" hardware_type="m510"/>
    <host name="node-1.myslice.labproj.cluster.example.net" ipv4="192.0.2.7"/>
  </node>
  <link client_id="lan0" vlantag="301" sliver_id="urn:publicid:IDN+cluster.example.net+sliver+4022"/>
  <link client_id="empty"/>
  <rs:site_info xmlns:rs="http://www.protogeni.net/resources/rspec/ext/site-info/1"/>
</rspec>"""


def node(attributes: str, inner: str = "") -> str:
    return (
        f'<rspec xmlns="http://www.geni.net/resources/rspec/3"><node {attributes}>{inner}</node>'
        f'<node client_id="good" sliver_id="s" component_id="urn:publicid:IDN+c.net+node+pc1"/></rspec>'
    )


def test_a_manifest_tells_what_we_hold() -> None:
    manifest = parse_manifest(MANIFEST, CM)
    assert manifest.expires == datetime(2031, 5, 4, 18, tzinfo=UTC)
    [machine] = manifest.nodes
    assert (machine.client_id, machine.node_id, machine.cm) == ("node-1", "pc7", CM)
    assert machine.sliver_id == "urn:publicid:IDN+cluster.example.net+sliver+4021"
    assert (machine.hardware_type, machine.address) == ("m510", "192.0.2.7")
    assert (machine.hostname, machine.username) == ("pc7.cluster.example.net", "ada")


@pytest.mark.parametrize(("user", "login"), [("ada", "ada"), ("bob", "bob"), ("eve", "bob"), ("", "bob")])
def test_of_several_logins_our_own_is_taken(user: str, login: str) -> None:
    bobs = '<login authentication="ssh-keys" hostname="pc7.cluster.example.net" username="bob"/>'
    shared = MANIFEST.replace("<services>", f"<services>{bobs}")
    assert parse_manifest(shared, CM, user).nodes[0].username == login


def test_prefixes_do_not_matter() -> None:
    odd = """<z:rspec xmlns:z="GENI">
      <node xmlns="GENI" client_id="a" sliver_id="urn:s1"
            component_id="urn:publicid:IDN+cluster.example.net+node+pc1">
        <rs:vnode xmlns:rs="EMULAB" name="pc1" hardware_type="d430"/>
        <rs:host xmlns:rs="EMULAB" name="x" ipv4="192.0.2.1"/>
        <q:services xmlns:q="GENI"><q:login hostname="h" username="u"/></q:services>
      </node>
      <node client_id="no-namespace" sliver_id="urn:s2"/>
      <emulab:node xmlns:emulab="EMULAB" client_id="other" sliver_id="s"/>
    </z:rspec>"""
    manifest = parse_manifest(odd.replace("GENI", RSPEC).replace("EMULAB", EMULAB), CM)
    assert manifest.expires is None
    [machine] = manifest.nodes
    assert (machine.client_id, machine.hardware_type, machine.address) == ("a", "d430", "192.0.2.1")
    assert (machine.hostname, machine.username) == ("h", "u")


def test_machines_of_another_cm_and_machines_not_allocated_are_left_out() -> None:
    elsewhere = 'component_manager_id="urn:publicid:IDN+other.net+authority+cm"'
    assert [
        n.client_id for n in parse_manifest(node(f'client_id="x" sliver_id="s" {elsewhere}'), CM).nodes
    ] == ["good"]
    assert [n.client_id for n in parse_manifest(node('client_id="x"'), CM).nodes] == ["good"]


def test_what_is_left_out_is_counted_if_it_is_at_this_cm() -> None:
    elsewhere = 'component_manager_id="urn:publicid:IDN+other.net+authority+cm"'
    assert parse_manifest(node(f'client_id="x" sliver_id="s" {elsewhere}'), CM).unread == 0
    assert parse_manifest(node('client_id="not-allocated"'), CM).unread == 1
    assert parse_manifest(node('client_id="$(reboot)" sliver_id="s"'), CM).unread == 1


@pytest.mark.parametrize("name", ["node.lan", "x" * 63, "_1"])
def test_others_may_have_names_that_we_may_not_give(name: str) -> None:
    read = parse_manifest(node(f'client_id="{name}" sliver_id="s"'), CM)
    assert ([n.client_id for n in read.nodes], read.unread) == ([name, "good"], 0)


def test_a_manifest_tells_what_wrote_its_request() -> None:
    assert parse_manifest(MANIFEST, CM).generator == ""
    ours = build_request([RequestNode("es-1")])
    assert parse_manifest(ours, CM).generator == GENERATOR


def test_a_machine_without_component_id_is_known_by_its_vnode() -> None:
    vnode = '<vnode xmlns="http://www.protogeni.net/resources/rspec/ext/emulab/1" name="pc9"/>'
    machine = parse_manifest(node('client_id="x" sliver_id="s"', vnode), CM).nodes[0]
    assert (machine.client_id, machine.node_id) == ("x", "pc9")


def test_bad_names_stop_at_the_door_and_cost_no_other_machine() -> None:
    bad_id = node('client_id="$(reboot)" sliver_id="s" component_id="urn:publicid:IDN+c.net+node+pc2"')
    assert [n.client_id for n in parse_manifest(bad_id, CM).nodes] == ["good"]
    inner = '<host ipv4="1.2.3.4; rm"/><services><login hostname="-oProxy=x" username="a b"/></services>'
    held = parse_manifest(
        node('client_id="x" sliver_id="s" component_id="urn:publicid:IDN+c.net+node+..%2F"', inner), CM
    )
    machine = held.nodes[0]
    assert (machine.client_id, machine.node_id) == ("x", "")
    assert (machine.address, machine.hostname, machine.username) == ("", "", "")
    assert held.nodes[1].node_id == "pc1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<rspec/>",
        "<html></html>",
        MANIFEST.replace("</rspec>", ""),
        '<!DOCTYPE rspec [<!ENTITY a SYSTEM "file:///etc/passwd">]><rspec xmlns="GENI">&a;</rspec>',
        "\ud800",
    ],
)
def test_what_is_no_rspec_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"RSpec|XML"):
        parse_manifest(text, CM)


def advertisement(namespace: str) -> str:
    def machine(name: str, attributes: str, inner: str) -> str:
        return (
            f'<node component_name="{name}" component_id="urn:publicid:IDN+cluster.example.net+node+{name}" '
            f'component_manager_id="{CM}" {attributes}>{inner}</node>'
        )

    whole, raw, free = 'exclusive="true"', '<sliver_type name="raw-pc"/>', '<available now="true"/>'
    return (
        f'<r:rspec xmlns:r="{namespace}" xmlns="{namespace}" type="advertisement">'
        + machine("pc7", whole, f'<hardware_type name="pc"/><hardware_type name="m510"/>{raw}{free}')
        + machine("pc8", whole, f'<hardware_type name="m510"/>{raw}<available now="false"/>')
        + machine("vhost", 'exclusive="false"', f'{raw}<sliver_type name="emulab-xen"/>{free}')
        + machine("switch", whole, f'<hardware_type name="switch"/>{free}')
        + machine("bad name", whole, f"{raw}{free}")
        + "</r:rspec>"
    )


@pytest.mark.parametrize(
    "namespace", ["http://www.geni.net/resources/rspec/3", "http://www.protogeni.net/resources/rspec/2"]
)
def test_an_advertisement_tells_which_machines_can_be_borrowed_whole(namespace: str) -> None:
    nodes = parse_advertisement(advertisement(namespace), CM)
    assert [(n.node_id, n.hardware_types, n.available) for n in nodes] == [
        ("pc7", ("pc", "m510"), True),
        ("pc8", ("m510",), False),
    ]


def test_add_nodes_is_escaped_for_a_server_that_pastes() -> None:
    ready = escape_add_nodes(
        {
            "n-4": {
                "node": "pc12",
                "diskimage": "https://x.net/i?a=1&b='2'",
                "startup": "test 'a' < b && c",
                "tarballs": ["https://files.example.net/k.tgz"],
                "lans": ["lan0"],
            }
        }
    )
    assert ready["n-4"] == {
        "node": "pc12",
        "diskimage": "https://x.net/i?a=1&amp;b=&apos;2&apos;",
        "startup": "test &apos;a&apos; &lt; b &amp;&amp; c",
        "tarballs": ["https://files.example.net/k.tgz"],
        "lans": ["lan0"],
    }


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=255))
def test_a_startup_reads_as_it_was_meant_whether_the_helper_escaped_it_or_not(startup: str) -> None:
    for given_text in (as_meant(startup), escape(startup)):
        sent = escape_add_nodes({"n": {"startup": given_text}})["n"]["startup"]
        assert etree.fromstring(f"<execute command='{sent}'/>").get("command") == startup


def test_what_a_helper_escaped_itself_is_not_escaped_twice() -> None:
    fields = {"startup": "test &apos;a&apos; &lt; b &amp;&amp; c", "diskimage": "https://x.net/i?a=1&amp;b=2"}
    assert escape_add_nodes({"n": fields})["n"] == fields


def test_what_is_sent_of_an_escaped_startup_is_as_long_as_what_was_meant() -> None:
    assert escape_add_nodes({"n": {"startup": "&quot;" * 255}})["n"]["startup"] == '"' * 255
    for startup in ("&amp;" * 256, "a&#10;b"):
        with pytest.raises(ValueError, match="at most 255 printable ASCII characters in one line"):
            escape_add_nodes({"n": {"startup": startup}})


def test_a_tarball_is_sent_with_its_path_only_where_it_is_unpacked_elsewhere() -> None:
    url = "https://files.example.net/k.tgz"
    sent = escape_add_nodes({"n": {"tarballs": [url, (url, "/"), [url, "/opt/k"]]}})
    assert sent["n"]["tarballs"] == [url, url, [url, "/opt/k"]]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"a.b": {}}, "'a.b' is not a client_id"),
        ({"x" * 33: {}}, "is not a client_id"),
        ({"N": {}, "n": {}}, "differ only in case"),
        ({"n": {"node": "pc 7"}}, r"nodes\['n'\]\.node: 'pc 7' is not a node_id"),
        ({"n": {"node": None}}, r"nodes\['n'\]\.node: expected a node_id, not 'None'"),
        ({"n": {"startup": "x" * 256}}, r"startup: expected at most 255 printable"),
        ({"n": {"startup": "a\nb"}}, "in one line"),
        ({"n": {"startup": "caf\xe9"}}, "printable ASCII"),
        ({"n": {"diskimage": "a b"}}, "without blanks"),
        ({"n": {"tarballs": "https://x"}}, "a list of URLs"),
        ({"n": {"tarballs": ["https://x/?a=1"]}}, "has a character"),
        ({"n": {"tarballs": [["https://x", "opt"]]}}, r"nodes\['n'\]\.tarballs: 'opt' is not an absolute"),
        ({"n": {"tarballs": [["https://x"]]}}, "a URL or a pair of URL and path is expected"),
        ({"n": {"tarballs": ["https://x/" + "y" * 600] * 2}}, "at most 1024 fit"),
        ({"n": {"tarballs": ["https://x/" + "y" * 500] * 2}}, "take 1025 characters"),
        ({"n": {"lans": ["l n"]}}, "is not a client_id"),
        ({"n": {"interfaces": 2}}, "no such field; there are node, hardware_type, diskimage"),
    ],
)
def test_what_the_server_would_refuse_is_refused_here(
    nodes: dict[str, dict[str, object]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        escape_add_nodes(nodes)


def test_a_credential_is_read_and_kept_byte_for_byte(credential_text: object) -> None:
    assert callable(credential_text)
    text = credential_text()
    credential = parse_credential(text)
    assert credential.text is text
    assert credential.target_urn == "urn:publicid:IDN+example.net+slice+myslice"
    assert credential.owner_urn == "urn:publicid:IDN+example.net+user+ada"
    assert credential.expires == datetime(2031, 5, 4, 18, tzinfo=UTC)
    assert "signed" not in repr(credential)


@pytest.mark.parametrize(
    "text",
    [
        0,
        "",
        "<credential/>",
        "<signed-credential/>",
        (
            "<signed-credential><credential><target_urn>t</target_urn><owner_urn>o</owner_urn>"
            "<expires>soon</expires></credential></signed-credential>"
        ),
        '<!DOCTYPE a [<!ENTITY b "c">]><signed-credential/>',
    ],
)
def test_what_is_no_credential_is_a_value_error(text: object) -> None:
    with pytest.raises(ValueError, match=r"credential|time such as|DTDForbidden"):
        parse_credential(text)


LINKED = """<rspec xmlns="GENI" type="manifest">
  <node client_id="ctl" sliver_id="s1" component_id="urn:publicid:IDN+cluster.example.net+node+pc1">
    <interface client_id="ctl:eth1" mac_address="02aabb001122">
      <ip address="fe80::1" type="ipv6"/><ip address="10.10.1.1" netmask="255.255.255.0" type="ipv4"/>
    </interface>
    <interface client_id="ctl:eth2"><ip address="10.10.2.1" type="ipv4"/></interface>
  </node>
  <node client_id="far" component_manager_id="urn:publicid:IDN+other.net+authority+cm" sliver_id="s2">
    <interface client_id="far:eth1" mac_address="no mac"><ip address="here" netmask="0.0.0.255"/></interface>
  </node>
  <link client_id="lan-0"><interface_ref client_id="ctl:eth1"/><interface_ref client_id="far:eth1"/></link>
  <link client_id="lan-1"><interface_ref client_id="ctl:eth2"/><interface_ref client_id="gone:eth1"/></link>
  <link client_id="empty"/>
</rspec>""".replace("GENI", RSPEC)


def test_a_manifest_tells_who_is_on_which_lan_also_of_machines_that_are_left_out() -> None:
    manifest = parse_manifest(LINKED, CM)
    first, second = (
        LanPort("lan-0", "10.10.1.1", "255.255.255.0", "02aabb001122"),
        LanPort("lan-1", "10.10.2.1"),
    )
    assert manifest.lans == (Lan("lan-0", (first, LanPort("lan-0"))), Lan("lan-1", (second,)), Lan("empty"))
    assert [(node.client_id, node.lans) for node in manifest.nodes] == [("ctl", (first, second))]


def test_lans_with_addresses_are_passed_on_as_the_server_takes_them() -> None:
    struct = {"name": "lan-0", "address": "10.10.1.7", "netmask": "255.255.255.0"}
    ready = escape_add_nodes(
        {"n": {"lans": [struct, {**struct, "type": "ipv4"}, {"name": "lan-1"}, "lan-2"]}}
    )
    assert ready["n"]["lans"] == [struct, struct, "lan-1", "lan-2"]


@pytest.mark.parametrize(
    ("lan", "message"),
    [
        ({"address": "10.0.0.1", "netmask": "255.0.0.0"}, "'' is not a client_id"),
        (
            {"name": "a", "address": "10.0.0.1"},
            "a netmask such as 255.255.255.0 is expected.*'10.0.0.1' and ''",
        ),
        ({"name": "a", "netmask": "255.0.0.0"}, "an IPv4 address with"),
        ({"name": "a", "address": "10.0.0.1'/>", "netmask": "255.0.0.0"}, "an IPv4 address with"),
        ({"name": "a", "address": "10.0.0.1", "netmask": "0.0.0.255"}, "such as 255.255.255.0"),
        ({"name": "a", "address": "10.0.0.1", "netmask": "24"}, "such as 255.255.255.0"),
        ({"name": "a", "address": "10.0.0.1", "netmask": "255.0.0.0", "type": "ipv6"}, "of type ipv4"),
        ({"name": "a", "mask": "255.0.0.0"}, "'mask' in .*: name, address, netmask and type are expected"),
    ],
)
def test_a_lan_with_an_address_that_the_server_would_refuse_is_refused_here(
    lan: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"nodes\['n'\]\.lans: .*{message}"):
        escape_add_nodes({"n": {"lans": [lan]}})
