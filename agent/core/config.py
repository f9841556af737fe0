"""What a manager is given besides its server: settings, time, and where things are written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from pydantic import Field

from agent.core.abstract import ElasticSliceManager
from agent.core.events import Event, PastEvent
from agent.core.model import Holding, Intent, IntentKind, LeftBehind, Place
from agent.core.ownership import Ownership
from agent.core.ports import Clock, EventSink, HoldingStore, IntentStore, RevocationStore, SystemClock
from agent.core.said import Revocation
from agent.core.settings import Duration, LeaseSettings, Section

log = structlog.get_logger()


class CycleSettings(Section):
    """How often each step is done, how long machines may take, and what follows when they take longer."""

    ensure_slice: Duration = Field(default=60.0, gt=0, description="look whether the slice exists")
    ensure_sliver: Duration = Field(default=60.0, gt=0, description="look whether each CM holds a sliver")
    update_sliver_status: Duration = Field(
        default=60.0, gt=0, description="read the manifest and the state of each machine"
    )
    renew: Duration = Field(default=3600.0, gt=0, description="look at the lease, if not due before")
    update_all: Duration = Field(default=86400.0, gt=0, description="read all machines of each CM")
    update_available: Duration = Field(default=600.0, gt=0, description="read the free machines of each CM")
    get_system_state: Duration = Field(
        default=60.0, gt=0, description="read the system that uses the machines"
    )
    add_nodes: Duration = Field(default=300.0, gt=0, description="decide whether to ask for machines")
    delete_nodes: Duration = Field(default=300.0, gt=0, description="decide whether to give machines back")
    set_system_state: Duration = Field(
        default=60.0, gt=0, description="push what Cloudlab said to that system"
    )
    retry_interval: Duration = Field(
        default=30.0, gt=0, description="wait after a step that failed; doubles up to 16 times as long"
    )

    boot_timeout: Duration = Field(
        default=2400.0,
        gt=0,
        description="a machine that is not ready this long after it was asked for counts as failed",
    )
    settled_status: Duration = Field(
        default=300.0,
        gt=0,
        description="least time between two readings of machines' states while none starts",
    )
    lost_call_patience: Duration = Field(
        default=900.0,
        gt=0,
        description="how long machines may still appear after a request whose reply was lost",
    )
    first_reading_patience: Duration = Field(
        default=1800.0,
        gt=0,
        description="how long growth waits at a start for a silent CM that the ledger knows nothing of",
    )
    gone_sightings: int = Field(
        default=2,
        ge=1,
        le=10,
        description="manifests in a row that lack a machine before it counts as gone, if nobody announced it;"
        " half of retry_interval lies between two that count",
    )
    type_backoff: Duration = Field(
        default=600.0,
        gt=0,
        description="how long a type is left alone after a failed boot or a lack of machines; doubles",
    )
    type_backoff_limit: Duration = Field(
        default=14400.0, gt=0, description="the longest that a type is left alone"
    )
    growth_stop_after: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="new machines in a row that fail to boot or join before no more are asked for",
    )
    growth_probe_after: Duration = Field(
        default=600.0,
        gt=0,
        description="how long growth is stopped before one machine is asked for as a probe; doubles",
    )
    growth_probe_limit: Duration = Field(
        default=14400.0, gt=0, description="the longest wait for the next probe"
    )
    delete_commands_timeout: Duration = Field(
        default=300.0, gt=0, description="time limit of the commands that clean a revoked machine up"
    )
    withdrawn_grace: Duration = Field(
        default=150.0,
        ge=0,
        description="a revocation is withdrawn when its machine is still ours this long after the deadline",
    )

    def intervals(self) -> dict[str, float]:
        """Return step -> seconds, as ``manage_intervals`` takes it."""
        return {step: getattr(self, step) for step in ElasticSliceManager.DEF_ORDER}


class MemoryIntents:
    """Intents that do not survive a restart: the manifest then tells what became of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._intents: dict[tuple[IntentKind, str, str], Intent] = {}

    def add_intents(self, intents: Sequence[Intent]) -> None:
        """Write intents down."""
        with self._lock:
            self._intents.update({(i.kind, i.cm, i.client_id): i for i in intents})

    def remove_intents(self, intents: Sequence[Intent]) -> None:
        """Strike intents."""
        with self._lock:
            for intent in intents:
                self._intents.pop((intent.kind, intent.cm, intent.client_id), None)

    def intents(self) -> tuple[Intent, ...]:
        """Return the intents in flight, oldest first."""
        with self._lock:
            return tuple(sorted(self._intents.values(), key=lambda i: i.asked))


class MemoryRevocations:
    """Revocations that do not survive a restart: Cloudlab's countdown then tells them again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revocations: dict[Place, Revocation] = {}

    def put_revocation(self, revocation: Revocation) -> None:
        """Store one."""
        with self._lock:
            self._revocations[revocation.place] = revocation

    def remove_revocation(self, place: Place) -> None:
        """Forget one."""
        with self._lock:
            self._revocations.pop(place, None)

    def revocations(self) -> tuple[Revocation, ...]:
        """Return what is stored, earliest deadline first."""
        with self._lock:
            return tuple(sorted(self._revocations.values(), key=lambda r: r.deadline))


class MemoryHoldings:
    """Holdings that do not survive a restart: growth then waits for each CM (``first_reading_patience``)."""

    def __init__(self) -> None:
        self._holdings: dict[str, Holding] = {}

    def put_holding(self, holding: Holding) -> None:
        """Store one."""
        self._holdings[holding.cm] = holding

    def holdings(self) -> tuple[Holding, ...]:
        """Return what is stored."""
        return tuple(self._holdings.values())

    def forget_cm(self, cm: str) -> None:
        """Forget what it held."""
        self._holdings.pop(cm, None)


class LoggedEvents:
    """Writes events to the log, and nowhere else."""

    def record(self, event: Event) -> None:
        """Log one event."""
        log.info(event.message, kind=event.kind.value, subject=event.subject, **event.fields)


class AllEvents:
    """Hands each event to several sinks."""

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks = sinks

    def record(self, event: Event) -> None:
        """Hand one event on."""
        for sink in self._sinks:
            sink.record(event)


@dataclass(frozen=True)
class ManagerConfig:
    """Everything that a manager is given; the defaults make one that remembers nothing over a restart."""

    clock: Clock = field(default_factory=SystemClock)
    intents: IntentStore = field(default_factory=MemoryIntents)
    revocations: RevocationStore = field(default_factory=MemoryRevocations)
    holdings: HoldingStore = field(default_factory=MemoryHoldings)
    ownership: Ownership = field(default_factory=Ownership)
    """Which machines are ours besides those that we asked for."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Former URN -> the one that a CM has since the last start."""
    retired: Mapping[str, str] = field(default_factory=dict)
    """URN -> URL of the CMs that are in use only until nothing is held there; "" where it is not known. A CM
    that the stores know something of, and that is not in use, is one of them."""
    left_behind: Sequence[LeftBehind] = ()
    """What is held in other slices, which the agent kept before."""
    events: EventSink = field(default_factory=LoggedEvents)
    told: Sequence[PastEvent] = ()
    """What earlier runs told of the brake (``Brake.after``), oldest first."""
    mail: EventSink | None = None
    """Told of every event by a manager with ``email``; it picks what is notable. None sends no mail."""
    lease: LeaseSettings = field(default_factory=LeaseSettings)
    cycle: CycleSettings = field(default_factory=CycleSettings)
    observe_step: Callable[[str, str, float], None] | None = None
    """Told of each run of a step: its name, the outcome in one word, and seconds."""
