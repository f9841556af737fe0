"""The manager: keeps a slice, its slivers and its machines as they should be, one step at a time.

Names, parameters and defaults are those of ``elasticslice.managers.core``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.core.abstract import ElasticSliceManager
from agent.core.config import AllEvents, ManagerConfig
from agent.core.cycle.runner import Runner
from agent.core.cycle.schedule import WOKEN_BY, Schedule
from agent.core.desk import Desk
from agent.core.errors import FatalError
from agent.core.events import EventData, EventKind
from agent.core.knowledge import Knowledge
from agent.core.model import AdvertisedNode, Intent, IntentKind, SliverNode
from agent.core.notices.endpoint import SimpleElasticSliceClientEndpoint
from agent.core.notices.foreign import ForeignNotices, Whose
from agent.core.notices.items import Item
from agent.core.notices.store import RevocationMemory
from agent.core.ports import SliceServer
from agent.core.request.helper import AddArgs, PluginElasticSliceHelper
from agent.core.said import Revocation
from agent.core.scaling.adding import Growth
from agent.core.scaling.brake import GrowthBrake
from agent.core.scaling.deleting import Giving
from agent.core.scaling.placement import Placement
from agent.core.scaling.thresholds import Thresholds
from agent.core.scaling.trial import Trial
from agent.core.slice.ending import Endings
from agent.core.slice.facts import SliceFacts
from agent.core.slice.inventory import Inventory
from agent.core.slice.lease import Lease
from agent.core.slice.life import SliceLife
from agent.core.slice.machines import Machine
from agent.core.slice.offers import Offers
from agent.core.slice.retired import Retired, with_retired
from agent.core.slice.slivers import Slivers
from agent.core.slice.statuses import Statuses


class SimpleElasticSliceManager(
    ElasticSliceManager, PluginElasticSliceHelper, SimpleElasticSliceClientEndpoint
):
    """Keeps a slice of equal machines: makes it, holds as many machines as allowed, renews the lease.

    In ``manage``, the steps of ``CM_METHODS`` run in a thread for each CM, ``ensure_slice`` and ``renew`` in
    one, and all others in one: an override of a step shares state with other threads. The hooks
    ``handle_added_node`` and ``handle_deleted_node`` run one at a time for each CM.

    Args:
        server: the SA and the CMs.
        config: a ``ManagerConfig``; anything else is kept for subclasses and the defaults hold.
        minthreshold: machines to hold at least, over all CMs in use.
        maxthreshold: machines to hold at most.
        percent_available_minimum: fraction of a CM's machines that stay free (see ``plan_growth``).
        manage_order: step names, each a method.
        manage_intervals: step -> seconds.
        method_reset_triggers: step -> steps that are due at once when it went well.
        retry_interval: seconds until a step that failed is tried again; grows while it goes on failing.
        nodetype: hardware type of every machine; None for any.
        cmlist: URNs of the CMs in use; None for all that the server knows.
        enable_delete: give surplus machines back; failed ones are given back in any case.
        email: mail on notable events, where ``config`` has a way to send it.

    Attributes:
        events: where decisions and acts are told, by mail too where that is on.
        brake: stops growth when new machines fail one after the other.
        lease: replaced as a whole on a reload.
        offers: what the CMs could lend.
        inventory: what they hold for us.
        refused: what follows from what CMs refused.
        retired: the CMs in use that are only to be emptied.

    Raises:
        ConfigError: a step that is no method, or an interval that is not above 0.
    """

    def __init__(
        self,
        server: SliceServer,
        config: Any = None,
        minthreshold: int = ElasticSliceManager.DEF_MIN_THRESHOLD,
        maxthreshold: int = ElasticSliceManager.DEF_MAX_THRESHOLD,
        percent_available_minimum: float = 0.5,
        manage_order: Sequence[str] = ElasticSliceManager.DEF_ORDER,
        manage_intervals: Mapping[str, float] = ElasticSliceManager.DEF_INTERVALS,
        method_reset_triggers: Mapping[str, Sequence[str]] = ElasticSliceManager.METHOD_RESET_TRIGGERS,
        retry_interval: float = 30,
        nodetype: str | None = None,
        cmlist: Sequence[str] | None = None,
        enable_delete: bool = False,
        email: bool = True,
    ) -> None:
        ElasticSliceManager.__init__(self, server, config)
        PluginElasticSliceHelper.__init__(self, server, config)
        SimpleElasticSliceClientEndpoint.__init__(self, helper=self)
        parts = config if isinstance(config, ManagerConfig) else ManagerConfig()
        self.clock, self.percent_available_minimum = parts.clock, percent_available_minimum
        self.retry_interval, self.delete_timeout = retry_interval, parts.cycle.delete_commands_timeout
        self.minthreshold, self.maxthreshold, self.nodetype = minthreshold, maxthreshold, nodetype
        self.cmlist, parts = with_retired(parts, server.cms, cmlist)
        self.enable_delete, self.email, self.lease = enable_delete, email, parts.lease
        self.events = AllEvents(parts.events, parts.mail) if email and parts.mail else parts.events
        desk = Desk(self.clock, self.rlock, self.tell, self.note, self.wake)
        self.offers = Offers(server, self.clock, parts.cycle.update_available, parts.retired)
        self._slivers = Slivers(server, parts, self.cmlist, desk, self)
        self._statuses = Statuses(server, self._slivers, self.clock, parts.cycle, self.cmlist)
        self._life = SliceLife(server, desk, self._slivers)
        self.inventory = Inventory(self._slivers, self.rlock, self._life.over)
        self._foreign = ForeignNotices(desk, self.inventory, self.cmlist, self.revocations)
        self._placement = Placement(parts.cycle, nodetype)
        self.brake = GrowthBrake(parts.cycle, desk, self.inventory, parts.told, self.cmlist)
        self.retired = Retired(parts, desk, self._slivers, self.cmlist)
        kept = (desk, self._slivers, self._life)
        self._lease = Lease(server, parts, *kept, lambda: self.lease, self.handle_blocking_node)
        ends = (self._life.ends, self._lease.lapses, lambda: self.lease, self.inventory.held)
        self._endings = Endings(desk, *ends, self._slivers.at_work.deletions)
        lending = (self.offers, self._placement, self.brake, self._endings, parts.retired)
        self._growth = Growth(desk, self, self._slivers, *lending, self._life, pause=retry_interval)
        self._growth.why_spared = self._lease.sparer.why_no_more
        self.refused = self._growth.refused
        self._knowledge = Knowledge(desk, self.cmlist, self, self.inventory, *lending, self._growth)
        decides = type(self).should_delete_nodes is not SimpleElasticSliceManager.should_delete_nodes
        rooms = (desk, self, self.inventory)
        self._giving = Giving(*rooms, self._slivers, self._lease, self.refused, decides=decides)
        self._lease.sparer.keep = self._giving.keep
        self._thresholds = Thresholds(*rooms, self._knowledge.share, self.refused.room)
        self._trial = Trial(desk, self._slivers, self._placement, self.brake, self.machine_booted)
        self._memory = RevocationMemory(parts.revocations, self.clock.steady())
        self.revocations.update(self._memory.stored)
        schedule = Schedule(
            manage_order,
            {**self.DEF_INTERVALS, **manage_intervals},
            triggers=method_reset_triggers,
            retry_interval=retry_interval,
            cm_steps=self.CM_METHODS,
            cms=self.cmlist,
            default_interval=self.DEF_INTERVAL,
        )
        self._runner = Runner(self, schedule, self.clock, self.events, parts.observe_step)

    @property
    def available(self) -> dict[str, tuple[AdvertisedNode, ...]]:
        """CM -> free machines; no key while unknown."""
        return self.offers.available

    @property
    def all_nodes(self) -> dict[str, tuple[AdvertisedNode, ...]]:
        """CM -> all machines; no key while unknown."""
        return self.offers.all_nodes

    @property
    def slice_expires(self) -> datetime | None:
        """Until when the slice lasts at the SA; None while unknown."""
        return self._lease.slice_expires

    @property
    def last_success(self) -> dict[str, datetime]:
        """Step -> when it last went well."""
        return self._runner.last_success

    @property
    def said(self) -> str:
        """The newest decision, in words."""
        return self._runner.said

    @property
    def fatal(self) -> str:
        """Why the thread of ``start`` ended by itself; "" otherwise."""
        return self._runner.fatal

    def held(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines in the last manifests, of one CM or of all."""
        return self.inventory.held(cm)

    def may_touch(self, node: SliverNode) -> bool:
        """Tell whether a machine is ours to act on: to log in there, to give it back, to use it otherwise."""
        return self.inventory.may_touch(node)

    def facts(self) -> SliceFacts:
        """Return all that is known of the slice at this instant."""
        return self._knowledge.facts(self._lease.lent_for(), self.percent_available_minimum)

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that the next ``delete_nodes`` gives back."""
        return self.inventory.with_fate("failed", cm)

    def requested(self, cm: str | None = None) -> list[Intent]:
        """List the machines that were asked for and have not been seen yet."""
        return self.inventory.in_flight(IntentKind.ADD, cm)

    def in_use(self) -> int:
        """Count the machines held or asked for, over all CMs in use; a silent CM's are those it last held."""
        return self.inventory.count()

    def is_adding(self, node: str | None = None, cm: str | None = None) -> bool:
        """Tell whether a machine (client_id; None for any) is asked for or starting."""
        return self.inventory.is_coming(node, cm)

    def is_deleting(self, node: str | None = None, cm: str | None = None) -> bool:
        """Tell whether a machine (client_id; None for any) is being given back."""
        return self.inventory.is_leaving(node, cm)

    def get_node_status(self, node: str, cm: str | None = None, key: str | None = None) -> Any:
        """Return the last status of a machine (client_id) as a dict, or one key of it; None where unknown."""
        return self.inventory.status_of(node, cm, key)

    def get_email(self) -> str:
        """Return the mail address in the user's certificate; "" if it has none."""
        return str(self.server.email)

    def ensure_slice(self) -> None:
        """Read until when the slice lasts; create it where there is none and it is ours to make."""
        self._lease.ensure_slice()

    def create_slice(self) -> None:
        """Register the slice for the length of a lease."""
        self._lease.create_slice()

    def renew(self) -> None:
        """Renew what has too little left: the SA first, then all CMs up to what the SA granted."""
        try:
            self._lease.renew()
        finally:
            self._runner.cycle.no_later("renew", max(self._lease.next_try(), self.retry_interval))

    def handle_blocking_node(self, node: SliverNode, deadline: datetime | None = None) -> None:  # noqa: ARG002
        """Give a machine back that blocks the renewal; override it where it has to be emptied by a deadline.

        Called with ``[lease] drop_blocking``, again at each refusal; the deadline moves with the lease.
        """
        self._giving.drop(node)

    def ensure_sliver(self, cm: str | None = None) -> None:
        """Read the manifest; create the sliver where there is none and ``should_create_sliver`` agrees."""
        self._at_each(cm, lambda each: self._growth.ensure(each, self.should_create_sliver))

    def create_sliver(self, cm: str | None = None) -> None:
        """Create the sliver with the helper's request, unless machines were asked for that may still come."""
        self._at_each(cm, lambda each: self._growth.create(each, lambda _: True))

    def should_create_sliver(self, cm: str) -> bool:
        """Decide whether to create a sliver at a CM that has none: where a machine should be added."""
        return self._thresholds.growth([cm], cm) > 0

    def update_sliver_status(self, cm: str | None = None, force: bool = False) -> None:
        """Read which machines we have, then how they are, and tell the helper what changed.

        With ``force`` the statuses are read even though no machine is starting and the last are recent.
        """

        def update(each: str) -> None:
            try:
                self._statuses.update(each, force=force)
            finally:
                if self._slivers.waits_for_another_look(each) or self._slivers.at_work.is_busy(each):
                    self._runner.cycle.no_later("update_sliver_status", self.retry_interval)

        self._at_each(cm, update)

    def request_for(self, cm: str) -> str:  # noqa: ARG002
        """Return the request for a CM that holds nothing for us; override it where the CMs' differ."""
        return self.create_rspec()

    def wants_machine(self, cm: str) -> bool:
        """Tell whether a machine should be added at a CM, which keeps an empty sliver."""
        return bool(self.should_add_nodes(cm=cm))

    def add_nodes(self, count: int = 0, cm: str | None = None) -> None:
        """Add as many machines as ``should_add_nodes`` says; with ``count`` exactly so many, if it should."""
        self._at_each(cm, lambda each: self._growth.add(each, count))

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Decide how many machines to add (see ``plan_growth``); None for none."""
        return self._thresholds.growth([cm] if cm else self.cmlist, cm or "any CM", count) or None

    def delete_nodes(self, cm: str | None = None) -> None:
        """Give machines back: failed ones, and with ``enable_delete`` what ``should_delete_nodes`` names."""
        self._at_each(cm, lambda each: self._giving.delete(each, self.wants_machine))

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Decide which machines to give back (see ``plan_surplus``): their client_ids, or None."""
        return self._thresholds.surplus([cm] if cm else self.cmlist) or None

    def give_up(self, node: SliverNode, reason: str) -> None:
        """Have a machine that booted and is of no use given back, as one that failed to boot.

        Returns at once, whatever its CM is asked meanwhile: the CM's own steps tell the helper.
        """
        self._slivers.give_up(node.cm, node.client_id, reason)

    def machine_settled(self, machine: Machine) -> None:
        """Pause the type of a machine that failed; called before ``handle_added_node``."""
        if self._trial.settled(machine):
            self._runner.cycle.wake(["delete_nodes"], machine.node.cm)

    def machine_booted(self, node: SliverNode) -> None:
        """Take note that a new machine is ready, which proves it; override it where it has to join first."""
        self.prove(node)

    def prove(self, node: SliverNode) -> None:
        """Take note that a machine is of use: growth goes on where the brake held it up."""
        self._trial.prove(node)

    def resume_growth(self, who: str) -> bool:
        """Let growth go on that the brake stopped, since ``who`` wants it; False where it was not stopped."""
        return self.brake.resume(who)

    def _at_each(self, cm: str | None, act: Callable[[str], None]) -> None:
        """Do something at one CM, or at each: a fault at one costs no other, and is raised at the end."""
        self._slivers.at_each([cm] if cm else self.cmlist, self._growth.askable.watched(act))

    def update_available(self, cm: str | None = None) -> None:
        """Read the free machines."""
        self._at_each(cm, self.offers.read_available)

    def update_all(
        self,
        cm: str | None = None,
        force: bool = False,
        lastFetchBefore: datetime | None = None,  # noqa: N803
    ) -> None:
        """Read all machines, free or not, last read before ``lastFetchBefore``; with ``force`` always."""
        self._at_each(cm, lambda each: self.offers.read_all(each, force=force, before=lastFetchBefore))

    # --- the cycle

    def manage_once(self, force: bool = False) -> str:
        """Perform one cycle: every step that is due, or with ``force`` every step; tell what was decided.

        Raises:
            FatalError: going on cannot help.
        """
        return self._runner.once(force=force)

    def manage(self) -> str:
        """Perform cycles until ``stop``, a fatal error or a user's interrupt; return why it ended.

        Raises:
            FatalError: going on cannot help.
        """
        return self._runner.forever()

    def start(self) -> None:
        """Run ``manage`` in a thread; ``fatal`` tells why, should it end by itself."""
        self._runner.start()

    def stop(self) -> None:
        """Begin no step any more; wait a little for the manager's thread to end."""
        self._runner.stop()

    def wake(self, *steps: str) -> None:
        """Make steps due now; may be called from any thread, and returns at once."""
        self._runner.cycle.wake(steps)

    def notified(self, what: str) -> None:
        """Wake the steps that a call from Cloudlab makes due."""
        self._runner.cycle.wake((*WOKEN_BY.get(what, ()), *self._foreign.steps()))

    def whose(self, revocation: Revocation) -> Whose:
        """Tell whose machine a revocation is about, by the last manifests."""
        return self._foreign.whose(revocation)

    def cm_of(self, node_id: str, client_id: str, source: str) -> str:
        """Tell at which CM a machine is that was named, by the last manifests and by who named it."""
        return self._foreign.cm_of(node_id, client_id, source)

    def nodes_taken(self, nodelist: Sequence[Item]) -> None:
        """Leave it to the manifest: ``update_sliver_status`` tells the helper once it confirms it."""

    def tell(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event, and add it to what this step decided."""
        self._runner.tell(kind, subject, message, data)

    def note(self, text: str) -> None:
        """Add to what this step decided, without an event."""
        self._runner.note(text)

    def before_cycles(self) -> None:
        """Check that there is a helper; called before the first step of each start."""
        if self.helper is None and type(self).create_rspec is PluginElasticSliceHelper.create_rspec:
            raise FatalError(f"{type(self).__name__} has no helper: call set_helper first")

    def before_step(self) -> None:
        """Write down what Cloudlab said meanwhile, and see to what is known by now to be ours, or not."""
        self._memory.keep(self.revocations, self.rlock)
        for look in (self.retired.look, self._life.look, self._foreign.tell):
            look()
        if self._endings.tell():
            self.notified("lease")
        self.resume_deletes()
