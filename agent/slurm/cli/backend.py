"""The way in through Slurm's own commands: squeue, scontrol, sinfo and scancel, on any release."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.core.ports import Clock, Host, RemoteCommand
from agent.slurm import names, node_changes, requeues
from agent.slurm.cli import endings, sacct, scontrol, squeue
from agent.slurm.cli.closer import CloserLook, asking
from agent.slurm.cli.command import Finished, LocalRunner, RemoteRunner, Runner, Take
from agent.slurm.cli.own_signals import own_signals
from agent.slurm.cli.reader import JOBS_AT_ONCE, CliReader
from agent.slurm.cli.refusals import read_refusals
from agent.slurm.cli.scheduling import parse_scheduling
from agent.slurm.cli.signalling import Signaller
from agent.slurm.model import (
    MAX_WEIGHT,
    EarlierRun,
    Job,
    JobEnd,
    OwnSignal,
    SignalTarget,
    Snapshot,
)
from agent.slurm.request import Request
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import Scheduling
from agent.slurm.settings import SlurmSettings
from agent.slurm.signal_targets import send_to_parts
from agent.slurm.words import means_no_answer, one_line, printable

_UNKNOWN_RESERVATION = "Requested reservation is invalid"
_OWN_FLAGS = frozenset({"SPEC_NODES", "ALL_NODES"})
"""Flags of a reservation that Slurm sets by itself and takes from nobody."""


class CliBackend:
    """A ``SlurmBackend`` over Slurm's commands, on this machine or on a head node.

    Reads are exact or raise ``SlurmError``. A snapshot is three requests to slurmctld, four of a long queue.

    Args:
        settings: [slurm].
        clock: gives the time of a snapshot.
        environment: what local commands inherit, such as PATH; what changes their output is dropped.
        head: the head node on which the commands run, and the way there; None for this machine.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        clock: Clock,
        environment: Mapping[str, str] | None = None,
        head: tuple[Host, RemoteCommand] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        ours = {} if settings.conf is None else {"SLURM_CONF": str(settings.conf)}
        timeout = settings.command_timeout
        self._runner: Runner
        if head is None:
            self._runner = LocalRunner(timeout, os.environ if environment is None else environment, ours)
        else:
            self._runner = RemoteRunner(timeout, head[1], head[0], ours)
        self._closer = CloserLook(asking(self._runner, self._program("scontrol")), clock)
        self._reader = CliReader(self._run, clock, self._closer)
        self._signaller = Signaller(self._program("scancel"), self._runner, self._reader)

    def snapshot(self) -> Snapshot:
        """Read nodes and jobs side by side.

        A job that starts or ends in between is either among the jobs or makes its node look used: who takes a
        node for free has to see both.

        Raises:
            SlurmDownError: no controller answered.
            SlurmError: what it answered is not whole.
        """
        taken = self._clock.now()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="squeue") as side:
            jobs = side.submit(self._reader.jobs)
            nodes = self._reader.nodes()
            return Snapshot(taken, nodes, jobs.result()).check("scontrol show nodes")

    def requests_of(self, jobs: Collection[Job]) -> dict[str, Request]:
        """Tell what waiting jobs ask for of whom a list leaves something open (``scontrol show job``)."""
        return self._closer.requests_of(jobs)

    def drain(self, nodes: Iterable[str], reason: str) -> None:
        """Let no new job start there (``State=DRAIN``). The reason replaces an earlier one."""
        told = _value(reason)
        self._update_nodes(nodes, node_changes.is_drained_for(told), "State=DRAIN", f"Reason={told}")

    def undrain(self, nodes: Iterable[str]) -> None:
        """Lift a drain (``State=UNDRAIN``, which leaves DOWN alone)."""
        self._update_nodes(nodes, node_changes.is_not_draining, "State=UNDRAIN")

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        """Declare machines gone (``State=DOWN``)."""
        self._update_nodes(nodes, node_changes.is_down, "State=DOWN", f"Reason={_value(reason)}")

    def resume(self, nodes: Iterable[str]) -> None:
        """Lift DRAIN and DOWN alike (``State=RESUME``); harmless where there is neither."""
        self._update_nodes(nodes, node_changes.is_in_service, "State=RESUME")

    def set_weight(self, nodes: Iterable[str], weight: int) -> None:
        """Set the weight, 0 to ``MAX_WEIGHT``."""
        if not 0 <= weight <= MAX_WEIGHT:
            raise SlurmRefusedError(f"weight {weight}: expected 0 to {MAX_WEIGHT}")
        self._update_nodes(nodes, node_changes.has_weight(weight), f"Weight={weight}")

    def delete_nodes(self, nodes: Iterable[str]) -> None:
        """Remove dynamic node records. Slurm removes what it can of a list."""
        node_changes.delete_nodes(
            nodes, lambda listed: self._do("scontrol", "delete", f"NodeName={listed}"), self._reader.nodes
        )

    def requeue(self, job_id: str, *, hold: bool = False) -> None:
        """Put a running job back into the queue; one that is back there already is left alone.

        Slurm would also run a *finished* job again, so its state is read just before. Of a heterogeneous job
        all components are requeued.
        """
        for error in self.requeue_all([job_id], hold=hold).values():
            raise error

    def requeue_all(self, job_ids: Iterable[str], *, hold: bool = False) -> dict[str, SlurmRefusedError]:
        """Put running jobs back into the queue: one read of their states, and one scontrol(1)."""
        verb = "requeuehold" if hold else "requeue"
        refused: dict[str, SlurmRefusedError] = {}
        for part in _parts(job_ids):
            before = requeues.by_leader(self._states(part.values()))
            due: dict[str, list[Job]] = {}
            for job_id, leader in part.items():
                try:
                    if requeues.is_to_be_requeued(leader, before.get(leader, ())):
                        due[leader] = before[leader]
                except SlurmRefusedError as error:
                    refused[job_id] = error
            if due:
                left = self._requeue(verb, due)
                refused |= {job_id: left[leader] for job_id, leader in part.items() if leader in left}
        return refused

    def _requeue(self, verb: str, due: Mapping[str, list[Job]]) -> dict[str, SlurmRefusedError]:
        """Requeue what has not completed, and read what became of it; leader -> why not."""
        done = self._run("scontrol", verb, "incomplete", ",".join(due))
        if means_no_answer(done.complaint):
            done.check()
        told = read_refusals(done.complaint, due)
        general = printable("; ".join(told.others))
        complaints = dict.fromkeys(due, general) | {j: printable(w) for j, w in told.of_jobs.items()}
        return requeues.left_out(due, requeues.by_leader(self._states(due)), complaints)

    def let_start(self, job_ids: Iterable[str]) -> dict[str, SlurmRefusedError]:
        """Let jobs start that Slurm keeps back; why it does is read just before.

        After a requeue (``BeginTime``) their ``StartTime`` is now; what no node fitted (``BadConstraints``)
        is released.
        """
        refused: dict[str, SlurmRefusedError] = {}
        for part in _parts(job_ids):
            listed = ",".join(sorted({name.partition("_[")[0] for name in part.values()}))
            reasons = squeue.parse_reasons(self._reader.squeue("-j", listed, "-o", "%i|%T|%r"))
            begin = {j: name for j, name in part.items() if reasons.get(name) == "BeginTime"}
            misfit = {j: name for j, name in part.items() if reasons.get(name) == "BadConstraints"}
            refused |= self._on_jobs(
                begin, lambda ids: ("scontrol", "update", f"JobId={','.join(ids)}", "StartTime=now")
            )
            refused |= self._on_jobs(misfit, lambda ids: ("scontrol", "release", ",".join(ids)))
        return refused

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        """Send a signal."""
        for error in self.signal_all([job_id], signal, target).values():
            raise error

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> dict[str, SlurmRefusedError]:
        """Send a signal to many; see ``agent.slurm.cli.signalling``."""
        ids = list(job_ids)
        return send_to_parts(lambda part: self._signaller.send(ids, signal, part), signal, target)

    def own_signals(self, job_ids: Iterable[str]) -> dict[str, OwnSignal]:
        """Tell which signals jobs asked for; see ``agent.slurm.cli.own_signals``."""
        return own_signals(self._run, self._reader, job_ids)

    def notify(self, job_id: str, text: str) -> None:
        """Write a line to the output of a running job.

        scontrol takes a plain number alone here: of ``12_3`` it would notify job 12.
        """
        own = self._reader.squeue("-j", names.check_leader(job_id), "-o", "%A").split()
        if not own:
            raise SlurmRefusedError(f"notify of job {job_id}: it is over")
        for number in own:
            self._run("scontrol", "--", "notify", number, _value(text)).check()

    def cancel(self, job_id: str) -> None:
        """End a job; one that is over is no error."""
        for error in self.cancel_all([job_id]).values():
            raise error

    def cancel_all(self, job_ids: Iterable[str]) -> dict[str, SlurmRefusedError]:
        """End many; one that is over is no error."""
        refused: dict[str, SlurmRefusedError] = {}
        for part in _parts(job_ids):
            said = self._on_jobs(part, lambda ids: ("scancel", *ids))
            if said:
                seen = self._states({part[job_id] for job_id in said})
                go_on = {names.leader(job.id) for job in seen if job.state != "COMPLETING"}
                refused |= {job_id: error for job_id, error in said.items() if part[job_id] in go_on}
        return refused

    def endings(self, job_ids: Iterable[str]) -> dict[str, JobEnd]:
        """Tell how jobs ended, or stand (``squeue -t all``); of those that Slurm has forgotten, sacct(1)."""
        found: dict[str, JobEnd] = {}
        for part in _parts(job_ids):
            told = self._reader.squeue("-t", "all", "-j", ",".join(part.values()), "-O", endings.FIELDS)
            found |= endings.parse_endings(told)
            known = {names.leader(job_id) for job_id in found}
            if forgotten := [leader for leader in part.values() if leader not in known]:
                found |= self._accounted(forgotten)
        return found

    def _accounted(self, leaders: Collection[str]) -> dict[str, JobEnd]:
        """Look jobs up in the accounting; a site without slurmdbd knows no more of them."""
        listed = ("-j", ",".join(leaders), "-o", endings.SACCT_FIELDS)
        try:
            return endings.parse_accounted(self._run("sacct", "-n", "-P", "-X", *listed).check())
        except SlurmError:
            return {}

    def comment(self, job_id: str, text: str) -> None:
        """Set the AdminComment."""
        for error in self.comment_all([job_id], _value(text)).values():
            raise error

    def comment_all(self, job_ids: Iterable[str], text: str) -> dict[str, SlurmRefusedError]:
        """Set the AdminComment of many; scontrol(1) takes it as it is, with newlines and quotes."""
        refused: dict[str, SlurmRefusedError] = {}
        said = f"AdminComment={text}"
        for part in _parts(job_ids):
            own = {job_id: job_id for job_id in part}
            refused |= self._on_jobs(own, lambda ids: ("scontrol", "update", f"JobId={','.join(ids)}", said))
        return refused

    def comments(self, job_ids: Iterable[str]) -> dict[str, str]:
        """Read the AdminComment of many (``squeue -O admin_comment``)."""
        found: dict[str, str] = {}
        for part in _parts(job_ids):
            end = squeue.new_mark()
            fields = f"JobArrayID:|,admin_comment:{end}"
            told = squeue.parse_comments(
                self._reader.squeue("-j", ",".join(part.values()), "-O", fields), end
            )
            found |= {job_id: told[job_id] for job_id in part if job_id in told}
        return found

    def set_address(self, node: str, address: str, hostname: str = "") -> None:
        """Tell where the machine behind a node is."""
        places = [f"NodeAddr={names.check_host(address)}"]
        if hostname:
            places.append(f"NodeHostname={names.check_host(hostname)}")
        self._update_nodes([node], node_changes.is_at(address), *places)

    def power_up(self, nodes: Iterable[str]) -> None:
        """Bring cloud nodes to where their slurmd may register (``State=POWER_UP``)."""
        self._update_nodes(nodes, node_changes.is_awake, "State=POWER_UP")

    def power_down(self, nodes: Iterable[str]) -> None:
        """Send cloud nodes back to sleep at once (``State=POWER_DOWN_FORCE``)."""
        self._update_nodes(nodes, node_changes.is_asleep, "State=POWER_DOWN_FORCE")

    def reservations(self) -> tuple[Reservation, ...]:
        """Read all reservations (``scontrol -o show reservations``)."""
        return scontrol.parse_reservations(self._run("scontrol", "-o", "show", "reservations").check())

    def reserve(self, reservation: Reservation) -> None:
        """Make a reservation for root alone, or move the one of that name.

        ``IGNORE_JOBS`` is asked for at its making: what runs there now goes on. Of one that has begun Slurm
        takes no start, not even the same ("Reservation already started").
        """
        nodes = names.listed(reservation.nodes)
        name = f"ReservationName={names.check_reservation(reservation.name)}"
        starts, ends = (int(at.timestamp()) for at in (reservation.starts, reservation.ends))
        span = (f"StartTime=uts{starts}", f"EndTime=uts{ends}")
        moved = span[1:] if reservation.starts <= self._clock.now() else span
        changed = self._run("scontrol", "update", name, f"Nodes={nodes}", *moved)
        if _UNKNOWN_RESERVATION in changed.complaint:
            flags = ",".join(sorted({"MAINT", "IGNORE_JOBS", *reservation.flags} - _OWN_FLAGS))
            changed = self._run(
                "scontrol", "create", name, f"Nodes={nodes}", *span, "Users=root", f"Flags={flags}"
            )
        changed.check()

    def remove_reservation(self, name: str) -> None:
        """Remove a reservation."""
        removed = self._run("scontrol", "delete", f"ReservationName={names.check_reservation(name)}")
        unknown = _UNKNOWN_RESERVATION in removed.complaint
        if not unknown or any(there.name == name for there in self.reservations()):
            removed.check()

    def config(self) -> str:
        """Return the settings that slurmctld runs with (``scontrol show config``)."""
        return self._run("scontrol", "show", "config").check()

    def scheduling(self) -> Scheduling:
        """Tell how Slurm chooses nodes (``scontrol show config``, ``scontrol show partition``)."""
        partitions = self._run("scontrol", "-a", "-o", "show", "partition").check()
        return parse_scheduling(self.config(), partitions)

    def ping(self) -> str:
        """Tell which slurmctld answer (``scontrol ping``)."""
        return self._run("scontrol", "ping").check()

    def limited_partitions(self) -> frozenset[str]:
        """Tell which partitions give every job a time limit, by MaxTime or by DefaultTime."""
        listed = self._run("sinfo", "-h", "-a", "-o", "%R|%l|%L").check()
        return frozenset(scontrol.parse_limited(listed))

    def earlier_runs(self) -> tuple[EarlierRun, ...]:
        """Tell how long jobs ran that are over, as far as Slurm keeps accounts (``sacct``), oldest first."""
        return sacct.earlier_runs(self._run)

    def _states(self, leaders: Iterable[str]) -> list[Job]:
        """Read the states of jobs that are not over, those of all components of a heterogeneous job."""
        told = self._reader.squeue("-j", ",".join(leaders), "-O", "JobArrayID:|,State:|,RestartCnt:|")
        return list(squeue.parse_states(told))

    def _on_jobs(
        self, jobs: Mapping[str, str], command: Callable[[Collection[str]], tuple[str, ...]]
    ) -> dict[str, SlurmRefusedError]:
        """Run scontrol(1) or scancel(1) on jobs, job id -> what they call it; they go on after a refusal.

        Where it is not known of which job a refusal is, it is of all that it may be of.
        """
        if not jobs:
            return {}
        done = self._run(*command(jobs.values()))
        try:
            done.check()
        except SlurmRefusedError as error:
            told = read_refusals(done.complaint, jobs.values())
            verb = " ".join(done.argv[:2])
            refused = {
                job_id: SlurmRefusedError(f"{verb}: job {job_id}: {printable(told.of_jobs[name])}")
                for job_id, name in jobs.items()
                if name in told.of_jobs
            }
            return refused if refused and not told.others else dict.fromkeys(jobs, error) | refused
        return {}

    def _update_nodes(self, nodes: Iterable[str], holds: node_changes.Holds, *changes: str) -> None:
        """Change nodes in one request for all; a name that Slurm does not know costs the others nothing."""
        node_changes.change_nodes(
            nodes,
            lambda listed: self._do("scontrol", "update", f"NodeName={listed}", *changes),
            self._reader.nodes,
            holds,
        )

    def _do(self, command: str, *arguments: str) -> None:
        self._run(command, *arguments).check()

    def _run(self, command: str, *arguments: str, take: Take | None = None) -> Finished:
        return self._runner((self._program(command), *arguments), take=take)

    def _program(self, command: str) -> str:
        directory = self._settings.bin_dir
        return command if directory is None else str(directory / command)


def _parts(job_ids: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield job id -> the id that acts on it, of as many as fit into one command."""
    jobs = {job_id: names.check_leader(job_id) for job_id in job_ids}
    for start in range(0, len(jobs), JOBS_AT_ONCE):
        yield dict(list(jobs.items())[start : start + JOBS_AT_ONCE])


def _value(text: str) -> str:
    """Make text fit for ``Key=text``: scontrol(1) drops a quote that it begins with."""
    return one_line(text).lstrip("\"'")
