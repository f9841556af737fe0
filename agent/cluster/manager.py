"""The elastic-slice manager of a Slurm cluster: the framework's seams, filled with Slurm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from agent.cluster.desk import Desk
from agent.cluster.drain.drainer import Drainer
from agent.cluster.drain.fence import Fencer
from agent.cluster.drain.gate import Gate
from agent.cluster.grow.first_request import first_request
from agent.cluster.grow.lenders import choose_loans
from agent.cluster.grow.misfits import Misfits
from agent.cluster.join.commands import leave_commands
from agent.cluster.join.joiner import Joiner
from agent.cluster.join.proof import may_prove, set_aside
from agent.cluster.join.records import Records
from agent.cluster.memory.memory import Memory, WishStore
from agent.cluster.moment import Moment
from agent.cluster.planner import Plan, Planner
from agent.cluster.power.power_saver import PowerSaver
from agent.cluster.reach import Reach
from agent.cluster.reader import Reader
from agent.cluster.reasons import taken_from
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.shrink.blocking import Blocking
from agent.cluster.shrink.choosing import Chooser
from agent.cluster.shrink.departures import are_near
from agent.cluster.shrink.leaving import Leaving
from agent.cluster.steer.announcer import Announcer
from agent.cluster.steer.weigher import Weigher
from agent.cluster.view import foreign_views, node_views
from agent.cluster.wishes.adoption import Adoption
from agent.cluster.wishes.completion import Completion
from agent.cluster.wishes.orders import Orders
from agent.core.config import ManagerConfig
from agent.core.errors import SshError
from agent.core.estimates import ForJobs
from agent.core.events import EventKind
from agent.core.manager import SimpleElasticSliceManager
from agent.core.model import SliverNode
from agent.core.ports import RemoteShell, SliceServer
from agent.core.request.helper import AddArgs
from agent.core.views import AgentView, Lapse
from agent.slurm.model import SlurmBackend


class SlurmElasticSliceManager(SimpleElasticSliceManager):
    """Grows, steers and empties a Slurm cluster on top of the elastic-slice framework.

    Each step takes the moment from memory, has the plan made of it, and obeys its part: ``get_system_state``
    reads nodes and jobs, and begins to give surplus machines back; ``set_system_state`` pushes resource
    values as weights; ``join_nodes`` turns ready machines into Slurm nodes; ``remove_nodes`` drops the
    records of machines that are gone. Emptying runs in a thread of its own (``Drainer``).

    Args:
        server: the SA and the CMs.
        config: what every manager is given.
        backend: the way in to Slurm.
        shell: runs commands on machines.
        settings: those of the decisions about Slurm.
        wishes: where administrators' wishes survive a restart, and which fences were made.
        limited: reads the names of the partitions that give every job a time limit, where nodes are fenced.
        **arguments: further arguments of ``SimpleElasticSliceManager``.

    Attributes:
        desk: what every room is given; its ``settings`` are replaced as a whole on a reload.
        memory: all that is remembered, and the moment that it makes.
        last_plan: what the last reading of Slurm led to; None before the first.
        orders: what administrators ask for.
        drainer: the thread that empties nodes.
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
        settings: ClusterSettings,
        wishes: WishStore,
        limited: Callable[[], frozenset[str]] = frozenset,
        **arguments: Any,
    ) -> None:
        super().__init__(server, config, manage_order=self.DEF_ORDER, enable_delete=True, **arguments)
        self._backend = backend
        self.last_plan: Plan | None = None
        self.desk = desk = Desk(
            settings, config.clock, self.events, lock=self.rlock, note=self.note, wake=self.wake
        )
        self.memory = memory = Memory(desk, self.facts, wishes, config.left_behind)
        self._reach = reach = Reach(desk, shell, self.may_touch)
        self._announcer = announcer = Announcer(desk, reach)
        leaving = Leaving(desk, memory, reach, self.get_delete_commands, self.end_delete)
        self._planner = Planner()
        self._reader = Reader(desk, memory, backend, limited)
        fencer = Fencer(backend, server.slice_urn, wishes)
        gate = Gate(desk, memory.now, fencer)
        self._joiner = Joiner(desk, memory.joins, reach, backend, announcer, gate)
        self._records, self._misfits = Records(desk, backend), Misfits(backend)
        self._power = PowerSaver(desk, backend)
        self._weigher = Weigher(desk, memory.known, backend)
        self._chooser = Chooser(desk, memory)
        self._blocking = Blocking(desk, memory, self._lease.sparer)
        self.orders = Orders(desk, memory, self.resume_growth, self._lease.urge)
        self._completion = Completion(desk, memory, self.retired)
        self.brake.may_prove = lambda machines: may_prove(memory.now(), machines)
        self._adoption = Adoption(desk, memory, self.orders, self.adopt_revocation)
        seers = (fencer, memory.foresight())
        self.drainer = Drainer(desk, backend, memory.wishes, leaving.leave, leaving.left, *seers)

    def start(self) -> None:
        """Begin to manage and to empty."""
        super().start()
        self.drainer.start()

    def stop(self) -> None:
        """End both."""
        self.drainer.stop(timeout=1)
        super().stop()

    # --- what follows from what is known

    def plan(self) -> Plan | None:
        """Tell what the next cycle does, by what is known now; None before Slurm was read once.

        The cycle looks again before it acts: what has changed since may keep a node. As there, Slurm's
        reservations are read when a node is about to go.

        Raises:
            SlurmError: they could not be read.
        """
        moment = self.memory.now()
        return None if moment.snapshot is None else self._settle(self._planner.plan(moment), moment)

    def _settle(self, plan: Plan, moment: Moment) -> Plan:
        """Make the plan of a moment anew with Slurm's reservations, where it depends on them."""
        if not plan.asks_reservations:
            return plan
        return self._planner.plan(replace(moment, reservations=self._backend.reservations()))

    def _plan(self) -> Plan:
        """Make the plan of this moment, for steps that do not depend on reservations."""
        return self._planner.plan(self.memory.now())

    # --- reading Slurm

    def get_system_state(self) -> None:
        """Read nodes and jobs; begin to give back what is surplus, and take that back where it is wanted."""
        self.orders.settle(moment := self._reader.read())
        if self._adoption.look(moment):
            self.desk.look_at_drains()
        self.memory.growing.observe(moment.in_service, moment.now)
        self._announcer.look(moment := self.memory.now())
        plan = self._planner.plan(moment)
        self.note(f"{plan.growth.count} more machines are wanted")
        self.last_plan = plan
        self._power.act(moment, plan.power)
        self._misfits.act(moment)
        if self.memory.misjudged.look(moment, plan.growth):
            self.wake("get_system_state")
        self.last_plan = plan = self._settle(plan, moment)
        if self._chooser.obey(moment, plan.kept, plan.verdicts) or plan.supply.resuming:
            self.desk.look_at_drains()
        if plan.growth.wanted:
            self.wake("ensure_sliver", "add_nodes")

    # --- growing

    def should_create_sliver(self, cm: str) -> bool:
        """Make a sliver only when the queue wants a machine: an empty cluster holds nothing."""
        self._note_hold()
        return self.wants_machine(cm)

    def wants_machine(self, cm: str) -> bool:
        """Tell whether the queue wants a machine of this CM."""
        return bool(self._plan().wanted_at(cm))

    def request_for(self, cm: str) -> str:
        """Ask the helper for a request of all that is wanted there; "" where nothing is."""
        helper = self.simple_helper()
        if helper is None:
            # A site's own request is asked for as the reference does.
            return self.create_rspec()
        moment = self.memory.now()
        plan = self._planner.plan(moment)
        if not (wanted := plan.wanted_at(cm)):
            return ""
        request, types = first_request(helper, moment, cm, wanted, plan.growth.names)
        self.memory.note_types(cm, types)
        return request

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Add what the queue wants and this CM can spare; nothing without a reading of Slurm."""
        self._note_hold()
        moment = self.memory.now()
        plan = self._planner.plan(moment)
        total = sum(count for (_, at), count in plan.shares.items() if cm in {None, at})
        if not total or total < count:
            return None
        most = count or total
        names = plan.growth.names
        if moment.settings.demand.types and cm:
            return self._named_machines(moment, cm, plan.wanted_at(cm), most, names)
        if names:
            return self._with_names([*names][:most])
        return most

    def _named_machines(
        self, moment: Moment, cm: str, wanted: Mapping[str, int], most: int, names: Mapping[str, str]
    ) -> AddArgs:
        """Name a free machine of its type for each that is wanted; ``names`` are for them, name -> type."""
        self.reserve_names(self._slivers.names())
        args: AddArgs = {}
        loans = choose_loans(moment, cm, wanted, most)
        for kind in wanted:
            chosen = [loan for loan in loans if loan.hardware_type == kind]
            of_kind = [name for name, each in names.items() if each == kind][: len(chosen)]
            if not chosen:
                continue
            fields = self._with_names(of_kind) if names else self.get_add_args(len(chosen))
            for (client_id, each), loan in zip(fields.items(), chosen, strict=True):
                args[client_id] = {**each, **loan.asked(cm, moment.slice.values)}
        kinds = {loan.node_id: loan.hardware_type for loan in loans}
        self.memory.note_types(cm, {name: kinds[fields["node"]] for name, fields in args.items()})
        return args

    def _with_names(self, names: Sequence[str]) -> AddArgs:
        """Return machines like the helper's, with these names."""
        return dict(zip(names, self.get_add_args(len(names)).values(), strict=True))

    def _note_hold(self) -> None:
        if hold := self.memory.hold.wish:
            self.note(f"no machine is asked for: {hold.reason} by {hold.who} since {hold.since:%H:%M:%SZ}")

    def asked_for(self, cm: str, client_ids: Sequence[str]) -> ForJobs:
        """Remember for which jobs machines are asked for, and say it."""
        return self.memory.note_jobs(cm, client_ids, self._plan().growth.wanted_for)

    def type_asked(self, cm: str, client_id: str) -> str:
        """Return the type that a machine was asked for as; "" where one alone is borrowed."""
        return self.memory.type_asked(cm, client_id)

    # --- giving back

    def delete_nodes(self, cm: str | None = None) -> None:
        """Give back what failed, what is surplus, and in a teardown everything; never what Slurm may use."""
        moment = self.memory.now()
        if are_near(moment):
            # A job may have come since the last reading: somebody may have resumed a node that we drained.
            moment = self._reader.look_again()
        departures = self._planner.plan(moment).departures
        self.memory.joins.see_failed((*departures.failed, *departures.kept), moment.steady)
        super().delete_nodes(cm)
        if self.memory.hold.tearing_down or self.memory.teardowns.wishes:
            self._completion.look(self.facts())

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that failed and may be given back: Slurm has nothing on them."""
        return [machine for machine in self._plan().departures.failed if cm in {None, machine.cm}]

    def handle_blocking_node(self, node: SliverNode, deadline: datetime | None = None) -> None:
        """Empty a machine that blocks the renewal; it is given back when nothing is left on it."""
        self._blocking.give(node, deadline)

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Give back the surplus machines of this CM that are empty; in a teardown all that are."""
        return [m.client_id for m in self._plan().departures.empty if cm in {None, m.cm}]

    def handle_deleted_node(self, node: Mapping[str, Any]) -> None:
        """Forget a machine that the manifest has no more; its record in Slurm goes at ``remove_nodes``."""
        super().handle_deleted_node(node)
        machine = SliverNode(**node)
        name, settings = self.memory.names.as_joined(machine, self.desk.settings.join)
        self._records.lose(name, machine.node_id, taken_from(name, machine), keeps=settings.mode == "cloud")
        self.wake("remove_nodes")
        self.memory.forget(machine)
        self.desk.look_at_drains()
        try:
            self._reach.forget(machine)
        except SshError as error:
            self.tell(EventKind.SSH, machine.node_id, f"its host key stays known: {error}")

    def remove_nodes(self) -> None:
        """Drop the Slurm records of machines that are gone; jobs that still run there are requeued first."""
        moment = self.memory.now()
        self._records.find(moment)
        self._records.step(moment.present)

    # --- joining, and weights

    def join_nodes(self) -> None:
        """Start joining the ready machines that Slurm does not have at work."""
        moment = self.memory.now()
        plan = self._planner.plan(moment).joins
        self._records.inherit(moment, self.memory.names)
        self.memory.names.write([step.node for step in (*plan.joined, *plan.start, *plan.watch, *plan.probe)])
        outcome = self._joiner.step(moment, plan)
        for machine, why in outcome.given_up:
            self.give_up(machine, why)
        if outcome.given_up:
            # Slurm may have them at work all the same: they are to be drained before a job starts there.
            self.desk.look_at_drains()
        for machine in outcome.joined:
            node = moment.nodes.get(moment.name(machine))
            if node is not None and node.usable:
                self.prove(machine)
        for machine in set_aside(moment):
            self._trial.excuse(machine)
        self._joiner.readdress(plan)

    def machine_booted(self, node: SliverNode) -> None:
        """Wait until it has joined: only then a new machine is of use."""

    def handle_added_node(self, node: Mapping[str, Any], status: str) -> None:
        """Join a machine as soon as it is ready."""
        super().handle_added_node(node, status)
        self.desk.look_at_drains()
        self.wake("get_system_state", "join_nodes")

    def set_system_state(self) -> None:
        """Push Cloudlab's resource values to Slurm as node weights."""
        self._weigher.push(self._plan().weights)

    # --- emptying

    def start_delete(self, nodelist: Sequence[Mapping[str, Any]]) -> None:
        """Begin to empty revoked machines; Cloudlab's call returns at once."""
        facts = self.facts()
        due = {r.place: r for m in facts.machines if (r := facts.revocation_of(m))}
        for item in nodelist:
            if revocation := due.get((item.get("cm", ""), item["node_id"])):
                message = f"Cloudlab takes it at {revocation.deadline:%H:%M:%S} UTC"
                self.tell(EventKind.REVOKE, revocation.node_id, message)
        self.desk.look_at_drains()

    def notified(self, what: str) -> None:
        """Look at the drains at once when a countdown or a lease's end moved, or a machine is gone."""
        super().notified(what)
        if what in {"NotifyDeletePending", "NotifyDeleteComplete", "lease"}:
            self.desk.look_at_drains()

    def get_delete_commands(self, nodelist: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the shell commands that are run on a machine, over SSH, when nothing is left on it."""
        machine = SliverNode(**nodelist[0])
        name, settings = self.memory.names.as_joined(machine, self.desk.settings.join)
        commands = leave_commands(machine, name, settings)
        return [*commands, *(super().get_delete_commands(nodelist) or ())]

    # --- showing

    def lapses(self) -> tuple[Lapse, ...]:
        """List the leases that nobody renews, however long they last; for any thread."""
        return self._lease.lapses()

    def joined_otherwise(self) -> tuple[str, ...]:
        """List the nodes whose machines joined under another name or in another mode than [join] says now."""
        return self.memory.now().joined_otherwise

    def view(self) -> AgentView:
        """Draw a picture of what the agent knows, from memory, for any thread."""
        moment = self.memory.now()
        return AgentView(
            nodes=node_views(moment),
            wanted=self.last_plan.growth.count if self.last_plan else 0,
            slice_expires=self.slice_expires,
            sliver_expires=dict(moment.slice.leases),
            last_success=dict(self.last_success),
            growth_stopped=moment.slice.braked,
            paused=moment.hold is not None,
            backoffs=self.refused.backoffs(self.cmlist),
            impasses=self.refused.impasses.known(),
            orphans={"cloudlab": self.inventory.lost(), "slurm": self._records.left()},
            foreign=foreign_views(moment),
            lapses=self.lapses(),
            retired=self.retired.reports(),
            left_behind=self.memory.left_behind(),
        )
