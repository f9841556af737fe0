"""Reads nodes, jobs and reservations through slurmrestd: only what is newer than the last read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.core.errors import SlurmRefusedError
from agent.core.ports import Clock
from agent.slurm.json_shapes import (
    complaints,
    controller_time,
    last_update,
    parse_jobs,
    parse_nodes,
    parse_reservations,
)
from agent.slurm.model import Job, Node, Snapshot
from agent.slurm.reservation import Reservation
from agent.slurm.rest.calls import RestCalls
from agent.slurm.rest.transport import Reply

KEPT_AT_MOST = 300.0
"""Seconds after which everything is read again, also where nothing is said to be new: a controller's clock
that was set back would hide what is."""
_NO_CHANGE = "changes since update_time"

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class _Kept(Generic[_Value]):
    """What the last read gave, and the controller's time then."""

    value: _Value
    stamp: int
    read_at: float
    version: int
    """NN of v0.0.NN, through which it was read."""


class RestReader:
    """Reads through slurmrestd. Safe for many threads, of which none waits for what another asks.

    Args:
        calls: slurmrestd.
        clock: gives the time of a snapshot.
    """

    def __init__(self, calls: RestCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: _Kept[dict[str, Node]] | None = None
        self._jobs: _Kept[tuple[Job, ...]] | None = None

    def snapshot(self) -> Snapshot:
        """Read nodes, then jobs, each only where something changed.

        Raises:
            SlurmDownError: no answer, of slurmrestd or of the controller.
            SlurmRefusedError: not let in.
            SlurmError: what it answered is not whole, or has an unknown shape.
        """
        taken = self._clock.now()
        stamp = self._controller_time()
        api = self._calls.api()
        with self._lock:
            before_nodes, before_jobs = self._nodes, self._jobs
        nodes = self._read("nodes", api.version, before_nodes, stamp, parse_nodes)
        jobs = self._read("jobs", api.jobs_version, before_jobs, stamp, parse_jobs)
        with self._lock:
            # Read whole the next time, lest a list that was empty by mistake be kept.
            self._nodes = _newer(self._nodes, nodes) if nodes.value else None
            self._jobs = _newer(self._jobs, jobs)
        return Snapshot(taken, nodes.value, jobs.value).check(f"slurmrestd {api.name} nodes")

    def reservations(self) -> tuple[Reservation, ...]:
        """Read all reservations."""
        return parse_reservations(self._calls.call("GET", "reservations").document)

    def _controller_time(self) -> int | None:
        """Ask the controller for its time where replies do not tell it: ours may be another."""
        if self._calls.api().version > 38:
            return None
        return controller_time(self._calls.call("GET", "diag").document)

    def _read(
        self,
        path: str,
        version: int,
        kept: _Kept[_Value] | None,
        stamp: int | None,
        parse: Callable[[Mapping[str, object]], _Value],
    ) -> _Kept[_Value]:
        """Read a list, or keep the one we have where nothing is newer."""
        now = self._clock.monotonic()
        if kept is not None and kept.version == version and now - kept.read_at < KEPT_AT_MOST:
            reply = self._ask_for_news(path, version, kept.stamp)
            if reply is not None and _is_unchanged(reply):
                return kept
        else:
            reply = None
        value = None if reply is None else parse(reply.document)
        if reply is None or not value:
            # An empty list may also mean that nothing is new: only a read of everything tells.
            reply = self._calls.call("GET", path, version=version)
            value = parse(reply.document)
        told = last_update(reply.document)
        return _Kept(value, (stamp if told is None else told) or 0, now, version)

    def _ask_for_news(self, path: str, version: int, since: int) -> Reply | None:
        """Ask for what is newer; None where slurmrestd cannot tell.

        v0.0.40 and v0.0.41 refuse ``update_time``; v0.0.38 fails with «Unspecified error» when nodes are new
        and partitions are not.
        """
        try:
            return self._calls.call("GET", path, version=version, query={"update_time": since})
        except SlurmRefusedError:
            return None


def _newer(kept: _Kept[_Value] | None, read: _Kept[_Value]) -> _Kept[_Value]:
    """Return the later read: another thread may have read while this one was under way."""
    return kept if kept is not None and kept.read_at > read.read_at else read


def _is_unchanged(reply: Reply) -> bool:
    """Tell whether nothing is new: status 304, or 200 with an empty list and this warning."""
    return reply.unchanged or any(_NO_CHANGE in said for said in complaints(reply.document, "warnings"))
