"""The Slurm records of machines that are not ours any more: told at once, dropped when nothing names them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from agent.cluster.desk import Desk
from agent.cluster.drain.figures import lost_cpu_seconds
from agent.cluster.join.remains import find_remains, is_dynamic
from agent.cluster.memory.names import Names
from agent.cluster.moment import Moment
from agent.cluster.reasons import KEPT, TAKEN, DrainCause, parse_reason, taken_from
from agent.cluster.shrink.surplus import names_in_use
from agent.core.errors import SlurmRefusedError
from agent.core.events import EventKind, JobLost
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node, SlurmBackend, Snapshot
from agent.slurm.names import expand


@dataclass(frozen=True)
class _Gone:
    """A machine that is gone."""

    node_id: str
    reason: str
    """The Reason= that says so."""
    keeps: bool
    """Its record stays, since slurm.conf declares the node."""


class Records:
    """Remembers which machines are gone, and takes their nodes out of Slurm.

    Args:
        desk: told what is done; has [join]: with mode cloud nodes are predeclared, and their records stay for
            the next machine.
        backend: the way in to Slurm.
    """

    def __init__(self, desk: Desk, backend: SlurmBackend) -> None:
        self._desk = desk
        self._backend = backend
        self._gone: dict[str, _Gone] = {}
        """Node name -> what is known of its machine."""
        self._removed: dict[str, _Gone] = {}
        """Name of each node whose record was taken out -> the same."""
        self._resting: frozenset[str] = frozenset()
        self._completing: dict[str, frozenset[str]] = {}
        """Name of a node whose machine is gone -> jobs that have been completing since it was free."""

    def lose(self, name: str, node_id: str, reason: str = TAKEN, *, keeps: bool = False) -> None:
        """Take note that the machine behind a node is gone.

        Args:
            name: of the node.
            node_id: of the machine.
            reason: the Reason= that says so.
            keeps: the record stays, since slurm.conf declares the node.
        """
        with self._desk.lock:
            self._gone[name] = _Gone(node_id, reason, keeps)

    def inherit(self, moment: Moment, names: Names) -> None:
        """Take note of nodes whose machines went while the agent was away, or that it could not see to."""
        if moment.snapshot is None:
            return
        for known in names.gone(moment.slice.read, moment.may_be_there):
            cm, client_id, node_id, sliver_id = known.machine
            keeps, is_its = known.mode == "cloud", known.name in moment.nodes.keys() - moment.present
            if is_its:
                reason = taken_from(known.name, SliverNode(client_id, node_id, cm, sliver_id))
                self.lose(known.name, node_id, reason, keeps=keeps)
                self._desk.wake("remove_nodes")
            if keeps or not is_its:
                names.strike(known)

    def left(self) -> int:
        """Count the nodes whose machine is gone and that are in Slurm still."""
        with self._desk.lock:
            return len(self._gone)

    def find(self, moment: Moment) -> None:
        """Take note of what machines left in Slurm that nobody else remembers, and of records that are back.

        A slurmctld that ends unexpectedly may come back with a record that was deleted since it saved it, as
        22.05 does where somebody wrote a Comment there. No slurmd has told it when that node booted.

        Args:
            moment: now; nothing is found while a manifest was not read, or a machine is in doubt.

        Raises:
            SlurmDownError: no controller answered.
        """
        if moment.snapshot is None or not moment.slice.all_read or moment.slice.doubted:
            return
        self.adopt(moment.snapshot, moment.backed)
        keeps = self._desk.settings.join.mode == "cloud"
        for name, reason in find_remains(moment).items():
            if name not in self._gone:
                self.lose(name, name, reason, keeps=keeps)
        self._removed = {name: lost for name, lost in self._removed.items() if name not in moment.present}
        for name in self._removed.keys() & moment.nodes.keys() - self._gone.keys():
            node, known = moment.nodes[name], self._removed[name]
            if is_dynamic(node) and (node.booted is None or not node.at_work):
                self.lose(name, known.node_id, known.reason)

    def adopt(self, snapshot: Snapshot, ours: Collection[str]) -> None:
        """Take note of the records that an earlier run left down; set predeclared ones down that are not.

        Args:
            snapshot: what Slurm says.
            ours: names of the nodes that a machine is behind, of ours or of others; every CM was read.

        Raises:
            SlurmDownError: no controller answered.
        """
        if self._desk.settings.join.mode == "cloud":
            self._rest(snapshot, ours)
            return
        for node in snapshot.nodes.values():
            if node.state == "DOWN" and _says_gone(node.reason) and node.name not in ours:
                self.lose(node.name, node.name)

    def _rest(self, snapshot: Snapshot, ours: Collection[str]) -> None:
        """Set the predeclared nodes down that have no machine: else Slurm sends them jobs that hang there.

        Releases before 24.11 list a CLOUD node only once it had a machine, and none lists a FUTURE node:
        those are told once a run.
        """
        names = expand(self._desk.settings.join.predeclared) - frozenset(ours)
        held = {name for job in snapshot.jobs if job.holds_nodes for name in job.nodes}
        seen = {name: snapshot.nodes[name] for name in names & snapshot.nodes.keys()}
        due = {name for name, n in seen.items() if n.state != "DOWN" and not n.draining and name not in held}
        due |= names - seen.keys() - self._resting
        self._resting = names - seen.keys()
        if not due:
            return
        try:
            self._backend.set_down(due, KEPT)
        except SlurmRefusedError as error:
            self._desk.note(f"[join] predeclared: {error}")
            return
        self._desk.tell(
            EventKind.DOWN,
            self._desk.settings.join.predeclared,
            f"{len(due)} predeclared nodes have no machine: set down",
        )

    def step(self, ours: Collection[str]) -> None:
        """Take out what can be taken out now; the rest at the next step.

        Jobs that still ran there are requeued first. A record that a pending job or a reservation names
        stays, down with our reason: without it a reconfigure of Slurm would end that job with NODE_FAIL.
        One stays down, too, until all jobs are over that complete: of such a job Slurm tells the nodes alone
        that are not free yet, and slurmctld crashes (22.05) where the record of another of its nodes is gone.
        So does one under which a requeued job was freed, until that has started again (``Freed``).

        Args:
            ours: names of the nodes whose machines we hold now.

        Raises:
            SlurmError: Slurm could not be read.
        """
        with self._desk.lock:
            gone = dict(self._gone)
        if not gone:
            return
        snapshot = self._backend.snapshot()
        completing = frozenset(job.id for job in snapshot.jobs if job.state == "COMPLETING")
        reservations = self._backend.reservations()
        named = names_in_use(snapshot.jobs, reservations, snapshot.taken)
        for reservation in reservations:
            named.update(dict.fromkeys(reservation.nodes, f"reservation {reservation.name} names it"))
        freed = []
        for name, lost in gone.items():
            node = snapshot.nodes.get(name)
            if name in ours or node is None:
                self._settle(name)
                continue
            try:
                # Slurm 24.11 may tell no nodes of a requeued job that completes.
                if snapshot.holds(name) or ("COMPLETING" in node.flags and node.state != "DOWN"):
                    self._desk.freed.note([name], snapshot)
                    self._free_jobs(node, lost)
                    freed.append(name)
                elif not lost.keeps and (left := self._completing.get(name, completing) & completing):
                    self._completing[name] = left
                    if node.state != "DOWN":
                        self._backend.set_down([name], lost.reason)
                else:
                    waits = self._desk.freed.waiting(name, snapshot)
                    why = f"job {waits} was requeued from it and has not started again" if waits else ""
                    self._take_out(node, lost, named.get(name, why))
            except SlurmRefusedError as error:
                self._desk.note(f"{name} stays in Slurm for now: {error}")
        for job in snapshot.jobs_on(freed):
            self._tell_lost(job)

    def _free_jobs(self, node: Node, lost: _Gone) -> None:
        # Slurm would wait for SlurmdTimeout before it lets the jobs run elsewhere.
        self._backend.set_down([node.name], lost.reason)
        message = f"{node.name} is gone with jobs on it: Slurm was told"
        self._desk.tell(EventKind.DOWN, lost.node_id, message)

    def _take_out(self, node: Node, lost: _Gone, named: str) -> None:
        name, node_id = node.name, lost.node_id
        if lost.keeps and node.flags & {"POWERED_DOWN", "POWERING_DOWN"}:
            self._settle(name)
        elif lost.keeps:
            self._backend.set_down([name], KEPT)
            self._settle(name)
            self._desk.tell(EventKind.DOWN, node_id, f"{name} has no machine any more; its record stays")
        elif named:
            if node.state != "DOWN" or node.reason != KEPT:
                self._backend.set_down([name], KEPT)
                self._desk.tell(EventKind.DOWN, node_id, f"the record of {name} stays, down: {named}")
        else:
            self._backend.delete_nodes([name])
            self._settle(name)
            self._removed[name] = lost
            self._desk.tell(EventKind.REMOVE, node_id, f"{name} is gone from Slurm")

    def _tell_lost(self, job: Job) -> None:
        """Tell of a job that ran there; one that completes was ended before, by whom ever."""
        if job.state == "COMPLETING" or not self._desk.losses.is_new(job):
            return
        lost = lost_cpu_seconds(job, self._desk.clock.now())
        message = f"job {job.id} lost its machine ({lost:.0f} CPU-seconds lost)"
        data = JobLost(job.id, DrainCause.TAKEN.value, lost)
        self._desk.record(EventKind.LOST, ",".join(sorted(job.nodes)), message, data)
        self._desk.losses.hand_over(job)
        self._desk.look_at_drains()

    def _settle(self, name: str) -> None:
        self._completing.pop(name, None)
        with self._desk.lock:
            self._gone.pop(name, None)


def _says_gone(reason: str) -> bool:
    drain = parse_reason("", reason)
    return reason == KEPT or (drain is not None and drain.cause is DrainCause.TAKEN)
