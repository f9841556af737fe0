"""The elastic-slice manager of a Slurm cluster: the framework's seams, filled with Slurm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from agent.core.errors import AgentError, SlurmRefusedError, SshError
from agent.core.manager import CycleSettings, ManagerConfig, SimpleElasticSliceManager
from agent.core.model import AdminDrain, AgentView, NodeStatus, Revocation, SliverNode
from agent.core.ports import Host, HostResult, RemoteShell, SliceServer
from agent.core.settings import Duration
from agent.slurm.demand import DemandSettings, GrowthPlan, plan_growth, plan_surplus
from agent.slurm.drain import (
    REASON_PREFIX,
    Drain,
    DrainCause,
    DrainStore,
    LeaveNode,
    most_urgent,
    parse_reason,
)
from agent.slurm.drain_settings import DrainSettings
from agent.slurm.drainer import Drainer, Wishes
from agent.slurm.fence import can_be_fenced, with_fences
from agent.slurm.join import JoinSettings, leave_commands, node_name
from agent.slurm.joiner import Joiner
from agent.slurm.model import SlurmBackend, Snapshot
from agent.slurm.view import node_views
from agent.slurm.weights import WeightSettings, plan_weights

WHOLE_SLICE = ""
"""Stands where a wish has its node_id: an administrator's wish that concerns every machine."""
PAUSE = "pause"
"""Reason of such a wish: no machine is asked for."""
TEARDOWN = "teardown"
"""Reason of such a wish: no machine is asked for, and all that are held are emptied and given back."""


@dataclass(frozen=True)
class SlurmPolicy:
    """The settings that the decisions about Slurm obey; replaced as a whole on a reload."""

    demand: DemandSettings
    weights: WeightSettings
    drain: DrainSettings
    join: JoinSettings
    partitions: tuple[str, ...] = ()
    """Whose jobs count; empty for all."""
    ssh_user: str = ""
    """Login on the machines; empty for the one that the manifest names."""


class SlurmCycleSettings(CycleSettings):
    """How often each step is done, those of Slurm included."""

    join_nodes: Duration = Field(default=15.0, gt=0, description="look whether ready machines have joined")
    remove_nodes: Duration = Field(
        default=30.0, gt=0, description="drop the Slurm records of machines that are gone"
    )

    def intervals(self) -> dict[str, float]:
        """Return step -> seconds, as ``manage_intervals`` takes it."""
        return {**super().intervals(), "join_nodes": self.join_nodes, "remove_nodes": self.remove_nodes}


