"""What people and programs are shown: machines, leases that end, and the agent as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from agent.core.impasse import Impasse
from agent.core.model import LeftBehind, RetiredCm


class NodeState(StrEnum):
    """Where a machine is in its life."""

    REQUESTED = "requested"
    BOOTING = "booting"
    READY = "ready"
    JOINED = "joined"
    DRAINING = "draining"
    DRAINED = "drained"
    RELEASED = "released"
    FAILED = "failed"
    FOREIGN = "foreign"
    """It is in the slice and not ours."""


@dataclass(frozen=True)
class NodeView:
    """One machine as people and programs are shown it."""

    node: str
    """Node name in Slurm; the client_id until the machine has a node_id."""
    node_id: str
    client_id: str
    cm: str
    state: NodeState
    value: float | None = None
    weight: int | None = None
    due: datetime | None = None
    """Deadline of its revocation or drain."""
    asked: datetime | None = None
    """When it was asked for, while it is in no manifest."""
    jobs: tuple[str, ...] = ()
    """Ids of the oldest jobs that this run of the agent asked for it for."""
    more_jobs: int = 0
    """How many others there were."""


@dataclass(frozen=True)
class Lapse:
    """A lease that nobody renews, or that is not renewed to its full length."""

    cm: str
    """URN of the sliver's CM; "" for the slice."""
    expires: datetime
    why: str
    answered: bool = True
    """Somebody decided so: it is not that nobody answered."""
    obstacle: str = ""
    """What keeps its CM from renewing it, one of ``agent.core.slice.hindrance.KINDS``; "" for nothing."""
    mend: str = ""
    """What a person can do about that."""
    follows: str = ""
    """What the agent does about it."""

    @property
    def what(self) -> str:
        """What ends, in words."""
        return f"the sliver at {self.cm}" if self.cm else "the slice"


@dataclass(frozen=True)
class AgentView:
    """What the agent knows at one moment, from memory."""

    nodes: tuple[NodeView, ...]
    """The machines that are held, then those that were asked for and are in no manifest yet."""
    wanted: int
    """How many more machines the queue wants."""
    slice_expires: datetime | None
    sliver_expires: Mapping[str, datetime]
    """CM URN -> until when it lasts there."""
    last_success: Mapping[str, datetime]
    """Step -> when it last went well."""
    growth_stopped: str = ""
    """Why the protective brake holds growth up, and when it is probed; "" while growth goes on."""
    paused: bool = False
    """An administrator holds growth up."""
    backoffs: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    """(CM, ``insufficient``, ``failed`` or a ``Cause``) -> whether less is asked of it for that."""
    impasses: tuple[Impasse, ...] = ()
    """What CMs refuse until a person acts."""
    orphans: Mapping[str, int] = field(default_factory=dict)
    """``cloudlab`` or ``slurm`` -> what is left over there of machines that are not ours any more."""
    foreign: tuple[NodeView, ...] = ()
    """The machines of the slice that are not ours."""
    lapses: tuple[Lapse, ...] = ()
    """The leases that nobody renews or that are refused, however long they last."""
    retired: tuple[RetiredCm, ...] = ()
    """The CMs that are no longer in use and hold something for us."""
    left_behind: tuple[LeftBehind, ...] = ()
    """What is held in other slices, which the agent kept before."""

    @property
    def held(self) -> tuple[NodeView, ...]:
        """The machines that are held."""
        return tuple(node for node in self.nodes if node.state is not NodeState.REQUESTED)
