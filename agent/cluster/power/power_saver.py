"""Tells Slurm's power saving what becomes of the nodes that it asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.grow.supply import Supply
from agent.cluster.moment import Picture
from agent.cluster.power.power import plan_power, still_forsaken
from agent.cluster.reasons import FAILED
from agent.cluster.settings.cluster import ClusterSettings
from agent.core.errors import SlurmRefusedError
from agent.core.events import EventKind
from agent.slurm.model import SlurmBackend


class PowerSaver:
    """Acts on what ``plan_power`` says; nothing where [join] power_nodes names none.

    Args:
        backend: the way in to Slurm.
        settings: asked each time, so that a reload takes effect.
        tell: records an event: kind, subject, words.
    """

    def __init__(
        self,
        backend: SlurmBackend,
        settings: Callable[[], ClusterSettings],
        tell: Callable[[EventKind, str, str], None],
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._tell = tell
        self._since: Mapping[str, datetime] = {}

    def look(
        self, picture: Picture, supply: Supply, growth: GrowthPlan, held_up: str, failed: Collection[str]
    ) -> None:
        """Give up what cannot come, and give back to Slurm what it may ask for again.

        Args:
            picture: the moment.
            supply: what we hold.
            growth: what is asked of Cloudlab.
            held_up: why nothing is asked; "" while it is.
            failed: names of nodes whose machines are of no use.

        Raises:
            SlurmDownError: Slurm does not answer; the rest is done at the next look.
        """
        settings = self._settings().join
        names = settings.power_names
        if not names:
            return
        now = picture.snapshot.taken
        nodes = [node for name, node in picture.snapshot.nodes.items() if name in names]
        self._since = still_forsaken(nodes, self._since, now)
        plan = plan_power(
            picture,
            names=names,
            supply=supply,
            growth=growth,
            held_up=held_up,
            failed=failed,
            down_since=self._since,
            retry_after=settings.power_retry,
            now=now,
        )
        for name, why in plan.fail.items():
            # Down first: Slurm requeues its job now, and not when ResumeTimeout has passed.
            if self._try(name, partial(self._backend.set_down, [name], f"{FAILED}{why}")):
                self._tell(EventKind.POWER, name, f"Slurm was told that no machine comes: {why}")
        for name in plan.sleep:
            self._try(name, partial(self._backend.power_down, [name]))
        for name in plan.restore:
            down = picture.snapshot.nodes[name].state == "DOWN"
            act = self._backend.resume if down else self._backend.undrain
            if self._try(name, partial(act, [name])):
                self._tell(EventKind.POWER, name, "Slurm may ask for it again")

    def _try(self, name: str, act: Callable[[], object]) -> bool:
        try:
            act()
        except SlurmRefusedError as error:
            self._tell(EventKind.POWER, name, f"Slurm refused: {error}")
            return False
        return True
