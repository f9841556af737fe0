"""What administrators ask for: taken in, written down where it has to last, and told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from agent.cluster.memory.chosen import GiveBack
from agent.cluster.memory.drains import Drains, DrainStore
from agent.cluster.memory.grow_order import GrowOrders, GrowStore
from agent.cluster.memory.hold import PAUSE, GrowthHold
from agent.cluster.reasons import TEARDOWN
from agent.cluster.settings.cluster import ClusterSettings
from agent.core.errors import AgentError
from agent.core.events import EventData, EventKind
from agent.core.model import AdminDrain, GrowOrder
from agent.core.ports import Clock
from agent.core.scaling.brake import GrowthBrake


class WishStore(DrainStore, GrowStore, Protocol):
    """Where what administrators ask for survives a restart."""


class Owner(Protocol):
    """What the manager gives."""

    brake: GrowthBrake
    clock: Clock
    settings: ClusterSettings

    def tell(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event."""

    def note(self, text: str) -> None:
        """Add to what this step decided."""

    def wake(self, *steps: str) -> None:
        """Make steps due now."""

    def resume_growth(self, who: str) -> bool:
        """Let growth go on that the brake stopped; False where it was not stopped."""


class Orders:
    """An administrator may hold growth up, have everything given back, have machines added or emptied.

    A pause and a teardown last until ``unpause``. Every wish outlasts a restart.

    Args:
        owner: the manager.
        hold: the wish for the whole slice.
        growing: the wish for more machines.
        drains: the wishes for single machines.
        giveback: which nodes are surplus.
        look: has the drains looked at soon.
        urge: makes the lease due for renewal.
    """

    def __init__(
        self,
        owner: Owner,
        *,
        hold: GrowthHold,
        growing: GrowOrders,
        drains: Drains,
        giveback: GiveBack,
        look: Callable[[], None],
        urge: Callable[[], None],
    ) -> None:
        self._owner = owner
        self._hold = hold
        self._growing = growing
        self._drains = drains
        self._giveback = giveback
        self._look = look
        self._urge = urge

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
        self._owner.wake("delete_nodes")
        return hold

    def unpause(self, who: str) -> bool:
        """Allow growth again, also where the brake stopped it; False where nothing held it up.

        What a teardown has not emptied yet goes on working.

        Raises:
            LedgerError: the wish cannot be struck.
        """
        braked = self._owner.resume_growth(who)
        if not self._hold.lift():
            return braked
        self._giveback.choose_emptied()
        self._owner.tell(EventKind.ADMIN, "", f"{who} allows growth again")
        self._look()
        self._owner.wake("get_system_state", "ensure_sliver", "add_nodes")
        return True

    def held_up(self) -> str:
        """Tell in words what holds growth up, an administrator or the brake; "" for nothing."""
        hold = self.hold
        return f"{hold.reason} by {hold.who}" if hold else self._owner.brake.words()

    def allow_growth(self) -> bool:
        """Tell whether no administrator holds growth up; who does is added to what this step decided."""
        hold = self.hold
        if hold is not None:
            since = f"{hold.since:%H:%M:%SZ}"
            self._owner.note(f"no machine is asked for: {hold.reason} by {hold.who} since {since}")
        return hold is None

    def _put_hold(self, reason: str, who: str, deadline: datetime | None) -> AdminDrain:
        hold = self._hold.put(reason, who, self._owner.clock.now(), deadline)
        what = "stops growth" if reason == PAUSE else "stops growth and has every machine given back"
        self._owner.tell(EventKind.ADMIN, "", f"{who} {what}")
        self._look()
        return hold

    # --- more machines, and a longer lease

    @property
    def growing(self) -> GrowOrder | None:
        """The wish for more machines in force; None for none."""
        return self._growing.order

    def grow(self, order: GrowOrder) -> None:
        """Ask for machines until so many are in service.

        Raises:
            AgentError: something holds growth up, or ``max_nodes`` does not allow it; nothing was done.
            LedgerError: it cannot be written down.
        """
        settings = self._owner.settings
        most = settings.demand.max_nodes
        if words := self.held_up():
            raise AgentError(f"no machine is asked for: {words} (`esagent unpause` allows growth again)")
        if settings.join.power_names:
            raise AgentError("Slurm's power saving decides which machines come ([join] power_nodes)")
        if order.machines > most:
            raise AgentError(f"{order.machines} machines would be held, and [demand] max_nodes is {most}")
        self._growing.put(order)
        self._owner.wake("get_system_state", "ensure_sliver", "add_nodes")

    def withdraw_growth(self, who: str) -> bool:
        """Strike the wish for more machines; False where there is none.

        Raises:
            LedgerError: it cannot be struck.
        """
        return self._growing.strike(who)

    def renew(self, who: str) -> str:
        """Renew the lease to its full length at the next moment; return what is done, in words."""
        self._urge()
        self._owner.tell(EventKind.ADMIN, "", f"{who} has the lease renewed")
        self._owner.wake("ensure_slice", "renew")
        return "the lease is being renewed; `esagent events` tells how that goes"

    # --- single machines

    def drain(self, wish: AdminDrain, *, take_over: bool = False) -> None:
        """Empty a machine, with ``take_over`` in place of a drain by somebody else.

        Raises:
            LedgerError: it cannot be written down.
        """
        self._drains.put(wish, take_over=take_over)
        self._owner.tell(EventKind.ADMIN, wish.node_id, f"{wish.who} drains it: {wish.reason}")
        self._look()

    def drain_of(self, node_id: str) -> AdminDrain | None:
        """Return the wish for a machine; None for none."""
        return self._drains.get(node_id)

    def resume(self, node_id: str, who: str) -> None:
        """Strike the wish for a machine.

        Raises:
            LedgerError: it cannot be struck.
        """
        self._drains.remove(node_id)
        self._owner.tell(EventKind.ADMIN, node_id, f"{who} resumes it")
        self._look()
