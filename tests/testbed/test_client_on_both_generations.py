"""What our client asks of CMs of both generations in one slice, and what it reads of them."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.cloudlab.server import ProtoGeniServer
from agent.core import errors
from agent.core.request.document_helper import DocumentHelper
from agent.core.slice.unreserved import spoken_of
from testbed.cloudlab import SimulatedCloudlab
from testbed.cloudlab.room import NoMachines
from testbed.cloudlab.sites import DEFAULT_SITES
from tests.testbed.test_client_against_simulator import SPEED, ready, server, whole_seconds

__all__ = ["server"]
OLD, NEW = DEFAULT_SITES
SITES = (OLD, replace(NEW, startup_halts=True))
BOTH = pytest.mark.parametrize("site", [0, 1], ids=["2016", "2021"])
REQUEST = """<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">
  <node client_id="first" exclusive="true"><sliver_type name="raw-pc"/>
    <services>
      <execute shell="sh" command="false"/>
      <execute shell="sh" command="echo &quot;a  b&quot; 'c $HOME' | awk '{print $1, $NF}'"/>
      <execute shell="bash" command="[[ 1 == 1 ]] &amp;&amp; printf '%s\\n' `echo x`"/>
    </services>
  </node>
  <node client_id="second" exclusive="true"><sliver_type name="raw-pc"/></node>
</rspec>"""
PRINTED = "a $HOME\nx\n"


class Printing(NoMachines):
    """Machines whose start-up commands run here; what they print is kept."""

    def __init__(self, directory: Path) -> None:
        super().__init__(name for site in SITES for name in site.machines)
        self._directory = directory
        self.printed: dict[str, str] = {}

    def run(self, name: str, command: str, timeout: float) -> int:
        """Run it with a /var/tmp of its own."""
        var = self._directory / name
        var.mkdir(exist_ok=True)
        text = command.replace("/var/tmp", str(var))
        done = subprocess.run(
            ["sh", "-c", text], capture_output=True, text=True, timeout=timeout, check=False
        )
        outputs = [path.read_text() for path in sorted(var.glob("startup-*.txt"))]
        self.printed[name] = done.stdout + "".join(outputs)
        return done.returncode


@pytest.fixture
def room(tmp_path: Path) -> Printing:
    return Printing(tmp_path)


@pytest.fixture
def simulator(tmp_path: Path, room: Printing) -> Iterator[SimulatedCloudlab]:
    with SimulatedCloudlab(tmp_path / "bed", speed=SPEED, sites=SITES, room=room) as running:
        yield running


def begin(server: ProtoGeniServer, site: int) -> tuple[str, DocumentHelper]:
    """Make a sliver of the document; return the CM and the helper."""
    cm = server.cms[site]
    helper = DocumentHelper(REQUEST, "my.xml", server, cms=[cm])
    server.create_slice(whole_seconds(6))
    server.create_sliver(cm, helper.create_rspec())
    ready(server, cm, {"first", "second"})
    return cm, helper


def code_of_status(server: ProtoGeniServer, cm: str) -> int | None:
    """Poll until the CM tells no status, and return the code of its answer."""
    while True:
        try:
            ready(server, cm, {"first", "second"})
        except errors.CloudlabError as error:
            return error.code


@BOTH
def test_the_first_machine_and_an_added_one_run_the_same_commands(
    server: ProtoGeniServer, room: Printing, site: int
) -> None:
    cm, helper = begin(server, site)
    server.add_nodes(cm, helper.get_add_args(1))
    ready(server, cm, {"first", "second", "node-1"})
    sliver = server.find_sliver(cm)
    assert sliver is not None
    machines = {node.client_id: node.node_id for node in sliver.nodes}
    # They run once a machine is ready.
    end = time.monotonic() + 30
    while not {machines["first"], machines["node-1"]} <= room.printed.keys():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert room.printed == {machines["first"]: PRINTED, machines["node-1"]: PRINTED}


@BOTH
def test_a_machine_of_a_type_is_had_though_the_one_that_was_named_is_taken_where_the_cm_knows_types(
    server: ProtoGeniServer, simulator: SimulatedCloudlab, site: int
) -> None:
    cm, _ = begin(server, site)
    held = server.find_sliver(cm)
    assert held is not None
    taken = {"node": held.nodes[0].node_id, "hardware_type": SITES[site].hardware_type}
    if SITES[site] is OLD:
        with pytest.raises(errors.InsufficientNodesError, match="is not available"):
            server.add_nodes(cm, {"n-1": taken})
        return
    sliver = server.add_nodes(cm, {"n-1": taken})
    (machine,) = [node for node in sliver.nodes if node.client_id == "n-1"]
    assert (machine.hardware_type, machine.node_id != taken["node"]) == (taken["hardware_type"], True)


@BOTH
def test_a_survey_tells_which_machine_is_not_ours_any_more_and_takes_none_back(
    server: ProtoGeniServer, simulator: SimulatedCloudlab, site: int
) -> None:
    cm, _ = begin(server, site)
    sliver = server.find_sliver(cm)
    assert sliver is not None
    assert spoken_of(sliver.nodes, server.survey(cm)).node_ids == frozenset()
    lost = sliver.nodes[0].node_id
    simulator.fault(lost, "unreserved")
    assert code_of_status(server, cm) == 2
    for _ in range(2):
        told = spoken_of(sliver.nodes, server.survey(cm))
        assert (told.node_ids, told.is_silent) == ({lost}, False)
