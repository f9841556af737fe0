"""An experiment of somebody else on the test bed, its jobs, and whether anybody has touched any of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from testbed.portal import PROJECT, Portal
from testbed.registry import BedError
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

SLICE = "shared"
HEAD = "ctl"
BUSY = ("cp-1", "cp-2")
IDLE = "cp-3"
FEATURE = "site"
"""Slurm's feature of the experiment's nodes."""

# As a profile makes it: other namespaces, a tour, comments, a LAN.
_REQUEST = """\
<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request"
    xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1"
    xmlns:tour="http://www.protogeni.net/resources/rspec/ext/apt-tour/1">
  <!-- The head of the cluster, its LAN and its compute nodes -->
  <tour:rspec_tour><tour:description type="markdown">A cluster</tour:description></tour:rspec_tour>
  {nodes}
  <link client_id="lan-0">
    <!-- where NFS goes -->
    {interfaces}
    <link_type name="lan"/>
    <emulab:link_multiplexing enabled="true"/>
  </link>
</rspec>
"""
_NODE = """\
<node client_id="{name}" exclusive="true">
    <!-- {name} -->
    <sliver_type name="raw-pc"/>
    <services><execute shell="sh" command="true"/></services>
    <interface client_id="{name}:if0"/>
  </node>
"""

# It lives on when it is signalled, and writes that down.
_HEARTBEAT = """\
for name in HUP INT QUIT USR1 USR2 TERM CONT; do trap "echo signal $name >> {beats}" $name; done
beat=0
while [ ! -e {end} ]; do
    beat=$((beat + 1))
    echo "$$ $beat" >> {beats}
    sleep 0.2
