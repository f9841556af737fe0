"""What the framework asks of the outside: each part is given to it, none is built by it."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent.core.events import Event
from agent.core.model import AdvertisedNode, Holding, Intent, Orphan, Place, Sliver, SliverStatus
from agent.core.said import Revocation


class Clock(Protocol):
    """Time, so that tests can set it."""

    def now(self) -> datetime:
        """Return the wall-clock time in UTC, which may be set: what people, Cloudlab and Slurm go by."""

    def steady(self) -> datetime:
        """Return the time in UTC by a clock that nobody sets: what durations are measured by.

        It is the wall clock's time as long as that is not set while the process runs.
        """

    def monotonic(self) -> float:
        """Return seconds that never go back."""


_BEGAN, _BEGAN_AT = datetime.now(UTC), time.monotonic()


class SystemClock:
    """The machine's clock.

    Its steady time stands still while the machine sleeps (``CLOCK_MONOTONIC``): nobody could look meanwhile.
    """

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        return datetime.now(UTC)

    def steady(self) -> datetime:
        """Return the time when the process began and what has passed since; the same for all of these."""
        return _BEGAN + timedelta(seconds=time.monotonic() - _BEGAN_AT)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class SliceServer(Protocol):
    """Our slice at Cloudlab: the SA and the CMs, with identity, credentials and retries behind it.

    Every method raises a subclass of ``CloudlabError``. Where a method makes several requests, the error's
    ``begun`` says whether the change that it stands for may have been carried out.
    """

    @property
    def slice_urn(self) -> str:
        """URN of the slice that the agent keeps."""

    @property
    def cms(self) -> Sequence[str]:
        """URNs of the CMs, in order of preference."""

    @property
    def email(self) -> str:
        """Mail address in the user's certificate; "" if it has none."""

    def find_slice(self) -> datetime | None:
        """Return until when the slice lasts at the SA, or None when there is no such slice."""

    def create_slice(self, expires: datetime) -> datetime:
        """Register the slice; return until when it lasts."""

    def renew_slice(self, expires: datetime) -> datetime:
        """Extend the slice at the SA; return the granted time. Renew here before any CM."""

    def orphans(self) -> Mapping[str, Orphan]:
        """Return CM -> its sliver whose slice is gone at the SA; from memory, nobody is asked."""

    def find_sliver(self, cm: str) -> Sliver | None:
        """Read the manifest without taking a lock (``Resolve``); None when this CM holds nothing for us."""

    def create_sliver(self, cm: str, request: str) -> Sliver:
        """Ask for a first set of machines with a request RSpec."""

    def renew_sliver(self, cm: str, expires: datetime) -> datetime:
        """Extend the sliver; return the granted time, which may be less than asked."""

    def find_short_types(
        self, cm: str, held: Mapping[str, int], begin: datetime, end: datetime
    ) -> Collection[str]:
        """Ask which types are short where a sliver is renewed: those of which so many cannot be had then.

        Args:
            cm: the CM.
            held: type -> how many machines the sliver has.
            begin: when the sliver ends.
            end: when it should end.

        Returns:
            None of them where the CM does not tell. It never raises for that.
        """

    def delete_sliver(self, cm: str) -> None:
        """Give every machine of this CM back and wait until the CM holds nothing for us."""

    def sliver_status(self, cm: str) -> SliverStatus | None:
        """Return the state of each machine; None when this CM holds nothing for us. Takes the slice lock."""

    def add_nodes(self, cm: str, nodes: Mapping[str, Mapping[str, object]]) -> Sliver:
        """Add machines: client_id -> fields of ``GeniCMV2 AddNodes``. All or nothing; not idempotent."""

    def delete_nodes(self, cm: str, client_ids: Sequence[str]) -> Sliver:
        """Give machines back. All or nothing; not idempotent."""

    def discover(self, cm: str, *, available: bool) -> tuple[AdvertisedNode, ...]:
        """List the CM's machines that can be borrowed whole: only the free ones, or all."""

    def survey(self, cm: str) -> tuple[AdvertisedNode, ...]:
        """List the free machines, flagged as available, and those reserved to the slice, flagged as not.

        Takes no lock, and changes nothing.
        """


