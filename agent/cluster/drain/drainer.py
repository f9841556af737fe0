"""The thread that empties nodes: reads Slurm, does what ``plan_nodes`` says, and has the jobs there seen to.

It runs beside the management cycle, because a call to Cloudlab may take ten minutes and a deadline does not
wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.cleaner import Cleaner
from agent.cluster.drain.fence import FencePlan, Fencer
from agent.cluster.drain.foresight import BLIND, Foresight
from agent.cluster.drain.hands import Hands
from agent.cluster.drain.held import is_held
from agent.cluster.drain.job_acts import JobActs
from agent.cluster.drain.jobs import Outlook
from agent.cluster.drain.nodes import DownNodes, DrainNodes, LeaveNode, NodeAction, UndrainNodes, plan_nodes
from agent.cluster.drain.wanted import Wishes
from agent.core import threads
from agent.core.errors import SlurmError
from agent.core.events import EventKind
from agent.core.ports import HostResult
from agent.slurm.model import SlurmBackend, Snapshot

log = structlog.get_logger()

IDLE_TICK = 60.0
"""Seconds between two looks when nothing is being emptied: what a crash left behind is mended then."""
SHORTEST_TICK = 0.5
"""Seconds between two looks at least, however often it is woken: each costs Slurm a few requests."""
_FENCES = ("fences",)


class Drainer:
    """Keeps Slurm in step with the wishes until every wanted node is empty and left.

    Args:
        desk: has the time, the settings and the bell that asks for a look; told what is done.
        backend: the way in to Slurm.
        wishes: asked at every tick; answers from memory.
        leave: runs the delete commands on the machine of one node (slow; bounded by the seconds it is given).
        left: told once a node when nothing is left on it and its commands have run (or failed).
        fencer: keeps fences; None for one that fences nothing.
        foresight: tells which jobs had better start over at once.
    """

    def __init__(
        self,
        desk: Desk,
        backend: SlurmBackend,
        wishes: Callable[[], Wishes],
        leave: Callable[[LeaveNode, float], HostResult],
        left: Callable[[LeaveNode], None],
        fencer: Fencer | None = None,
        foresight: Foresight = BLIND,
    ) -> None:
        self._desk = desk
        self._backend = backend
        self._wishes = wishes
        self._left = left
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cleaner = Cleaner(desk, leave, self._cleaned)
        self._hands = Hands(desk.look_at_drains)
        self._jobs = JobActs(desk, backend, self._hands, foresight)
        self._fencer = fencer
        self._looked = desk.clock.monotonic()

    @property
    def outlooks(self) -> tuple[Outlook, ...]:
        """What will happen to the jobs on draining nodes, as of the last look."""
        return self._jobs.outlooks

    def start(self) -> None:
        """Begin."""
        self._thread = threads.keep("drainer", self._run, self._stop.is_set)

    def stop(self, timeout: float) -> None:
        """End; wait at most ``timeout`` seconds for a tick under way."""
        self._stop.set()
        self._desk.look_at_drains()
        if self._thread is not None:
            self._thread.join(timeout)

    def seconds_since_look(self) -> float:
        """Tell how long ago the last look at Slurm ended, well or not: a watchdog's heartbeat."""
        return self._desk.clock.monotonic() - self._looked

    def _run(self) -> None:
        while not self._stop.is_set():
            self._desk.bell.clear()
            try:
                busy = self.tick()
            except SlurmError as error:
                log.warning("Slurm could not be read; draining goes on at the next tick", error=str(error))
                busy = True
            except Exception:  # a deadline does not wait until a fault of ours is mended
                log.exception("a look at the drains failed; draining goes on at the next tick")
                busy = True
            self._looked = self._desk.clock.monotonic()
            self._stop.wait(SHORTEST_TICK)
            self._desk.bell.wait(self._desk.settings.drain.tick if busy else IDLE_TICK)

    def tick(self) -> bool:
        """Look once and do what is due.

        Returns:
            Whether anything is being emptied, or how a job there ended is not known yet.

        Raises:
            SlurmError: Slurm could not be read; nothing was done.
        """
        settings = self._desk.settings.drain
        self._hands.take_up()
        wishes = self._wishes()
        self._cleaner.forget_all_but(set(wishes.drains))
        if wishes.ours or not self._jobs.is_done:
            snapshot = self._backend.snapshot()
            now = self._desk.clock.steady() + wishes.ahead
            ours, unread = wishes.ours, wishes.unread
            for action in plan_nodes(
                snapshot, wishes.drains, ours=ours, unread=unread, settings=settings, now=now
            ):
                if isinstance(action, DownNodes):
                    self._desk.freed.note(action.nodes, snapshot)
                self._act_on_node(action)
            # A job that is requeued is not to start there again.
            self._hands.gather()
            self._jobs.see_to(snapshot, wishes, settings)
        # Without a machine of ours too: the last one's fence would keep its record in Slurm.
        self._fence(wishes)
        self._hands.gather()
        if wishes.ours:
            self._let_in(wishes, snapshot)
            self._hands.gather()
        return bool(wishes.drains) or not self._jobs.is_settled

    def _fence(self, wishes: Wishes) -> None:
        is_whole, wanted = wishes.fences is not None, wishes.certain_fences
        if self._fencer is None or not (is_whole or wanted) or self._hands.is_at(_FENCES):
            return
        now = self._desk.clock.steady()
        step = partial(self._fencer.step, wanted, now, wishes.ahead, whole=is_whole)
        self._hands.begin("fence", [_FENCES], step, self._tell_fences)

    def _let_in(self, wishes: Wishes, snapshot: Snapshot) -> None:
        """Let the first jobs start where the fence stands."""
        # Somebody may have drained one since the reading that the wishes are of.
        held = [n for n in wishes.held if n in snapshot.nodes and is_held(snapshot.nodes[n])]
        if self._fencer is not None and (names := self._fencer.let_in(held, wishes.certain_fences)):
            self._act_on_node(UndrainNodes(names, down=False, why="its fence stands, or it gets none"))

    def _tell_fences(self, plan: FencePlan | None) -> None:
        for fence in plan.told if plan else ():
            for node in sorted(fence.nodes):
                self._desk.record(
                    EventKind.FENCE, node, f"no job that would run beyond {fence.starts:%Y-%m-%dT%H:%M:%SZ}"
                )

    def _act_on_node(self, action: NodeAction) -> None:
        if isinstance(action, LeaveNode):
            self._cleaner.put(action)
            return
        kind = type(action)
        if free := tuple(node for node in action.nodes if not self._hands.is_at((kind, node))):
            action = replace(action, nodes=free)
            self._hands.begin(
                f"{kind.__name__} of {free[0]}",
                [(kind, node) for node in free],
                partial(self._change_nodes, action),
                partial(self._tell_changed, action),
            )

    def _change_nodes(self, action: DrainNodes | UndrainNodes | DownNodes) -> None:
        match action:
            case DrainNodes(nodes, reason):
                self._backend.drain(nodes, reason)
            case UndrainNodes(nodes, down):
                (self._backend.resume if down else self._backend.undrain)(nodes)
            case DownNodes(nodes, reason):
                self._backend.set_down(nodes, reason)

    def _tell_changed(self, action: DrainNodes | UndrainNodes | DownNodes, _: None) -> None:
        match action:
            case DrainNodes(nodes, reason):
                for node in nodes:
                    self._desk.record(EventKind.DRAIN, node, f"drained in Slurm: {reason}")
            case UndrainNodes(nodes, _, why):
                for node in nodes:
                    self._desk.record(EventKind.RESUME, node, f"back in service: {why}")
            case DownNodes(nodes, reason, lost, why):
                self._desk.record(EventKind.DOWN, ",".join(nodes), f"{why}: Slurm was told: {reason}")
                self._jobs.lose(lost)

    def _cleaned(self, action: LeaveNode, result: HostResult) -> None:
        said = "the delete commands ran" if result.ok else f"the delete commands failed: {result.error}"
        self._desk.record(EventKind.LEAVE, action.node, f"{action.reason}; {said}")
        self._left(action)
