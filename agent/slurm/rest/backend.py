"""The way in through slurmrestd, of any version from v0.0.38 (Slurm 22.05) on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from urllib.parse import quote

from agent.core.errors import SlurmRefusedError
from agent.core.ports import Clock
from agent.slurm import names, node_changes, requeues
from agent.slurm.asked import settled, with_requests
from agent.slurm.json_shapes import parse_comments, parse_endings, parse_refusals
from agent.slurm.model import (
    MAX_WEIGHT,
    Job,
    JobEnd,
    Node,
    OwnSignal,
    SignalTarget,
    SlurmBackend,
    Snapshot,
)
from agent.slurm.request import Request
from agent.slurm.reservation import Reservation
from agent.slurm.rest.api import OLDEST, Deed
from agent.slurm.rest.calls import RestCalls
from agent.slurm.rest.reader import RestReader
from agent.slurm.rest.records import read_each
from agent.slurm.rest.transport import RestTransport
from agent.slurm.scheduling import Scheduling
from agent.slurm.settings import SlurmSettings
from agent.slurm.signal_targets import parts_of, send_to_parts
from agent.slurm.words import one_line, printable

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
        leaves_open = self._calls.api().jobs_version <= OLDEST
        told = self._reader.snapshot()
        if not leaves_open:
            return told
        return replace(told, jobs=with_requests(told.jobs, self.requests_of(told.jobs)))

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

    def requests_of(self, jobs: Collection[Job]) -> Mapping[str, Request]:
        """Tell what waiting jobs ask for of whom a list leaves something open, which v0.0.38 alone does."""
        if self._calls.api().jobs_version > OLDEST or self._aside is None:
            return {job.id: settled(job.request) for job in jobs if job.request is not None}
        return self._aside.requests_of(jobs)

    def drain(self, nodes: Iterable[str], reason: str) -> None:
        """Let no new job start there. The reason replaces an earlier one."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.drain(nodes, reason)
        told = one_line(reason)
        return self._update_nodes(nodes, node_changes.is_drained_for(told), state=["DRAIN"], reason=told)

    def undrain(self, nodes: Iterable[str]) -> None:
        """Lift a drain; DOWN stays."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.undrain(nodes)
        return self._update_nodes(nodes, node_changes.is_not_draining, state=["UNDRAIN"])

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        """Declare machines gone."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.set_down(nodes, reason)
        return self._update_nodes(nodes, node_changes.is_down, state=["DOWN"], reason=one_line(reason))

    def resume(self, nodes: Iterable[str]) -> None:
        """Lift DRAIN and DOWN alike; harmless where there is neither."""
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.resume(nodes)
        return self._update_nodes(nodes, node_changes.is_in_service, state=["RESUME"])

    def set_weight(self, nodes: Iterable[str], weight: int) -> None:
        """Set the weight, 0 to ``MAX_WEIGHT``: slurmrestd takes -1 for 4294967295."""
        if not 0 <= weight <= MAX_WEIGHT:
            raise SlurmRefusedError(f"weight {weight}: expected 0 to {MAX_WEIGHT}")
        if other := self._other_for(Deed.CHANGE_NODES):
            return other.set_weight(nodes, weight)
        return self._update_nodes(nodes, node_changes.has_weight(weight), weight=weight)

    def delete_nodes(self, nodes: Iterable[str]) -> None:
        """Remove dynamic node records, one by one; a refusal is raised after all had their turn."""
        if other := self._other_for(Deed.DELETE_NODES):
            return other.delete_nodes(nodes)
        return node_changes.delete_each(nodes, self._delete_node, self._nodes)

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

    def scheduling(self) -> Scheduling:
        """Tell how Slurm chooses nodes."""
        return self._elsewhere(Deed.SCHEDULING).scheduling()

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
        if other := self._other_for(Deed.REQUEUE):
            return other.requeue(job_id, hold=hold)
        for refusal in self._requeue_many([job_id], hold=hold).values():
            raise refusal
        return None

    def _requeue_many(self, job_ids: Iterable[str], *, hold: bool) -> dict[str, SlurmRefusedError]:
        """Requeue with one request what has not completed, and read what became of it."""
        jobs = requeues.by_leader(self.snapshot().jobs)
        leaders: dict[str, str] = {}

        def look(job_id: str) -> None:
            leader = names.check_leader(job_id)
            if requeues.is_to_be_requeued(leader, jobs.get(leader, ())):
                leaders[job_id] = leader

        refused = refused_of(job_ids, look)
        if not leaders:
            return refused
        due = {leader: jobs[leader] for leader in sorted(leaders.values())}
        flags = ["Incomplete", "Hold"] if hold else ["Incomplete"]
        why = ""
        try:
            self._calls.change("POST", "jobs/requeue", body={"jobs": list(due), "flags": flags})
        except SlurmRefusedError as error:
            why = str(error)
        left = requeues.left_out(due, requeues.by_leader(self.snapshot().jobs), dict.fromkeys(due, why))
        return refused | {job_id: left[leader] for job_id, leader in leaders.items() if leader in left}

    def requeue_all(self, job_ids: Iterable[str], *, hold: bool = False) -> dict[str, SlurmRefusedError]:
        """Put running jobs back into the queue: with one request, or one of Slurm's commands."""
        if self._calls.api().can(Deed.REQUEUE):
            return self._requeue_many(job_ids, hold=hold)
        if self._aside is not None:
            return dict(self._aside.requeue_all(job_ids, hold=hold))
        return refused_of(job_ids, partial(self.requeue, hold=hold))

    def let_start(self, job_ids: Iterable[str]) -> Mapping[str, SlurmRefusedError]:
        """Let jobs start that Slurm keeps back, after a requeue or since no node fitted."""
        return self._elsewhere(Deed.LET_START).let_start(job_ids)

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        """Send a signal such as ``USR1`` to a job.

        Of one job by its path slurmrestd does not tell that it got none.
        """
        if self._calls.api().ends_many:
            for refusal in self.signal_all([job_id], signal, target).values():
                raise refusal
            return
        deed = Deed.SIGNAL if target is SignalTarget.ALL else Deed.SIGNAL_PART
        parts = parts_of(signal, target)
        if other := self._other_for_job(Deed.SIGNAL_PART if len(parts) > 1 else deed, job_id):
            other.signal(job_id, signal, target)
            return
        for part in parts:
            self._signal(job_id, signal, part)

    def _signal(self, job_id: str, signal: str, target: SignalTarget) -> None:
        query = {"signal": names.full_signal(signal)}
        if (flag := _FLAGS[target]) in self._calls.api().signal_flags:
            query["flags"] = flag
        self._calls.change("DELETE", f"job/{names.leader(job_id)}", query=query)

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> dict[str, SlurmRefusedError]:
        """Send a signal to many, with one request."""
        if self._calls.api().ends_many:
            ids, word = list(job_ids), names.full_signal(signal)

            def send(part: SignalTarget) -> dict[str, SlurmRefusedError]:
                flags = [_FLAGS[part]] if _FLAGS[part] else []
                return self._end_many(ids, {"signal": word, "flags": flags})

            return send_to_parts(send, signal, target)
        if self._aside is not None:
            return dict(self._aside.signal_all(job_ids, signal, target))
        return refused_of(job_ids, partial(self.signal, signal=signal, target=target))

    def own_signals(self, job_ids: Iterable[str]) -> Mapping[str, OwnSignal]:
        """Tell which signals jobs asked for, through the other way in; of nobody where there is none."""
        return self._aside.own_signals(job_ids) if self._aside is not None else {}

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
            for refusal in self._of_those_that_run({job_id: error}).values():
                raise refusal from error
        return None

    def cancel_all(self, job_ids: Iterable[str]) -> dict[str, SlurmRefusedError]:
        """End many, with one request; one that is over is no error."""
        if self._calls.api().ends_many:
            return self._of_those_that_run(self._end_many(job_ids, {}))
        if self._aside is not None:
            return dict(self._aside.cancel_all(job_ids))
        return refused_of(job_ids, self.cancel)

    def _of_those_that_run(self, refused: Mapping[str, SlurmRefusedError]) -> dict[str, SlurmRefusedError]:
        """Drop the refusals to end what is over, or ends."""
        if not refused:
            return {}
        jobs = requeues.by_leader(job for job in self.snapshot().jobs if job.state != "COMPLETING")
        return {job_id: error for job_id, error in refused.items() if names.leader(job_id) in jobs}

    def _end_many(self, job_ids: Iterable[str], order: Mapping[str, object]) -> dict[str, SlurmRefusedError]:
        jobs = {job_id: names.check_leader(job_id) for job_id in job_ids}
        reply = self._calls.change("DELETE", "jobs/", body={"jobs": list(jobs.values()), **order})
        said = parse_refusals(reply.document)
        return {
            job_id: SlurmRefusedError(f"job {job_id}: {printable(words)}")
            for job_id, leader in jobs.items()
            for told, words in said.items()
            if names.share_tasks(told, leader)
        }

    def comment(self, job_id: str, text: str) -> None:
        """Set the AdminComment."""
        if other := self._other_for_job(Deed.COMMENT, job_id):
            other.comment(job_id, text)
        else:
            self._comment(job_id, one_line(text))

    def _comment(self, job_id: str, text: str) -> None:
        # It refuses what cannot be done without another way in.
        self._other_for_job(Deed.COMMENT, job_id)
        self._calls.change("POST", f"job/{names.leader(job_id)}", body={"admin_comment": text})

    def comment_all(self, job_ids: Iterable[str], text: str) -> dict[str, SlurmRefusedError]:
        """Set the AdminComment of many, as ``requeue_all`` does."""
        if self._aside is not None:
            return dict(self._aside.comment_all(job_ids, text))
        return refused_of(job_ids, partial(self._comment, text=text))

    def comments(self, job_ids: Iterable[str]) -> Mapping[str, str]:
        """Read the AdminComment of many, as ``requeue_all`` does; with a request each, of an array one."""
        wanted = tuple(job_ids)
        if self._aside is not None:
            return self._aside.comments(wanted)
        found = read_each(self._calls, wanted, parse_comments)
        return {job_id: found[job_id] for job_id in wanted if found.get(job_id)}

    def endings(self, job_ids: Iterable[str]) -> Mapping[str, JobEnd]:
        """Tell how jobs ended, or stand, as ``comments`` does."""
        if self._aside is not None:
            return self._aside.endings(job_ids)
        return read_each(self._calls, job_ids, parse_endings)

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

    def _update_nodes(self, nodes: Iterable[str], holds: node_changes.Holds, **changes: object) -> None:
        """Change nodes in one request for all; a name that Slurm does not know costs the others nothing."""
        node_changes.change_nodes(nodes, partial(self._update, changes), self._nodes, holds)

    def _delete_node(self, name: str) -> None:
        self._calls.change("DELETE", f"node/{quote(name)}")

    def _nodes(self) -> Mapping[str, Node]:
        return self.snapshot().nodes

    def _update(self, changes: Mapping[str, object], folded: str) -> None:
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
