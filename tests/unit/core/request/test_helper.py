"""Requests, names and plugged-in helpers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from agent.core.errors import ConfigError, UnreachableError
from agent.core.model import Sliver, SliverNode
from agent.core.request.helper import (
    ADDED_CLIENT_ID,
    ElasticSliceHelper,
    PluginElasticSliceHelper,
    SimpleElasticSliceHelper,
)
from agent.core.request.rspec import EMULAB, RSPEC, request_client_ids

CM = "urn:publicid:IDN+utah.example.net+authority+cm"
NS = {"r": RSPEC, "e": EMULAB}
IMAGE = "urn:publicid:IDN+example.net+image+lab:worker"


def request(**kwargs):
    return etree.fromstring(SimpleElasticSliceHelper(**kwargs).create_rspec().encode())


# --- the request


def test_a_request_names_raw_pcs_in_the_default_namespace():
    text = SimpleElasticSliceHelper(num_pcs=2).create_rspec()
    root = etree.fromstring(text.encode())
    assert root.tag == f"{{{RSPEC}}}rspec"
    assert root.prefix is None
    assert root.get("type") == "request"
    assert [n.get("client_id") for n in root.findall("r:node", NS)] == ["node-1", "node-2"]
    assert {n.get("exclusive") for n in root.findall("r:node", NS)} == {"true"}
    assert {n.get("name") for n in root.findall("r:node/r:sliver_type", NS)} == {"raw-pc"}
    assert root.findall("r:node/r:services", NS) == []


def test_image_type_tarballs_and_startup_are_in_the_request():
    root = request(
        image_urn=IMAGE,
        nodetype="m510",
        tarballs=["https://f.example.net/a.tgz", "https://f.example.net/b.tgz"],
        startup_command="/local/setup.sh 'x' && true <&1",
        node_prefix="worker",
    )
    node = root.find("r:node", NS)
    assert node.get("client_id") == "worker-1"
    assert node.find("r:sliver_type/r:disk_image", NS).get("name") == IMAGE
    assert node.find("r:hardware_type", NS).get("name") == "m510"
    installs = node.findall("r:services/r:install", NS)
    assert [i.get("url") for i in installs] == ["https://f.example.net/a.tgz", "https://f.example.net/b.tgz"]
    assert {i.get("install_path") for i in installs} == {"/"}
    assert node.find("r:services/r:execute", NS).get("command") == "/local/setup.sh 'x' && true <&1"


def test_a_startup_command_that_was_escaped_for_addnodes_is_in_the_request_as_it_is_meant():
    helper = SimpleElasticSliceHelper(
        startup_command="a &amp;&amp; &apos;b&apos;", image_urn="https://i?a&amp;b"
    )
    node = etree.fromstring(helper.create_rspec().encode()).find("r:node", NS)
    assert node.find("r:services/r:execute", NS).get("command") == "a && 'b'"
    assert node.find("r:sliver_type/r:disk_image", NS).get("name") == "https://i?a&b"
    assert helper.get_add_args()["node-2"]["startup"] == "a &amp;&amp; &apos;b&apos;"


def test_a_tarball_may_be_unpacked_elsewhere():
    helper = SimpleElasticSliceHelper(tarballs=["https://f/a.tgz", ("https://f/b.tgz", "/opt")])
    installs = etree.fromstring(helper.create_rspec().encode()).findall("r:node/r:services/r:install", NS)
    assert [dict(each.attrib) for each in installs] == [
        {"url": "https://f/a.tgz", "install_path": "/"},
        {"url": "https://f/b.tgz", "install_path": "/opt"},
    ]
    assert helper.get_add_args()["node-2"]["tarballs"] == ["https://f/a.tgz", ("https://f/b.tgz", "/opt")]


def test_every_machine_is_in_every_lan():
    root = request(num_pcs=2, num_lans=2, lan_prefix="net")
    assert [link.get("client_id") for link in root.findall("r:link", NS)] == ["net0", "net1"]
    declared = [i.get("client_id") for i in root.findall("r:node/r:interface", NS)]
    used = [i.get("client_id") for i in root.findall("r:link/r:interface_ref", NS)]
    assert sorted(declared) == sorted(used) == ["node-1:net0", "node-1:net1", "node-2:net0", "node-2:net1"]
    assert {t.get("name") for t in root.findall("r:link/r:link_type", NS)} == {"lan"}


@pytest.mark.parametrize("multiplex", [True, False])
def test_lans_share_interfaces_only_when_multiplexed(multiplex):
    root = request(num_lans=1, multiplex_lans=multiplex)
    for tag in ("link_multiplexing", "vlan_tagging", "best_effort"):
        assert len(root.findall(f"r:link/e:{tag}[@enabled='true']", NS)) == int(multiplex)


def test_the_machines_of_a_request_at_one_cm_can_be_listed():
    rspec = f"""<x:rspec xmlns:x="{RSPEC}" type="request"><x:node client_id="a"/>
      <x:node client_id="b" component_manager_id="{CM}"/>
      <x:node client_id="c" component_manager_id="urn:other"/></x:rspec>"""
    assert request_client_ids(rspec, CM) == ("a", "b")


@pytest.mark.parametrize(
    "rspec",
    ["", "<rspec", "<rspec/>", f'<rspec xmlns="{RSPEC}"><node/></rspec>', f'<node xmlns="{RSPEC}"/>'],
)
def test_what_is_no_request_is_refused(rspec):
    with pytest.raises(ConfigError, match="RSpec"):
        request_client_ids(rspec, CM)


# --- machines to add


def test_arguments_have_only_what_was_given():
    assert SimpleElasticSliceHelper().get_add_args() == {"node-1": {}}
    helper = SimpleElasticSliceHelper(
        image_urn=IMAGE, num_lans=1, tarballs=["https://f/a.tgz"], startup_command="true", nodetype="m510"
    )
    fields = {"diskimage": IMAGE, "startup": "true", "tarballs": ["https://f/a.tgz"], "lans": ["lan0"]}
    assert helper.get_add_args(2) == {"node-1": fields, "node-2": fields}


NAMES = st.one_of(
    st.from_regex(r"(?i:node)-[0-9]{1,4}", fullmatch=True),
    st.from_regex(r"[-A-Za-z0-9_]{1,32}", fullmatch=True),
    st.text(max_size=12),
)


@given(rounds=st.lists(st.tuples(st.lists(NAMES, max_size=5), st.integers(0, 4)), max_size=6))
def test_no_name_is_ever_given_out_that_is_or_was_in_use(rounds):
    helper = SimpleElasticSliceHelper()
    used = set()
    for seen, count in rounds:
        helper.reserve_names(seen)
        used |= {name.lower() for name in seen}
        for name in (
            *helper.get_add_args(count),
            *request_client_ids(helper.create_rspec(), CM),
        ):
            assert name.lower() not in used
            assert ADDED_CLIENT_ID.fullmatch(name)
            used.add(name.lower())


class Manifests:
    cms = (CM, "urn:dead")

    def __init__(self):
        self.reads = 0

    def find_sliver(self, cm):
        self.reads += 1
        if cm == CM:
            return Sliver(CM, "urn:s", None, (SliverNode("Node-7", "pc1", CM, "s1"),), "")
        raise UnreachableError("no connection")


def test_a_helper_without_a_manager_reads_the_manifests_it_can():
    helper = SimpleElasticSliceHelper(server=Manifests())
    assert list(helper.get_add_args()) == ["node-8"]


def test_a_helper_that_is_told_the_names_reads_nothing():
    server = Manifests()
    helper = SimpleElasticSliceHelper(server=server)
    helper.reserve_names(["node-3"])
    assert list(helper.get_add_args()) == ["node-4"]
    assert server.reads == 0


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("node_prefix", "1node"),
        ("node_prefix", "a b"),
        ("node_prefix", "n" * 23),
        ("lan_prefix", ""),
        ("startup_command", "x" * 256),
        ("startup_command", "two\nlines"),
        ("startup_command", "&amp;" * 256),
        ("tarballs", [["https://f/a.tgz"]]),
        ("tarballs", [["https://f/a.tgz", "opt"]]),
        ("startup_command", "café"),
        ("startup_command", "echo $HOME" + "x" * 200),
        ("tarballs", ["https://f/a.tgz?x=1"]),
        ("tarballs", ["https://f/" + "a" * 1024]),
        ("tarballs", ["https://f/" + "a" * 500] * 2),
        ("num_pcs", -1),
    ],
)
def test_what_addnodes_would_refuse_is_refused_at_once(setting, value):
    with pytest.raises(ConfigError, match=setting):
        SimpleElasticSliceHelper(**{setting: value})


# --- other helpers


def test_the_abstract_helper_has_no_answers_but_takes_notes():
    helper = ElasticSliceHelper()
    for ask in (helper.create_rspec, helper.get_add_args):
        with pytest.raises(NotImplementedError):
            ask()
    assert helper.get_delete_commands([]) is None
    assert helper.handle_added_node({}, "ready") is None
    assert helper.handle_deleted_node({}) is None


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("es-1", True),
        ("es-123456789", True),
        ("es-0", False),
        ("es-01", False),
        ("es-1234567890", False),
        ("es-", False),
        ("es", False),
        ("es-1-2", False),
        ("ES-1", False),
        ("node-1", False),
        ("es-\u0661", False),
    ],
)
def test_names_that_the_helper_gives_are_told_from_others(name, owned):
    helper = SimpleElasticSliceHelper(node_prefix="es")
    assert helper.owns(name) is owned
    assert PluginElasticSliceHelper(helper=helper).owns(name) is owned
    assert not PluginElasticSliceHelper().owns(name)
    assert not ElasticSliceHelper().owns(name)


def test_every_name_that_the_helper_gives_is_one_of_its_own():
    helper = SimpleElasticSliceHelper(node_prefix="a-2")
    assert all(helper.owns(name) for name in helper.get_add_args(12))


def test_a_plugged_in_helper_is_asked():
    class Plugged(SimpleElasticSliceHelper):
        def get_delete_commands(self, nodelist):
            return [f"clean {item}" for item in nodelist]

    plugin = PluginElasticSliceHelper(helper=SimpleElasticSliceHelper(node_prefix="a"))
    assert list(plugin.get_add_args(2)) == ["a-1", "a-2"]
    plugin.set_helper(Plugged(node_prefix="b"))
    assert list(plugin.get_add_args()) == ["b-1"]
    assert plugin.get_delete_commands(["pc1"]) == ["clean pc1"]
    assert "b-2" in plugin.create_rspec()
    assert plugin.handle_added_node({}, "failed") is None
    assert plugin.handle_deleted_node({}) is None


def test_a_missing_helper_is_named():
    with pytest.raises(ConfigError, match="set_helper"):
        PluginElasticSliceHelper().create_rspec()


def test_the_lans_are_those_of_other_names_where_they_are_given():
    helper = SimpleElasticSliceHelper(num_lans=2)
    assert helper.lans_of_added() == ("lan0", "lan1")
    helper.use_lans(["exp", "data"], multiplex=True, bandwidth=1000000)
    assert helper.lans_of_added() == ("exp", "data")
    assert helper.get_add_args() == {"node-1": {"lans": ["exp", "data"]}}
    root = etree.fromstring(helper.create_rspec().encode())
    assert [link.get("client_id") for link in root.iterfind("r:link", NS)] == ["exp", "data"]
    assert len(root.findall("r:link/e:link_multiplexing", NS)) == 2


def test_bandwidth_is_that_of_each_interface_towards_its_lan():
    helper = SimpleElasticSliceHelper(num_pcs=2)
    helper.use_lans(["exp"], bandwidth=100000)
    root = etree.fromstring(helper.create_rspec().encode())
    assert [dict(each.attrib) for each in root.iterfind("r:link/r:property", NS)] == [
        {"source_id": "node-1:exp", "dest_id": "exp", "capacity": "100000"},
        {"source_id": "node-2:exp", "dest_id": "exp", "capacity": "100000"},
    ]
    assert root.find("r:link/r:property", NS) is not None
    assert request(num_lans=1).find("r:link/r:property", NS) is None


@pytest.mark.parametrize("names", [["a b"], [""], ["x" * 33], ["exp", "EXP"]])
def test_lans_that_a_cm_would_refuse_are_refused(names):
    with pytest.raises(ConfigError, match="lans: "):
        SimpleElasticSliceHelper().use_lans(names)


def test_a_plugin_asks_its_helper_for_lans():
    assert PluginElasticSliceHelper(helper=SimpleElasticSliceHelper(num_lans=1)).lans_of_added() == ("lan0",)
    assert ElasticSliceHelper().lans_of_added() == ()
