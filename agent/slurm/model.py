"""What Slurm says at one moment. Plain values, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.slurm.layout import UNKNOWN, Layout
from agent.slurm.names import leader
from agent.slurm.request import Request
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import Scheduling
from agent.slurm.states import OVER_STATES

UNUSABLE_FLAGS = frozenset(
    {
        "DRAIN", "NOT_RESPONDING", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN", "POWERING_UP", "FAIL",
        "MAINTENANCE", "REBOOT_REQUESTED", "REBOOT_ISSUED", "INVALID_REG",
    }
)  # fmt: skip
"""Node flags under which Slurm starts no new job there."""

MAX_WEIGHT = 4294967280
"""scontrol(1): the largest Weight."""

AWAY_FLAGS = UNUSABLE_FLAGS - {"DRAIN", "MAINTENANCE"}
"""Flags of a node whose slurmd is not at work; a drain or a maintenance reservation does not tell that."""

ALIVE_STATES = frozenset({"IDLE", "MIXED", "ALLOCATED"})

BUSY_STATES = frozenset({"ALLOCATED", "MIXED"})


@dataclass(frozen=True)
class Node:
    """One Slurm node. States and flags are upper-case words without marks (``scontrol show node``)."""

    name: str
    state: str
    """Base state: IDLE, MIXED, ALLOCATED, DOWN, UNKNOWN, ..."""
    flags: frozenset[str] = frozenset()
    address: str = ""
    weight: int = 1
    features: frozenset[str] = frozenset()
    cpus: int = 0
    allocated_cpus: int = 0
    """CPUs that jobs hold."""
    memory: int = 0
    """RealMemory in MB."""
    reason: str = ""
    reason_user: str = ""
    """Who set the reason; "" where there is none."""
    partitions: tuple[str, ...] = ()
    booted: datetime | None = None
    """When its machine booted, as its slurmd says."""
    allocated_memory: int = 0
    """MB that jobs hold."""
    gres: str = ""
    """Generic resources that it offers (``gpu:2``); "" for none."""
    layout: Layout = UNKNOWN
    last_busy: datetime | None = field(default=None, compare=False)
    """When a job last ended there, or it came to Slurm; of a node with jobs it tells nothing."""

    @property
    def draining(self) -> bool:
        """No new job starts here, because somebody drained it."""
        return "DRAIN" in self.flags

    @property
    def empty(self) -> bool:
        """No job is on it and none is completing."""
        return self.state not in BUSY_STATES and "COMPLETING" not in self.flags

    @property
    def is_free(self) -> bool:
        """Its slurmd is at work for no job, and nobody drained it; a reservation may keep jobs off."""
        return self.at_work and self.empty and not self.draining

    @property
    def drained(self) -> bool:
        """Drained and empty; a state word that we do not know counts as not."""
        return self.draining and self.state in {"IDLE", "DOWN"} and "COMPLETING" not in self.flags

    @property
    def words(self) -> str:
        """State and flags as Slurm writes them (``IDLE+DRAIN``)."""
        return "+".join((self.state, *sorted(self.flags)))

    @property
    def rebooting(self) -> bool:
        """Somebody had its machine rebooted through Slurm (``scontrol reboot``), and it is not back.

        Slurm gives it up after ResumeTimeout: it is DOWN then, and none of this.
        """
        return not self.flags.isdisjoint({"REBOOT_REQUESTED", "REBOOT_ISSUED"})

    @property
    def usable(self) -> bool:
        """Slurm could start a job here."""
        return self.state in ALIVE_STATES and not self.flags & UNUSABLE_FLAGS

    @property
    def at_work(self) -> bool:
        """Its slurmd is at work, also when somebody drained it."""
        return self.state in ALIVE_STATES and not self.flags & AWAY_FLAGS


@dataclass(frozen=True)
class Job:
    """One job, or one running array task, or the tasks of an array that have not been split off."""

    id: str
    """What scontrol takes: ``12``, ``12_3`` (array task), ``12+1`` (component of a heterogeneous job)."""
    state: str
    """PENDING, RUNNING, SUSPENDED, ...; COMPLETING for as long as it cleans up, however it ended."""
    user: str = ""
    reason: str = ""
    """Why it is pending, as one word (``squeue %r`` up to the first comma)."""
    partitions: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()
    """Names of the nodes it holds; empty when pending."""
    node_count: int = 1
    cpus: int = 1
    features: str = ""
    """Constraint expression; "" for none."""
    exclusive: bool = False
    """Wants its nodes for itself (OverSubscribe=NO; from 26.05 on Exclusive=NODE or TOPO)."""
    task_count: int = 1
    """How many tasks of an array this record stands for."""
    task_limit: int | None = None
    """How many tasks of its array may run at once (``--array=0-99%2``); None without a limit."""
    begins: datetime | None = None
    """When it may start at the earliest, where its reason is BeginTime (``--begin``, or after a requeue)."""
    requested_nodes: frozenset[str] = frozenset()
    excluded_nodes: frozenset[str] = frozenset()
    """Slurm's commands before 24.05 tell them only of jobs that are neither held nor dependent."""
    qos: str = ""
    reservation: str = ""
    """Name of the reservation that it asks for; "" for none."""
    name: str = ""
    """What its user calls it: free text, which may be anything."""
    memory: int = 0
    """MB that it asks for on each node, or on each CPU where ``memory_per_cpu``; 0 for all or for none."""
    memory_per_cpu: bool = False
    gres: str = ""
    """Generic resources that it asks for on each node, in all or for each task (``gpu:1``); "" for none."""
    submitted: datetime | None = None
    started: datetime | None = None
    ends: datetime | None = None
    """When its own time limit ends it; None without a limit or when pending."""
    time_limit: timedelta | None = None
    """None without a limit, or where the partition's holds."""
    requeueable: bool | None = None
    """None where the read did not ask."""
    batch: bool | None = None
    """It has a batch script. One of srun(1) or salloc(1) has none, and Slurm requeues it never, whatever
    ``requeueable`` says. None where a way in does not tell."""
    restarts: int | None = None
    """How often it was requeued; None where the read did not ask."""
    request: Request | None = None
    """None where it does not wait, or a way in does not tell."""

    @property
    def array(self) -> str:
        """The id of its array; "" where it is in none."""
        head, underscore, _ = self.id.partition("_")
        return head if underscore else ""

    @property
    def run(self) -> tuple[str, datetime | None]:
        """What tells this run of it from others: the id that acts on the whole job, and when it started."""
        return leader(self.id), self.started

    @property
    def holds_nodes(self) -> bool:
        """It is on its nodes now, also while it cleans up."""
        return bool(self.nodes) and self.state != "PENDING"


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, or how it stands where it has not (``JobState`` and ``ExitCode`` of scontrol(1))."""

    state: str
    """COMPLETED, FAILED, CANCELLED, TIMEOUT, ...; PENDING, RUNNING, COMPLETING, ... where it is not over."""
    exit_code: int = 0
    """What its batch script returned; 0 where a signal ended that."""
    signal: int = 0
    """Number of the signal that ended its batch script; 0 for none."""
    ended: datetime | None = None
    """None where it is not over."""
    restarts: int | None = None
    """How often it was requeued; None where that is not told."""
    step_exit_code: int = 0
    """The highest that one of its steps returned (``DerivedExitCode``)."""
    step_signal: int = 0
    """Number of the signal that ended that step; 0 for none."""

    @property
    def is_over(self) -> bool:
        """It has ended, and cleans up no more."""
        return self.state in OVER_STATES


@dataclass(frozen=True)
class EarlierRun:
    """How long a job ran that ended by itself."""

    user: str
    name: str
    """What its user called it."""
    seconds: float


class SignalTarget(StrEnum):
    """Which processes of a job a signal goes to (scancel(1))."""

    BATCH = "batch"
    """The batch script alone (``--batch``)."""
    STEPS = "steps"
    """The steps and not the batch script."""
    ALL = "all"
    """The batch script, its children and the steps; see ``agent.slurm.signal_targets``."""


@dataclass(frozen=True)
class OwnSignal:
    """The signal that a job's user asked for (``sbatch --signal``): it can save, and needs so long for it."""

    signal: str
    """Such as ``USR1``, or a number."""
    lead: float
    """Seconds ahead of its end; 0 tells no time."""
    to: SignalTarget
    """The batch script alone (``B:``), or the steps."""


