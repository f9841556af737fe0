"""Tells Slurm's power saving what becomes of the nodes that it asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from agent.cluster.desk import Desk
from agent.cluster.moment import Moment
from agent.cluster.power.power import PowerPlan
from agent.cluster.reasons import FAILED
from agent.core.errors import SlurmRefusedError
from agent.core.events import EventKind
from agent.slurm.model import SlurmBackend


class PowerSaver:
    """Acts on what ``plan_power`` says.

    Args:
        desk: told what Slurm was told.
        backend: the way in to Slurm.
    """

    def __init__(self, desk: Desk, backend: SlurmBackend) -> None:
        self._desk = desk
        self._backend = backend

    def act(self, moment: Moment, plan: PowerPlan) -> None:
        """Give up what cannot come, and give back to Slurm what it may ask for again.

        Raises:
            SlurmDownError: Slurm does not answer; the rest is done at the next look.
        """
        for name, why in plan.fail.items():
            # Down first: Slurm requeues its job now, and not when ResumeTimeout has passed.
            if self._try(name, partial(self._backend.set_down, [name], f"{FAILED}{why}")):
                self._desk.tell(EventKind.POWER, name, f"Slurm was told that no machine comes: {why}")
        for name in plan.sleep:
            self._try(name, partial(self._backend.power_down, [name]))
        for name in plan.restore:
            down = moment.nodes[name].state == "DOWN"
            act = self._backend.resume if down else self._backend.undrain
            if self._try(name, partial(act, [name])):
                self._desk.tell(EventKind.POWER, name, "Slurm may ask for it again")

    def _try(self, name: str, act: Callable[[], object]) -> bool:
        try:
            act()
        except SlurmRefusedError as error:
            self._desk.tell(EventKind.POWER, name, f"Slurm refused: {error}")
            return False
        return True
