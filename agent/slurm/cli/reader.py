"""Reads nodes and jobs through Slurm's own commands: exact or an error, with few requests to slurmctld."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from agent.core.errors import SlurmDownError, SlurmError
from agent.core.letters import read_json
from agent.core.ports import Clock
from agent.slurm import asked, json_shapes, names
from agent.slurm.cli import scontrol, squeue
from agent.slurm.cli.closer import CloserLook
from agent.slurm.cli.command import Finished, Take
from agent.slurm.model import Job, Node
from agent.slurm.words import UNKNOWN_JOB

JOBS_AT_ONCE = 500
"""How many jobs are named in one command."""
_NUMBER = re.compile("[_+]")
_NO_NODES = "No nodes in the system"
"""What scontrol prints, with status 0, where there is none (scontrol_print_node_list)."""
_LOOK_LASTS = 300.0
"""Seconds after which a closer look at a pending job is taken anew."""
_UNSORTED = ","
"""A list of no sort keys: to sort is a tenth of what squeue does."""
_FEW = 500
"""Jobs up to which JSON is read. It takes one request in place of two, and ten times the work a job."""
_SLOW = 3.0
"""Seconds after which JSON is not worth a request."""
_REST = 600.0
"""Seconds for which it is left alone then."""
_JSON_TELLS_EXCLUSIVE = "v0.0.44"
"""The newest version of Slurm's JSON that tells whether a job wants its nodes for itself."""

_JSON_TELLS_REQUESTS = (23, 2)
"""The first release whose JSON leaves nothing open of what jobs ask for."""


class Run(Protocol):
    """Runs one of Slurm's commands to its end."""

    def __call__(self, command: str, /, *arguments: str, take: Take | None = None) -> Finished:
        """Run it; see ``agent.slurm.cli.command.Runner``."""