@dataclass(frozen=True)
class Snapshot:
    """All nodes and all jobs that are not over, read within one moment."""

    taken: datetime
    nodes: Mapping[str, Node]
    jobs: tuple[Job, ...]

    def jobs_on(self, names: Iterable[str]) -> tuple[Job, ...]:
        """Return the jobs that hold at least one of these nodes."""
        wanted = frozenset(names)
        if wanted.isdisjoint(self._held):
            return ()
        return tuple(j for j in self.jobs if j.holds_nodes and j.nodes & wanted)

    def holds(self, name: str) -> bool:
        """Tell whether a job holds this node."""
        return name in self._held

    @cached_property
    def _held(self) -> frozenset[str]:
        """Names of the nodes that jobs hold: most that are asked for are among none of thousands."""
        return frozenset(name for job in self.jobs if job.holds_nodes for name in job.nodes)

    def check(self, source: str) -> Snapshot:
        """Return it, unless it contradicts itself: a Slurm whose machines are all borrowed may have no node.

        Args:
            source: what told it.

        Raises:
            SlurmError: there is no node, and a job is on one.
        """
        if self._held and not self.nodes:
            where = min(self._held)
            raise SlurmError(f"{source}: expected at least one node, got none, and a job is on {where}")
        return self


class SlurmBackend(Protocol):
    """A way in to Slurm. Each method raises ``SlurmDownError`` or ``SlurmRefusedError``.

    A failed change may have been applied in part: read again, never assume (``scontrol update`` of a list
    with one unknown name changes the names before it).
    """

    def snapshot(self) -> Snapshot:
        """Read nodes and jobs. Raises rather than return less than everything."""

    def requests_of(self, jobs: Collection[Job]) -> Mapping[str, Request]:
        """Tell by id what waiting jobs ask for, of those of whom a snapshot leaves something open."""

    def drain(self, nodes: Iterable[str], reason: str) -> None:
        """Let no new job start there; one request for all."""

    def undrain(self, nodes: Iterable[str]) -> None:
        """Lift a drain; harmless on a node that has none."""

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        """Declare machines gone: their jobs are requeued or end with NODE_FAIL."""

    def resume(self, nodes: Iterable[str]) -> None:
        """Lift DRAIN and DOWN alike."""

    def set_weight(self, nodes: Iterable[str], weight: int) -> None:
        """Set the weight of all of them; one request."""

    def delete_nodes(self, nodes: Iterable[str]) -> None:
        """Remove dynamic node records; a node that is not there is no error."""

    def set_address(self, node: str, address: str, hostname: str = "") -> None:
        """Tell where the machine behind a node is (``NodeAddr``, and ``NodeHostname`` where it is given)."""

    def power_up(self, nodes: Iterable[str]) -> None:
        """Bring ``State=CLOUD`` nodes to where their slurmd may register (``State=POWER_UP``)."""

    def power_down(self, nodes: Iterable[str]) -> None:
        """Send ``State=CLOUD`` nodes back to sleep at once (``State=POWER_DOWN_FORCE``)."""

    def reservations(self) -> tuple[Reservation, ...]:
        """Read all reservations."""

    def scheduling(self) -> Scheduling:
        """Tell how Slurm chooses nodes, in each partition."""

    def reserve(self, reservation: Reservation) -> None:
        """Make a reservation for root alone, or move the one of that name, whatever runs there now."""

    def remove_reservation(self, name: str) -> None:
        """Remove a reservation; one that is not there is no error."""

    def requeue(self, job_id: str, *, hold: bool = False) -> None:
        """Put a running job back into the queue; held there until somebody releases it, with ``hold``."""

    def requeue_all(self, job_ids: Iterable[str], *, hold: bool = False) -> Mapping[str, SlurmRefusedError]:
        """``requeue`` many; return job id -> why, for those that were refused."""

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        """Send a signal such as ``USR1`` to a job."""

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> Mapping[str, SlurmRefusedError]:
        """``signal`` many, each once, within seconds; return job id -> why, for those that did not get it.

        Who is not among them got it, also where Slurm said of a task of an array that it cannot be altered.
        A ``SlurmDownError`` tells nothing of who did.
        """

    def own_signals(self, job_ids: Iterable[str]) -> Mapping[str, OwnSignal]:
        """Return job id -> the signal that its user asked sbatch for, of those of whom that can be told."""

    def notify(self, job_id: str, text: str) -> None:
        """Write a line to the output of a running job (``scontrol notify``)."""

    def cancel(self, job_id: str) -> None:
        """End a job."""

    def cancel_all(self, job_ids: Iterable[str]) -> Mapping[str, SlurmRefusedError]:
        """``cancel`` many; return job id -> why, for those that were refused."""

    def let_start(self, job_ids: Iterable[str]) -> Mapping[str, SlurmRefusedError]:
        """Let jobs start that Slurm itself keeps back, after a requeue or since no node fitted.

        One that waits for anything else, such as a person, is left alone. Return job id -> why, for those
        that were refused.
        """

    def endings(self, job_ids: Iterable[str]) -> Mapping[str, JobEnd]:
        """Tell how jobs ended, or stand: job id -> that, of all components of a heterogeneous one.

        Slurm forgets jobs ``MinJobAge`` seconds after their end; where there is slurmdbd, sacct(1) may still
        know them. What nobody knows is not in it.
        """

    def comment(self, job_id: str, text: str) -> None:
        """Set the AdminComment, which the job's user can read, to one line."""

    def comment_all(self, job_ids: Iterable[str], text: str) -> Mapping[str, SlurmRefusedError]:
        """Set the AdminComment of many to the letter; return job id -> why, for those that were refused.

        Slurm takes none of a job that is over.
        """

    def comments(self, job_ids: Iterable[str]) -> Mapping[str, str]:
        """Return job id -> AdminComment to the letter, of those that have one and are not over.

        A byte that is not UTF-8 comes as U+FFFD.
        """