done
"""

_RECORD = (
    *("State", "Reason", "Weight", "AvailableFeatures", "Comment", "Extra", "NodeAddr", "NodeHostName"),
    *("BootTime", "SlurmdStartTime"),
)
_BY_ITSELF = frozenset({"IDLE", "MIXED", "ALLOCATED", "COMPLETING", "NOT_RESPONDING"})
"""What becomes of a node with the jobs on it, and with a slurmd that is late on a busy machine."""
_CAME = re.compile("Accepted|Disconnected|preauth")
_UPDATE = re.compile(r"(?:update_node: node|_weight: nodes|_features?: \S+ for nodes?) ([^\s:]+)")


class Experiment:
    """A slice with a head, two busy compute nodes and an idle one on a LAN, and whatever is added to them.

    Attributes:
        machines: client_id -> node_id, of all that are held.
        jobs: name of a node in Slurm -> id of the job there.
    """

    def __init__(self, bed: TestBed) -> None:
        """Make slice and sliver; return when the machines are ready.

        Raises:
            RuntimeError: Cloudlab refuses.
            NotInTimeError: the machines do not come up.
        """
        self._bed = bed
        self._portal = Portal(bed.bedfile, SLICE, project=PROJECT)
        self._end = bed.directory / "jobs-end"
        self._logs: dict[str, str] = {}
        self._records: dict[str, Mapping[str, str]] = {}
        self._slurm_log = ""
        self.jobs: dict[str, int] = {}
        names = (HEAD, *BUSY, IDLE)
        self.machines = self._portal.create(
            _REQUEST.format(
                nodes="  ".join(_NODE.format(name=name) for name in names),
                interfaces="".join(f'<interface_ref client_id="{name}:if0"/>' for name in names),
            )
        )
        self._logs = {node_id: self._read_log(node_id) for node_id in self.machines.values()}

    def add(self, *names: str) -> None:
        """Add machines beside the others, as a colleague does by hand; return when they are ready."""
        added = self._portal.add(names)
        self.machines |= added
        self._logs |= {node_id: self._read_log(node_id) for node_id in added.values()}

    def lose(self, *names: str) -> dict[str, str]:
        """Add machines and leave them to whoever has such names; return client_id -> node_id."""
        return self._portal.add(names)

    def leave(self) -> None:
        """Give all machines back: what is left in the slice is not the experiment's."""
        self._portal.remove(list(self.machines))
        self.machines = {}

    def join(self, names: Mapping[str, str]) -> None:
        """Make machines nodes of Slurm that have ``FEATURE``, and have a job on each of the busy ones.

        Args:
            names: client_id -> name in Slurm, for ``BUSY`` and ``IDLE``.
        """
        slurm = self._bed.slurm
        for client_id, name in names.items():
            command = f'SLURM_CONF={slurm.conf} slurmd -Z -N {name} --conf "CPUs=2 Feature={FEATURE}"'
            status = self._bed.machines.run(self.machines[client_id], command, timeout=PATIENCE)
            assert status == 0, f"slurmd on {client_id}: status {status}"
        for name in names.values():
            slurm.wait_for_node(name, "IDLE")
        for node in (names[client_id] for client_id in BUSY):
            script = _HEARTBEAT.format(beats=self._beats(node), end=self._end)
            self.jobs[node] = slurm.submit(script, f"--nodelist={node}", "--cpus-per-task=2", "--requeue")
        for job in self.jobs.values():
            slurm.wait_for_job(job, "RUNNING")
        self._records = {name: self._record(name) for name in names.values()}
        self._slurm_log = self._read_slurm_log()

    def end_jobs(self) -> None:
        """Let the jobs go on for a moment and end by themselves.

        Raises:
            NotInTimeError: one does not beat on, or does not complete.
        """
        before = [(node, len(self._read_beats(node))) for node in self.jobs]
        wait_for("the jobs beat on", lambda: all(len(self._read_beats(node)) > n for node, n in before))
        self._end.touch()
        for job in self.jobs.values():
            self._bed.slurm.wait_for_job(job, "COMPLETED")

    # --- what others did to it, in words; empty for nothing

    def logins(self) -> list[str]:
        """List what the machines' sshds said of whoever came since they were ready."""
        found = []
        for client_id, node_id in self.machines.items():
            said = self._read_log(node_id).removeprefix(self._logs[node_id])
            found += [f"{client_id}: {line}" for line in said.splitlines() if _CAME.search(line)]
        return found

    def losses(self) -> list[str]:
        """List the machines that are not held any more, with the cause."""
        held = self._bed.cloudlab.journal.held
        lost = []
        for client_id, node_id in self.machines.items():
            causes = [each.cause for each in held(node_id) if each.client_id == client_id]
            # Of one that is held still there is no cause.
            if causes[-1:] != [""]:
                lost.append(f"{client_id} is gone: {causes[-1] if causes else 'it was never there'}")
        return lost

    def changes_of_nodes(self) -> list[str]:
        """List what changed in Slurm's records of the nodes, and what slurmctld was told of them."""
        found = []
        for name, before in self._records.items():
            now = self._record(name)
            changed = [key for key in _RECORD if now[key] != before[key]]
            found += [f"node {name}: {key} was {before[key]!r}, is {now[key]!r}" for key in changed]
        for line in self._read_slurm_log().removeprefix(self._slurm_log).splitlines():
            named = _UPDATE.search(line)
            if named and not self._records.keys().isdisjoint(self._expanded(named[1])):
                found.append(f"slurmctld: {line}")
        return found

    def faults_of_jobs(self) -> list[str]:
        """List what happened to the jobs besides their one run from its start to this moment or their end."""
        found = []
        for node, job in self.jobs.items():
            shown = _fields(self._bed.slurm.run("scontrol", "-o", "show", "job", str(job)))
            seen = (shown["JobState"], shown["NodeList"], shown["Restarts"], shown["Requeue"])
            if seen not in {("RUNNING", node, "0", "1"), ("COMPLETED", node, "0", "1")}:
                found.append(f"the job on {node}: {seen}")
            beats = self._read_beats(node)
            process = beats[0].partition(" ")[0]
            expected = [f"{process} {number}" for number in range(1, len(beats) + 1)]
            wrong = [beat for beat, right in zip(beats, expected, strict=True) if beat != right]
            found += [f"the job on {node} wrote {wrong[:3]}"] if wrong else []
        return found

    def what_was_touched(self) -> list[str]:
        """List all of it."""
        return [*self.logins(), *self.losses(), *self.changes_of_nodes(), *self.faults_of_jobs()]

    # --- looking

    def _record(self, name: str) -> Mapping[str, str]:
        try:
            shown = _fields(self._bed.slurm.run("scontrol", "-o", "show", "node", name))
        except BedError as error:
            shown = {"State": str(error)}
        shown["State"] = "+".join(word for word in shown["State"].split("+") if word not in _BY_ITSELF)
        return {key: shown.get(key, "") for key in _RECORD}

    def _expanded(self, node_set: str) -> list[str]:
        return self._bed.slurm.run("scontrol", "show", "hostnames", node_set).split()

    def _beats(self, node: str) -> Path:
        return self._bed.directory / f"beats-{node}"

    def _read_beats(self, node: str) -> list[str]:
        # The last line may be half written.
        return self._beats(node).read_text().split("\n")[:-1]

    def _read_log(self, node_id: str) -> str:
        return self._bed.machines.machine(node_id).log.read_text(errors="replace")

    def _read_slurm_log(self) -> str:
        return (self._bed.slurm.directory / "slurmctld.log").read_text(errors="replace")


def _fields(line: str) -> dict[str, str]:
    return dict(re.findall(r"(?:^|\s)([A-Z]\w*)=(\S*)", line))
