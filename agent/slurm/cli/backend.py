"""The way in through Slurm's own commands: squeue, scontrol, sinfo and scancel, on any release."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from agent.core.errors import SlurmRefusedError
from agent.core.ports import Clock, Host, RemoteCommand
from agent.slurm import names
from agent.slurm.cli import scontrol, squeue
from agent.slurm.cli.command import Finished, LocalRunner, RemoteRunner, Runner, Take
from agent.slurm.cli.reader import JOBS_AT_ONCE, CliReader
from agent.slurm.model import MAX_WEIGHT, REQUEUEABLE_STATES, Reservation, SignalTarget, Snapshot
from agent.slurm.settings import SlurmSettings
from agent.slurm.words import NEITHER_DOWN_NOR_DRAINED, UNKNOWN_NODE, one_line, printable

_UNKNOWN_RESERVATION = "Requested reservation is invalid"
_NOT_DELETED = re.compile(r"failed to delete nodes (\S+)")
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
        self._reader = CliReader(self._run, clock)

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

    def requeueable(self, job_ids: Iterable[str]) -> Mapping[str, bool]:
        """Tell for each job that is not over whether it may be requeued (``squeue -O Requeue``)."""
        ids = [names.check_job(job_id) for job_id in job_ids]
        found: dict[str, bool] = {}
        for start in range(0, len(ids), JOBS_AT_ONCE):
            listed = ",".join(ids[start : start + JOBS_AT_ONCE])
            told = self._reader.squeue("-j", listed, "-O", "JobArrayID:|,Requeue:|")
            found.update(squeue.parse_requeue(told))
        return {job_id: found[job_id] for job_id in ids if job_id in found}

    def drain(self, nodes: Iterable[str], reason: str) -> None:
        """Let no new job start there (``State=DRAIN``). The reason replaces an earlier one."""
        self._update_nodes(nodes, "State=DRAIN", f"Reason={_value(reason)}")

    def undrain(self, nodes: Iterable[str]) -> None:
        """Lift a drain (``State=UNDRAIN``, which leaves DOWN alone)."""
        self._update_nodes(nodes, "State=UNDRAIN")

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        """Declare machines gone (``State=DOWN``)."""
        self._update_nodes(nodes, "State=DOWN", f"Reason={_value(reason)}")

    def resume(self, nodes: Iterable[str]) -> None:
        """Lift DRAIN and DOWN alike (``State=RESUME``); harmless where there is neither."""
        self._update_nodes(nodes, "State=RESUME", harmless=NEITHER_DOWN_NOR_DRAINED)

    def set_weight(self, nodes: Iterable[str], weight: int) -> None:
        """Set the weight, 0 to ``MAX_WEIGHT``."""
        if not 0 <= weight <= MAX_WEIGHT:
            raise SlurmRefusedError(f"weight {weight}: expected 0 to {MAX_WEIGHT}")
        self._update_nodes(nodes, f"Weight={weight}")

    def delete_nodes(self, nodes: Iterable[str]) -> None:
        """Remove dynamic node records. Slurm removes what it can of a list."""
        for part, folded in names.fold(nodes):
            deleted = self._run("scontrol", "delete", f"NodeName={folded}")
            if deleted.status == 0:
                continue
            refused = _NOT_DELETED.search(deleted.complaint)
            left = part & names.expand(refused[1]) if refused else part
            self._each(left, self._delete_node)

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
            states = self._states(part.values())
            due = {}
            for job_id, leader in part.items():
                found = states.get(leader, set())
                if not found:
                    refused[job_id] = SlurmRefusedError(f"requeue of job {leader}: it is over")
                elif not found <= REQUEUEABLE_STATES | {"PENDING"}:
                    words = f"requeue of job {leader}: expected it to run, it is {', '.join(sorted(found))}"
                    refused[job_id] = SlurmRefusedError(words)
                elif found != {"PENDING"}:
                    due[job_id] = leader
            refused |= self._on_jobs(due, lambda ids: ("scontrol", verb, ",".join(ids)))
        return refused

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        """Send a signal."""
        for error in self.signal_all([job_id], signal, target).values():
            raise error

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> dict[str, SlurmRefusedError]:
        """Send a signal to many (scancel(1): without an option it goes to the steps alone)."""
        to = {SignalTarget.BATCH: ["--batch"], SignalTarget.ALL: ["--full"], SignalTarget.STEPS: []}[target]
        word = f"--signal={names.check_signal(signal)}"
        refused: dict[str, SlurmRefusedError] = {}
        for part in _parts(job_ids):
            refused |= self._on_jobs(part, lambda ids: ("scancel", *to, word, *ids))
        return refused

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
            refused |= self._on_jobs(part, lambda ids: ("scancel", *ids))
        return refused

    def comment(self, job_id: str, text: str) -> None:
        """Set the AdminComment."""
        for error in self.comment_all([job_id], text).values():
            raise error

    def comment_all(self, job_ids: Iterable[str], text: str) -> dict[str, SlurmRefusedError]:
        """Set the AdminComment of many."""
        refused: dict[str, SlurmRefusedError] = {}
        said = f"AdminComment={_value(text)}"
        for part in _parts(job_ids):
            own = {job_id: job_id for job_id in part}
            refused |= self._on_jobs(own, lambda ids: ("scontrol", "update", f"JobId={','.join(ids)}", said))
        return refused

    def comments(self, job_ids: Iterable[str]) -> dict[str, str]:
        """Read the AdminComment of many (``squeue -O admin_comment``)."""
        found: dict[str, str] = {}
        for part in _parts(job_ids):
            listed = self._reader.squeue("-j", ",".join(part.values()), "-O", "JobArrayID:|,admin_comment:|")
            rows = (line.split("|") for line in listed.splitlines())
            told = {row[0].strip(): row[1] for row in rows if len(row) == 3}
            found |= {job_id: told[job_id] for job_id in part if told.get(job_id, "(null)") != "(null)"}
        return found

    def set_address(self, node: str, address: str, hostname: str = "") -> None:
        """Tell where the machine behind a node is."""
        places = [f"NodeAddr={names.check_host(address)}"]
        if hostname:
            places.append(f"NodeHostname={names.check_host(hostname)}")
        self._update_nodes([node], *places)

    def power_up(self, nodes: Iterable[str]) -> None:
        """Bring cloud nodes to where their slurmd may register (``State=POWER_UP``)."""
        self._update_nodes(nodes, "State=POWER_UP")

    def power_down(self, nodes: Iterable[str]) -> None:
        """Send cloud nodes back to sleep at once (``State=POWER_DOWN_FORCE``)."""
        self._update_nodes(nodes, "State=POWER_DOWN_FORCE")

    def reservations(self) -> tuple[Reservation, ...]:
        """Read all reservations (``scontrol -o show reservations``)."""
        return scontrol.parse_reservations(self._run("scontrol", "-o", "show", "reservations").check())

    def reserve(self, reservation: Reservation) -> None:
        """Make a reservation for root alone, or move the one of that name.

        ``IGNORE_JOBS`` is asked for at its making: what runs there now goes on.
        """
        nodes = ",".join(folded for _, folded in names.fold(reservation.nodes))
        name = f"ReservationName={names.check_reservation(reservation.name)}"
        starts, ends = (int(at.timestamp()) for at in (reservation.starts, reservation.ends))
        span = (f"StartTime=uts{starts}", f"EndTime=uts{ends}")
        changed = self._run("scontrol", "update", name, f"Nodes={nodes}", *span)
        if _UNKNOWN_RESERVATION in changed.complaint:
            flags = ",".join(sorted({"MAINT", "IGNORE_JOBS", *reservation.flags} - _OWN_FLAGS))
            changed = self._run(
                "scontrol", "create", name, f"Nodes={nodes}", *span, "Users=root", f"Flags={flags}"
            )
        changed.check()

    def remove_reservation(self, name: str) -> None:
        """Remove a reservation."""
        removed = self._run("scontrol", "delete", f"ReservationName={names.check_reservation(name)}")
        if _UNKNOWN_RESERVATION not in removed.complaint:
            removed.check()

    def config(self) -> str:
        """Return the settings that slurmctld runs with (``scontrol show config``)."""
        return self._run("scontrol", "show", "config").check()

    def ping(self) -> str:
        """Tell which slurmctld answer (``scontrol ping``)."""
        return self._run("scontrol", "ping").check()

    def limited_partitions(self) -> frozenset[str]:
        """Tell which partitions give every job a time limit, by MaxTime or by DefaultTime."""
        listed = self._run("sinfo", "-h", "-a", "-o", "%R|%l|%L").check()
        return frozenset(scontrol.parse_limited(listed))

    def _states(self, leaders: Iterable[str]) -> dict[str, set[str]]:
        """Read the states of jobs that are not over, those of all components of a heterogeneous job."""
        states: dict[str, set[str]] = {}
        for line in self._reader.squeue("-j", ",".join(leaders), "-o", "%i|%T").splitlines():
            job_id, _, state = line.strip().partition("|")
            states.setdefault(names.leader(job_id), set()).add(state)
        return states

    def _on_jobs(
        self, jobs: Mapping[str, str], command: Callable[[Collection[str]], tuple[str, ...]]
    ) -> dict[str, SlurmRefusedError]:
        """Run scontrol(1) or scancel(1) on jobs, job id -> what they call it; they go on after a refusal.

        They complain in one line a job: "... for job 12", "12_3: ..." or "... on job id 12: ...".
        """
        if not jobs:
            return {}
        done = self._run(*command(jobs.values()))
        try:
            done.check()
        except SlurmRefusedError as error:
            lines = done.complaint.splitlines()
            words = {job_id: [x for x in lines if _is_about(x, name)] for job_id, name in jobs.items()}
            if len(jobs) == 1 or not any(words.values()):
                return dict.fromkeys(jobs, error)
            verb = " ".join(done.argv[:2])
            return {
                job_id: SlurmRefusedError(f"{verb}: job {job_id}: {printable('; '.join(said))}")
                for job_id, said in words.items()
                if said
            }
        return {}

    def _update_nodes(self, nodes: Iterable[str], *changes: str, harmless: Sequence[str] = ()) -> None:
        """Change nodes in one request for all; a name that Slurm does not know costs the others nothing."""
        unknown: set[str] = set()
        for part, folded in names.fold(nodes):
            done = self._run("scontrol", "update", f"NodeName={folded}", *changes)
            if UNKNOWN_NODE in done.complaint:
                known = part & self._reader.nodes().keys()
                unknown |= part - known
                for _, again in names.fold(known):
                    done = self._run("scontrol", "update", f"NodeName={again}", *changes)
            if UNKNOWN_NODE not in done.complaint and not any(h in done.complaint for h in harmless):
                done.check()
        if unknown:
            raise SlurmRefusedError(f"{changes[0]}: {', '.join(sorted(unknown))}: {UNKNOWN_NODE}")

    def _delete_node(self, name: str) -> None:
        deleted = self._run("scontrol", "delete", f"NodeName={name}")
        if UNKNOWN_NODE not in deleted.complaint:
            deleted.check()

    def _each(self, nodes: Iterable[str], act: Callable[[str], None]) -> None:
        """Act on each node; a refusal for one is raised after all had their turn."""
        refusals: list[SlurmRefusedError] = []
        for name in sorted(nodes):
            try:
                act(name)
            except SlurmRefusedError as error:
                refusals.append(error)
        if refusals:
            raise SlurmRefusedError("; ".join(map(str, refusals)))

    def _run(self, command: str, *arguments: str, take: Take | None = None) -> Finished:
        directory = self._settings.bin_dir
        program = command if directory is None else str(directory / command)
        return self._runner((program, *arguments), take=take)


def _parts(job_ids: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield job id -> the id that acts on it, of as many as fit into one command."""
    jobs = {job_id: names.check_leader(job_id) for job_id in job_ids}
    for start in range(0, len(jobs), JOBS_AT_ONCE):
        yield dict(list(jobs.items())[start : start + JOBS_AT_ONCE])


def _is_about(complaint: str, job: str) -> bool:
    line = complaint.rstrip()
    return line.startswith(f"{job}: ") or line.endswith(f" job {job}") or f" on job id {job}: " in line


def _value(text: str) -> str:
    """Make text fit for ``Key=text``: scontrol(1) drops a quote that it begins with."""
    return one_line(text).lstrip("\"'")
