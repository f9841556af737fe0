"""What Slurm's accounting tells of jobs that are over: how long they ran (sacct(1))."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import timedelta

from agent.slurm.cli.command import Finished
from agent.slurm.model import EarlierRun

WINDOW = timedelta(days=7)
"""How far back accounting is asked, which knows no other bound; what lies further back tells little."""
_STATES = "COMPLETED,FAILED,TIMEOUT"
"""Those of jobs that ended by themselves."""


def earlier_runs(run: Callable[..., Finished]) -> tuple[EarlierRun, ...]:
    """Ask how long jobs ran that ended by themselves within ``WINDOW``, oldest first.

    Args:
        run: runs one of Slurm's commands.

    Raises:
        SlurmDownError: the accounting did not answer in time.
        SlurmError: there is none.
    """
    mark = f"<{secrets.token_hex(6)}>"
    told = run(
        *("sacct", "--allocations", "--allusers", "--noheader", "--parsable2", f"--delimiter={mark}"),
        *(f"--starttime=now-{WINDOW.days}days", "--endtime=now", f"--state={_STATES}"),
        "--format=ElapsedRaw,User,JobName,State",
    ).check()
    return parse(told, mark)


def parse(text: str, mark: str) -> tuple[EarlierRun, ...]:
    """Read what sacct printed; a job's name, whatever is in it, makes no other job.

    Args:
        text: ``ElapsedRaw,User,JobName,State`` of each job.
        mark: stands between two fields, and could not be known before.
    """
    between = re.escape(mark)
    rows = re.findall(rf"(?ams)^(\d+){between}([^\n]*?){between}(.*?){between}[A-Z]\w*$", text)
    return tuple(EarlierRun(user, name, float(seconds)) for seconds, user, name in rows)
