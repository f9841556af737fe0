"""The elastic-slice manager of a Slurm cluster: the framework's seams, filled with Slurm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from agent.core.errors import AgentError, SlurmRefusedError, SshError
from agent.core.helper import AddArgs, SimpleElasticSliceHelper
from agent.core.manager import ManagerConfig, SimpleElasticSliceManager
from agent.core.model import AdminDrain, AgentView, NodeStatus, Revocation, SliverNode
from agent.core.ports import Host, HostResult, RemoteShell, Series, SliceServer
from agent.slurm.announcer import Announcer
from agent.slurm.borrowing import Borrowing
from agent.slurm.demand import GrowthPlan
from agent.slurm.drain import Drain, DrainCause, DrainStore, LeaveNode
from agent.slurm.drainer import Drainer, Wishes
from agent.slurm.emptying import Emptying, Situation, left_by_an_earlier_run
from agent.slurm.giveback import GiveBack
from agent.slurm.grow_order import GrowOrder, GrowOrders, in_service
from agent.slurm.grower import Grower
from agent.slurm.hold import PAUSE, TEARDOWN, WHOLE_SLICE, GrowthHold
from agent.slurm.join import leave_commands, node_name
from agent.slurm.joiner import Joiner
from agent.slurm.model import SlurmBackend, Snapshot
from agent.slurm.picture import Picture
from agent.slurm.policy import SlurmPolicy
from agent.slurm.power_saver import PowerSaver
from agent.slurm.preview import Preview, draw_preview
from agent.slurm.records import Records
from agent.slurm.release import is_given_back
from agent.slurm.returning import Returning
from agent.slurm.supply import Supply
from agent.slurm.view import node_views
from agent.slurm.weights import SetWeight, note_weights, plan_weights, push_weights


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
        stored = {drain.node_id: drain for drain in drains.drains()}
        self._hold = GrowthHold(drains, stored.pop(WHOLE_SLICE, None))
        self._emptying = Emptying(drains, stored.values(), limited)
        self._giveback = GiveBack()
        self.grow_orders = GrowOrders(lambda words: self.tell("admin", "", words))
        self._grower = Grower(lambda: self.grow_orders.applied_to(self.policy))
        self._records = Records(backend, self.tell, self.note, join=lambda: self.policy.join)
        self._returning = Returning(backend, self._grower, self._giveback, self.tell)
        self._borrowing = Borrowing(self, self._placement.avoided)
        self._first_type = ""
        """Hardware type of the first machine of the next sliver."""
        self._names: Mapping[str, str] = {}
        """Names that Slurm's power saving wants machines for -> their types, at the last look."""
        self._power = PowerSaver(backend, lambda: self.policy, self.tell)
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
        self._announcer = Announcer(
            self._run_on, policy=lambda: self.policy, clock=config.clock, tell=self.tell
        )
        self.joiner = Joiner(
            self._run_on,
            backend=backend,
            settings=lambda: self.policy.join,
            clock=config.clock,
            events=self.events,
            done=lambda: self.wake("get_system_state", "join_nodes", "set_system_state"),
            lease=lambda machine: self._announcer.files(self.sliver_expires.get(machine.cm)),
        )

    def start(self) -> None:
        """Begin to manage and to empty."""
        super().start()
        self.drainer.start()

    def stop(self) -> None:
        """End both."""
        self.drainer.stop(timeout=1)
        super().stop()

    # --- what is known

    def machines(self) -> dict[str, SliverNode]:
        """Return node name -> machine, for every machine that a manifest says is ours."""
        named = ((node_name(node, self.policy.join), node) for node in self.held())
        return {name: node for name, node in named if name}

    def picture(self, snapshot: Snapshot) -> Picture:
        """Set our machines beside what Slurm says."""
        now = self._situation()
        return Picture(snapshot, now.machines, frozenset(self._emptying.drains(now)))

    def _situation(self) -> Situation:
        snapshot = self.snapshot
        known = snapshot.nodes if snapshot else {}
        failed = {node_name(m, self.policy.join) for m in super().failed()} & known.keys()
        with self.rlock:
            return Situation(
                machines=self.machines(),
                all_read=self.slivers.keys() >= set(self.cmlist),
                snapshot=snapshot,
                revocations=dict(self.revocations),
                taken=set(self.taken),
                useless=self._giveback.chosen | failed,
                hold=self.hold,
                leases=self.sliver_expires,
            )

    # --- reading Slurm

    def get_system_state(self) -> None:
        """Read nodes and jobs; decide how many machines the queue wants and which are surplus."""
        snapshot = self._backend.snapshot()
        self._emptying.observe(self.policy.drain)
        self.snapshot = snapshot
        self._adopt_drains(snapshot, self.clock.now())
        picture = self.picture(snapshot)
        self._announcer.look(picture, self.sliver_expires, self.lease.duration)
        self._grower.observe(snapshot, picture.joined)
        self.grow_orders.observe(in_service(picture), self.clock.now())
        supply = self._supply(picture)
        self.growth = growth = self._grower.growth(snapshot, supply)
        self.note(f"{growth.count} more machines are wanted")
        failed = {node_name(m, self.policy.join) for m in super().failed()}
        self._power.look(picture, supply, growth, self._held_up_words() or self._refused_words(), failed)
        kept = self._returning.keep(snapshot, growth)
        values = self._values_by_name(picture)
        if self._returning.mark(picture, growth, values, self.clock.now()) or kept:
            self.drainer.wake()
        if growth.wanted:
            self.wake("ensure_sliver", "add_nodes")

    def _adopt_drains(self, snapshot: Snapshot, now: datetime) -> None:
        """Take over once what an earlier run wrote as reasons, where nothing else remembers it."""
        machines = self.machines()
        if self._adopted or not machines:
            return
        for machine, drain in left_by_an_earlier_run(machines, snapshot):
            match drain:
                case Drain(cause=DrainCause.REVOKED, deadline=datetime() as deadline):
                    revocation = Revocation(machine.node_id, machine.client_id, deadline, now, now)
                    with self.rlock:
                        self.revocations.setdefault(machine.node_id, revocation)
                case Drain(cause=DrainCause.ADMIN, why=why) if why == TEARDOWN:
                    if self.hold is None:
                        self._put_hold(TEARDOWN, drain.who, drain.deadline)
                case Drain(cause=DrainCause.ADMIN) if self._emptying.get(machine.node_id) is None:
                    self._emptying.put(
                        AdminDrain(
                            machine.node_id, drain.why, drain.who, now, drain.deadline, drain.give_back
                        )
                    )
                case Drain(cause=DrainCause.SURPLUS):
                    self._giveback.choose(drain.node)
                case _:
                    continue
            self.tell("adopt", machine.node_id, f"found as an earlier run left it: {drain.reason}")
        self._adopted = True
        self.drainer.wake()

    # --- growing

    def _supply(self, picture: Picture) -> Supply:
        failed = {m.sliver_id for m in super().failed()}
        return self._borrowing.supply(picture, failed, self._giveback.returnable, self.clock.now())

    def _wanted_at(self, cm: str) -> dict[str, int]:
        """Return type -> machines that the queue wants from this CM; nothing without a reading of Slurm."""
        if self.snapshot is None:
            return {}
        growth = self._grower.growth(self.snapshot, self._supply(self.picture(self.snapshot)))
        self._names = growth.names
        shares = self._borrowing.shares(growth, self.clock.now())
        return {kind: n for (kind, at), n in shares.items() if at == cm}

    def should_create_sliver(self, cm: str) -> bool:
        """Make a sliver only when the queue wants a machine: an empty cluster holds nothing."""
        wanted = {} if self._is_held_up() else self._wanted_at(cm)
        self._first_type = next(iter(wanted), "")
        return bool(wanted)

    def create_rspec(self) -> str:
        """Ask the helper for a request; its first machine is of a type that the queue wants."""
        if isinstance(self.helper, SimpleElasticSliceHelper):
            self.helper.request_type = self._first_type or self.helper.request_type
            names = [name for name, kind in self._names.items() if kind == self._first_type]
            self.helper.request_names = names[: self.helper.num_pcs]
        return super().create_rspec()

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Add what the queue wants and this CM can spare; nothing without a reading of Slurm."""
        if self._is_held_up():
            return None
        wanted = [self._wanted_at(each) for each in ([cm] if cm else self.cmlist)]
        total = sum(sum(each.values()) for each in wanted)
        if count and total < count:
            return None
        if self.policy.demand.types and cm:
            self.reserve_names(self._slivers.names())
            return self._borrowing.name_machines(cm, wanted[0], count or total, self._names)
        if self._names:
            return self._borrowing.take_names([*self._names][: count or total])
        return count or total or None

    # --- holding growth up

    @property
    def hold(self) -> AdminDrain | None:
        """The wish that holds growth up, with reason ``PAUSE`` or ``TEARDOWN``; None for none."""
        return self._hold.wish

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
        if not self._hold.lift():
            return braked
        self._giveback.choose_emptied()
        self.tell("admin", "", f"{who} allows growth again")
        self.drainer.wake()
        self.wake("get_system_state", "ensure_sliver", "add_nodes")
        return True

    def held_or_coming(self) -> int:
        """Count the machines that are held, or were asked for; 0 before Slurm was read once."""
        return self._supply(self.picture(self.snapshot)).count if self.snapshot else 0

    def grow(self, order: GrowOrder) -> None:
        """Ask for machines until so many are in service.

        Raises:
            AgentError: something holds growth up, or ``max_nodes`` does not allow it; nothing was done.
        """
        most = self.policy.demand.max_nodes
        if words := self._held_up_words():
            raise AgentError(f"no machine is asked for: {words} (`esagent unpause` allows growth again)")
        if self.policy.join.power_names:
            raise AgentError("Slurm's power saving decides which machines come ([join] power_nodes)")
        if order.machines > most:
            raise AgentError(f"{order.machines} machines would be held, and [demand] max_nodes is {most}")
        self.grow_orders.put(order)
        self.wake("get_system_state", "ensure_sliver", "add_nodes")

    def renew_now(self, who: str) -> str:
        """Renew the lease to its full length at the next moment; return what is done, in words."""
        self._lease.urge()
        self.tell("admin", "", f"{who} has the lease renewed")
        self.wake("ensure_slice", "renew")
        return "the lease is being renewed; `esagent events` tells how that goes"

    def _put_hold(self, reason: str, who: str, deadline: datetime | None) -> AdminDrain:
        hold = self._hold.put(reason, who, self.clock.now(), deadline)
        what = "stops growth" if reason == PAUSE else "stops growth and has every machine given back"
        self.tell("admin", "", f"{who} {what}")
        self.drainer.wake()
        return hold

    def _held_up_words(self) -> str:
        hold = self.hold
        return f"{hold.reason} by {hold.who}" if hold else self.brake.words()

    def _refused_words(self) -> str:
        now = self.clock.now()
        refused = all(self._placement.paused(cm, now) for cm in self.cmlist)
        return "Cloudlab has none now" if refused else ""

    def _is_held_up(self) -> bool:
        hold = self.hold
        if hold is not None:
            self.note(f"no machine is asked for: {hold.reason} by {hold.who} since {hold.since:%H:%M:%SZ}")
        return hold is not None

    # --- giving back

    def delete_nodes(self, cm: str | None = None) -> None:
        """Give back what failed, what is surplus, and in a teardown everything; never what Slurm may use."""
        if self._giveback.emptied or self._released() or super().failed(cm):
            # A job may have come since the last reading: somebody may have resumed a node that we drained.
            self.snapshot = self._backend.snapshot()
        super().delete_nodes(cm)
        if self._hold.tearing_down:
            self._at_each(cm, self._delete_empty_sliver)

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that failed and may be given back: Slurm has nothing on them."""
        return [
            m
            for m in super().failed(cm)
            if self._is_idle(node_name(m, self.policy.join)) and not self.joiner.keeps(m)
        ]

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
        if self._hold.is_news(bare):
            self.tell("admin", "", "the teardown is complete: nothing is held")

    def _values_by_name(self, picture: Picture) -> dict[str, float]:
        with self.rlock:
            values = dict(self.resource_values)
        return {n: values[m.node_id].value for n, m in picture.machines.items() if m.node_id in values}

    def handle_blocking_node(self, node: SliverNode) -> None:
        """Empty a machine that blocks the renewal; it is given back when nothing is left on it."""
        if self._giveback.choose_blocking(node_name(node, self.policy.join)):
            self.tell("surplus", node.node_id, "to be given back: the lease is not renewed with it")
        self.drainer.wake()

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Give back the surplus machines of this CM that are empty; in a teardown all that are."""
        ready = self._giveback.emptied
        if not self._hold.tearing_down:
            ready &= self._giveback.chosen
        idle = sorted(name for name in ready | self._released() if self._is_idle(name))
        names = self.machines()
        return [names[n].client_id for n in idle if n in names and cm in {None, names[n].cm}]

    def _released(self) -> set[str]:
        """Return the names of the revoked machines that are empty, where we give them back ourselves."""
        drain = self.policy.drain
        with self.rlock:
            free = {r.node_id: r.client_id for r in self.revocations.values() if is_given_back(r, drain)}
        return {n for n, m in self.machines().items() if free.get(m.node_id) in {"", m.client_id}}

    def handle_deleted_node(self, node: Mapping[str, Any]) -> None:
        """Forget a machine that the manifest has no more; its record in Slurm goes at ``remove_nodes``."""
        super().handle_deleted_node(node)
        machine = SliverNode(**node)
        name = node_name(machine, self.policy.join)
        self._records.lose(name, machine.node_id)
        self._giveback.forget(name)
        self._borrowing.forget(machine.client_id)
        self.joiner.forget(machine)
        self.wake("remove_nodes")
        self._emptying.forget(machine.node_id)
        self.drainer.wake()
        try:
            self._shell.forget(self._host(machine))
        except SshError as error:
            self.tell("ssh", machine.node_id, f"its host key stays known: {error}")

    def remove_nodes(self) -> None:
        """Drop the Slurm records of machines that are gone; jobs that still run there are requeued first."""
        if self.snapshot is not None and self.slivers.keys() >= set(self.cmlist):
            self._records.adopt(self.snapshot, self.machines())
        self._records.step(self.machines())

    # --- joining

    def join_nodes(self) -> None:
        """Start joining the ready machines that Slurm does not have at work."""
        if self.snapshot is None:
            return
        picture = self.picture(self.snapshot)
        outcome = self.joiner.step(self._joinable(picture), picture.snapshot)
        for machine, why in outcome.given_up:
            self.give_up(machine, why)
        if outcome.given_up:
            # Slurm may have them at work all the same: they are to be drained before a job starts there.
            self.drainer.wake()
        for machine in outcome.joined:
            node = picture.snapshot.nodes.get(node_name(machine, self.policy.join))
            if node is not None and node.usable:
                self.prove(machine)

    def _joinable(self, picture: Picture) -> list[SliverNode]:
        return [m for m in self.ready() if node_name(m, self.policy.join) not in picture.leaving]

    def machine_booted(self, node: SliverNode) -> None:
        """Wait until it has joined: only then a new machine is of use."""

    def handle_added_node(self, node: Mapping[str, Any], status: str) -> None:
        """Join a machine as soon as it is ready."""
        super().handle_added_node(node, status)
        self.wake("get_system_state", "join_nodes")

    # --- weights

    def weights(self, picture: Picture) -> tuple[SetWeight, ...]:
        """Decide which weights have to change."""
        names = {node.node_id: name for name, node in picture.machines.items()}
        with self.rlock:
            values = dict(self.resource_values)
        return plan_weights(picture.snapshot, names, values, self.policy.weights, self.clock.now())

    def set_system_state(self) -> None:
        """Push Cloudlab's resource values to Slurm as node weights."""
        if self.snapshot is None:
            return
        refused: list[SlurmRefusedError] = []
        for change in self.weights(self.picture(self.snapshot)):
            done, errors = push_weights(self._backend, change)
            self.snapshot = note_weights(self.snapshot, done, change.weight)
            refused += errors
            for name in done:
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
        self._emptying.note_taken(nodelist)
        super().nodes_taken(nodelist)

    def put_admin_drain(self, drain: AdminDrain, *, take_over: bool = False) -> None:
        """Take an administrator's wish, with ``take_over`` in place of a drain by somebody else.

        Raises:
            LedgerError: it cannot be written down.
        """
        self._emptying.put(drain, take_over=take_over)
        self.tell("admin", drain.node_id, f"{drain.who} drains it: {drain.reason}")
        self.drainer.wake()

    def admin_drain(self, node_id: str) -> AdminDrain | None:
        """Return the administrator's wish for a machine."""
        return self._emptying.get(node_id)

    def remove_admin_drain(self, node_id: str, who: str) -> None:
        """Strike an administrator's wish."""
        self._emptying.remove(node_id)
        self.tell("admin", node_id, f"{who} resumes it")
        self.drainer.wake()

    def wishes(self) -> Wishes:
        """Tell what is to be emptied now, and what is ours to touch."""
        return self._emptying.wishes(self._situation(), self.policy.drain)

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
            self._giveback.empty(action.node)
            if action.cause is DrainCause.ADMIN:
                self._giveback.choose(action.node)
            self.wake("delete_nodes")
            return
        self.end_delete([machine.node_id])
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
        # A machine that was given back comes again with another host key, and as another sliver.
        life = machine.sliver_id.rpartition("+")[2]
        return Host(machine.node_id, machine.address or machine.hostname, user, life=life)

    def _run_on(self, machine: SliverNode, commands: Series, timeout: float) -> HostResult:
        host = self._host(machine)
        return self._shell.run({host: commands}, timeout=timeout)[host]

    # --- showing

    def preview(self) -> Preview | None:
        """Tell what the next cycle would do, by what is known now; None before Slurm was read once.

        The cycle looks again before it acts: what has changed since may keep a node. As there, reservations
        are read when a node is about to go.

        Raises:
            SlurmError: they could not be read.
        """
        if self.snapshot is None:
            return None
        picture = self.picture(self.snapshot)
        growth = self._grower.growth(picture.snapshot, self._supply(picture))
        now = self.clock.now()
        return draw_preview(
            growth=growth,
            shares=self._borrowing.shares(growth, now),
            held_up=self._held_up_words(),
            kept=self._returning.to_keep(picture.snapshot, growth),
            verdicts=self._returning.verdicts(picture, growth, self._values_by_name(picture), now),
            drains=self._emptying.drains(self._situation()),
            machines=list(picture.machines),
            deletable=[*(m.client_id for m in self.failed()), *(self.should_delete_nodes() or ())],
            joins=self.joiner.preview(self._joinable(picture), picture.snapshot),
            weights=self.weights(picture),
        )

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
                self._giveback.emptied,
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
