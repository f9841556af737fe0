"""The elastic-slice manager of a Slurm cluster: the framework's seams, filled with Slurm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from agent.cluster.drain.drainer import Drainer
from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.lenders import Borrowing
from agent.cluster.join.commands import leave_commands
from agent.cluster.join.joiner import Joiner
from agent.cluster.join.records import Records
from agent.cluster.memory.chosen import GiveBack
from agent.cluster.memory.drains import Drains
from agent.cluster.memory.grow_order import GrowOrders, in_service
from agent.cluster.memory.hold import WHOLE_SLICE, GrowthHold
from agent.cluster.memory.known import Known
from agent.cluster.moment import Picture
from agent.cluster.planner import Grower
from agent.cluster.power.power_saver import PowerSaver
from agent.cluster.preview import Preview, draw_preview
from agent.cluster.reach import Reach
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.shrink.departures import Departures
from agent.cluster.shrink.returning import Returning
from agent.cluster.steer.announcer import Announcer
from agent.cluster.steer.weigher import Weigher
from agent.cluster.view import Viewer
from agent.cluster.wanting import Wanting
from agent.cluster.wishes.adoption import Adoption
from agent.cluster.wishes.orders import Orders, WishStore
from agent.core.config import ManagerConfig
from agent.core.errors import SshError
from agent.core.events import EventKind
from agent.core.manager import SimpleElasticSliceManager
from agent.core.model import SliverNode
from agent.core.ports import RemoteShell, SliceServer
from agent.core.request.helper import AddArgs, SimpleElasticSliceHelper
from agent.slurm.model import SlurmBackend


class SlurmElasticSliceManager(SimpleElasticSliceManager):
    """Grows, steers and empties a Slurm cluster on top of the elastic-slice framework.

    ``get_system_state`` reads nodes and jobs and decides how many machines are wanted; ``set_system_state``
    pushes resource values as weights; ``join_nodes`` turns ready machines into Slurm nodes; ``remove_nodes``
    drops the records of machines that are gone. Emptying runs in a thread of its own (``Drainer``).

    Args:
        server: the SA and the CMs.
        config: what every manager is given.
        backend: the way in to Slurm.
        shell: runs commands on machines.
        settings: those of the decisions about Slurm.
        wishes: where administrators' wishes survive a restart.
        limited: reads the names of the partitions that give every job a time limit, where nodes are fenced.
        **arguments: further arguments of ``SimpleElasticSliceManager``.

    Attributes:
        settings: replaced as a whole on a reload.
        growth: how many machines the queue wants, as of the last reading of Slurm; None before the first.
        known: what is known of our machines.
        orders: what administrators ask for.
        wanting: what the queue wants of Cloudlab.
        weigher: pushes node weights.
        drainer: the thread that empties nodes.
        joiner: joins ready machines.
        viewer: shows all of it.
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
        self.settings = settings
        self.growth: GrowthPlan | None = None
        self._backend = backend
        self._first_type = ""
        """Hardware type of the first machine of the next sliver."""
        failed = super().failed
        stored = {drain.node_id: drain for drain in wishes.drains()}
        self._hold = GrowthHold(wishes, stored.pop(WHOLE_SLICE, None))
        self._drains = Drains(wishes, stored.values(), limited)
        self._giveback = GiveBack()
        self._growing = GrowOrders(wishes, lambda words: self.tell(EventKind.ADMIN, "", words))
        self.known = Known(self, failed, drains=self._drains, giveback=self._giveback, hold=self._hold)
        self._reach = Reach(shell, lambda: self.settings)
        self._departures = Departures(
            self, known=self.known, giveback=self._giveback, hold=self._hold, reach=self._reach
        )
        self._grower = Grower(lambda: self._growing.applied_to(self.settings))
        self._borrowing = Borrowing(self, self._placement.avoided)
        self.wanting = Wanting(
            self.known, self._grower, self._borrowing, self._giveback, failed, config.clock
        )
        self._returning = Returning(backend, self._grower, self._giveback, self.tell)
        self._records = Records(backend, self.tell, self.note, join=lambda: self.settings.join)
        self._power = PowerSaver(backend, lambda: self.settings, self.tell)
        self.weigher = Weigher(self, self.known, backend, self.tell)
        self.drainer = Drainer(
            backend,
            self.known.wishes,
            self._departures.leave,
            self._departures.left,
            settings=lambda: self.settings.drain,
            clock=config.clock,
            events=self.events,
        )
        self.orders = Orders(
            self,
            hold=self._hold,
            growing=self._growing,
            drains=self._drains,
            giveback=self._giveback,
            look=self.drainer.wake,
            urge=self._lease.urge,
        )
        self.viewer = Viewer(
            self,
            self.known,
            self._giveback,
            self.orders,
            backoffs=lambda: self._placement.backoffs(self.cmlist, self.clock.now()),
            orphans=lambda: (self.inventory.lost(), self._records.left()),
        )
        self._adoption = Adoption(
            self, self.known, orders=self.orders, drains=self._drains, giveback=self._giveback
        )
        self._announcer = Announcer(
            self._reach.run, settings=lambda: self.settings, clock=config.clock, tell=self.tell
        )
        self.joiner = Joiner(
            self._reach.run,
            backend=backend,
            settings=lambda: self.settings.join,
            clock=config.clock,
            events=self.events,
            done=lambda: self.wake("get_system_state", "join_nodes", "set_system_state"),
            lease=lambda machine: self._announcer.files(self.inventory.expires.get(machine.cm)),
        )

    def start(self) -> None:
        """Begin to manage and to empty."""
        super().start()
        self.drainer.start()

    def stop(self) -> None:
        """End both."""
        self.drainer.stop(timeout=1)
        super().stop()

    # --- reading Slurm

    def get_system_state(self) -> None:
        """Read nodes and jobs; decide how many machines the queue wants and which are surplus."""
        snapshot = self._backend.snapshot()
        self._drains.observe(self.settings.drain)
        self.known.snapshot = snapshot
        if self._adoption.look(snapshot):
            self.drainer.wake()
        picture = self.known.picture(snapshot)
        self._announcer.look(picture, self.inventory.expires, self.lease.duration)
        self._grower.observe(snapshot, picture.joined)
        self._growing.observe(in_service(picture), self.clock.now())
        supply = self.wanting.supply(picture)
        self.growth = growth = self._grower.growth(snapshot, supply)
        self.note(f"{growth.count} more machines are wanted")
        held_up = self.orders.held_up() or self._refused_words()
        self._power.look(picture, supply, growth, held_up, self.known.failed())
        kept = self._returning.keep(snapshot, growth)
        values = self.known.values(picture.machines)
        if self._returning.mark(picture, growth, values, self.clock.now()) or kept:
            self.drainer.wake()
        if growth.wanted:
            self.wake("ensure_sliver", "add_nodes")

    def _refused_words(self) -> str:
        now = self.clock.now()
        refused = all(self._placement.paused(cm, now) for cm in self.cmlist)
        return "Cloudlab has none now" if refused else ""

    # --- growing

    def should_create_sliver(self, cm: str) -> bool:
        """Make a sliver only when the queue wants a machine: an empty cluster holds nothing."""
        wanted = self.wanting.at(cm) if self.orders.allow_growth() else {}
        self._first_type = next(iter(wanted), "")
        return bool(wanted)

    def create_rspec(self) -> str:
        """Ask the helper for a request; its first machine is of a type that the queue wants."""
        if isinstance(self.helper, SimpleElasticSliceHelper):
            self.helper.request_type = self._first_type or self.helper.request_type
            names = [name for name, kind in self.wanting.names.items() if kind == self._first_type]
            self.helper.request_names = names[: self.helper.num_pcs]
        return super().create_rspec()

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Add what the queue wants and this CM can spare; nothing without a reading of Slurm."""
        if not self.orders.allow_growth():
            return None
        wanted = [self.wanting.at(each) for each in ([cm] if cm else self.cmlist)]
        names = self.wanting.names
        total = sum(sum(each.values()) for each in wanted)
        if count and total < count:
            return None
        if self.settings.demand.types and cm:
            self.reserve_names(self._slivers.names())
            return self._borrowing.name_machines(cm, wanted[0], count or total, names)
        if names:
            return self._borrowing.take_names([*names][: count or total])
        return count or total or None

    # --- giving back

    def delete_nodes(self, cm: str | None = None) -> None:
        """Give back what failed, what is surplus, and in a teardown everything; never what Slurm may use."""
        if self._departures.are_near() or super().failed(cm):
            # A job may have come since the last reading: somebody may have resumed a node that we drained.
            self.known.snapshot = self._backend.snapshot()
        super().delete_nodes(cm)
        if self._hold.tearing_down:
            self._at_each(cm, self._delete_empty_sliver)

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that failed and may be given back: Slurm has nothing on them."""
        return [
            machine
            for machine in super().failed(cm)
            if self._departures.is_idle(self.known.name(machine)) and not self.joiner.keeps(machine)
        ]

    def _delete_empty_sliver(self, cm: str) -> None:
        sliver = self._slivers.read(cm)
        if sliver is not None and not sliver.nodes and not self.requested(cm):
            self.server.delete_sliver(cm)
            self._slivers.read(cm)
            self.tell(EventKind.DELETE, cm, "gave the sliver back, which had no machine left")
        bare = self.known.is_complete() and not any(self.inventory.slivers.values()) and not self.requested()
        if self._hold.is_news(bare):
            self.tell(EventKind.ADMIN, "", "the teardown is complete: nothing is held")

    def handle_blocking_node(self, node: SliverNode) -> None:
        """Empty a machine that blocks the renewal; it is given back when nothing is left on it."""
        if self._giveback.choose_blocking(self.known.name(node)):
            self.tell(EventKind.SURPLUS, node.node_id, "to be given back: the lease is not renewed with it")
        self.drainer.wake()

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Give back the surplus machines of this CM that are empty; in a teardown all that are."""
        return self._departures.due(cm)

    def handle_deleted_node(self, node: Mapping[str, Any]) -> None:
        """Forget a machine that the manifest has no more; its record in Slurm goes at ``remove_nodes``."""
        super().handle_deleted_node(node)
        machine = SliverNode(**node)
        name = self.known.name(machine)
        self._records.lose(name, machine.node_id)
        self._giveback.forget(name)
        self._borrowing.forget(machine.client_id)
        self.joiner.forget(machine)
        self.wake("remove_nodes")
        self._drains.forget(machine.node_id)
        self.drainer.wake()
        try:
            self._reach.forget(machine)
        except SshError as error:
            self.tell(EventKind.SSH, machine.node_id, f"its host key stays known: {error}")

    def remove_nodes(self) -> None:
        """Drop the Slurm records of machines that are gone; jobs that still run there are requeued first."""
        if self.known.snapshot is not None and self.known.is_complete():
            self._records.adopt(self.known.snapshot, self.known.machines())
        self._records.step(self.known.machines())

    # --- joining

    def join_nodes(self) -> None:
        """Start joining the ready machines that Slurm does not have at work."""
        if self.known.snapshot is None:
            return
        picture = self.known.picture(self.known.snapshot)
        outcome = self.joiner.step(self._joinable(picture), picture.snapshot)
        for machine, why in outcome.given_up:
            self.give_up(machine, why)
        if outcome.given_up:
            # Slurm may have them at work all the same: they are to be drained before a job starts there.
            self.drainer.wake()
        for machine in outcome.joined:
            node = picture.snapshot.nodes.get(self.known.name(machine))
            if node is not None and node.usable:
                self.prove(machine)

    def _joinable(self, picture: Picture) -> list[SliverNode]:
        return [m for m in self.ready() if self.known.name(m) not in picture.leaving]

    def machine_booted(self, node: SliverNode) -> None:
        """Wait until it has joined: only then a new machine is of use."""

    def handle_added_node(self, node: Mapping[str, Any], status: str) -> None:
        """Join a machine as soon as it is ready."""
        super().handle_added_node(node, status)
        self.wake("get_system_state", "join_nodes")

    # --- weights

    def set_system_state(self) -> None:
        """Push Cloudlab's resource values to Slurm as node weights."""
        self.weigher.push()

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
                    EventKind.REVOKE,
                    revocation.node_id,
                    f"Cloudlab takes it at {revocation.deadline:%H:%M:%S} UTC",
                )
        self.drainer.wake()

    def notified(self, what: str) -> None:
        """Look at the drains at once when a countdown moved or a machine is gone."""
        super().notified(what)
        if what in {"NotifyDeletePending", "NotifyDeleteComplete"}:
            self.drainer.wake()

    def nodes_taken(self, nodelist: Sequence[Mapping[str, Any]]) -> None:
        """Keep the scheduler off machines that are gone, before the manifest says so."""
        self._drains.note_taken(nodelist)
        super().nodes_taken(nodelist)

    def get_delete_commands(self, nodelist: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return the shell commands that are run on a machine, over SSH, when nothing is left on it."""
        machine = SliverNode(**nodelist[0])
        return [*leave_commands(machine, self.settings.join), *(super().get_delete_commands(nodelist) or ())]

    # --- showing

    def preview(self) -> Preview | None:
        """Tell what the next cycle would do, by what is known now; None before Slurm was read once.

        The cycle looks again before it acts: what has changed since may keep a node. As there, reservations
        are read when a node is about to go.

        Raises:
            SlurmError: they could not be read.
        """
        if self.known.snapshot is None:
            return None
        picture = self.known.picture(self.known.snapshot)
        growth = self.wanting.growth(picture)
        values = self.known.values(picture.machines)
        return draw_preview(
            growth=growth,
            shares=self.wanting.shares(growth),
            held_up=self.orders.held_up(),
            kept=self._returning.to_keep(picture.snapshot, growth),
            verdicts=self._returning.verdicts(picture, growth, values, self.clock.now()),
            drains=self.known.drains(),
            tearing_down=self._hold.tearing_down,
            machines=list(picture.machines),
            deletable=[*(m.client_id for m in self.failed()), *(self.should_delete_nodes() or ())],
            joins=self.joiner.preview(self._joinable(picture), picture.snapshot),
            weights=self.weigher.plan(picture),
        )