class SlurmElasticSliceManager(SimpleElasticSliceManager):
    """Grows, steers and empties a Slurm cluster on top of the elastic-slice framework.

    ``get_system_state`` reads nodes and jobs and decides how many machines are wanted; ``set_system_state``
    pushes resource values as weights; ``join_nodes`` turns ready machines into Slurm nodes; ``remove_nodes``
    drops the records of machines that are gone. Emptying runs in a thread of its own (``Drainer``).

    An administrator may hold growth up (``pause``), and have everything given back (``tear_down``); both last
    until ``unpause``, also over a restart.

    Args:
        server: the SA and the CMs.
        config: what every manager is given.
        backend: the way in to Slurm.
        shell: runs commands on machines.
        policy: the settings of the decisions about Slurm.
        drains: where administrators' drains survive a restart.
        limited: reads the names of the partitions that give every job a time limit, where nodes are fenced.
        **arguments: further arguments of ``SimpleElasticSliceManager``.
    """

    DEF_ORDER: ClassVar[list[str]] = [
        "ensure_slice",
        "update_all",
        "update_available",
        "update_sliver_status",
        "get_system_state",
        "ensure_sliver",
        "renew",
        "add_nodes",
        "join_nodes",
        "delete_nodes",
        "remove_nodes",
        "set_system_state",
    ]

    def __init__(
        self,
        server: SliceServer,
        config: ManagerConfig,
        *,
        backend: SlurmBackend,
        shell: RemoteShell,
        policy: SlurmPolicy,
        drains: DrainStore,
        limited: Callable[[], frozenset[str]] = frozenset,
        **arguments: Any,
    ) -> None:
        super().__init__(server, config, manage_order=self.DEF_ORDER, enable_delete=True, **arguments)
        self.policy = policy
        self.snapshot: Snapshot | None = None
        self.growth: GrowthPlan | None = None
        self._backend = backend
        self._shell = shell
        self._drains = drains
        self._admin = {drain.node_id: drain for drain in drains.drains()}
        self._hold = self._admin.pop(WHOLE_SLICE, None)
        self._bare_told = False
        self._surplus: set[str] = set()
        """Names of the nodes that are emptied to be given back."""
        self._emptied: set[str] = set()
        """Those of them that nothing is left on."""
        self._blocking: set[str] = set()
        """Those of them that go however much the queue wants them: they block the renewal of the lease."""
        self._gone: dict[str, SliverNode] = {}
        """Node name -> machine that is not ours any more and whose record may still be in Slurm."""
        self._idle_since: dict[str, datetime] = {}
        self._taken_as: dict[str, str] = {}
        """node_id -> client_id under which Cloudlab said that it took the machine."""
        self._read_limited = limited
        self._limited: frozenset[str] = frozenset()
        self._take_over: set[str] = set()
        """node_ids of machines whose drain by somebody else an administrator wants replaced."""
        self._adopted = False
        self.drainer = Drainer(
            backend,
            self.wishes,
            self._leave,
            self._left,
            settings=lambda: self.policy.drain,
            clock=config.clock,
            events=self.events,
        )
        self.joiner = Joiner(
            self._run_on,
            settings=lambda: self.policy.join,
            clock=config.clock,
            events=self.events,
            done=lambda: self.wake("get_system_state", "join_nodes", "set_system_state"),
        )

    def start(self) -> None:
        """Begin to manage and to empty."""
        super().start()
        self.drainer.start()

    def stop(self) -> None:
        """End both."""
        self.drainer.stop(timeout=1)
        super().stop()

    # --- names

    def machines(self) -> dict[str, SliverNode]:
        """Return node name -> machine, for every machine that a manifest says is ours."""
        named = ((node_name(node, self.policy.join), node) for node in self.held())
        return {name: node for name, node in named if name}

    def joined(self) -> frozenset[str]:
        """Return the names of our machines that Slurm has."""
        snapshot = self.snapshot
        return frozenset(self.machines()) & frozenset(snapshot.nodes) if snapshot else frozenset()

    # --- reading Slurm

    def get_system_state(self) -> None:
        """Read nodes and jobs; decide how many machines the queue wants and which are surplus."""
        snapshot = self._backend.snapshot()
        now = self.clock.now()
        if self.policy.drain.fence:
            self._limited = self._read_limited()
        self.snapshot = snapshot
        self._adopt_drains(snapshot, now)
        idle = {n.name for n in snapshot.nodes.values() if n.empty and n.usable}
        self._idle_since = {name: self._idle_since.get(name, now) for name in idle}
        self.growth = growth = self._queue_growth(snapshot)
        self.note(f"{growth.count} more machines are wanted")
        if growth.count:
            self._keep_surplus(growth)
            self.wake("ensure_sliver", "add_nodes")
        else:
            self._mark_surplus(snapshot, growth, now)

    def _adopt_drains(self, snapshot: Snapshot, now: datetime) -> None:
        """Take over once what an earlier run wrote as reasons, where nothing else remembers it."""
        machines = self.machines()
        if self._adopted or not machines:
            return
        self._adopted = True
        for name, machine in machines.items():
            node = snapshot.nodes.get(name)
            drain = parse_reason(name, node.reason) if node and node.draining else None
            match drain:
                case Drain(cause=DrainCause.REVOKED, deadline=datetime() as deadline):
                    revocation = Revocation(machine.node_id, machine.client_id, deadline, now, now)
                    with self.rlock:
                        self.revocations.setdefault(machine.node_id, revocation)
                case Drain(cause=DrainCause.ADMIN, why=why) if why == TEARDOWN:
                    if self._hold is None:
                        self._put_hold(TEARDOWN, drain.who, drain.deadline)
                case Drain(cause=DrainCause.ADMIN) if machine.node_id not in self._admin:
                    self._admin[machine.node_id] = AdminDrain(
                        machine.node_id, drain.why, drain.who, now, drain.deadline, drain.give_back
                    )
                case Drain(cause=DrainCause.SURPLUS):
                    self._surplus.add(name)
                case _:
                    continue
            self.tell("adopt", machine.node_id, f"found as an earlier run left it: {drain.reason}")
        self.drainer.wake()

    # --- growing

    def _queue_growth(self, snapshot: Snapshot) -> GrowthPlan:
        joined = self.joined()
        return plan_growth(
            snapshot,
            ours=joined,
            coming=self.in_use() - len(joined),
            settings=self.policy.demand,
            partitions=self.policy.partitions,
        )

    def _wanted_at(self, cm: str) -> int:
        """Return how many machines the queue wants from this CM: what the preferred ones cannot spare."""
        if self.snapshot is None:
            return 0
        wanted = self._queue_growth(self.snapshot).count
        for each in self.cmlist:
            share = self.share(each)
            spare = max(share.spare(self.percent_available_minimum), 0) if share else 0
            if each == cm:
                return min(wanted, spare)
            wanted = max(wanted - spare, 0)
        return 0

    def should_create_sliver(self, cm: str) -> bool:
        """Make a sliver only when the queue wants a machine: an empty cluster holds nothing."""
        return not self._is_held_up() and self._wanted_at(cm) > 0

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | None:
        """Add what the queue wants and this CM can spare; nothing without a reading of Slurm."""
        if self._is_held_up():
            return None
        wanted = sum(self._wanted_at(each) for each in ([cm] if cm else self.cmlist))
        if count:
            return count if wanted >= count else None
        return wanted or None

    # --- holding growth up

    @property
    def hold(self) -> AdminDrain | None:
        """The wish that holds growth up, with reason ``PAUSE`` or ``TEARDOWN``; None for none."""
        with self.rlock:
            return self._hold

    @property
    def tearing_down(self) -> bool:
        """Everything is being given back, or was."""
        hold = self.hold
        return hold is not None and hold.reason == TEARDOWN

    def pause(self, who: str) -> AdminDrain:
        """Ask for no machine from now on; return the wish in force, which may be an earlier one.

        Raises:
            LedgerError: it cannot be written down.
        """
        return self.hold or self._put_hold(PAUSE, who, None)

    def tear_down(self, who: str, deadline: datetime | None) -> AdminDrain:
        """Ask for no machine from now on, empty all that are held, and give them back.

        Args:
            who: the administrator's user name.
            deadline: when what still runs is requeued; None lets every job run to its end.

        Raises:
            LedgerError: it cannot be written down.
        """
        hold = self._put_hold(TEARDOWN, who, deadline)
        self.wake("delete_nodes")
        return hold

    def unpause(self, who: str) -> bool:
        """Allow growth again, also where the brake stopped it; False where nothing held it up.

        What a teardown has not emptied yet goes on working.

        Raises:
            LedgerError: the wish cannot be struck.
        """
        braked = self.resume_growth(who)
        if self.hold is None:
            return braked
        self._drains.remove_drain(WHOLE_SLICE)
        with self.rlock:
            self._hold = None
            # The delete commands ran there: such a machine is of no more use.
            self._surplus |= self._emptied
        self.tell("admin", "", f"{who} allows growth again")
        self.drainer.wake()
        self.wake("get_system_state", "ensure_sliver", "add_nodes")
        return True

    def _put_hold(self, reason: str, who: str, deadline: datetime | None) -> AdminDrain:
        hold = AdminDrain(WHOLE_SLICE, reason, who, self.clock.now(), deadline)
        self._drains.put_drain(hold)
        with self.rlock:
            self._hold = hold
            self._bare_told = False
        what = "stops growth" if reason == PAUSE else "stops growth and has every machine given back"
        self.tell("admin", "", f"{who} {what}")
        self.drainer.wake()
        return hold

    def _is_held_up(self) -> bool:
        hold = self.hold
        if hold is not None:
            self.note(f"no machine is asked for: {hold.reason} by {hold.who} since {hold.since:%H:%M:%SZ}")
        return hold is not None

    # --- giving back

    def delete_nodes(self, cm: str | None = None) -> None:
        """Give back what failed, what is surplus, and in a teardown everything; never what Slurm may use."""
        with self.rlock:
            emptied = bool(self._emptied)
        if emptied or self._released() or super().failed(cm):
            # A job may have come since the last reading: somebody may have resumed a node that we drained.
            self.snapshot = self._backend.snapshot()
        super().delete_nodes(cm)
        if self.tearing_down:
            self._at_each(cm, self._delete_empty_sliver)

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that failed and may be given back: Slurm has nothing on them."""
        return [m for m in super().failed(cm) if self._is_idle(node_name(m, self.policy.join))]

    def _is_idle(self, name: str) -> bool:
        """Tell whether no job is on a node and none can start there; False while Slurm was never read."""
        snapshot = self.snapshot
        if snapshot is None or snapshot.jobs_on([name]):
            return False
        node = snapshot.nodes.get(name)
        return node is None or not node.usable

    def _delete_empty_sliver(self, cm: str) -> None:
        sliver = self._slivers.read(cm)
        if sliver is not None and not sliver.nodes and not self.requested(cm):
            self.server.delete_sliver(cm)
            self._slivers.read(cm)
            self.tell("delete", cm, "gave the sliver back, which had no machine left")
        slivers = self.slivers
        bare = slivers.keys() >= set(self.cmlist) and not any(slivers.values()) and not self.requested()
        with self.rlock:
            first, self._bare_told = bare and not self._bare_told, bare
        if first:
            self.tell("admin", "", "the teardown is complete: nothing is held")

    def _mark_surplus(self, snapshot: Snapshot, growth: GrowthPlan, now: datetime) -> None:
        """Begin to empty the machines that the queue has no use for."""
        names = self.machines()
        with self.rlock:
            values = {
                name: self.resource_values[node.node_id].value
                for name, node in names.items()
                if node.node_id in self.resource_values
            }
        surplus = plan_surplus(
            snapshot,
            ours=self.joined() - self.wishes().drains.keys(),
            idle_since=self._idle_since,
            values=values,
            growth=growth,
            settings=self.policy.demand,
            now=now,
        )
        for node in surplus:
            with self.rlock:
                self._surplus.add(node.name)
            self.tell("surplus", names[node.name].node_id, f"to be given back: {node.reason}")
        if surplus:
            self.drainer.wake()

    def _keep_surplus(self, growth: GrowthPlan) -> None:
        """Return draining surplus to service before a new machine is asked for."""
        with self.rlock:
            kept = sorted(self._surplus - self._emptied - self._blocking)[: growth.count]
            self._surplus.difference_update(kept)
        for name in kept:
            self.tell("keep", name, "the queue wants it again")
        if kept:
            self.drainer.wake()

    def handle_blocking_node(self, node: SliverNode) -> None:
        """Empty a machine that blocks the renewal; it is given back when nothing is left on it."""
        name = node_name(node, self.policy.join)
        with self.rlock:
            known = name in self._blocking
            self._blocking.add(name)
            self._surplus.add(name)
        if not known:
            self.tell("surplus", node.node_id, "to be given back: the lease is not renewed with it")
        self.drainer.wake()

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Give back the surplus machines of this CM that are empty; in a teardown all that are."""
        with self.rlock:
            ready = set(self._emptied) if self.tearing_down else self._surplus & self._emptied
        ready = {name for name in ready | self._released() if self._is_idle(name)}
        names = self.machines()
        return [names[n].client_id for n in sorted(ready) if n in names and cm in {None, names[n].cm}]

    def _released(self) -> set[str]:
        """Return the names of the revoked machines that are empty, where we give them back ourselves."""
        if self.policy.drain.release != "delete":
            return set()
        with self.rlock:
            free = {r.node_id: r.client_id for r in self.revocations.values() if r.releasable}
        return {n for n, m in self.machines().items() if free.get(m.node_id) in {"", m.client_id}}

    def handle_deleted_node(self, node: Mapping[str, Any]) -> None:
        """Forget a machine that the manifest has no more; its record in Slurm goes at ``remove_nodes``."""
        super().handle_deleted_node(node)
        machine = SliverNode(**node)
        name = node_name(machine, self.policy.join)
        with self.rlock:
            self._gone[name] = machine
            self._surplus.discard(name)
            self._emptied.discard(name)
            self._blocking.discard(name)
            self._admin.pop(machine.node_id, None)
            self._taken_as.pop(machine.node_id, None)
            self._take_over.discard(machine.node_id)
        self.joiner.forget(machine)
        self.wake("remove_nodes")
        self._drains.remove_drain(machine.node_id)
        try:
            self._shell.forget(self._host(machine))
        except SshError as error:
            self.tell("ssh", machine.node_id, f"its host key stays known: {error}")

    def remove_nodes(self) -> None:
        """Drop the Slurm records of machines that are gone; jobs that still run there are requeued first."""
        with self.rlock:
            gone = dict(self._gone)
        if not gone:
            return
        snapshot = self._backend.snapshot()
        for name, machine in gone.items():
            if name not in self.machines() and name in snapshot.nodes:
                self._remove_record(name, machine, snapshot)
            else:
                self._gone.pop(name)

    def _remove_record(self, name: str, machine: SliverNode, snapshot: Snapshot) -> None:
        if snapshot.jobs_on([name]):
            # Slurm would wait for SlurmdTimeout before it lets the jobs run elsewhere.
            self._backend.set_down([name], f"{REASON_PREFIX}taken by Cloudlab")
            self.tell("down", machine.node_id, f"{name} is gone with jobs on it: Slurm was told")
        else:
            try:
                self._backend.delete_nodes([name])
            except SlurmRefusedError as error:
                self.note(f"{name} stays in Slurm for now: {error}")
            else:
                self._gone.pop(name)
                self.tell("remove", machine.node_id, f"{name} is gone from Slurm")

    # --- joining

    def join_nodes(self) -> None:
        """Start joining the ready machines that Slurm does not have at work."""
        if self.snapshot is None:
            return
        leaving = self.wishes().drains.keys()
        ready = [m for m in self.ready() if node_name(m, self.policy.join) not in leaving]
        for machine, why in self.joiner.step(ready, self.snapshot):
            self.give_up(machine, why)
        joined = self.snapshot.nodes
        for machine in ready:
            node = joined.get(node_name(machine, self.policy.join))
            if node is not None and node.usable:
                self.prove(machine)

    def machine_booted(self, node: SliverNode) -> None:
        """Wait until it has joined: only then a new machine is of use."""

    def handle_added_node(self, node: Mapping[str, Any], status: str) -> None:
        """Join a machine as soon as it is ready."""
        super().handle_added_node(node, status)
        self.wake("get_system_state", "join_nodes")

    # --- weights

    def set_system_state(self) -> None:
        """Push Cloudlab's resource values to Slurm as node weights."""
        if self.snapshot is None:
            return
        names = {node.node_id: name for name, node in self.machines().items()}
        with self.rlock:
            values = dict(self.resource_values)
        refused: list[AgentError] = []
        for change in plan_weights(self.snapshot, names, values, self.policy.weights, self.clock.now()):
            try:
                self._backend.set_weight(change.nodes, change.weight)
            except SlurmRefusedError as error:
                refused.append(error)
                continue
            for name in sorted(change.nodes):
                self.tell("weight", name, f"weight {change.weight}: {change.reason}")
        if refused:
            raise refused[0]

    # --- emptying

    def start_delete(self, nodelist: Sequence[Mapping[str, Any]]) -> None:
        """Begin to empty revoked machines; Cloudlab's call returns at once."""
        with self.rlock:
            due = {
                n.node_id: self.revocations[n.node_id] for n in self.held() if n.node_id in self.revocations
            }
        for item in nodelist:
            if revocation := due.get(item["node_id"]):
                self.tell(
                    "revoke", revocation.node_id, f"Cloudlab takes it at {revocation.deadline:%H:%M:%S} UTC"
                )
        self.drainer.wake()

    def notified(self, what: str) -> None:
        """Look at the drains at once when a countdown moved or a machine is gone."""
        super().notified(what)
        if what in {"NotifyDeletePending", "NotifyDeleteComplete"}:
            self.drainer.wake()

    def nodes_taken(self, nodelist: Sequence[Mapping[str, Any]]) -> None:
        """Keep the scheduler off machines that are gone, before the manifest says so."""
        with self.rlock:
            self._taken_as.update((item["node_id"], item["client_id"]) for item in nodelist)
        super().nodes_taken(nodelist)

    def put_admin_drain(self, drain: AdminDrain, *, take_over: bool = False) -> None:
        """Take an administrator's wish, with ``take_over`` in place of a drain by somebody else.

        Raises:
            LedgerError: it cannot be written down.
        """
        self._drains.put_drain(drain)
        with self.rlock:
            self._admin[drain.node_id] = drain
            if take_over:
                self._take_over.add(drain.node_id)
        self.tell("admin", drain.node_id, f"{drain.who} drains it: {drain.reason}")
        self.drainer.wake()

    def admin_drain(self, node_id: str) -> AdminDrain | None:
        """Return the administrator's wish for a machine."""
        with self.rlock:
            return self._admin.get(node_id)

    def remove_admin_drain(self, node_id: str, who: str) -> None:
        """Strike an administrator's wish."""
        self._drains.remove_drain(node_id)
        with self.rlock:
            self._admin.pop(node_id, None)
            self._take_over.discard(node_id)
        self.tell("admin", node_id, f"{who} resumes it")
        self.drainer.wake()

    def wishes(self) -> Wishes:
        """Tell what is to be emptied now, and what is ours to touch."""
        machines = self.machines()
        drains = most_urgent(self._all_wishes(machines))
        settings, snapshot = self.policy.drain, self.snapshot
        if not settings.fence or snapshot is None:
            return Wishes(drains, frozenset(machines))
        known = [snapshot.nodes[name] for name in machines if name in snapshot.nodes]
        fenced = {node.name for node in known if can_be_fenced(node, self._limited)}
        expires = self.sliver_expires
        leases = {name: expires[m.cm] for name, m in machines.items() if name in fenced and m.cm in expires}
        drains, fences = with_fences(drains, fenced, leases, settings)
        return Wishes(drains, frozenset(machines), fences)

    def _all_wishes(self, machines: Mapping[str, SliverNode]) -> Iterator[Drain]:
        with self.rlock:
            revocations, admin, surplus = dict(self.revocations), dict(self._admin), set(self._surplus)
            hold, take_over = self._hold, set(self._take_over)
            taken = {node_id: self._taken_as.get(node_id, "") for node_id in self.taken}
        known = self.snapshot.nodes if self.snapshot else {}
        failed = {node_name(m, self.policy.join) for m in super().failed()} & known.keys()
        for name, machine in machines.items():
            if taken.get(machine.node_id) in {"", machine.client_id}:
                yield Drain(name, DrainCause.TAKEN)
            revocation = revocations.get(machine.node_id)
            if revocation is not None and revocation.client_id in {"", machine.client_id}:
                yield Drain(name, DrainCause.REVOKED, revocation.deadline, begun=revocation.noticed)
            wish = admin.get(machine.node_id)
            if hold is not None and hold.reason == TEARDOWN:
                yield self._teardown_drain(name, hold)
                continue
            if wish is not None:
                yield Drain(
                    *(name, DrainCause.ADMIN, wish.deadline, wish.who, wish.reason, wish.give_back),
                    takes_over=machine.node_id in take_over,
                )
            if name in surplus or name in failed:
                yield Drain(name, DrainCause.SURPLUS)

    def _teardown_drain(self, name: str, hold: AdminDrain) -> Drain:
        """Empty a node as an administrator would, with the deadline; once it is empty it is surplus."""
        snapshot = self.snapshot
        node = snapshot.nodes.get(name) if snapshot else None
        if snapshot is None or snapshot.jobs_on([name]) or (node is not None and not node.drained):
            return Drain(name, DrainCause.ADMIN, hold.deadline, hold.who, TEARDOWN)
        return Drain(name, DrainCause.SURPLUS)

    def _leave(self, name: str, timeout: float) -> HostResult:
        machine = self.machines().get(name)
        if machine is None:
            return HostResult(Host(name, "", ""), "", "it is not ours any more")
        try:
            commands = self.get_delete_commands([vars(machine)])
        except AgentError as error:
            return HostResult(self._host(machine), "", str(error))
        return self._run_on(machine, commands, timeout)

    def get_delete_commands(self, nodelist: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the shell commands that are run on a machine, over SSH, when nothing is left on it."""
        machine = SliverNode(**nodelist[0])
        return [*leave_commands(machine, self.policy.join), *(super().get_delete_commands(nodelist) or ())]

    def _left(self, action: LeaveNode) -> None:
        machine = self.machines().get(action.node)
        if machine is None:
            return
        if action.cause is not DrainCause.REVOKED:
            with self.rlock:
                self._emptied.add(action.node)
                if action.cause is DrainCause.ADMIN:
                    self._surplus.add(action.node)
            self.wake("delete_nodes")
            return
        self.end_delete([machine.node_id])
        if self.policy.drain.release == "delete":
            self.wake("delete_nodes")
        now = self.clock.now()
        margin = (action.deadline - now).total_seconds() if action.deadline else 0.0
        with self.rlock:
            revocation = self.revocations.get(machine.node_id)
        self.tell(
            "release",
            machine.node_id,
            f"Cloudlab may take it, {margin:.0f} s before its deadline",
            margin_seconds=round(margin, 1),
            drain_seconds=round((now - revocation.noticed).total_seconds(), 1) if revocation else None,
        )

    def _host(self, machine: SliverNode) -> Host:
        user = self.policy.ssh_user or machine.username
        return Host(machine.node_id, machine.address or machine.hostname, user)

    def _run_on(self, machine: SliverNode, commands: Sequence[str], timeout: float) -> HostResult:
        host = self._host(machine)
        return self._shell.run({host: commands}, timeout=timeout)[host]

    # --- showing

    def view(self) -> AgentView:
        """Show what the agent knows, from memory."""
        statuses: dict[str, NodeStatus] = {
            node.sliver_id: node for status in self.statuses.values() for node in status.nodes
        }
        with self.rlock:
            nodes = node_views(
                self.machines(),
                statuses,
                self.snapshot,
                self.wishes().drains,
                dict(self.resource_values),
                dict(self.revocations),
                frozenset(self._emptied),
            )
        return AgentView(
            nodes=nodes,
            wanted=self.growth.count if self.growth else 0,
            slice_expires=self.slice_expires,
            sliver_expires=self.sliver_expires,
            last_success=dict(self.last_success),
            growth_stopped=self.brake.words(),
            paused=self.hold is not None,
        )
