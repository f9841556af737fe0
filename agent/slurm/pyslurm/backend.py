"""The way in through pyslurm, in a process of its own: cheap reads and changes without starting a command."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.core.ports import Clock
from agent.slurm import names, node_changes
from agent.slurm.environment import clean_environment
from agent.slurm.model import MAX_WEIGHT, Job, JobEnd, Node, OwnSignal, SignalTarget, SlurmBackend, Snapshot
from agent.slurm.pyslurm import shapes
from agent.slurm.pyslurm.process import PyslurmProcess, PyslurmRefusedError
from agent.slurm.request import Request
from agent.slurm.reservation import Reservation
from agent.slurm.scheduling import Scheduling
from agent.slurm.settings import SlurmSettings
from agent.slurm.signal_targets import parts_of
from agent.slurm.words import UNKNOWN_JOB, one_line

_STEPS = {SignalTarget.BATCH: "batch", SignalTarget.STEPS: "children", SignalTarget.ALL: "all"}

# slurm_errno.h
_UNKNOWN_JOB = 2017
_UNKNOWN_RESERVATION = 2053
_HIDES_EXCLUSIVE = (26, 5)
"""From this release of slurmctld on, libslurm 25.11 reads OverSubscribe=NO for every job (26.05.5)."""


class PyslurmBackend:
    """A ``SlurmBackend`` over pyslurm in a child process.

    The child is started at once and lives until ``close``; it is replaced when it hangs, dies or grows.
    libslurm takes a signal for the array's own number as one for the whole array, so tasks of arrays get
    theirs from scancel(1).

    Args:
        settings: [slurm].
        clock: gives the time of a snapshot.
        commands: the way in through Slurm's commands, for what pyslurm cannot do, or only one by one.
        environment: what the child inherits, such as LD_LIBRARY_PATH; what changes Slurm's output is dropped.

    Raises:
        SlurmDownError: no controller answered.
        SlurmError: pyslurm cannot be used with this cluster, with the reason.
    """

    def __init__(
        self,
        settings: SlurmSettings,
        clock: Clock,
        commands: SlurmBackend,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        inherited = os.environ if environment is None else environment
        if settings.conf is not None and not settings.conf.is_file():
            # libslurm itself would look for it again and again, for a minute.
            raise SlurmError(f"pyslurm cannot be used: [slurm] conf: {settings.conf} is not a file")
        ours = {} if settings.conf is None else {"SLURM_CONF": str(settings.conf)}
        self._clock = clock
        self._commands = commands
        self._process = PyslurmProcess(clean_environment(inherited, **ours), settings.command_timeout)
        self._task_numbers: dict[str, int] = {}
        try:
            self._check_release()
        except SlurmError:
            self.close()
            raise

    def close(self) -> None:
        """End the child."""
        self._process.close()

    def snapshot(self) -> Snapshot:
        """Read nodes, then jobs: a job that starts in between makes its node look used, never free.

        Raises:
            SlurmDownError: no controller answered.
            SlurmError: what it answered is not whole, or this pyslurm cannot read it any more.
        """
        taken = self._clock.now()
        nodes = self._read_nodes()
        jobs: list[Job] = []
        numbers: dict[str, int] = {}

        def take(rows: list[Any]) -> None:
            for row in rows:
                job = self._job(row)
                jobs.append(job)
                if job.array and job.holds_nodes:
                    numbers[job.id] = row[0]

        self._process.ask("jobs", take, fields=shapes.JOB_FIELDS)
        self._task_numbers = numbers
        if jobs and all(job.exclusive for job in jobs):
            # So it looks, too, where slurmctld was upgraded to a release that this libslurm misreads.
            self._check_release()
        return Snapshot(taken, nodes, tuple(jobs)).check("pyslurm")

    def requests_of(self, jobs: Collection[Job]) -> Mapping[str, Request]:
        """Tell nothing: what pyslurm says of jobs leaves nothing open."""
        del jobs
        return {}

    def drain(self, nodes: Iterable[str], reason: str) -> None:
        """Let no new job start there. The reason replaces an earlier one."""
        told = one_line(reason)
        self._update_nodes(nodes, node_changes.is_drained_for(told), state="DRAIN", reason=told)

    def undrain(self, nodes: Iterable[str]) -> None:
        """Lift a drain; leaves DOWN alone."""
        self._update_nodes(nodes, node_changes.is_not_draining, state="UNDRAIN")

    def set_down(self, nodes: Iterable[str], reason: str) -> None:
        """Declare machines gone."""
        self._update_nodes(nodes, node_changes.is_down, state="DOWN", reason=one_line(reason))

    def resume(self, nodes: Iterable[str]) -> None:
        """Lift DRAIN and DOWN alike; harmless where there is neither."""
        self._update_nodes(nodes, node_changes.is_in_service, state="RESUME")

    def set_weight(self, nodes: Iterable[str], weight: int) -> None:
        """Set the weight, 0 to ``MAX_WEIGHT``; 0 through scontrol(1), for pyslurm takes it for «not set»."""
        if not 0 <= weight <= MAX_WEIGHT:
            raise SlurmRefusedError(f"weight {weight}: expected 0 to {MAX_WEIGHT}")
        if weight == 0:
            self._commands.set_weight(nodes, weight)
        else:
            self._update_nodes(nodes, node_changes.has_weight(weight), weight=weight)

    def delete_nodes(self, nodes: Iterable[str]) -> None:
        """Remove dynamic node records. Slurm removes what it can of a list."""
        node_changes.delete_nodes(
            nodes, lambda listed: self._process.ask("delete_nodes", nodes=listed), self._read_nodes
        )

    def set_address(self, node: str, address: str, hostname: str = "") -> None:
        """Tell where the machine behind a node is."""
        place: dict[str, Any] = {"address": names.check_host(address)}
        if hostname:
            place["hostname"] = names.check_host(hostname)
        self._update_nodes([node], node_changes.is_at(address), **place)

    def power_up(self, nodes: Iterable[str]) -> None:
        """Bring ``State=CLOUD`` nodes to where their slurmd may register."""
        self._update_nodes(nodes, node_changes.is_awake, state="POWER_UP")

    def power_down(self, nodes: Iterable[str]) -> None:
        """Send ``State=CLOUD`` nodes back to sleep at once."""
        self._update_nodes(nodes, node_changes.is_asleep, state="POWER_DOWN_FORCE")

    def reservations(self) -> tuple[Reservation, ...]:
        """Read all reservations."""
        found: list[Reservation] = []
        self._process.ask(
            "reservations",
            lambda rows: found.extend(map(shapes.reservation, rows)),
            fields=shapes.RESERVATION_FIELDS,
        )
        return tuple(found)

    def scheduling(self) -> Scheduling:
        """Tell how Slurm chooses nodes (``scontrol``)."""
        return self._commands.scheduling()

    def reserve(self, reservation: Reservation) -> None:
        """Make a reservation for root alone, or move the one of that name.

        Ignoring running jobs is asked for at its making: what runs there now goes on. Of one that has begun
        Slurm takes no start.
        """
        name = names.check_reservation(reservation.name)
        starts = int(reservation.starts.timestamp())
        span: dict[str, object] = {
            "nodes": names.listed(reservation.nodes),
            "start_time": starts,
            # pyslurm counts in whole minutes and refuses to make one without any.
            "end_time": max(int(reservation.ends.timestamp()), starts + 60),
        }
        has_begun = reservation.starts <= self._clock.now()
        moved = {key: value for key, value in span.items() if key != "start_time" or not has_begun}
        try:
            self._process.ask("update_reservation", name=name, changes=moved)
        except PyslurmRefusedError as error:
            if error.errno != _UNKNOWN_RESERVATION:
                raise
            flags = {"MAINT", "IGNORE_JOBS", *reservation.flags}
            if unknown := flags - shapes.FLAGS.keys():
                raise SlurmRefusedError(
                    f"reservation {name}: pyslurm cannot set the flags {sorted(unknown)}"
                ) from error
            values = span | {"users": ["root"], "flags": sorted(shapes.FLAGS[flag] for flag in flags)}
            self._process.ask("create_reservation", name=name, values=values)

    def remove_reservation(self, name: str) -> None:
        """Remove a reservation."""
        try:
            self._process.ask("delete_reservation", name=names.check_reservation(name))
        except PyslurmRefusedError as error:
            if error.errno != _UNKNOWN_RESERVATION or any(
                there.name == name for there in self.reservations()
            ):
                raise

    def requeue(self, job_id: str, *, hold: bool = False) -> None:
        """Put a running job back into the queue, by one of Slurm's commands.

        pyslurm cannot ask for jobs alone that have not completed: it would run a finished one again.
        """
        self._commands.requeue(job_id, hold=hold)

    def requeue_all(self, job_ids: Iterable[str], *, hold: bool = False) -> Mapping[str, SlurmRefusedError]:
        """Put running jobs back into the queue, as ``requeue`` does."""
        return self._commands.requeue_all(job_ids, hold=hold)

    def signal_all(
        self, job_ids: Iterable[str], signal: str, target: SignalTarget = SignalTarget.ALL
    ) -> Mapping[str, SlurmRefusedError]:
        """Send a signal to many, as ``requeue_all`` does."""
        return self._commands.signal_all(job_ids, signal, target)

    def cancel_all(self, job_ids: Iterable[str]) -> Mapping[str, SlurmRefusedError]:
        """End many, as ``requeue_all`` does."""
        return self._commands.cancel_all(job_ids)

    def signal(self, job_id: str, signal: str, target: SignalTarget = SignalTarget.ALL) -> None:
        """Send a signal."""
        leader, word = names.check_leader(job_id), names.full_signal(signal)
        if "_" in leader:
            self._commands.signal(leader, signal, target)
            return
        for part in parts_of(signal, target):
            self._process.ask("signal", number=int(leader), signal=word, steps=_STEPS[part])

    def cancel(self, job_id: str) -> None:
        """End a job; one that is over is left alone."""
        leader = names.check_leader(job_id)
        if "_" in leader:
            self._commands.cancel(leader)
        else:
            self._process.ask(
                "signal", number=int(leader), signal="SIGKILL", steps=_STEPS[SignalTarget.STEPS]
            )

    def own_signals(self, job_ids: Iterable[str]) -> Mapping[str, OwnSignal]:
        """Tell which signals jobs asked for, by their scripts (``scontrol write``)."""
        return self._commands.own_signals(job_ids)

    def notify(self, job_id: str, text: str) -> None:
        """Write a line to the output of a running job."""
        self._process.ask("notify", number=self._number(names.check_leader(job_id)), text=one_line(text))

    def comment(self, job_id: str, text: str) -> None:
        """Set the AdminComment of a job."""
        changes = {"admin_comment": one_line(text)}
        self._process.ask("update_job", number=self._number(names.check_leader(job_id)), changes=changes)

    def comment_all(self, job_ids: Iterable[str], text: str) -> Mapping[str, SlurmRefusedError]:
        """Set the AdminComment of many, as ``requeue_all`` does."""
        return self._commands.comment_all(job_ids, text)

    def comments(self, job_ids: Iterable[str]) -> Mapping[str, str]:
        """Read the AdminComment of jobs (``squeue -O``)."""
        return self._commands.comments(job_ids)

    def let_start(self, job_ids: Iterable[str]) -> Mapping[str, SlurmRefusedError]:
        """Let jobs start that Slurm keeps back, as ``requeue_all`` does."""
        return self._commands.let_start(job_ids)

    def endings(self, job_ids: Iterable[str]) -> Mapping[str, JobEnd]:
        """Tell how jobs ended, or stand (``squeue -O``)."""
        return self._commands.endings(job_ids)

    def _check_release(self) -> None:
        """Refuse a cluster that this pyslurm cannot read whole.

        Raises:
            SlurmError: it cannot, with the reason.
        """
        fields = {
            "Node": shapes.NODE_FIELDS,
            "Job": shapes.JOB_FIELDS,
            "Reservation": shapes.RESERVATION_FIELDS,
        }
        said = self._process.ask("hello", fields=fields)
        if missing := said["missing"]:
            raise SlurmError(f"pyslurm {said['version']} cannot be used: it has no {', '.join(missing)}")
        match = re.match(r"(\d{2})\.(\d{2})\b", said["controller"] or "")
        if match is None:
            raise SlurmError(f"pyslurm: expected the controller's release, got {said['controller']!r}")
        if (int(match[1]), int(match[2])) >= _HIDES_EXCLUSIVE:
            raise SlurmError(
                f"pyslurm {said['version']} cannot be used: Slurm {said['controller']} does not tell "
                "its libslurm which jobs are exclusive"
            )

    def _read_nodes(self) -> dict[str, Node]:
        nodes: dict[str, Node] = {}

        def take(rows: list[Any]) -> None:
            nodes.update((node.name, node) for node in map(shapes.node, rows))

        self._process.ask("nodes", take, fields=shapes.NODE_FIELDS)
        return nodes

    def _job(self, row: list[Any]) -> Job:
        return shapes.job(row)

    def _find(self, job_id: str) -> tuple[int, Job | None]:
        """Return the number by which libslurm knows a job, and its record; None when there is none.

        The number of an array task is known from the last snapshot, or found by reading all jobs.
        """
        found: list[tuple[int, Job]] = []

        def take(rows: list[Any]) -> None:
            # Of a heterogeneous job the leader stands for all.
            seen = ((row[0], self._job(row)) for row in rows)
            found.extend((n, j) for n, j in seen if j.id in {job_id, f"{job_id}+0"})

        number = self._task_numbers.get(job_id) if "_" in job_id else int(job_id)
        if number is not None:
            try:
                self._process.ask("job", take, number=number, fields=shapes.JOB_FIELDS)
            except PyslurmRefusedError as error:
                if error.errno != _UNKNOWN_JOB:
                    raise
        if not found and "_" in job_id:
            self._process.ask("jobs", take, fields=shapes.JOB_FIELDS)
        return found[0] if found else (0, None)

    def _number(self, job_id: str) -> int:
        """Return the number by which libslurm knows a job.

        Raises:
            SlurmRefusedError: there is no such array task.
        """
        if "_" not in job_id:
            return int(job_id)
        number, job = self._find(job_id)
        if job is None:
            raise SlurmRefusedError(f"job {job_id}: {UNKNOWN_JOB}")
        return number

    def _update_nodes(self, nodes: Iterable[str], holds: node_changes.Holds, **changes: object) -> None:
        """Change nodes in one request for all; a name that Slurm does not know costs the others nothing."""
        node_changes.change_nodes(
            nodes,
            lambda listed: self._process.ask("update_nodes", nodes=listed, changes=changes),
            self._read_nodes,
            holds,
        )
