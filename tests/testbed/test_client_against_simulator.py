"""The whole life of a slice through ``ProtoGeniServer``, against the test bed's SA and CM over real TLS."""

import dataclasses
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.cloudlab.connect import connect
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.settings import CloudlabSettings, CmSettings
from agent.core import errors
from agent.core.manager import SimpleElasticSliceManager
from agent.core.model import SliverStatus
from agent.core.ports import SystemClock
from agent.core.request.helper import SimpleElasticSliceHelper
from testbed.cloudlab import DEFAULT_SITES, SimulatedCloudlab

SPEED = 600.0
REQUEST = """<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">
  <node client_id="node-1" exclusive="true"><sliver_type name="raw-pc"/></node>
</rspec>"""


of_both = pytest.mark.parametrize("simulator", [2016, 2021], indirect=True)


@pytest.fixture
def simulator(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SimulatedCloudlab]:
    """The default sites, or all of them of the generation that a test names."""
    sites = DEFAULT_SITES
    if hasattr(request, "param"):
        sites = tuple(dataclasses.replace(site, generation=request.param) for site in DEFAULT_SITES)
    with SimulatedCloudlab(tmp_path / "bed", speed=SPEED, sites=sites) as running:
        yield running


@pytest.fixture
def server(simulator: SimulatedCloudlab) -> Iterator[ProtoGeniServer]:
    bed = simulator.bed_file()
    settings = CloudlabSettings(
        certificate=bed.user_pem,
        passphrase_file=bed.passphrase_file,
        ca_bundle=bed.ca_bundle,
        project=bed.project,
        slice="cycle",
        cms=tuple(CmSettings(urn=cm.urn, url=cm.url) for cm in bed.cms),
    )
    made = connect(settings, clock=SystemClock())
    yield made
    made.close()


def ready(server: ProtoGeniServer, cm: str, names: set[str]) -> SliverStatus:
    """Poll until all these machines are ready."""
    end = time.monotonic() + 30
    while True:
        try:
            status = server.sliver_status(cm)
        except errors.BusyError:
            status = None
        if status and {n.client_id for n in status.nodes if n.ready} == names:
            return status
        assert time.monotonic() < end, status
        time.sleep(0.05)


def whole_seconds(hours: float) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


@of_both
def test_a_slice_lives_from_register_to_delete(server: ProtoGeniServer) -> None:
    cm = server.cms[0]
    assert server.find_slice() is None
    expires = whole_seconds(24)
    assert server.create_slice(expires) == expires
    assert server.find_sliver(cm) is None
    assert server.sliver_status(cm) is None

    sliver = server.create_sliver(cm, REQUEST)
    assert [n.client_id for n in sliver.nodes] == ["node-1"]
    first = ready(server, cm, {"node-1"})
    with pytest.raises(errors.AlreadyExistsError):
        server.create_sliver(cm, REQUEST)
    assert first.nodes[0].sliver_id == sliver.nodes[0].sliver_id
    assert first.nodes[0].node_id == sliver.nodes[0].node_id

    free = server.discover(cm, available=True)
    assert sliver.nodes[0].node_id not in {n.node_id for n in free}
    assert sliver.nodes[0].node_id in {n.node_id for n in server.discover(cm, available=False)}
    wanted = free[-1].node_id
    grown = server.add_nodes(cm, {"node-2": {"node": wanted, "startup": "test 'a' < b && true"}})
    assert {n.client_id: n.node_id for n in grown.nodes}["node-2"] == wanted
    with pytest.raises(errors.AlreadyExistsError):
        server.add_nodes(cm, {"node-2": {}})
    ready(server, cm, {"node-1", "node-2"})

    renewed = whole_seconds(48)
    assert server.renew_slice(renewed) == renewed
    assert server.renew_sliver(cm, renewed + timedelta(days=1)) == renewed
    found = server.find_sliver(cm)
    assert found is not None
    assert (found.expires, found.urn) == (renewed, sliver.urn)

    shrunk = server.delete_nodes(cm, ["node-2"])
    assert [n.client_id for n in shrunk.nodes] == ["node-1"]
    with pytest.raises(errors.NotFoundError):
        server.delete_nodes(cm, ["node-2"])

    server.delete_sliver(cm)
    assert server.find_sliver(cm) is None
    assert server.find_slice() == renewed


@of_both
def test_a_request_that_does_not_fit_is_insufficient(server: ProtoGeniServer) -> None:
    cm = server.cms[1]
    server.create_slice(whole_seconds(6))
    server.create_sliver(cm, REQUEST)
    with pytest.raises(errors.InsufficientNodesError):
        server.add_nodes(cm, {f"node-{n}": {} for n in range(2, 20)})
    held = server.find_sliver(cm)
    assert held is not None
    assert [n.client_id for n in held.nodes] == ["node-1"]


LAN_REQUEST = """<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">
  <node client_id="ctl"><interface client_id="ctl:eth1">{}</interface></node>
  <node client_id="cp-1"><interface client_id="cp-1:eth1">{}</interface></node>
  <link client_id="lan-0"><interface_ref client_id="ctl:eth1"/><interface_ref client_id="cp-1:eth1"/></link>
</rspec>"""


@pytest.mark.parametrize("site", [0, 1], ids=["2016", "2021"])
def test_machines_join_a_lan_that_is_there_whichever_server_it_is(server: ProtoGeniServer, site: int) -> None:
    cm = server.cms[site]
    server.create_slice(whole_seconds(6))
    server.create_sliver(cm, LAN_REQUEST.format("", ""))
    ready(server, cm, {"ctl", "cp-1"})
    manager = SimpleElasticSliceManager(server, minthreshold=4, percent_available_minimum=0, cmlist=[cm])
    helper = SimpleElasticSliceHelper(server=server)
    helper.use_lans(["lan-0"])
    manager.set_helper(helper)
    manager.ensure_sliver()
    manager.update_available()
    manager.add_nodes(2, cm)
    sliver = server.find_sliver(cm)
    assert sliver is not None
    assert {node.client_id: [port.address for port in node.lans] for node in sliver.nodes} == {
        "ctl": ["10.10.1.1"],
        "cp-1": ["10.10.1.2"],
        "node-1": ["10.10.1.3"],
        "node-2": ["10.10.1.4"],
    }


def test_an_older_server_that_was_given_masks_by_a_profile_is_given_names_after_all(
    server: ProtoGeniServer,
) -> None:
    cm = server.cms[0]
    masks = [
        '<ip address="10.10.1.1" netmask="255.255.255.0"/>',
        '<ip address="10.10.1.2" netmask="255.0.0.0"/>',
    ]
    server.create_slice(whole_seconds(6))
    server.create_sliver(cm, LAN_REQUEST.format(*masks))
    ready(server, cm, {"ctl", "cp-1"})
    struct = {"name": "lan-0", "address": "10.10.1.9", "netmask": "255.255.255.0"}
    sliver = server.add_nodes(cm, {"n": {"lans": [struct]}, "m": {}})
    assert [port.address for node in sliver.nodes if node.client_id == "n" for port in node.lans] == [
        "10.10.1.3"
    ]
    with pytest.raises(errors.BadArgumentsError, match="No such lan-9"):
        server.add_nodes(cm, {"o": {"lans": [{**struct, "name": "lan-9"}]}})
