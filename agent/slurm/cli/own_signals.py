"""Reads which signals jobs asked for, in their batch scripts or where Slurm tells how they were submitted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from agent.core.errors import SlurmError
from agent.slurm import names
from agent.slurm.cli.reader import CliReader, Run
from agent.slurm.model import OwnSignal
from agent.slurm.own_signal import own_signal
from agent.slurm.words import means_no_answer

_BESIDE = 4
"""How many scontrol run beside each other: each is one request, of a script of some kilobytes."""
_TELLS_SUBMIT_LINE = (25, 11)
"""The first release whose ``scontrol show job`` tells how a job was submitted."""
_SUBMIT_LINE = re.compile(r"^ *SubmitLine=(.*)$", re.MULTILINE)
_NONE = "(null)"


def own_signals(run: Run, reader: CliReader, job_ids: Iterable[str]) -> dict[str, OwnSignal]:
    """Return job id -> the signal that it asked for, of those that did.

    All tasks of an array have one script, which is read once.

    Args:
        run: runs a command.
        reader: knows the release.
        job_ids: of the jobs.

    Raises:
        SlurmDownError: no controller answered.
        SlurmRefusedError: one of them is no job id.
    """
    leaders = {job_id: names.check_leader(job_id) for job_id in job_ids}
    alike = {_array(leader): leader for leader in leaders.values()}
    if not alike:
        return {}
    told = _accounted(run, alike.values()) if reader.release() < _TELLS_SUBMIT_LINE else None

    def read(leader: str) -> OwnSignal | None:
        line = _submit_line(run, leader) if told is None else told.get(_array(leader), "")
        return own_signal(_script(run, leader), line)

    with ThreadPoolExecutor(_BESIDE, "scontrol") as pool:
        found = dict(zip(alike, pool.map(read, alike.values()), strict=True))
    owns = {job_id: found[_array(leader)] for job_id, leader in leaders.items()}
    return {job_id: own for job_id, own in owns.items() if own is not None}


def _array(leader: str) -> str:
    """Return the number that all tasks of an array have in common."""
    return leader.partition("_")[0]


def _script(run: Run, leader: str) -> str:
    """Read a batch script; "" of a job of srun or salloc, and of one that is over."""
    written = run("scontrol", "write", "batch_script", leader, "-")
    if means_no_answer(written.complaint):
        written.check()
    return written.output if written.status == 0 and written.output.startswith("#!") else ""


def _submit_line(run: Run, leader: str) -> str:
    match = _SUBMIT_LINE.search(run("scontrol", "show", "job", leader).output)
    return match[1] if match is not None and match[1] != _NONE else ""


def _accounted(run: Run, leaders: Iterable[str]) -> dict[str, str]:
    """Look up how jobs were submitted, by job or array; a site without slurmdbd does not know."""
    mark = f"<{secrets.token_hex(6)}>"
    what = ("-j", ",".join(leaders), "-o", "JobID,SubmitLine")
    try:
        told = run("sacct", "-n", "-P", "-X", f"--delimiter={mark}", *what).check()
    except SlurmError:
        return {}
    rows = (line.split(mark) for line in told.splitlines())
    return {_array(names.leader(row[0])): row[1] for row in rows if len(row) == 2}
