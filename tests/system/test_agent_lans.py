"""Machines that join a LAN of a slice that is not only ours: Slurm and NFS over the LAN, SSH beside it.

The kernel here may have no NFS: server and client are those in user space, which speak the same protocol.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.cloudlab.connect import connect
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.settings import CloudlabSettings, CmSettings
from agent.core.errors import BusyError
from agent.core.model import SliverNode
from agent.core.ports import SystemClock
from testbed.links import ip
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

PROGRAMS = {"ganesha.nfsd": "nfs-ganesha", "nfs-cat": "libnfs-utils"}
"""Program -> the package of Debian that holds it; the server finds files with nfs-ganesha-vfs."""
MISSING = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]

REQUEST = """<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">
  <node client_id="ctl"><interface client_id="ctl:if0">
    <ip address="{lan}.1" netmask="255.255.255.0" type="ipv4"/></interface></node>
  <node client_id="nfs"><interface client_id="nfs:if0">
    <ip address="{lan}.2" netmask="255.255.255.0" type="ipv4"/></interface></node>
  <link client_id="lan-0"><interface_ref client_id="ctl:if0"/><interface_ref client_id="nfs:if0"/>
    <link_type name="lan"/></link>
</rspec>"""

GANESHA = """
NFS_CORE_PARAM {{ Protocols = 4; Bind_addr = {address}; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {directory}; }}
EXPORT {{ Export_Id = 1; Path = /run/share; Pseudo = /share; Access_Type = RW; Squash = No_Root_Squash;
    Protocols = 4; Transports = TCP; SecType = sys; FSAL {{ Name = VFS; }} }}
"""


@dataclass
class Site:
    """A slice of somebody's, with a head node and a file server in a LAN, at the CM of 2021."""

    server: ProtoGeniServer
    cm: str
    lan: str
    """The first three numbers of the LAN's addresses."""

    def machines(self) -> dict[str, SliverNode]:
        """Return client_id -> machine."""
        sliver = self.server.find_sliver(self.cm)
        assert sliver is not None
        return {node.client_id: node for node in sliver.nodes}

    def share(self, name: str) -> str:
        """Return the URL of a file on the file server."""
        return f"'nfs://{self.lan}.2/share/{name}?version=4'"


@pytest.fixture
def site(bed: TestBed, agent, tmp_path: Path) -> Iterator[Site]:
    """The slice that the agent is to grow; this machine, where slurmctld is, is in its LAN, too."""
    cm = bed.bedfile.cms[1]
    settings = CloudlabSettings(
        certificate=bed.bedfile.user_pem,
        passphrase_file=bed.bedfile.passphrase_file,
        ca_bundle=bed.bedfile.ca_bundle,
        sa_url=bed.bedfile.sa_url,
        slice="elastic",
        cms=(CmSettings(urn=cm.urn, url=cm.url),),
    )
    server = connect(settings, clock=SystemClock())
    site = Site(server, cm.urn, f"10.223.{bed.instance.index}")
    server.create_slice((datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0))
    sliver = server.create_sliver(cm.urn, REQUEST.format(lan=site.lan))
    wait_for("the machines are up", lambda: is_ready(site))
    link = re.search(r'<link [^>]*client_id="lan-0"[^>]*>', sliver.manifest)
    assert link is not None
    urn = re.search(r'sliver_id="([^"]+)"', link[0])
    assert urn is not None
    bridge = bed.machines.lan(urn[1])
    ip("address", "add", f"{site.lan}.254/24", "dev", bridge)
    serve_files(bed, site, tmp_path)
    yield site
    agent.stop()
    server.delete_sliver(cm.urn)
    ip("address", "flush", "dev", bridge)
    server.close()


def is_ready(site: Site) -> bool:
    try:
        status = site.server.sliver_status(site.cm)
    except BusyError:
        return False
    return status is not None and all(node.ready for node in status.nodes)


def serve_files(bed: TestBed, site: Site, directory: Path) -> None:
    """Start an NFS server in the LAN, and put a file there from the head node."""
    nodes = site.machines()
    conf = directory / "ganesha.conf"
    conf.write_text(GANESHA.format(address=f"{site.lan}.2", directory=directory))
    log = directory / "ganesha.log"
    start = f"mkdir -p /run/ganesha /run/share; ganesha.nfsd -f {conf} -L {log} -p /run/ganesha.pid"
    assert bed.machines.run(nodes["nfs"].node_id, start, PATIENCE) == 0
    greeting = directory / "greeting"
    greeting.write_text("from the head\n")
    put = f"nfs-cp {greeting} {site.share('greeting')}"
    wait_for("the file is served", lambda: bed.machines.run(nodes["ctl"].node_id, put, PATIENCE) == 0)


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.parametrize("mode", ["dynamic", "cloud"])
def test_a_borrowed_machine_has_slurm_and_nfs_in_the_lan_of_the_slice_and_ssh_beside_it(
    agent, bed: TestBed, site: Site, mode: str, predeclare
) -> None:
    text = agent.conf.read_text()
    first, _, rest = text.partition("[[cloudlab.cms]]")
    agent.conf.write_text(first + rest[rest.index("[[cloudlab.cms]]") :])
    agent.change(
        'node_prefix = "node"', 'node_prefix = "es"\npercent_available_minimum = 0\nlans = ["lan-0"]'
    )
    probe = f"nfs-ls {site.share('').replace('/?', '?')} | grep -q greeting"
    agent.change("[join]\n", f'[join]\naddress = "lan-0"\nprobe = ["{probe}"]\n')
    if mode == "cloud":
        names = predeclare("CLOUD", "pc[202-203]")
        agent.change(
            'slurmd -Z -N {node_name} --conf \\"CPUs=2 Feature=cloudlab\\"', "slurmd -b -N {node_name}"
        )
        agent.change("[join]\n", f'[join]\nmode = "cloud"\npredeclared = "{names}"\n')
    before = site.machines()
    agent.start()
    if mode == "cloud":
        agent.wait_for_log("predeclared nodes have no machine: set down")
    node, job = agent.borrow(f"nfs-cat {site.share('greeting')}; sleep 600")
    machine = site.machines()["es-1"]
    assert machine.node_id == node
    [port] = machine.lans
    assert (port.lan, port.address) == ("lan-0", f"{site.lan}.3"), "the first one that nobody has"

    wait_for(
        "slurmctld speaks to it in the LAN",
        lambda: f"NodeAddr={port.address} " in bed.slurm.run("scontrol", "-o", "show", "node", node),
    )
    agent.wait_for_log("the probe has passed")
    output = bed.slurm.directory / f"job-{job}.out"
    wait_for("the job has read its file", lambda: output.exists() and output.read_text() == "from the head\n")
    bed.slurm.run("srun", f"--jobid={job}", "--overlap", "true")
    known = (agent.conf.parent / "known_hosts").read_text()
    assert machine.address in known
    assert site.lan not in known

    bed.slurm.run("scancel", "--user=root")
    wait_for("it is given back", lambda: site.machines().keys() == before.keys())
    assert site.machines() == before
    assert [len(node.lans) for node in site.machines().values()] == [1, 1]