class IntentStore(Protocol):
    """Where intents survive a crash."""

    def add_intents(self, intents: Sequence[Intent]) -> None:
        """Write intents down; a repeat of the same (kind, cm, client_id) replaces the older one."""

    def remove_intents(self, intents: Sequence[Intent]) -> None:
        """Strike intents that are settled."""

    def intents(self) -> tuple[Intent, ...]:
        """Return the intents in flight, oldest first."""


class RevocationStore(Protocol):
    """Where revocations survive a restart, so that none is forgotten and no deadline begins anew."""

    def put_revocation(self, revocation: Revocation) -> None:
        """Store one; a repeat of the same place replaces the older one."""

    def remove_revocation(self, place: Place) -> None:
        """Forget one; no error where there is none."""

    def revocations(self) -> Sequence[Revocation]:
        """Return what is stored, earliest deadline first."""


class HoldingStore(Protocol):
    """Where it survives a restart which machines each CM was seen to hold."""

    def put_holding(self, holding: Holding) -> None:
        """Store one; a repeat of the same CM replaces the older one."""

    def holdings(self) -> Sequence[Holding]:
        """Return what is stored, of any CM."""

    def forget_cm(self, cm: str) -> None:
        """Forget all that is stored of a CM; no error where there is nothing."""


class CredentialStore(Protocol):
    """Where it survives a restart what acts on slivers whose slice is gone at the SA."""

    def put_credential(self, slice_urn: str, uuid: str, text: str, expires: datetime, now: datetime) -> None:
        """Store the credential of a slice, in place of an older one of that uuid; forget all that have ended.

        Raises:
            LedgerError: it is not stored.
        """

    def credentials(self, slice_urn: str) -> Sequence[str]:
        """Return the texts of the stored credentials for slices of that URN, oldest first."""


class EventSink(Protocol):
    """Where decisions and acts are told."""

    def record(self, event: Event) -> None:
        """Take one event; never raises."""


@dataclass(frozen=True)
class Host:
    """A machine that commands run on over SSH."""

    name: str
    """Our word for it in logs and results, such as its node_id."""
    address: str
    username: str
    port: int = 22
    life: str = ""
    """What tells this machine from an earlier one at its address: a learnt host key is known for it alone."""


@dataclass(frozen=True)
class HostResult:
    """What became of the commands on one machine."""

    host: Host
    output: str
    """What the commands printed, both streams, cut to a bounded size."""
    error: str = ""
    """Why the series stopped early: which command, and its status, time limit or connection fault."""

    @property
    def ok(self) -> bool:
        """Every command ended with status 0."""
        return not self.error


@dataclass(frozen=True)
class Upload:
    """A file that is written on a machine, whole or not at all; it stands among the commands there."""

    path: str
    """Absolute path on the machine; its directory is made where it is missing."""
    content: bytes = field(repr=False)
    mode: int
    owner: str = ""
    """As chown(1) takes it; "" for the login."""


Series = Sequence[str | Upload]
"""What is done on one machine, in order: shell commands, and files to write."""


class RemoteShell(Protocol):
    """Runs commands on many machines at once, with time limits."""

    def run(self, commands: Mapping[Host, Series], *, timeout: float) -> Mapping[Host, HostResult]:
        """Run each machine's commands in order, all machines side by side; a fault ends that machine's.

        ``timeout`` bounds the whole in seconds. Never raises for a machine: each gets its result.
        """

    def forget(self, host: Host) -> None:
        """Drop the machine's known host key: it was given back, and comes again with another."""


@dataclass(frozen=True)
class CommandResult:
    """A command on another machine that ended by itself."""

    status: int
    output: bytes
    """All that it wrote to standard output."""
    complaint: bytes
    """What it wrote to standard error, cut to a bounded size."""


class RemoteCommand(Protocol):
    """Runs one command on another machine whose whole output is wanted."""

    def execute(self, host: Host, command: str, *, timeout: float, max_output: int) -> CommandResult:
        """Run a line of shell. Raises ``SshError``: no login, cut off, or more than ``max_output`` bytes."""
