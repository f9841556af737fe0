"""The way in through slurmrestd, of any version from v0.0.38 (Slurm 22.05) on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from urllib.parse import quote

from agent.core.errors import SlurmRefusedError
from agent.core.ports import Clock
from agent.slurm import names
from agent.slurm.json_shapes import parse_refusals
from agent.slurm.model import (
    MAX_WEIGHT,
    REQUEUEABLE_STATES,
    Job,
    Reservation,
    SignalTarget,
    SlurmBackend,
    Snapshot,
)
from agent.slurm.rest.api import Deed
from agent.slurm.rest.calls import RestCalls
from agent.slurm.rest.reader import RestReader
from agent.slurm.rest.transport import RestTransport
from agent.slurm.settings import SlurmSettings
from agent.slurm.words import JOB_IS_OVER, NEITHER_DOWN_NOR_DRAINED, UNKNOWN_NODE, one_line, printable

_FLAGS = {SignalTarget.ALL: "FULL_JOB", SignalTarget.BATCH: "BATCH_JOB", SignalTarget.STEPS: ""}
"""Who gets a signal, as slurmrestd calls it."""


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
        self._aside = aside
        self._no_aside = no_aside
        self._calls = RestCalls(transport or RestTransport(settings))
        self._reader = RestReader(self._calls, clock)

    def snapshot(self) -> Snapshot:
        """Read nodes, then jobs, each only where something changed.

        Raises:
            SlurmDownError: no answer, of slurmrestd or of the controller.
            SlurmRefusedError: not let in.
            SlurmError: what it answered is not whole, has an unknown shape, or has no node.
        """
        return self._reader.snapshot()

    def shortcomings(self) -> tuple[str, ...]:
        """Tell in words, a line each, what this slurmrestd cannot do, and what happens then.

        Raises:
            SlurmError: slurmrestd does not tell what it can do.
        """
        api = self._calls.api()
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
        return self._update_nodes(nodes, state=["DRAIN"], reason=one_line(reason))

    def undrain(self, nodes: Iterable[str]) -> None:
        """Lift a drain; DOWN stays."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.undrain(nodes)
        return self._update_nodes(nodes, state=["UNDRAIN"])

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        """Declare machines gone."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.set_down(nodes, reason)
        return self._update_nodes(nodes, state=["DOWN"], reason=one_line(reason))

    def resume(self, nodes: Iterable[str]) -> None:
        """Lift DRAIN and DOWN alike; harmless where there is neither."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.resume(nodes)
        try:
            return self._update_nodes(nodes, state=["RESUME"])
        except SlurmRefusedError as error:
            if not any(words in str(error) for words in NEITHER_DOWN_NOR_DRAINED):
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
                    self._calls.change("DELETE", f"node/{quote(name)}")
                except SlurmRefusedError as error:
                    if UNKNOWN_NODE not in str(error):
                        refusals.append(str(error))
        if refusals:
            raise SlurmRefusedError("; ".join(refusals))
        return None

    def set_address(self, node: str, address: str, hostname: str = "") -> None:
        """Tell where the machine behind a node is."""
        return self._elsewhere(Deed.CLOUD_NODES).set_address(node, address, hostname)

    def power_up(self, nodes: Iterable[str]) -> None:
        """Bring cloud nodes to where their slurmd may register."""
        return self._elsewhere(Deed.CLOUD_NODES).power_up(nodes)

    def power_down(self, nodes: Iterable[str]) -> None:
        """Send cloud nodes back to sleep at once."""
        return self._elsewhere(Deed.CLOUD_NODES).power_down(nodes)

    def reservations(self) -> tuple[Reservation, ...]:
        """Read all reservations."""
        return self._reader.reservations()

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
        if self._calls.api().requeues_many:
            for refusal in self._requeue_many([job_id], hold=hold).values():
                raise refusal
            return None
        if other := self._other_for_job(Deed.REQUEUE_HELD if hold else Deed.REQUEUE, job_id):
            return other.requeue(job_id, hold=hold)
        return self._requeue(job_id, self.snapshot().jobs)

    def _requeue(self, job_id: str, jobs: Iterable[Job]) -> None:
        if _is_to_be_requeued(job_id, jobs):
            self._calls.change("GET", f"job/{names.leader(job_id)}/requeue")

    def _requeue_many(self, job_ids: Iterable[str], *, hold: bool) -> dict[str, SlurmRefusedError]:
        """Requeue with one request, and read again which run on; one that ends meanwhile stays so."""
        jobs, due = self.snapshot().jobs, set[str]()

        def look(job_id: str) -> None:
            if _is_to_be_requeued(job_id, jobs):
                due.add(job_id)

        refused = refused_of(job_ids, look)
        if not due:
            return refused
        body = {
            "jobs": sorted(set(map(names.leader, due))),
            "flags": ["Incomplete", "Hold"] if hold else ["Incomplete"],
        }
        why = "slurmrestd left it running"
        try:
            self._calls.change("POST", "jobs/requeue", body=body)
        except SlurmRefusedError as error:
            why = str(error)
        # One that runs already again, elsewhere, began anew.
        left = {leader for leader, _ in _runs(jobs) & _runs(self.snapshot().jobs)}
        return refused | {
            j: SlurmRefusedError(f"requeue of job {j}: {why}") for j in due if names.leader(j) in left
        }

    def requeue_all(self, job_ids: Iterable[str], *, hold: bool = False) -> dict[str, SlurmRefusedError]:
        """Put running jobs back into the queue: with one request, or one command, else one by one."""
        if self._calls.api().requeues_many:
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
            other.signal(job_id, signal, target)
            return
        query = {"signal": names.full_signal(signal)}
        if (flag := _FLAGS[target]) in self._calls.api().signal_flags:
            query["flags"] = flag
        self._calls.change("DELETE", f"job/{names.leader(job_id)}", query=query)

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> dict[str, SlurmRefusedError]:
        """Send a signal to many, with one request."""
        flags = [_FLAGS[target]] if _FLAGS[target] else []
        if self._calls.api().ends_many:
            return self._end_many(job_ids, {"signal": names.full_signal(signal), "flags": flags})
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
            self._calls.change("DELETE", f"job/{names.leader(job_id)}")
        except SlurmRefusedError as error:
            if not any(words in str(error) for words in JOB_IS_OVER):
                raise
        return None

    def cancel_all(self, job_ids: Iterable[str]) -> dict[str, SlurmRefusedError]:
        """End many, with one request; one that is over is no error."""
        if self._calls.api().ends_many:
            refused = self._end_many(job_ids, {})
            return {j: e for j, e in refused.items() if not any(words in str(e) for words in JOB_IS_OVER)}
        if self._aside is not None:
            return dict(self._aside.cancel_all(job_ids))
        return refused_of(job_ids, self.cancel)

    def _end_many(self, job_ids: Iterable[str], order: Mapping[str, object]) -> dict[str, SlurmRefusedError]:
        jobs = {job_id: names.check_leader(job_id) for job_id in job_ids}
        reply = self._calls.change("DELETE", "jobs/", body={"jobs": list(jobs.values()), **order})
        said = parse_refusals(reply.document)
        return {
            job_id: SlurmRefusedError(f"job {job_id}: {printable(said[leader])}")
            for job_id, leader in jobs.items()
            if leader in said
        }

    def comment(self, job_id: str, text: str) -> None:
        """Set the AdminComment."""
        if other := self._other_for_job(Deed.COMMENT, job_id):
            other.comment(job_id, text)
        else:
            self._calls.change("POST", f"job/{names.leader(job_id)}", body={"admin_comment": one_line(text)})

    def comment_all(self, job_ids: Iterable[str], text: str) -> dict[str, SlurmRefusedError]:
        """Set the AdminComment of many, as ``requeue_all`` does."""
        if self._aside is not None:
            return dict(self._aside.comment_all(job_ids, text))
        return refused_of(job_ids, partial(self.comment, text=text))

    def comments(self, job_ids: Iterable[str]) -> Mapping[str, str]:
        """Read the AdminComment of jobs through the other way in; nothing where there is none."""
        return self._aside.comments(job_ids) if self._aside is not None else {}

    def _other_for(self, deed: Deed) -> SlurmBackend | None:
        """Return the way in that has to do it, or None where slurmrestd can."""
        return None if self._calls.api().can(deed) else self._elsewhere(deed)

    def _other_for_job(self, deed: Deed, job_id: str) -> SlurmBackend | None:
        """Return the way in that has to do it to this job, or None where slurmrestd can."""
        in_array = "_" in names.check_job(job_id)
        return self._elsewhere(Deed.ARRAY_TASK) if in_array else self._other_for(deed)

    def _elsewhere(self, deed: Deed) -> SlurmBackend:
        if self._aside is None:
            raise SlurmRefusedError(f"slurmrestd cannot {deed}, and nothing else can: {self._no_aside}")
        return self._aside

    def _update_nodes(self, nodes: Iterable[str], **changes: object) -> None:
        """Change nodes in one request for all; a name that Slurm does not know costs the others nothing."""
        unknown: set[str] = set()
        for part, folded in names.fold(nodes):
            try:
                self._update(folded, changes)
            except SlurmRefusedError as error:
                if UNKNOWN_NODE not in str(error):
                    raise
                known = part & self.snapshot().nodes.keys()
                unknown |= part - known
                for _, again in names.fold(known):
                    self._update(again, changes)
        if unknown:
            raise SlurmRefusedError(f"{', '.join(sorted(unknown))}: {UNKNOWN_NODE}")

    def _update(self, folded: str, changes: Mapping[str, object]) -> None:
        if self._calls.api().changes_many:
            self._calls.change("POST", "nodes/", body={"name": [folded], **changes})
        else:
            self._calls.change("POST", f"node/{quote(folded, safe='')}", body=changes)


