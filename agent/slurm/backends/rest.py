"""The way in through slurmrestd, of any version from v0.0.38 (Slurm 22.05) on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from urllib.parse import quote

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.core.ports import Clock
from agent.slurm import names
from agent.slurm.backends.rest_api import Api, Deed, parse_api
from agent.slurm.backends.rest_shapes import (
    complaints,
    controller_time,
    last_update,
    parse_jobs,
    parse_nodes,
    parse_refusals,
    parse_reservations,
)
from agent.slurm.backends.rest_transport import Reply, RestTransport, UnknownPathError
from agent.slurm.command import printable
from agent.slurm.many import refused_of
from agent.slurm.model import (
    MAX_WEIGHT,
    REQUEUEABLE_STATES,
    Job,
    Node,
    Reservation,
    SignalTarget,
    SlurmBackend,
    Snapshot,
)
from agent.slurm.settings import SlurmSettings

KEPT_AT_MOST = 300.0
"""Seconds after which everything is read again, also where nothing is said to be new: a controller's clock
that was set back would hide what is."""
_MAX_TEXT = 1000
_NO_CHANGE = "changes since update_time"
_IGNORED = "Ignoring unknown field"
_UNKNOWN_NODE = "Invalid node name specified"
_NEITHER_DOWN_NOR_DRAINED = ("Invalid node state specified", "Invalid node state transition")
_JOB_IS_OVER = ("Invalid job id specified", "Job/step already completing or completed")

_FLAGS = {SignalTarget.ALL: "FULL_JOB", SignalTarget.BATCH: "BATCH_JOB", SignalTarget.STEPS: ""}
"""Who gets a signal, as slurmrestd calls it."""

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class _Kept(Generic[_Value]):
    """What the last read gave, and the controller's time then."""

    value: _Value
    stamp: int
    read_at: float
    path: str


