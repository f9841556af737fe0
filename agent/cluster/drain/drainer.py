"""The thread that empties nodes: reads Slurm, does what ``plan_nodes`` says, and has the jobs there seen to.

It runs beside the management cycle, because a call to Cloudlab may take ten minutes and a deadline does not
wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

import structlog

from agent.cluster.desk import Desk
from agent.cluster.drain.cleaner import Cleaner
from agent.cluster.drain.fence import Fencer
from agent.cluster.drain.job_acts import JobActs, attempt
from agent.cluster.drain.jobs import Outlook
from agent.cluster.drain.nodes import DownNodes, DrainNodes, LeaveNode, NodeAction, UndrainNodes, plan_nodes
from agent.cluster.drain.wanted import Wishes
from agent.core import threads
from agent.core.errors import SlurmDownError, SlurmError
from agent.core.events import EventKind
from agent.core.ports import HostResult
from agent.slurm.model import SlurmBackend

log = structlog.get_logger()

IDLE_TICK = 60.0
"""Seconds between two looks when nothing is being emptied: what a crash left behind is mended then."""
SHORTEST_TICK = 0.5
"""Seconds between two looks at least, however often it is woken: each costs Slurm a few requests."""


class Drainer:
    """Keeps Slurm in step with the wishes until every wanted node is empty and left.

    Args:
        desk: has the time, the settings and the bell that asks for a look; told what is done.
        backend: the way in to Slurm.
        wishes: asked at every tick; answers from memory.
        leave: runs the delete commands on the machine of one node (slow; bounded by the seconds it is given).
        left: told once a node when nothing is left on it and its commands have run (or failed).
    """

    def __init__(
        self,
        desk: Desk,
        backend: SlurmBackend,
        wishes: Callable[[], Wishes],
        leave: Callable[[LeaveNode, float], HostResult],
        left: Callable[[LeaveNode], None],
    ) -> None:
        self._desk = desk
        self._backend = backend
        self._wishes = wishes
        self._left = left
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cleaner = Cleaner(desk, leave, self._cleaned)
        self._jobs = JobActs(desk, backend)
        self._fencer = Fencer(backend)
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
            Whether anything is being emptied.

        Raises:
            SlurmError: Slurm could not be read; nothing was done.
        """
        settings = self._desk.settings.drain
        wishes = self._wishes()
        self._cleaner.forget_all_but(set(wishes.drains))
        if not wishes.ours:
            # The last machine's fence would keep its record in Slurm.
            self._fence(wishes.fences)
            return bool(wishes.drains)
        snapshot = self._backend.snapshot()
        now = self._desk.clock.steady() + wishes.ahead
        try:
            plan = plan_nodes(snapshot, wishes.drains, ours=wishes.ours, unread=wishes.unread, now=now)
            for action in plan:
                attempt(partial(self._act_on_node, action))
            self._jobs.see_to(snapshot, wishes, settings)
            self._fence(wishes.fences)
        except SlurmDownError as error:
            log.warning("Slurm stopped to answer; draining goes on at the next tick", error=str(error))
        return bool(wishes.drains)

    def _fence(self, wanted: Mapping[str, datetime] | None) -> None:
        if wanted is not None:
            attempt(partial(self._move_fences, wanted))

    def _move_fences(self, wanted: Mapping[str, datetime]) -> None:
        plan = self._fencer.step(wanted, self._desk.clock.steady())
        for fence in plan.reserve if plan else ():
            for node in sorted(fence.nodes):
                self._desk.record(
                    EventKind.FENCE, node, f"no job that would run beyond {fence.starts:%Y-%m-%dT%H:%M:%SZ}"
                )

    def _act_on_node(self, action: NodeAction) -> None:
        match action:
            case DrainNodes(nodes, reason):
                self._backend.drain(nodes, reason)
                for node in nodes:
                    self._desk.record(EventKind.DRAIN, node, f"drained in Slurm: {reason}")
            case UndrainNodes(nodes, down):
                (self._backend.resume if down else self._backend.undrain)(nodes)
                for node in nodes:
                    self._desk.record(
                        EventKind.RESUME, node, "back in service: nobody wants it emptied any more"
                    )
            case DownNodes(nodes, reason, lost):
                self._backend.set_down(nodes, reason)
                self._desk.record(
                    EventKind.DOWN, ",".join(nodes), f"gone with jobs on it: Slurm was told: {reason}"
                )
                self._jobs.lose(lost)
            case LeaveNode():
                self._cleaner.put(action)

    def _cleaned(self, action: LeaveNode, result: HostResult) -> None:
        said = "the delete commands ran" if result.ok else f"the delete commands failed: {result.error}"
        self._desk.record(EventKind.LEAVE, action.node, f"{action.reason}; {said}")
        self._left(action)
