"""What administrators ask for: taken in, written down where it has to last, and told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from agent.cluster.desk import Desk
from agent.cluster.memory.hold import PAUSE
from agent.cluster.memory.memory import Memory
from agent.cluster.moment import Moment
from agent.cluster.reasons import TEARDOWN
from agent.cluster.wishes.outlived import plan_wishes, settled_teardowns
from agent.core.errors import AgentError, LedgerError
from agent.core.events import EventKind
from agent.core.model import AdminDrain, CmTeardown, GrowOrder, SliverNode

log = structlog.get_logger()


class Orders:
    """An administrator may hold growth up, have everything given back, have machines added or emptied.

    A pause and a teardown last until ``unpause``. Every wish outlasts a restart.

    Args:
        desk: told of each wish; the steps that it makes due are woken.
        memory: keeps the wishes.
        resume_growth: lets growth go on that the brake stopped, for whom; False where it was not stopped.
        urge: makes the lease due for renewal.
    """

    def __init__(
        self, desk: Desk, memory: Memory, resume_growth: Callable[[str], bool], urge: Callable[[], None]
    ) -> None:
        self._desk = desk
        self._memory = memory
        self._resume_growth = resume_growth
        self._urge = urge

    # --- holding growth up

    def pause(self, who: str) -> AdminDrain:
        """Ask for no machine from now on; return the wish in force, which may be an earlier one.

        Raises:
            LedgerError: it cannot be written down.
        """
        hold, is_new = self._memory.hold.begin(PAUSE, who, self._desk.clock.now())
        if is_new:
            self._tell_hold(hold)
        return hold

    def tear_down(self, who: str, deadline: datetime | None) -> AdminDrain:
        """Ask for no machine from now on, empty all that are held, and give them back.

        Args:
            who: the administrator's user name.
            deadline: when what still runs is requeued; None lets every job run to its end.

        Raises:
            LedgerError: it cannot be written down.
        """
        hold = self._memory.hold.put(TEARDOWN, who, self._desk.clock.now(), deadline)
        self._tell_hold(hold)
        return hold

    def adopt_teardown(self, who: str, deadline: datetime | None) -> None:
        """Go on with a teardown that an earlier run began, unless it is known to be lifted.

        Raises:
            LedgerError: it cannot be written down.
        """
        if self._memory.hold.lifted is None:
            hold, is_new = self._memory.hold.begin(TEARDOWN, who, self._desk.clock.now(), deadline)
            if is_new:
                self._tell_hold(hold)

    def unpause(self, who: str) -> bool:
        """Allow growth again, also where the brake stopped it; False where nothing held it up.

        What a teardown has not emptied yet goes on working; where the delete commands have begun it goes.

        Raises:
            LedgerError: the wish cannot be struck.
        """
        was_held = self._memory.hold.lift()
        braked = self._resume_growth(who)
        if not was_held:
            return braked
        self._desk.tell(EventKind.ADMIN, "", f"{who} allows growth again")
        self._desk.look_at_drains()
        self._desk.wake("get_system_state", "ensure_sliver", "add_nodes")
        return True

    def tear_down_cm(self, cm: str, who: str, deadline: datetime | None) -> CmTeardown:
        """Ask nothing of one CM from now on, empty all machines that it lent, and give them back.

        Args:
            cm: its URN.
            who: the administrator's user name.
            deadline: when what still runs there is requeued; None lets every job run to its end.

        Raises:
            LedgerError: it cannot be written down.
        """
        wish = CmTeardown(cm, who, self._desk.clock.now(), deadline)
        self._memory.teardowns.put(wish)
        self._tell_teardown(wish)
        return wish

    def adopt_cm_teardown(self, cm: str, who: str, deadline: datetime | None) -> None:
        """Go on with a teardown of one CM that an earlier run began, unless it is known to be lifted.

        Raises:
            LedgerError: it cannot be written down.
        """
        wish = CmTeardown(cm, who, self._desk.clock.now(), deadline)
        if self._memory.teardowns.adopt(wish):
            self._tell_teardown(wish)

    def reopen_cm(self, cm: str, who: str) -> bool:
        """Allow machines to be asked of a CM again, and keep those there; False where nobody emptied it.

        Raises:
            LedgerError: the wish cannot be struck.
        """
        if not self._memory.teardowns.lift(cm):
            return False
        self._desk.tell(EventKind.ADMIN, cm, f"{who} allows machines to be asked of {cm} again")
        self._desk.look_at_drains()
        self._desk.wake("get_system_state", "ensure_sliver", "add_nodes")
        return True

    def _tell_teardown(self, wish: CmTeardown) -> None:
        message = f"{wish.who} has everything at {wish.cm} given back, and nothing more asked of it"
        self._desk.tell(EventKind.ADMIN, wish.cm, message)
        self._desk.look_at_drains()
        self._desk.wake("delete_nodes")

    def _tell_hold(self, hold: AdminDrain) -> None:
        what = "stops growth" if hold.reason == PAUSE else "stops growth and has every machine given back"
        self._desk.tell(EventKind.ADMIN, "", f"{hold.who} {what}")
        self._desk.look_at_drains()
        if hold.reason == TEARDOWN:
            self._desk.wake("delete_nodes")

    # --- more machines, and a longer lease

    def grow(self, order: GrowOrder) -> None:
        """Ask for machines until so many are in service.

        Raises:
            AgentError: something holds growth up, or ``max_nodes`` does not allow it; nothing was done.
            LedgerError: it cannot be written down.
        """
        settings = self._desk.settings
        most = settings.demand.max_nodes
        if words := self._memory.now().held_up:
            raise AgentError(f"no machine is asked for: {words} (`esagent unpause` allows growth again)")
        if settings.join.power_names:
            raise AgentError("Slurm's power saving decides which machines come ([join] power_nodes)")
        if order.machines > most:
            raise AgentError(f"{order.machines} machines would be held, and [demand] max_nodes is {most}")
        self._memory.growing.put(order)
        self._desk.wake("get_system_state", "ensure_sliver", "add_nodes")

    def withdraw_growth(self, who: str) -> bool:
        """Strike the wish for more machines; False where there is none.

        Raises:
            LedgerError: it cannot be struck.
        """
        return self._memory.growing.strike(who)

    def renew(self, who: str) -> str:
        """Renew the lease to its full length at the next moment; return what is done, in words.

        It is not written down: where it fails for a while, who asked is told so by events, and asks again.
        """
        self._urge()
        self._desk.tell(EventKind.ADMIN, "", f"{who} has the lease renewed")
        self._desk.wake("ensure_slice", "renew")
        return "the lease is being renewed; `esagent events` tells how that goes, and a restart forgets it"

    # --- single machines

    def drain(self, wish: AdminDrain) -> None:
        """Empty a machine.

        Raises:
            LedgerError: it cannot be written down.
        """
        self._memory.drains.put(wish)
        self._desk.tell(EventKind.ADMIN, wish.node_id, f"{wish.who} drains it: {wish.reason}")
        self._desk.look_at_drains()

    def is_leaving(self, machine: SliverNode) -> bool:
        """Tell whether a machine goes whatever is said of it now: its delete commands have begun."""
        return machine.key in self._memory.chosen.leaving

    def resume(self, machine: SliverNode, who: str) -> bool:
        """Strike the wish for a machine, and keep it where it is surplus too; False where there is no wish.

        Raises:
            LedgerError: it cannot be struck.
        """
        if self._memory.drains.lift(machine) is None:
            return False
        self._memory.chosen.keep([machine])
        self._desk.tell(EventKind.ADMIN, machine.node_id, f"{who} resumes it")
        self._desk.look_at_drains()
        return True

    def settle(self, moment: Moment) -> None:
        """Strike the wishes whose machine is gone; what cannot be written down is tried again later."""
        try:
            self._settle(moment)
        except LedgerError as error:
            log.warning("wishes that are over cannot be struck; tried again", error=str(error))

    def _settle(self, moment: Moment) -> None:
        drains, hold, teardowns = self._memory.drains, self._memory.hold, self._memory.teardowns
        lifted = hold.lifted
        plan = plan_wishes(moment, (*drains.lifted, lifted) if lifted else drains.lifted)
        for wish, machines in plan.found:
            drains.bind(wish, machines)
        for wish, why in plan.over:
            if drains.remove(wish):
                message = f"the drain by {wish.who} is over: {why} ({wish.reason})"
                self._desk.tell(EventKind.ADMIN, wish.node_id, message)
        for drain in plan.settled:
            if drain == lifted:
                hold.forget_lifted(drain)
            else:
                drains.remove(drain)
        for teardown in settled_teardowns(moment, teardowns.lifted):
            teardowns.forget_lifted(teardown)
