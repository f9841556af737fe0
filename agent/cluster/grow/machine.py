"""What a machine is, and what of it no job has yet: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from agent.slurm.layout import Layout

Rows = tuple[tuple[int, ...], ...]
"""Free cores of each socket; one such row for each job that may have the same CPU."""


@dataclass(frozen=True)
class Frame:
    """What does not change of a machine, as Slurm sees it."""

    cpus: int
    sockets: int
    cores: int
    """Of each socket."""
    threads: int
    """CPUs of each core; no two jobs share a core."""
    hardware_threads: int
    memory: int | None
    """MB that jobs may have; None where it is not looked at."""
    system_memory: int
    """MB that are set aside for the system besides."""
    tmp_disk: int | None
    """MB; None where it is not told."""
    features: frozenset[str]
    partitions: frozenset[str] | None
    """None where it counts as in every partition: no machine of its type has joined yet."""
    longest: timedelta | None = None
    """How long a job may take; None for any."""


@dataclass(frozen=True)
class Left:
    """What no job has of a machine. Two machines of which the same is left are alike."""

    frame: Frame
    rows: Rows
    memory: int | None
    """MB; None where it is not looked at."""
    gres: tuple[tuple[str, int], ...]
    """Generic resource -> how many, sorted."""
    is_used: bool = False
    """A job is there, or was placed there."""
    takes_memory: bool = True
    """No job has all of its memory, where that is not counted."""

    @property
    def free_cpus(self) -> int:
        """CPUs of which a job can have some at most."""
        return max(map(sum, self.rows)) * self.frame.threads


def frame_of(
    cpus: int,
    memory: int | None,
    layout: Layout,
    features: frozenset[str],
    partitions: frozenset[str] | None,
    longest: timedelta | None,
) -> Frame:
    """Describe a machine. Where its layout is not told, each CPU is a socket, as slurm.conf(5) has it.

    Args:
        cpus: those that Slurm sees.
        memory: MB that Slurm sees; None where it is not looked at.
        layout: how the CPUs are put together.
        features: those that jobs may ask for.
        partitions: those that it is in; None for every one.
        longest: how long a job may take; None for any.
    """
    sockets, cores = (
        layout.sockets or max(cpus // max(layout.cores * layout.threads, 1), 1),
        layout.cores or 1,
    )
    if not layout.cores and layout.sockets:
        cores = max(cpus // (sockets * max(layout.threads, 1)), 1)
    # Where slurm.conf counts cores as CPUs, a core is one CPU however many threads it has.
    threads = max(cpus // (sockets * cores), 1)
    return Frame(
        cpus=cpus,
        sockets=sockets,
        cores=cores,
        threads=threads,
        hardware_threads=max(layout.threads, threads),
        memory=None if memory is None else max(memory - layout.system_memory, 0),
        system_memory=layout.system_memory,
        tmp_disk=layout.tmp_disk if layout.sockets else None,
        features=features,
        partitions=partitions,
        longest=longest,
    )


def all_of(
    frame: Frame,
    layout: Layout,
    gres: tuple[tuple[str, int], ...],
    shared_by: int = 1,
) -> Left:
    """Return what a machine gives while no job is there.

    Args:
        frame: the machine.
        layout: tells what is set aside for the system.
        gres: its generic resources.
        shared_by: how many jobs may have the same CPU.
    """
    kept = frame.cpus - layout.usable_cpus if layout.usable_cpus else 0
    row = whole_row(frame, -(-kept // frame.threads))
    return Left(frame, (row,) * shared_by, frame.memory, gres)


def whole_row(frame: Frame, kept: int) -> tuple[int, ...]:
    """Return the cores of each socket but for so many, which the system keeps."""
    row = [frame.cores] * frame.sockets
    _set_aside(row, kept)
    return tuple(row)


def _set_aside(row: list[int], cores: int) -> None:
    """Take cores for the system, as slurmctld does: from the last sockets, one of each in turn."""
    while cores > 0 and any(row):
        for socket in reversed(range(len(row))):
            if cores > 0 and row[socket] > 0:
                row[socket] -= 1
                cores -= 1


def fill(row: tuple[int, ...], cores: int) -> tuple[int, ...]:
    """Return what is left of free cores after so many more are taken, first sockets first."""
    # Where no layout is told a row has as many sockets as the machine has CPUs.
    for number, free in enumerate(row):
        if free >= cores:
            return (*(0,) * number, free - cores, *row[number + 1 :])
        cores -= free
    return (0,) * len(row)
