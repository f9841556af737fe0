"""The manager: keeps a slice, its slivers and its machines as they should be, one step at a time.

Names, parameters and defaults are those of ``elasticslice.managers.core``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

import structlog

from agent.core.abstract import ElasticSliceManager
from agent.core.brake import GrowthBrake
from agent.core.config import AllEvents, CycleSettings, ManagerConfig
from agent.core.cycle import Cycle, Outcome
from agent.core.endpoint import Item, SimpleElasticSliceClientEndpoint
from agent.core.errors import AgentError, BusyError, ConfigError, FatalError, LedgerError
from agent.core.growth import Growth
from agent.core.helper import AddArgs, PluginElasticSliceHelper
from agent.core.lease import Lease
from agent.core.machines import Machine
from agent.core.model import AdvertisedNode, Event, Intent, IntentKind, Sliver, SliverNode, SliverStatus
from agent.core.placement import Placement
from agent.core.policy import GrowthPlan, LeaseSettings, Share, plan_growth, plan_surplus
from agent.core.ports import SliceServer
from agent.core.recall import RevocationMemory
from agent.core.schedule import Key, Schedule
from agent.core.slivers import Slivers

__all__ = [
    "CycleSettings",
    "ElasticSliceManager",
    "LeaseSettings",
    "ManagerConfig",
    "SimpleElasticSliceManager",
]

log = structlog.get_logger()

STOP_TIME = 3.0
"""Seconds that ``stop`` waits for a step under way; one that waits for Cloudlab is left behind."""
_WAKES = {
    "SetResourceValues": ("set_system_state",),
    "NotifyDeletePending": ("get_system_state", "set_system_state"),
    "NotifyDeleteComplete": ("update_sliver_status", "set_system_state"),
    "end_delete": ("set_system_state",),
}


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
        available: CM -> free machines; no key while unknown.
        all_nodes: CM -> all machines; no key while unknown.
        last_success: step -> when it last went well.
        events: where decisions and acts are told, by mail too where that is on.
        brake: stops growth when new machines fail one after the other.
        said: the newest decision, in words.
        fatal: why the thread of ``start`` ended by itself; "" otherwise.
        lease: replaced as a whole on a reload.

    Raises:
        ConfigError: a step that is no method, or an interval that is not above 0.
    """

    CM_METHODS: ClassVar[list[str]] = [
        "ensure_sliver",
        "update_sliver_status",
        "update_available",
        "update_all",
        "add_nodes",
        "delete_nodes",
    ]
    DEF_INTERVAL: ClassVar[int] = 60
    DEF_INTERVALS: ClassVar[dict[str, int]] = {
        "update_available": 600,
        "ensure_sliver": 60,
        "delete_nodes": 300,
        "update_sliver_status": 60,
        "update_all": 86400,
        "renew": 3600,
        "add_nodes": 300,
        "ensure_slice": 60,
    }
    DEF_MAX_THRESHOLD: ClassVar[int] = 10
    DEF_MIN_THRESHOLD: ClassVar[int] = 1
    DEF_ORDER: ClassVar[list[str]] = [
        "ensure_slice",
        "ensure_sliver",
        "update_sliver_status",
        "renew",
        "update_all",
        "update_available",
        "get_system_state",
        "add_nodes",
        "delete_nodes",
        "set_system_state",
    ]
    METHOD_RESET_TRIGGERS: ClassVar[dict[str, list[str]]] = {
        "add_nodes": ["update_sliver_status", "update_available", "get_system_state", "set_system_state"],
        "delete_nodes": ["update_sliver_status", "update_available", "get_system_state", "set_system_state"],
    }

    def __init__(
        self,
        server: SliceServer,
        config: Any = None,
        minthreshold: int = DEF_MIN_THRESHOLD,
        maxthreshold: int = DEF_MAX_THRESHOLD,
        percent_available_minimum: float = 0.5,
        manage_order: Sequence[str] = DEF_ORDER,
        manage_intervals: Mapping[str, float] = DEF_INTERVALS,
        method_reset_triggers: Mapping[str, Sequence[str]] = METHOD_RESET_TRIGGERS,
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
        self.clock = parts.clock
        self.delete_timeout = parts.cycle.delete_commands_timeout
        self._settled_status = parts.cycle.settled_status
        self.minthreshold = minthreshold
        self.maxthreshold = maxthreshold
        self.percent_available_minimum = percent_available_minimum
        self.retry_interval = retry_interval
        self.nodetype = nodetype
        self.cmlist = tuple(dict.fromkeys(server.cms if cmlist is None else cmlist))
        self.enable_delete = enable_delete
        self.email = email
        self.lease = parts.lease
        self.available: dict[str, tuple[AdvertisedNode, ...]] = {}
        self.all_nodes: dict[str, tuple[AdvertisedNode, ...]] = {}
        self.last_success: dict[str, datetime] = {}
        self.said = ""
        self.fatal = ""
        self.events = AllEvents(parts.events, parts.mail) if email and parts.mail else parts.events
        self._notes = threading.local()
        self._fetched_all: dict[str, datetime] = {}
        self._fetched_status: dict[str, datetime] = {}
        self._dropped: set[str] = set()
        """sliver_ids of machines that block the renewal and go at the next ``delete_nodes``."""
        self._thread: threading.Thread | None = None
        self._slivers = Slivers(server, parts, self.cmlist, self)
        self._placement = Placement(parts.cycle, nodetype)
        self.brake = GrowthBrake(parts.cycle, self.clock, self)
        self._growth = Growth(self, self._slivers, self._placement, self.brake, self.clock)
        self._lease = Lease(server, self.clock, self._slivers, lambda: self.lease, self)
        self._memory = RevocationMemory(parts.revocations)
        self.revocations.update(self._memory.stored)
        unknown = [step for step in manage_order if not callable(getattr(self, step, None))]
        if unknown:
            raise ConfigError(
                f"manage_order: {', '.join(unknown)}: names of the manager's methods are expected"
            )
        schedule = Schedule(
            manage_order,
            {**self.DEF_INTERVALS, **manage_intervals},
            triggers=method_reset_triggers,
            retry_interval=retry_interval,
            cm_steps=self.CM_METHODS,
            cms=self.cmlist,
            default_interval=self.DEF_INTERVAL,
        )
        self._cycle = Cycle(schedule, self.clock, self._perform, _lane)

    # --- what is known

    @property
    def slice_expires(self) -> datetime | None:
        """Until when the slice lasts at the SA; None while unknown."""
        return self._lease.slice_expires

    @property
    def slivers(self) -> dict[str, Sliver | None]:
        """CM -> what the last good read said (None: it holds nothing); no key while it was never read."""
        with self.rlock:
            return dict(self._slivers.book.slivers)

    @property
    def statuses(self) -> dict[str, SliverStatus]:
        """CM -> the last good ``SliverStatus``."""
        with self.rlock:
            return dict(self._slivers.book.statuses)

    @property
    def sliver_expires(self) -> dict[str, datetime]:
        """CM -> until when its sliver lasts."""
        with self.rlock:
            return dict(self._slivers.expires)

    def held(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines in the last manifests, of one CM or of all."""
        with self.rlock:
            return list(self._slivers.book.held(cm))

    def ready(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that were told to ``handle_added_node`` as ready."""
        with self.rlock:
            return list(self._slivers.book.with_fate("ready", cm))

    def starting(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines in the manifests that are neither ready nor failed yet."""
        with self.rlock:
            return list(self._slivers.book.with_fate("", cm))

    def failed(self, cm: str | None = None) -> list[SliverNode]:
        """List the machines that the next ``delete_nodes`` gives back."""
        with self.rlock:
            return list(self._slivers.book.with_fate("failed", cm))

    def requested(self, cm: str | None = None) -> list[Intent]:
        """List the machines that were asked for and have not been seen yet."""
        return list(self._slivers.intents.in_flight(IntentKind.ADD, cm))

    def in_use(self) -> int:
        """Count the machines held or asked for, over all CMs in use; a silent CM's are those it last held."""
        held = {(n.cm, n.client_id) for n in self.held()}
        asked = {(i.cm, i.client_id) for i in self.requested()}
        return len(held | asked | self._slivers.holdings.presumed())

    def share(self, cm: str) -> Share | None:
        """Count the free machines of our type at a CM; None while unknown."""
        return self._placement.share(self.all_nodes.get(cm), self.available.get(cm))

    def is_adding(self, node: str | None = None, cm: str | None = None) -> bool:
        """Tell whether a machine (client_id; None for any) is asked for or starting."""
        coming = {i.client_id for i in self.requested(cm)} | {n.client_id for n in self.starting(cm)}
        return bool(coming) if node is None else node in coming

    def is_deleting(self, node: str | None = None, cm: str | None = None) -> bool:
        """Tell whether a machine (client_id; None for any) is being given back."""
        leaving = {i.client_id for i in self._slivers.intents.in_flight(IntentKind.DELETE, cm)}
        return bool(leaving) if node is None else node in leaving

    def get_node_status(self, node: str, cm: str | None = None, key: str | None = None) -> Any:
        """Return the last status of a machine (client_id) as a dict, or one key of it; None where unknown."""
        with self.rlock:
            found = next((n for n in self._slivers.book.held(cm) if n.client_id == node), None)
            status = self._slivers.book.status_of(found) if found else None
        if status is None:
            return None
        return asdict(status) if key is None else asdict(status).get(key)

    def get_email(self) -> str:
        """Return the mail address in the user's certificate; "" if it has none."""
        return str(self.server.email)

    # --- the slice

    def ensure_slice(self) -> None:
        """Read until when the slice lasts; create it where there is none."""
        self._lease.ensure_slice()

    def create_slice(self) -> None:
        """Register the slice for the length of a lease."""
        self._lease.create_slice()

    def renew(self) -> None:
        """Renew what has too little left: the SA first, then each CM up to what the SA granted."""
        try:
            self._lease.renew()
        finally:
            self._cycle.no_later("renew", max(self._lease.next_try(), self.retry_interval))

    def handle_blocking_node(self, node: SliverNode) -> None:
        """Give a machine back that is promised to others, so that the lease can be renewed.

        Called with ``[lease] drop_blocking``, again at each refusal. Override it where a machine has to be
        emptied first.
        """
        self._dropped.add(node.sliver_id)
        self.wake("delete_nodes")

    # --- the slivers

    def ensure_sliver(self, cm: str | None = None) -> None:
        """Read the manifest; create the sliver where there is none and ``should_create_sliver`` agrees."""

        def ensure(each: str) -> None:
            if self._slivers.read(each) is None and not self._growth.waits_for_others():
                self._growth.create(each, self.should_create_sliver)

        self._at_each(cm, ensure)

    def create_sliver(self, cm: str | None = None) -> None:
        """Create the sliver with the helper's request, unless machines were asked for that may still come."""
        self._at_each(cm, lambda each: self._growth.create(each, lambda _: True))

    def should_create_sliver(self, cm: str) -> bool:
        """Decide whether to create a sliver at a CM that has none: where a machine should be added."""
        plan = self._plan_growth(cm)
        self.note(f"{cm}: {plan.reason}")
        return plan.count > 0

    def update_sliver_status(self, cm: str | None = None, force: bool = False) -> None:
        """Read which machines we have, then how they are, and tell the helper what changed.

        Args:
            cm: the CM; None for all.
            force: read the statuses even though no machine is starting and the last are recent.
        """

        def update(each: str) -> None:
            sliver = self._slivers.read(each)
            try:
                if sliver is not None and (force or self.starting(each) or self._status_is_old(each)):
                    self._slivers.read_status(each)
                    self._fetched_status[each] = self.clock.now()
            finally:
                if self._slivers.waits_for_another_look(each):
                    self._cycle.no_later("update_sliver_status", self.retry_interval)

        self._at_each(cm, update)

    def _status_is_old(self, cm: str) -> bool:
        last = self._fetched_status.get(cm)
        return last is None or (self.clock.now() - last).total_seconds() >= self._settled_status

    def add_nodes(self, count: int = 0, cm: str | None = None) -> None:
        """Add as many machines as ``should_add_nodes`` says.

        Args:
            count: exactly so many, if the manager should; 0 for as many as it likes.
            cm: the CM; None for each.
        """
        self._at_each(cm, lambda each: self._growth.add(each, count))

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Decide how many machines to add (see ``plan_growth``); None for none."""
        plans = [self._plan_growth(each, count) for each in ([cm] if cm else self.cmlist)]
        best = max(plans, key=lambda plan: plan.count)
        self.note(f"{cm or 'any CM'}: {best.reason}")
        return best.count or None

    def delete_nodes(self, cm: str | None = None) -> None:
        """Give machines back: failed ones, and with ``enable_delete`` what ``should_delete_nodes`` names."""

        def delete(each: str) -> None:
            if not self._slivers.holds(each):
                return
            names = {node.client_id for node in self.failed(each)}
            names.update(n.client_id for n in self.held(each) if n.sliver_id in self._dropped)
            if self.enable_delete:
                names.update(self.should_delete_nodes(each) or ())
            given = self._slivers.delete(each, names) if names or self._slivers.has_lost(each) else ()
            self._dropped.difference_update(n.sliver_id for n in given)
            if self._lease.blocked.get(each) in {n.node_id for n in given}:
                self.wake("renew")
            if given:
                self.tell(
                    "delete", each, f"gave back {', '.join(f'{n.node_id} ({n.client_id})' for n in given)}"
                )
            elif not self.should_add_nodes(cm=each) and self._slivers.delete_bare(each):
                self.tell("delete", each, "gave the sliver back, which had no machine left")

        self._at_each(cm, delete)

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Decide which machines to give back (see ``plan_surplus``): their client_ids, or None."""
        chosen: list[str] = []
        for each in [cm] if cm else self.cmlist:
            surplus = plan_surplus(
                self.held(each),
                in_use=self.in_use() - len(chosen),
                minthreshold=self.minthreshold,
                maxthreshold=self.maxthreshold,
                percent_available_minimum=self.percent_available_minimum,
                share=self.share(each),
                values=self.resource_values,
            )
            self.note(f"{each}: {surplus.reason}")
            chosen += surplus.client_ids
        return chosen or None

    def give_up(self, node: SliverNode, reason: str) -> None:
        """Have a machine given back at the next ``delete_nodes``, as one that failed to boot.

        For a machine that booted and is of no use all the same; the helper is told that it failed.
        """
        with self._slivers.at(node.cm):
            self._slivers.give_up(node.cm, node.client_id, reason)

    def machine_settled(self, machine: Machine) -> None:
        """Pause the type of a machine that failed; called before ``handle_added_node``."""
        node = machine.node
        if machine.fate == "ready":
            self._placement.worked(node.cm, node.hardware_type)
            self.machine_booted(node)
            return
        if not machine.proven:
            self.brake.failed(node.node_id, machine.reason)
        if node.hardware_type:
            self._placement.pause(node.cm, node.hardware_type, self.clock.now(), machine.reason)
        self._cycle.wake(["delete_nodes"], node.cm)

    def machine_booted(self, node: SliverNode) -> None:
        """Take note that a new machine is ready, which proves it; override it where it has to join first."""
        self.prove(node)

    def prove(self, node: SliverNode) -> None:
        """Take note that a machine is of use: growth goes on where the brake held it up."""
        with self.rlock:
            new = self._slivers.book.prove(node)
        if new:
            self.brake.worked(node.node_id)

    def proving(self) -> bool:
        """Tell whether a new machine has yet to prove itself."""
        with self.rlock:
            return bool(self.requested()) or self._slivers.book.has_unproven()

    def resume_growth(self, who: str) -> bool:
        """Let growth go on that the brake stopped; False where it was not stopped.

        Args:
            who: who wants it, for the event.
        """
        return self.brake.resume(who)

    def _plan_growth(self, cm: str, count: int = 0) -> GrowthPlan:
        return plan_growth(
            in_use=self.in_use(),
            minthreshold=self.minthreshold,
            maxthreshold=self.maxthreshold,
            percent_available_minimum=self.percent_available_minimum,
            share=self.share(cm),
            count=count,
        )

    def _at_each(self, cm: str | None, act: Callable[[str], None]) -> None:
        """Do something at one CM, or at each: a fault at one costs no other, and is raised at the end."""
        faults: list[AgentError] = []
        for each in [cm] if cm else self.cmlist:
            try:
                with self._slivers.at(each):
                    act(each)
            except AgentError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    # --- the testbed

    def update_available(self, cm: str | None = None) -> None:
        """Read the free machines."""

        def update(each: str) -> None:
            self.available[each] = tuple(n for n in self.server.discover(each, available=True) if n.available)

        self._at_each(cm, update)

    def update_all(
        self,
        cm: str | None = None,
        force: bool = False,
        lastFetchBefore: datetime | None = None,  # noqa: N803
    ) -> None:
        """Read all machines, free or not.

        Args:
            cm: the CM; None for all.
            force: read them whenever they were read last.
            lastFetchBefore: read them only if they were read before this time, or never.
        """

        def update(each: str) -> None:
            last = self._fetched_all.get(each)
            if not force and last is not None and lastFetchBefore is not None and last >= lastFetchBefore:
                return
            self.all_nodes[each] = tuple(self.server.discover(each, available=False))
            self._fetched_all[each] = self.clock.now()

        self._at_each(cm, update)

    # --- the cycle

    def manage_once(self, force: bool = False) -> str:
        """Perform one cycle: every step that is due, in order; with ``force`` every step.

        Returns:
            What was decided, in one sentence.

        Raises:
            FatalError: going on cannot help.
        """
        self._begin()
        notes: list[str] = []
        self._notes.cycle = notes
        self._cycle.once(force=force)
        self._notes.cycle = None
        return "; ".join(dict.fromkeys(notes)) or "nothing was to be decided"

    def manage(self) -> str:
        """Perform cycles until ``stop``, a fatal error or a user's interrupt; return why it ended.

        Raises:
            FatalError: going on cannot help.
        """
        self._cycle.start()
        self._begin()
        return self._cycle.forever()

    def start(self) -> None:
        """Run ``manage`` in a thread; ``fatal`` tells why, should it end by itself."""
        if self._thread is not None and self._thread.is_alive():
            raise ConfigError("the manager is running already")
        self.fatal = ""
        self._cycle.start()
        self._thread = threading.Thread(target=self._manage, name="manager", daemon=True)
        self._thread.start()

    def _manage(self) -> None:
        try:
            self._begin()
            self._cycle.forever()
        except FatalError as error:
            self.fatal = str(error)
            self.tell("fatal", "", f"the manager ended: {error}")

    def stop(self) -> None:
        """Begin no step any more; wait a little for the manager's thread to end."""
        self._cycle.stop()
        if self._thread is not None:
            self._thread.join(STOP_TIME)

    def wake(self, *steps: str) -> None:
        """Make steps due now; may be called from any thread, and returns at once."""
        self._cycle.wake(steps)

    def notified(self, what: str) -> None:
        """Wake the steps that a call from Cloudlab makes due."""
        self._cycle.wake(_WAKES.get(what, ()))

    def nodes_taken(self, nodelist: Sequence[Item]) -> None:
        """Leave it to the manifest: ``update_sliver_status`` tells the helper once it confirms it."""

    def tell(self, kind: str, subject: str, message: str, **data: object) -> None:
        """Record an event, and add it to what this step decided."""
        self.events.record(Event(self.clock.now(), kind, subject, message, data))
        self.note(message)

    def note(self, text: str) -> None:
        """Add to what this step decided, without an event."""
        self.said = text
        notes = getattr(self._notes, "cycle", None)
        if notes is not None:
            notes.append(text)

    def _begin(self) -> None:
        if self.helper is None and type(self).create_rspec is PluginElasticSliceHelper.create_rspec:
            raise FatalError(f"{type(self).__name__} has no helper: call set_helper first")
        self.resume_deletes()

    def _perform(self, key: Key) -> Outcome:
        self._keep_revocations()
        try:
            step = getattr(self, key.step)
            step(cm=key.cm) if key.cm else step()
        except FatalError:
            raise
        except AgentError as error:
            return self._failed(key, error)
        except Exception as error:
            log.exception("a step failed", step=str(key))
            return self._failed(key, error)
        if self._cycle.failures(key):
            self.tell("step", key.step, f"{key} works again")
        self.last_success[key.step] = self.clock.now()
        return Outcome.DONE

    def _keep_revocations(self) -> None:
        try:
            self._memory.keep(self)
        except LedgerError as error:
            # Cloudlab repeats its countdown: what is lost is only when the first notice came.
            log.warning("revocations cannot be stored; tried again at the next step", error=str(error))

    def _failed(self, key: Key, error: Exception) -> Outcome:
        message = f"{key} failed: {error or type(error).__name__}"
        if self._cycle.failures(key):
            self.note(message)
        else:
            self.tell("step", key.step, message)
        return Outcome.BUSY if isinstance(error, BusyError) else Outcome.FAILED


def _lane(key: Key) -> str:
    return key.cm or ("slice" if key.step in {"ensure_slice", "renew"} else "system")