class CliReader:
    """Reads by squeue, scontrol and sinfo.

    squeue and scontrol ask slurmctld for the partitions too, whatever they are called with, so nodes and jobs
    are four requests. As JSON, jobs are one request; that is for a queue that is short.

    Args:
        run: runs a command.
        clock: tells how long ago something was read.
        closer: tells what a list of jobs leaves open; None where nobody does.
    """

    def __init__(self, run: Run, clock: Clock, closer: CloserLook | None = None) -> None:
        self._run = run
        self._clock = clock
        self._closer = closer
        self._confirmed: frozenset[str] = frozenset()
        self._jobs: Mapping[str, Job] = {}
        self._looked = clock.monotonic()
        self._few = False
        """There were few jobs at the last look."""
        self._json_from = self._looked
        self._release = (0, 0)
        """Of the commands, when a list of jobs was last asked for as text."""

    def nodes(self) -> dict[str, Node]:
        """Read all nodes: scontrol's text, or JSON where free text makes that inexact.

        Raises:
            SlurmError: what Slurm answered is not whole, or nothing.
        """
        output = self._run("scontrol", "-o", "--local", "show", "nodes").check()
        if output.strip() == _NO_NODES:
            self._confirmed = frozenset()
            return {}
        try:
            nodes = scontrol.parse_nodes(output)
            self._confirm(frozenset(nodes))
        except scontrol.InexactTextError:
            old = self.release() < (23, 2)
            argv = ("sinfo", "--json") if old else ("scontrol", "show", "nodes", "--json")
            nodes = scontrol.parse_nodes_json(self._run(*argv).check())
        if not nodes:
            raise SlurmError("scontrol show nodes: expected at least one node, got none")
        return nodes

    def jobs(self) -> tuple[Job, ...]:
        """Read all jobs that are not over.

        Raises:
            SlurmError: what Slurm answered is not whole.
        """
        jobs: tuple[Job, ...] | None = None
        if self._few and self._clock.monotonic() >= self._json_from:
            jobs = self._jobs_of_json()
        told = jobs is not None and self._release >= _JSON_TELLS_REQUESTS
        if jobs is None:
            jobs = self._jobs_of_text_or_json()
        if self._closer is not None and not told:
            jobs = asked.with_requests(jobs, self._closer.requests_of(jobs))
        self._few = len(jobs) <= _FEW
        return jobs

    def squeue(self, *arguments: str, take: Take | None = None) -> str:
        """List jobs that are not over; a single job that Slurm does not know is no job.

        Raises:
            SlurmError: no controller answered, or it refused.
        """
        listed = self._run("squeue", "-h", "-a", "--local", "--noconvert", *arguments, take=take)
        if listed.status != 0 and "-j" in arguments and UNKNOWN_JOB in listed.complaint:
            return ""
        return listed.check()

    def _confirm(self, seen: frozenset[str]) -> None:
        """Ask Slurm for the names not seen in the last read: no text can fake an exit status, or a bare list.

        sinfo has all names in one line, but for those of nodes in no partition.
        """
        new = seen - self._confirmed
        self._confirmed = frozenset()
        if new:
            listed = self._run("sinfo", "-h", "-a", "--local", "-o", "%N").check()
            new = new.difference(*map(names.expand, listed.split("\n")))
        for odd in new:
            if not names.is_ordinary(odd):
                raise scontrol.InexactTextError(f"{odd!r} may be no node")
        for _, folded in names.fold(new):
            if self._run("scontrol", "-o", "--local", "show", "node", folded).status != 0:
                raise scontrol.InexactTextError(f"not all of {folded} are nodes")
        self._confirmed = seen

    def _jobs_of_json(self) -> tuple[Job, ...] | None:
        """Read ``squeue --json``; None where it does not serve.

        On 22.05 it lists jobs that are over too, for as long as Slurm remembers them (MinJobAge). It tells
        squeue's release: where that is another one by now, what was asked for may not be what is meant.
        """
        began = self._clock.monotonic()
        self._json_from = began + _REST
        form = "--json" if self._release < (26, 5) else f"--json={_JSON_TELLS_EXCLUSIVE}"
        try:
            document = read_json(self.squeue(form))
            if not isinstance(document, dict) or json_shapes.complaints(document):
                return None
            if scontrol.parse_release(json_shapes.release_of(document)) != self._release:
                self._json_from = began
                return None
            jobs = json_shapes.parse_jobs(document)
        except SlurmDownError:
            raise
        except (SlurmError, ValueError):
            return None
        if self._clock.monotonic() - began < _SLOW:
            self._json_from = began
        return jobs

    def _jobs_of_text_or_json(self) -> tuple[Job, ...]:
        """Read text, or JSON where a name makes that inexact: a node may be called ``a|1``."""
        try:
            return self._jobs_of_text()
        except SlurmError as error:
            if type(error) is not SlurmError:
                raise
            jobs = self._jobs_of_json()
            if jobs is None:
                raise
            return jobs

    def _jobs_of_text(self) -> tuple[Job, ...]:
        before = self._release
        form = squeue.JobFormat(self.release())
        known, self._jobs = self._jobs, {}
        if form.release != before:
            # The same text may mean something else now.
            known = {}
        reader = squeue.JobReader(form, known)
        self.squeue("--sort", _UNSORTED, "-O", form.argument, take=reader.feed)
        jobs = reader.finish()
        missed: set[str] = set() if form.tells_excluded_nodes else self._look_closer(jobs, known)
        self._jobs = {record: job for record, job in jobs.items() if record not in missed} if missed else jobs
        return tuple(jobs.values())

    def _look_closer(self, jobs: dict[str, Job], known: Mapping[str, Job]) -> set[str]:
        """Fill in which nodes the jobs exclude that may start, where the list of jobs does not tell.

        A change of nothing else is noticed within ``_LOOK_LASTS`` seconds. Returns the records of jobs that
        changed before they were looked at.
        """
        now = self._clock.monotonic()
        if now - self._looked > _LOOK_LASTS:
            self._looked, known = now, {}
        waiting = {
            record: job
            for record, job in jobs.items()
            if asked.counts(job.state, job.reason) and record not in known
        }
        if not waiting:
            return set()
        listed = ("-j", ",".join(sorted({_NUMBER.split(j.id, 1)[0] for j in waiting.values()})))
        some = listed if len(waiting) <= JOBS_AT_ONCE else ()
        told = squeue.parse_excluded_nodes(self.squeue(*some, "-t", "PENDING", "-o", "%i|%x|"))
        for record, job in waiting.items():
            if excluded := told.get(job.id):
                jobs[record] = replace(job, excluded_nodes=excluded)
        return {record for record, job in waiting.items() if job.id not in told}

    def release(self) -> tuple[int, int]:
        """Ask for the release of the commands, such as (24, 11): Slurm may have been upgraded meanwhile.

        It decides what squeue's fields are called and mean; slurmctld of a later one answers it as before.
        """
        self._release = scontrol.parse_release(self._run("squeue", "--version").check())
        return self._release
