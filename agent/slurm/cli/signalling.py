"""Sends signals by scancel(1): each once, and without waiting for what scancel would have tried again.

Of a job that Slurm says it cannot alter now, scancel tells nothing and sends the signal again for a minute
and a half (``MAX_CANCEL_RETRY``). Slurm before 24.05 says so of a running task whose array has waiting ones,
although it delivered the signal. From 24.05 on ``scancel --ctld`` asks once for all jobs, and tells of each
what came of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.slurm import names
from agent.slurm.cli.command import Runner
from agent.slurm.cli.reader import JOBS_AT_ONCE, CliReader
from agent.slurm.cli.refusals import read_refusals
from agent.slurm.model import SignalTarget
from agent.slurm.states import SIGNALLED_STATES
from agent.slurm.words import means_no_answer, means_unreached, printable

_ASKS_ONCE = (24, 5)
"""The first release whose scancel has slurmctld signal all jobs of a list, with one request."""
_THREADS = 10
"""How many jobs scancel signals beside each other (``MAX_THREADS``)."""
_BESIDE = 8
"""How many scancel run beside each other."""
_LIMIT = 4.5
"""Seconds that a scancel may take which tries again: it does so five seconds after the first answer."""
_TO = {SignalTarget.BATCH: ["--batch"], SignalTarget.ALL: ["--full"], SignalTarget.STEPS: []}
"""scancel(1): without an option it goes to the steps alone."""
_SENT = re.compile(r"scancel: (?:Signal|Terminating) .*job (\S+)")
_NOT_TRIED = SlurmRefusedError("no controller answered for others")
_STATUS = re.compile(r"^status (\d+)$", re.MULTILINE)
_ENOUGH = """\
left=$1 limit=$2; shift 2
{ timeout "$limit" "$@" 2>&1 & echo $!; wait $!; echo "status $?"; } | {
    read -r pid
    while IFS= read -r line; do
        printf '%s\\n' "$line"
        case $line in *", retrying") left=$((left - 1)); [ "$left" -gt 0 ] || kill "$pid" ;; esac
    done
}
"""
"""Runs scancel until Slurm has answered so often that it cannot alter a job now; has all output, and a line
with the status."""


_Refused = dict[str, SlurmRefusedError]
"""``leader`` of a job -> why it did not get the signal."""
_Send = Callable[[list[str], list[str]], _Refused]
"""Sends to some jobs, with these options."""


@dataclass(frozen=True)
class _Queue:
    """What squeue says of the jobs that are to be signalled."""

    states: Mapping[str, set[str]]
    """``leader`` of a job -> the states of its components."""
    waiting: Collection[str]
    """Numbers of the arrays that have waiting tasks."""

    def why_not(self, leader: str) -> SlurmRefusedError | None:
        """Return why a job cannot get a signal; None where it can."""
        found = self.states.get(leader)
        if not found:
            return SlurmRefusedError(f"signal to job {leader}: Invalid job id specified")
        if found.isdisjoint(SIGNALLED_STATES):
            words = ", ".join(sorted(found))
            return SlurmRefusedError(f"signal to job {leader}: expected it to run, it is {words}")
        return None


class Signaller:
    """Sends signals to many jobs.

    Args:
        scancel: name or path of the program.
        run: runs a command.
        reader: reads jobs.
    """

    def __init__(self, scancel: str, run: Runner, reader: CliReader) -> None:
        self._scancel = scancel
        self._run = run
        self._reader = reader

    def send(self, job_ids: Iterable[str], signal: str, target: SignalTarget) -> dict[str, SlurmRefusedError]:
        """Send a signal to each; return job id -> why, for those that did not get it.

        Raises:
            SlurmDownError: no controller answered.
            SlurmRefusedError: one of them is no job id, or the signal is none; nothing was sent.
        """
        leaders = {job_id: names.check_leader(job_id) for job_id in job_ids}
        # The verbose one tells also of jobs that Slurm does not know.
        options = [*_TO[target], "-v", f"--signal={names.check_signal(signal)}"]
        wanted = list(dict.fromkeys(leaders.values()))
        send = self._by_one_request if self._reader.release() >= _ASKS_ONCE else self._one_by_one
        parts = [wanted[start : start + JOBS_AT_ONCE] for start in range(0, len(wanted), JOBS_AT_ONCE)]
        outcomes: list[_Refused | SlurmError] = []
        for part in parts:
            outcomes.append(_outcome(send, part, options))
            if isinstance(outcomes[-1], SlurmDownError):
                break  # each of the others may take as long
        outcomes += [_NOT_TRIED] * (len(parts) - len(outcomes))
        refused = _of_each(parts, outcomes)
        return {job_id: refused[leader] for job_id, leader in leaders.items() if leader in refused}

    def _by_one_request(self, leaders: list[str], options: list[str]) -> dict[str, SlurmRefusedError]:
        done = self._run((self._scancel, "--ctld", *options, *leaders))
        refused = _refusals(done.complaint, leaders)
        if not refused:
            done.check()
        return refused

    def _one_by_one(self, leaders: list[str], options: list[str]) -> dict[str, SlurmRefusedError]:
        queue = self._look(leaders)
        refused = {leader: why for leader in leaders if (why := queue.why_not(leader))}
        slow = [x for x in leaders if x not in refused and x.partition("_")[0] in queue.waiting]
        quick = [x for x in leaders if x not in refused and x not in slow]
        groups = [quick] if quick else []
        groups += [slow[start : start + _THREADS] for start in range(0, len(slow), _THREADS)]
        with ThreadPoolExecutor(_BESIDE, "scancel") as pool:
            outcomes = pool.map(lambda group: _outcome(self._within_limit, group, options), groups)
            refused |= _of_each(groups, outcomes)
        return refused

    def _look(self, leaders: Iterable[str]) -> _Queue:
        asked = sorted({leader.partition("_")[0] for leader in leaders})
        states: dict[str, set[str]] = {}
        waiting = set[str]()
        for line in self._reader.squeue("-j", ",".join(asked), "-o", "%i|%T").splitlines():
            job_id, _, state = line.strip().partition("|")
            states.setdefault(names.leader(job_id), set()).add(state)
            if "_[" in job_id:
                waiting.add(job_id.partition("_")[0])
        return _Queue(states, waiting)

    def _within_limit(self, leaders: list[str], options: list[str]) -> dict[str, SlurmRefusedError]:
        """Run one scancel; it ends once Slurm could alter none of them, and before it tries again."""
        command = (self._scancel, *options, *leaders)
        told = self._run(("sh", "-c", _ENOUGH, "sh", str(len(leaders)), str(_LIMIT), *command)).check()
        refused = _refusals(told, leaders)
        if means_no_answer(told):
            raise SlurmDownError(f"scancel: {printable(told.strip())}")
        sent = set(_SENT.findall(told)) | refused.keys()
        status = _STATUS.search(told)
        if not sent and status is not None and status[1] != "0":
            why = "no answer in time" if status[1] == "124" else printable(told.strip())
            return {
                leader: SlurmRefusedError(f"signal to job {leader}: not sent: {why}") for leader in leaders
            }
        late = SlurmRefusedError("not sent in time")
        return refused | {leader: late for leader in leaders if leader not in sent}


def _outcome(send: _Send, leaders: list[str], options: list[str]) -> _Refused | SlurmError:
    try:
        return send(leaders, options)
    except SlurmError as error:
        return error


def _of_each(groups: Sequence[list[str]], outcomes: Iterable[_Refused | SlurmError]) -> _Refused:
    """Return who was refused in any of several groups, of which some may not have reached Slurm.

    Raises:
        SlurmError: none of them did, and all were tried.
    """
    refused: _Refused = {}
    failed: list[tuple[list[str], SlurmError]] = []
    for group, outcome in zip(groups, outcomes, strict=True):
        if isinstance(outcome, SlurmError):
            failed.append((group, outcome))
        else:
            refused |= outcome
    if failed and len(failed) == len(groups) and failed[-1][1] is not _NOT_TRIED:
        raise failed[0][1]
    for group, error in failed:
        # The others had theirs, and are not to get it again. Where there was no answer, these may have too.
        if isinstance(error, SlurmRefusedError) or means_unreached(str(error)):
            why = SlurmRefusedError(f"not sent: {error}")
            refused |= dict.fromkeys(group, why)
    return refused


def _refusals(told: str, leaders: Iterable[str]) -> dict[str, SlurmRefusedError]:
    """Return the id of each job that scancel complains of, and why."""
    said = read_refusals(told, leaders).of_jobs
    return {job: SlurmRefusedError(f"signal to job {job}: {printable(words)}") for job, words in said.items()}
