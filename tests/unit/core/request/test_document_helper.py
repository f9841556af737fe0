"""A helper whose request is a document."""

from __future__ import annotations

import pytest

from agent.core.errors import ConfigError
from agent.core.request.document import Execute, parse_document
from agent.core.request.document_helper import DocumentHelper
from agent.core.request.escaping import meant
from agent.core.request.rspec import EMULAB, RSPEC, request_client_ids

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
IMAGE = "urn:publicid:IDN+example.net+image+lab:worker"
ONE = '<execute shell="sh" command="/local/one.sh"/>'
TWO = '<execute shell="sh" command="/local/one.sh"/><execute shell="bash" command="/local/two.sh"/>'
NODE = """
  <node client_id="{name}" exclusive="true"{bound}>
    <sliver_type name="raw-pc"><disk_image name="{image}"/></sliver_type>
    <hardware_type name="m510"/>
    <services>
      <install url="https://f.example.net/a.tgz" install_path="/"/>{executes}
    </services>
    <interface client_id="{name}:eth1"/>
  </node>"""
STORE = '<node client_id="store"><sliver_type name="emulab-blockstore"/></node>'


def document(*nodes, executes=TWO, more=""):
    bound = {name: f' component_manager_id="{cm}"' if cm else "" for name, cm in nodes}
    body = "".join(
        NODE.format(name=name, image=IMAGE, bound=bound[name], executes=executes) for name, _ in nodes
    )
    return (
        f'<?xml version="1.0"?>\n<rspec xmlns="{RSPEC}" xmlns:emulab="{EMULAB}" type="request">'
        f"{body}{more}\n</rspec>\n"
    )


def lan(*names):
    ends = "".join(f'<interface_ref client_id="{name}:eth1"/>' for name in names)
    return f'<link client_id="lan-0">{ends}<link_type name="lan"/></link>'


class Cms:
    cms = (UTAH,)

    def __init__(self, *cms):
        self.cms = cms or self.cms

    def find_sliver(self, cm):
        return None


def test_the_request_is_the_document_and_later_machines_are_like_its_first():
    text = document(("head", ""), ("node-3", ""), executes=ONE, more=lan("head", "node-3"))
    assert DocumentHelper(text, "my.xml", Cms()).create_rspec() == parse_document(text).text
    text = text.replace(ONE, TWO)
    helper = DocumentHelper(text, "my.xml", Cms())
    assert (helper.request_type, helper.num_pcs) == ("m510", 2)
    fields = {
        "diskimage": IMAGE,
        "startup": "sh -c '/local/one.sh';bash -c '/local/two.sh'",
        "tarballs": ["https://f.example.net/a.tgz"],
        "lans": ["lan-0"],
    }
    assert helper.get_add_args(2) == {"node-4": fields, "node-5": fields}
    assert (helper.doubts, helper.remarks) == ((), ())


def test_the_first_request_has_the_commands_of_each_machine_as_one_that_added_machines_have_too():
    virtual = '<node client_id="vm"><sliver_type name="emulab-xen"/><services><execute command="a"/>'
    virtual += '<execute command="b"/></services></node>'
    text = document(("head", ""), ("node-3", ""), executes='<execute command="echo $A"/>', more=virtual)
    nodes = parse_document(DocumentHelper(text, "my.xml", Cms()).create_rspec()).nodes
    packed = Execute("echo ZWNobyAkQQ==|base64 -d|sh", "/bin/sh")
    assert [node.executes for node in nodes] == [(packed,), (packed,), (Execute("a"), Execute("b"))]
    helper = DocumentHelper(text.replace('"echo $A"', '"a"/><execute command="b"'), "my.xml", Cms())
    first = parse_document(helper.create_rspec()).nodes[0]
    assert first.executes == (Execute(helper.get_add_args(1)["node-4"]["startup"], "/bin/sh"),)
    assert first.installs == parse_document(text).nodes[0].installs