class RestBackend:
    """A ``SlurmBackend`` over slurmrestd.

    Reads ask only for what is newer than the last read. What this slurmrestd cannot do is done through
    ``aside``. Nothing is asked before it is needed.

    Args:
        settings: [slurm].
        clock: gives the time of a snapshot.
        aside: another way in, for what this one cannot do; None where there is none.
        no_aside: why there is none.
        transport: how to reach slurmrestd; unset: as the settings say.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        clock: Clock,
        aside: SlurmBackend | None = None,
        *,
        no_aside: str = "",
        transport: RestTransport | None = None,
    ) -> None:
        self._clock = clock
        self._aside = aside
        self._no_aside = no_aside
        self._transport = transport or RestTransport(settings)
        self._lock = threading.Lock()
        self._known_api: Api | None = None
        self._nodes: _Kept[dict[str, Node]] | None = None
        self._jobs: _Kept[tuple[Job, ...]] | None = None

    def snapshot(self) -> Snapshot:
        """Read nodes, then jobs, each only where something changed.

        Raises:
            SlurmDownError: no answer, of slurmrestd or of the controller.
            SlurmRefusedError: not let in.
            SlurmError: what it answered is not whole, has an unknown shape, or has no node.
        """
        with self._lock:
            taken = self._clock.now()
            stamp = self._controller_time()
            api = self._api()
            self._nodes = self._read(f"/slurm/{api.name}/nodes", self._nodes, stamp, parse_nodes)
            if not self._nodes.value:
                self._nodes = None
                raise SlurmError(f"slurmrestd {api.name} nodes: expected at least one node, got none")
            path = f"/slurm/v0.0.{api.jobs_version}/jobs"
            self._jobs = self._read(path, self._jobs, stamp, parse_jobs)
            return Snapshot(taken, self._nodes.value, self._jobs.value)

    def shortcomings(self) -> tuple[str, ...]:
        """Tell in words, a line each, what this slurmrestd cannot do, and what happens then.

        Raises:
            SlurmError: slurmrestd does not tell what it can do.
        """
        api = self._api()
        missing = [deed for deed in Deed if not api.can(deed)]
        if not missing:
            return ()
        if self._aside is not None:
            return (f"slurmrestd {api.name} cannot {'; '.join(missing)}: Slurm's commands do that",)
        return tuple(
            f"slurmrestd {api.name} cannot {deed}, and nothing else can: {self._no_aside}" for deed in missing
        )

    def requeueable(self, job_ids: Iterable[str]) -> Mapping[str, bool]:
        """Tell for each job that is not over whether it may be requeued."""
        wanted = {names.check_job(job_id) for job_id in job_ids}
        return {j.id: bool(j.requeueable) for j in self.snapshot().jobs if j.id in wanted}

    def drain(self, nodes: Iterable[str], reason: str) -> None:
        """Let no new job start there. The reason replaces an earlier one."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.drain(nodes, reason)
        return self._update_nodes(nodes, state=["DRAIN"], reason=_one_line(reason))

    def undrain(self, nodes: Iterable[str]) -> None:
        """Lift a drain; DOWN stays."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.undrain(nodes)
        return self._update_nodes(nodes, state=["UNDRAIN"])

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        """Declare machines gone."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.set_down(nodes, reason)
        return self._update_nodes(nodes, state=["DOWN"], reason=_one_line(reason))

    def resume(self, nodes: Iterable[str]) -> None:
        """Lift DRAIN and DOWN alike; harmless where there is neither."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.resume(nodes)
        try:
            return self._update_nodes(nodes, state=["RESUME"])
        except SlurmRefusedError as error:
            if not any(words in str(error) for words in _NEITHER_DOWN_NOR_DRAINED):
                raise
            return None

    def set_weight(self, nodes: Iterable[str], weight: int) -> None:
        """Set the weight, 0 to ``MAX_WEIGHT``: slurmrestd takes -1 for 4294967295."""
        if not 0 <= weight <= MAX_WEIGHT:
            raise SlurmRefusedError(f"weight {weight}: expected 0 to {MAX_WEIGHT}")
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.set_weight(nodes, weight)
        return self._update_nodes(nodes, weight=weight)

    def delete_nodes(self, nodes: Iterable[str]) -> None:
        """Remove dynamic node records, one by one; a refusal is raised after all had their turn."""
        if other := self._other_for(Deed.DELETE_NODES):
            return other.delete_nodes(nodes)
        refusals: list[str] = []
        for part, _ in names.fold(nodes):
            for name in sorted(part):
                try:
                    self._change("DELETE", f"node/{quote(name)}")
                except SlurmRefusedError as error:
                    if _UNKNOWN_NODE not in str(error):
                        refusals.append(str(error))
        if refusals:
            raise SlurmRefusedError("; ".join(refusals))
        return None

    def set_address(self, node: str, address: str, hostname: str) -> None:
        """Tell where the machine behind a predeclared node is."""
        return self._elsewhere(Deed.CLOUD_NODES).set_address(node, address, hostname)

    def power_up(self, nodes: Iterable[str]) -> None:
        """Bring cloud nodes to where their slurmd may register."""
        return self._elsewhere(Deed.CLOUD_NODES).power_up(nodes)

    def power_down(self, nodes: Iterable[str]) -> None:
        """Send cloud nodes back to sleep at once."""
        return self._elsewhere(Deed.CLOUD_NODES).power_down(nodes)

    def reservations(self) -> tuple[Reservation, ...]:
        """Read all reservations."""
        return parse_reservations(self._get("reservations").document)

    def reserve(self, reservation: Reservation) -> None:
        """Make a reservation for root alone, or move the one of that name."""
        return self._elsewhere(Deed.RESERVE).reserve(reservation)

    def remove_reservation(self, name: str) -> None:
        """Remove a reservation."""
        return self._elsewhere(Deed.RESERVE).remove_reservation(name)

    def requeue(self, job_id: str, *, hold: bool = False) -> None:
        """Put a running job back into the queue; one that is back there already is left alone.

        Slurm would also run a *finished* job again, so its state is read just before. Of a heterogeneous job
        all components are requeued.
        """
        if self._api().requeues_many:
            for refusal in self._requeue_many([job_id], hold=hold).values():
                raise refusal
            return None
        if other := self._other_for_job(Deed.REQUEUE_HELD if hold else Deed.REQUEUE, job_id):
            return other.requeue(job_id, hold=hold)
        return self._requeue(job_id, self.snapshot().jobs)

    def _requeue(self, job_id: str, jobs: Iterable[Job]) -> None:
        if _is_to_be_requeued(job_id, jobs):
            self._check_warnings(self._get(f"job/{_leader(job_id)}/requeue"))

    def _requeue_many(self, job_ids: Iterable[str], *, hold: bool) -> dict[str, SlurmRefusedError]:
        """Requeue with one request, and read again which still run; one that ends meanwhile stays so."""
        jobs, due = self.snapshot().jobs, set[str]()
        refused = refused_of(
            job_ids, lambda job_id: due.add(job_id) if _is_to_be_requeued(job_id, jobs) else None
        )
        if not due:
            return refused
        flags = ["Incomplete", "Hold"] if hold else ["Incomplete"]
        why = "slurmrestd left it running"
        try:
            self._change(
                "POST", "jobs/requeue", body={"jobs": sorted(set(map(_leader, due))), "flags": flags}
            )
        except SlurmRefusedError as error:
            why = str(error)
        running = {_leader(job.id) for job in self.snapshot().jobs if job.state in REQUEUEABLE_STATES}
        left = [job_id for job_id in due if _leader(job_id) in running]
        return refused | {j: SlurmRefusedError(f"requeue of job {j}: {why}") for j in left}

    def requeue_all(self, job_ids: Iterable[str], *, hold: bool = False) -> dict[str, SlurmRefusedError]:
        """Put running jobs back into the queue: with one request, or one command, else one by one."""
        if self._api().requeues_many:
            return self._requeue_many(job_ids, hold=hold)
        if self._aside is not None:
            return dict(self._aside.requeue_all(job_ids, hold=hold))
        jobs = self.snapshot().jobs

        def requeue(job_id: str) -> None:
            # It refuses what cannot be done without another way in.
            self._other_for_job(Deed.REQUEUE_HELD if hold else Deed.REQUEUE, job_id)
            self._requeue(job_id, jobs)

        return refused_of(job_ids, requeue)

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        """Send a signal such as ``USR1`` to a job."""
        deed = Deed.SIGNAL if target is SignalTarget.ALL else Deed.SIGNAL_PART
        if other := self._other_for_job(deed, job_id):
            return other.signal(job_id, signal, target)
        query = {"signal": _signal_word(signal)}
        if (flag := _FLAGS[target]) in self._api().signal_flags:
            query["flags"] = flag
        return self._change("DELETE", f"job/{_leader(job_id)}", query=query)

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> dict[str, SlurmRefusedError]:
        """Send a signal to many, with one request."""
        flags = [_FLAGS[target]] if _FLAGS[target] else []
        if self._api().ends_many:
            return self._end_many(job_ids, {"signal": _signal_word(signal), "flags": flags})
        if self._aside is not None:
            return dict(self._aside.signal_all(job_ids, signal, target))
        return refused_of(job_ids, partial(self.signal, signal=signal, target=target))

    def notify(self, job_id: str, text: str) -> None:
        """Write a line to the output of a running job."""
        return self._elsewhere(Deed.NOTIFY).notify(job_id, text)

    def cancel(self, job_id: str) -> None:
        """End a job; one that is over is no error."""
        if other := self._other_for_job(Deed.CANCEL, job_id):
            return other.cancel(job_id)
        try:
            return self._change("DELETE", f"job/{_leader(job_id)}")
        except SlurmRefusedError as error:
            if not any(words in str(error) for words in _JOB_IS_OVER):
                raise
            return None

    def cancel_all(self, job_ids: Iterable[str]) -> dict[str, SlurmRefusedError]:
        """End many, with one request; one that is over is no error."""
        if self._api().ends_many:
            refused = self._end_many(job_ids, {})
            return {j: e for j, e in refused.items() if not any(words in str(e) for words in _JOB_IS_OVER)}
        if self._aside is not None:
            return dict(self._aside.cancel_all(job_ids))
        return refused_of(job_ids, self.cancel)

    def _end_many(self, job_ids: Iterable[str], order: Mapping[str, object]) -> dict[str, SlurmRefusedError]:
        jobs = {job_id: _leader(names.check_job(job_id)) for job_id in job_ids}
        path = f"/slurm/{self._api().name}/jobs/"
        reply = self._call("DELETE", path, body={"jobs": list(jobs.values()), **order})
        self._check_warnings(reply)
        said = parse_refusals(reply.document)
        return {
            job_id: SlurmRefusedError(f"job {job_id}: {printable(said[leader])}")
            for job_id, leader in jobs.items()
            if leader in said
        }

    def comment(self, job_id: str, text: str) -> None:
        """Set the AdminComment."""
        if other := self._other_for_job(Deed.COMMENT, job_id):
            return other.comment(job_id, text)
        return self._change("POST", f"job/{_leader(job_id)}", body={"admin_comment": _one_line(text)})

    def comment_all(self, job_ids: Iterable[str], text: str) -> dict[str, SlurmRefusedError]:
        """Set the AdminComment of many, as ``requeue_all`` does."""
        if self._aside is not None:
            return dict(self._aside.comment_all(job_ids, text))
        return refused_of(job_ids, partial(self.comment, text=text))

    def comments(self, job_ids: Iterable[str]) -> Mapping[str, str]:
        """Read the AdminComment of jobs through the other way in; nothing where there is none."""
        return self._aside.comments(job_ids) if self._aside is not None else {}

    def _api(self) -> Api:
        """Ask slurmrestd what it can do, once."""
        if self._known_api is None:
            self._known_api = parse_api(self._transport.call("GET", "/openapi/v3").document)
        return self._known_api

    def _other_for(self, deed: Deed) -> SlurmBackend | None:
        """Return the way in that has to do it, or None where slurmrestd can."""
        return None if self._api().can(deed) else self._elsewhere(deed)

    def _other_for_job(self, deed: Deed, job_id: str) -> SlurmBackend | None:
        """Return the way in that has to do it to this job, or None where slurmrestd can."""
        in_array = "_" in names.check_job(job_id)
        return self._elsewhere(Deed.ARRAY_TASK) if in_array else self._other_for(deed)

    def _elsewhere(self, deed: Deed) -> SlurmBackend:
        if self._aside is None:
            raise SlurmRefusedError(f"slurmrestd cannot {deed}, and nothing else can: {self._no_aside}")
        return self._aside

    def _controller_time(self) -> int | None:
        """Ask the controller for its time where replies do not tell it: ours may be another."""
        if self._api().version > 38:
            return None
        return controller_time(self._get("diag").document)

    def _read(
        self,
        path: str,
        kept: _Kept[_Value] | None,
        stamp: int | None,
        parse: Callable[[Mapping[str, object]], _Value],
    ) -> _Kept[_Value]:
        """Read a list, or keep the one we have where nothing is newer."""
        now = self._clock.monotonic()
        if kept is not None and kept.path == path and now - kept.read_at < KEPT_AT_MOST:
            reply = self._ask_for_news(path, kept.stamp)
            if reply is not None and _is_unchanged(reply):
                return kept
        else:
            reply = None
        value = None if reply is None else parse(reply.document)
        if reply is None or not value:
            # An empty list may also mean that nothing is new: only a read of everything tells.
            reply = self._call("GET", path)
            value = parse(reply.document)
        told = last_update(reply.document)
        return _Kept(value, (stamp if told is None else told) or 0, now, path)

    def _ask_for_news(self, path: str, since: int) -> Reply | None:
        """Ask for what is newer; None where slurmrestd cannot tell.

        v0.0.40 and v0.0.41 refuse ``update_time``; v0.0.38 fails with «Unspecified error» when nodes are new
        and partitions are not.
        """
        try:
            return self._call("GET", path, query={"update_time": since})
        except SlurmRefusedError:
            return None

    def _get(self, path: str) -> Reply:
        return self._call("GET", f"/slurm/{self._api().name}/{path}")

    def _change(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> None:
        reply = self._call(method, f"/slurm/{self._api().name}/{path}", query=query, body=body)
        self._check_warnings(reply)

    def _check_warnings(self, reply: Reply) -> None:
        ignored = [w for w in complaints(reply.document, "warnings") if _IGNORED in w]
        if ignored:
            raise SlurmRefusedError(f"slurmrestd did only part of it: {printable('; '.join(ignored))}")

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Reply:
        try:
            return self._transport.call(method, path, query=query, body=body)
        except UnknownPathError:
            # Another release may have taken its place: the next call asks again what it can do.
            self._known_api = None
            raise

    def _update_nodes(self, nodes: Iterable[str], **changes: object) -> None:
        """Change nodes in one request for all; a name that Slurm does not know costs the others nothing."""
        unknown: set[str] = set()
        for part, folded in names.fold(nodes):
            try:
                self._update(folded, changes)
            except SlurmRefusedError as error:
                if _UNKNOWN_NODE not in str(error):
                    raise
                known = part & self.snapshot().nodes.keys()
                unknown |= part - known
                for _, again in names.fold(known):
                    self._update(again, changes)
        if unknown:
            raise SlurmRefusedError(f"{', '.join(sorted(unknown))}: {_UNKNOWN_NODE}")

    def _update(self, folded: str, changes: Mapping[str, object]) -> None:
        if self._api().changes_many:
            return self._change("POST", "nodes/", body={"name": [folded], **changes})
        return self._change("POST", f"node/{quote(folded, safe='')}", body=changes)


def _signal_word(signal: str) -> str:
    word = names.check_signal(signal)
    return word if word.isdecimal() else f"SIG{word.removeprefix('SIG')}"


def _leader(job_id: str) -> str:
    """Return the id that acts on a job: a heterogeneous job is taken as a whole."""
    return job_id.partition("+")[0]


def _is_to_be_requeued(job_id: str, jobs: Iterable[Job]) -> bool:
    """Tell whether a job runs; False where it is back in the queue.

    Raises:
        SlurmRefusedError: it is over, or does something else.
    """
    leader = _leader(names.check_job(job_id))
    states = {j.state for j in jobs if _leader(j.id) == leader}
    if not states:
        raise SlurmRefusedError(f"requeue of job {leader}: it is over")
    if states == {"PENDING"}:
        return False
    if not states <= REQUEUEABLE_STATES:
        raise SlurmRefusedError(f"requeue of job {leader}: expected it to run, it is {', '.join(states)}")
    return True


def _is_unchanged(reply: Reply) -> bool:
    """Tell whether nothing is new: status 304, or 200 with an empty list and this warning."""
    return reply.unchanged or any(_NO_CHANGE in said for said in complaints(reply.document, "warnings"))


def _one_line(text: str) -> str:
    """Make text fit to stand in one line of any tool's output."""
    return printable(text, _MAX_TEXT).strip()
