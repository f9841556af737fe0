"""Profiles as CloudLab's users write them, run with the real geni-lib in an environment of its own."""

from __future__ import annotations

import pytest

from agent.core.errors import ConfigError
from agent.core.request.document import Execute
from agent.core.request.document_helper import DocumentHelper
from agent.core.request.profile import run_profile
from agent.core.request.rspec import request_client_ids

CM = "urn:publicid:IDN+utah.cloudlab.us+authority+cm"
IMAGE = "urn:publicid:IDN+emulab.net+image+emulab-ops//UBUNTU22-64-STD"
CLUSTER = f'''"""A head, its NFS server and workers — on one LAN.

Instructions:
Wait, then log in to `ctl`.
"""
import geni.portal as portal
import geni.rspec.emulab as emulab
import geni.rspec.igext as ig
import geni.rspec.pg as pg

pc = portal.Context()
pc.defineParameter("count", "Workers", portal.ParameterType.INTEGER, 2, longDescription="At most 9.")
pc.defineParameter("type", "Hardware", portal.ParameterType.NODETYPE, "m510", [("m510", "a"), ("xl170", "b")])
pc.defineParameter("bare", "No software", portal.ParameterType.BOOLEAN, False, advanced=True)
pc.defineParameter("image", "Image", portal.ParameterType.IMAGE, "{IMAGE}")
params = pc.bindParameters()
if params.count > 9:
    pc.reportError(portal.ParameterError("at most 9 workers", ["count"]))
pc.verifyParameters()
print("what is printed besides is no request")

request = pc.makeRequestRSpec()
lan = request.LAN("lan-0")
lan.best_effort = True
lan.vlan_tagging = True
lan.link_multiplexing = True
vm = request.XenVM("gateway")
vm.cores = 2
head = request.RawPC("ctl")
store = request.RemoteBlockstore("store", "/data")
store.dataset = "urn:publicid:IDN+utah.cloudlab.us:lab+ltdataset+data"
cable = request.Link("cable")
cable.addInterface(head.addInterface("data"))
cable.addInterface(store.interface)
for name in ["nfs"] + ["cp-%d" % (i + 1) for i in range(params.count)]:
    node = request.RawPC(name)
    node.hardware_type = params.type
    node.disk_image = params.image
    node.Site("Site 1")
    face = node.addInterface("eth1")
    face.addAddress(pg.IPv4Address("10.10.1.%d" % (len(lan.interfaces) + 1), "255.255.255.0"))
    lan.addInterface(face)
    if name == "nfs":
        local = node.Blockstore("disk", "/nfs")
        local.size = "200GB"
    if not params.bare:
        node.addService(pg.Install("https://f.example.net/kit.tgz", "/"))
        node.addService(pg.Execute(shell="sh", command="sudo /local/repository/nfs.sh > /tmp/nfs.log 2>&1"))
        node.addService(pg.Execute(shell="bash", command="/local/repository/worker.sh '%s'" % name))
tour = ig.Tour()
tour.Description(ig.Tour.MARKDOWN, "Head, NFS, workers — <b>&</b>")
request.addTour(tour)
pc.printRequestRSpec(request)
'''
ONE = """
import geni.portal as portal
import geni.rspec.pg as RSpec

request = portal.context.makeRequestRSpec()
request.RawPC("node").addService(RSpec.Execute(shell="sh", command="/local/repository/one.sh"))
portal.context.printRequestRSpec()
"""
WITHOUT_PORTAL = """
import geni.rspec.pg as rspec

request = rspec.Request()
request.addResource(rspec.RawPC("node"))
request.writeXML(None)
"""


@pytest.fixture
def run(tmp_path, geni_python):
    def run(text, **parameters):
        path = tmp_path / "profile.py"
        path.write_text(text)
        return run_profile(path, python=geni_python, timeout=60, parameters=parameters)

    return run


def helper_of(text, like=""):
    return DocumentHelper(text, "profile.py", cms=[CM], like=like)


def test_a_cluster_with_all_that_profiles_have_makes_a_helper(run):
    helper = helper_of(run(CLUSTER), like="cp-1")
    assert helper.machines == ("ctl", "nfs", "cp-1", "cp-2")
    assert request_client_ids(helper.create_rspec(), CM) == helper.machines
    assert helper.create_rspec().isascii()
    [fields] = helper.get_add_args(1).values()
    worker = Execute("/local/repository/worker.sh 'cp-1'", "bash")
    assert fields["startup"].startswith("sh -c 'sudo /local/repository/nfs.sh > /tmp/nfs.log 2>&1';echo ")
    assert fields["startup"].endswith(f"|base64 -d|{worker.shell}")
    assert {**fields, "startup": ""} == {
        "diskimage": IMAGE,
        "startup": "",
        "tarballs": ["https://f.example.net/kit.tgz"],
        "lans": ["lan-0"],
    }
    assert helper.request_type == "m510"
    assert [remark.split()[0] for remark in helper.remarks] == ["gateway", "store"]


def test_its_head_would_be_what_later_machines_are_like(run):
    helper = helper_of(run(CLUSTER))
    assert helper.like == "ctl"
    assert helper.doubts
    assert "ctl: added machines are not on its link cable, which is no LAN" in helper.remarks


def test_parameters_have_the_values_of_the_settings(run):
    helper = helper_of(run(CLUSTER, count=3, type="xl170", bare=True), like="cp-3")
    assert helper.request_type == "xl170"
    assert "startup" not in helper.get_add_args(1)["node-1"]
    assert "startup" in helper_of(run(CLUSTER, bare=False), like="cp-1").get_add_args(1)["node-1"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"type": "m400"}, "type: Illegal value.*'m400'"),
        ({"count": "many"}, "count: .*'many'"),
        ({"count": 10}, "count: at most 9 workers"),
        ({"cuont": 3}, "cuont: no such parameter; it has bare, count, image, type"),
    ],
)
def test_a_parameter_that_will_not_do_is_told(run, parameters, words):
    with pytest.raises(ConfigError, match=rf"\[request\.parameters\] {words}") as error:
        run(CLUSTER, **parameters)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", [ONE, WITHOUT_PORTAL])
def test_a_profile_of_a_few_lines_makes_a_helper(run, text):
    assert helper_of(run(text)).machines == ("node",)


def test_what_the_profile_does_wrong_is_told_in_a_sentence(run):
    with pytest.raises(ConfigError, match=r"AttributeError: .*'XRawPC'.* \(.*profile\.py, line 6\)") as error:
        run(ONE.replace("request.RawPC", "request.XRawPC"))
    assert "\n" not in str(error.value)