def test_a_command_of_the_document_that_looks_escaped_is_meant_as_it_stands():
    text = document(("head", ""), executes='<execute shell="sh" command="echo &quot;&amp;lt;&quot;"/>')
    startup = DocumentHelper(text, "my.xml", Cms()).get_add_args(1)["node-1"]["startup"]
    assert meant(startup) == 'echo "&lt;"'


def test_later_machines_unpack_a_tarball_where_the_document_says():
    text = document(("head", "")).replace('install_path="/"', 'install_path="/opt"')
    fields = DocumentHelper(text, "my.xml", Cms()).get_add_args(1)["node-1"]
    assert fields["tarballs"] == [["https://f.example.net/a.tgz", "/opt"]]


def test_later_machines_are_like_the_one_that_is_named():
    text = document(("ctl", ""), ("cp-1", ""), more=lan("ctl")).replace("m510", "d430", 1)
    helper = DocumentHelper(text, "my.xml", Cms(), like="cp-1")
    assert (helper.like, helper.request_type) == ("cp-1", "m510")
    assert "lans" not in helper.get_add_args(1)["node-1"]
    assert helper.doubts == ()
    assert DocumentHelper(text, "my.xml", Cms()).doubts == (
        "added machines are like ctl, the first one, and cp-1 differs from it",
    )


def test_what_is_no_machine_is_not_counted_and_its_name_is_not_given_out():
    text = document(("head", ""), more=STORE.replace("store", "node-7", 1))
    helper = DocumentHelper(text, "my.xml", Cms())
    assert (helper.num_pcs, helper.machines) == (1, ("head",))
    assert list(helper.get_add_args(1)) == ["node-8"]
    assert helper.remarks == ("node-7 (emulab-blockstore) is no machine: it is neither counted nor joined",)


def test_a_manager_makes_and_grows_a_sliver_from_a_document(make_bench):
    bench = make_bench(minthreshold=3, maxthreshold=3)
    bench.manager.set_helper(DocumentHelper(document(("head", "")), "my.xml", bench.server))
    bench.cycles(5)
    assert [m.client_id for m in bench.server.machines()] == ["head", "node-1", "node-2"]


def test_with_several_cms_each_has_its_own_machines():
    bound = document(("a", UTAH), ("b", WISC))
    assert DocumentHelper(bound, "my.xml", Cms(UTAH, WISC)).machines == ("a", "b")


@pytest.mark.parametrize(
    ("rspec", "cms", "words"),
    [
        ("<rspec", (UTAH,), "not well formed"),
        (document(), (UTAH,), "has no machine: a raw PC is expected"),
        (document(more=STORE), (UTAH,), "has no machine: a raw PC is expected"),
        (document(("a", WISC)), (UTAH,), "no machine for .*utah.*; its machines are for .*wisc"),
        (document(("a", UTAH), ("b", WISC)), (UTAH,), "none of our CMs"),
        (document(("a", "")), (UTAH, WISC), "component_manager_id"),
        (document(("a", ""), ("A", "")), (UTAH,), "twice"),
    ],
)
def test_a_document_that_will_not_do_is_refused_with_its_name(rspec, cms, words):
    for told in ({"server": Cms(*cms)}, {"cms": cms}):
        with pytest.raises(ConfigError, match=r"^my\.xml: .*" + words):
            DocumentHelper(rspec, "my.xml", **told)


def test_a_document_whose_machine_cannot_be_added_makes_a_sliver_all_the_same():
    text = document(("a", ""), executes=f'<execute command="{"x" * 150}"/>' * 2)
    helper = DocumentHelper(text, "my.xml", Cms())
    assert request_client_ids(helper.create_rspec(), UTAH) == ("a",)
    words = (
        r"^my\.xml: no machine like a can be added: startup_command: .*255.*, not 317; 2 commands go as one"
    )
    with pytest.raises(ConfigError, match=words):
        helper.get_add_args(1)
    with pytest.raises(ConfigError, match=words):
        helper.check_added()