def refused_of(job_ids: Iterable[str], act: Callable[[str], None]) -> dict[str, SlurmRefusedError]:
    """Act on each job; return job id -> why, for those that Slurm refused.

    Raises:
        SlurmError: any other error than a refusal; the rest was not tried.
    """
    refused = {}
    for job_id in job_ids:
        try:
            act(job_id)
        except SlurmRefusedError as error:
            refused[job_id] = error
    return refused


def _is_to_be_requeued(job_id: str, jobs: Iterable[Job]) -> bool:
    """Tell whether a job runs; False where it is back in the queue.

    Raises:
        SlurmRefusedError: it is over, or does something else.
    """
    leader = names.check_leader(job_id)
    states = {j.state for j in jobs if names.leader(j.id) == leader}
    if not states:
        raise SlurmRefusedError(f"requeue of job {leader}: it is over")
    if states == {"PENDING"}:
        return False
    if not states <= REQUEUEABLE_STATES:
        raise SlurmRefusedError(f"requeue of job {leader}: expected it to run, it is {', '.join(states)}")
    return True


def _runs(jobs: Iterable[Job]) -> set[tuple[str, datetime | None]]:
    """Return the id and the start of each job that runs."""
    return {(names.leader(job.id), job.started) for job in jobs if job.state in REQUEUEABLE_STATES}
