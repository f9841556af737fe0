"""The process that holds pyslurm: ``python -m agent.slurm.pyslurm.child``.

libslurm may end its process outright, and holds the interpreter for as long as slurmctld is silent, so it
lives apart from the agent. The agent sends one JSON object a line on standard input; the answer is any
number of JSON arrays with records, and as the last line ``{"done": value}`` or ``{"error": text, "errno":
number}``. It ends when standard input does. What else writes to standard output lands in standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import pwd
import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from operator import attrgetter
from typing import Any, BinaryIO

MAX_ADDRESS_SPACE = 16 * 1024**3
"""Bytes of address space: what 30,000 jobs and nodes took was 0.8 GB resident."""
_RECORDS_A_LINE = 250
OVER_STATES = frozenset(
    {
        "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
        "OUT_OF_MEMORY",
    }
)  # fmt: skip
"""States of a job that holds nothing any more."""
_MAY_BE_UNREADABLE = frozenset({"configured_gres", "gres_per_node", "flags"})
"""What pyslurm itself parses, and gives up on some values of (a count such as 4G): then it is null."""
_USED = {
    "Node": ("modify", "delete"),
    "Job": ("load", "send_signal", "notify", "modify"),
    "Reservation": ("create", "modify", "delete"),
}


class PyslurmRequests:
    """What the agent may ask for: a method yields records, or returns the value of the last line.

    Args:
        pyslurm: the imported package.
    """

    def __init__(self, pyslurm: Any) -> None:
        self._pyslurm = pyslurm

    def hello(self, fields: Mapping[str, Sequence[str]]) -> Mapping[str, object]:
        """Tell the versions, after a look whether pyslurm has what we use.

        ``fields``: class of pyslurm -> attributes that will be read.
        """
        wanted = [(kind, name) for part in (_USED, fields) for kind, names in part.items() for name in names]
        missing = sorted(
            f"{kind}.{name}" for kind, name in wanted if not hasattr(getattr(self._pyslurm, kind, None), name)
        )
        controller = None if missing else self._pyslurm.slurmctld.Config.load().version
        return {"version": self._pyslurm.__version__, "missing": missing, "controller": controller}

    def nodes(self, fields: Sequence[str]) -> Iterator[object]:
        """Yield all nodes."""
        yield from _rows(self._pyslurm.Nodes.load().values(), fields)

    def jobs(self, fields: Sequence[str]) -> Iterator[object]:
        """Yield all jobs that are not over."""
        jobs = self._pyslurm.Jobs.load().values()
        yield from self._job_rows((job for job in jobs if job.state not in OVER_STATES), fields)

    def job(self, number: int, fields: Sequence[str]) -> Iterator[object]:
        """Yield one record of the job, also when it is over."""
        yield from self._job_rows([self._pyslurm.Job.load(number)], fields)

    def reservations(self, fields: Sequence[str]) -> Iterator[object]:
        """Yield all reservations, flags as the list of their names."""
        flags = fields.index("flags")
        for row in _rows(self._pyslurm.Reservations.load().values(), fields):
            row[flags] = None if row[flags] is None else [flag.name for flag in row[flags]]
            yield row

    def update_nodes(self, nodes: str, changes: Mapping[str, object]) -> None:
        """Change all nodes of a hostlist."""
        self._pyslurm.Node(nodes).modify(self._pyslurm.Node(**changes))

    def delete_nodes(self, nodes: str) -> None:
        """Delete the nodes of a hostlist."""
        self._pyslurm.Node(nodes).delete()

    def signal(self, number: int, signal: str, steps: str) -> None:
        """Send a signal: «children», «batch» or «all»."""
        self._pyslurm.Job(number).send_signal(signal, steps=steps)

    def notify(self, number: int, text: str) -> None:
        """Write to a job's output."""
        self._pyslurm.Job(number).notify(text)

    def update_job(self, number: int, changes: Mapping[str, object]) -> None:
        """Change one job."""
        self._pyslurm.Job(number).modify(self._pyslurm.JobSubmitDescription(**changes))

    def create_reservation(self, name: str, values: Mapping[str, object]) -> None:
        """Make a reservation."""
        self._pyslurm.Reservation(name, **values).create()

    def update_reservation(self, name: str, changes: Mapping[str, object]) -> None:
        """Change a reservation."""
        self._pyslurm.Reservation(name).modify(self._pyslurm.Reservation(**changes))

    def delete_reservation(self, name: str) -> None:
        """Remove a reservation."""
        self._pyslurm.Reservation(name).delete()

    def _job_rows(self, jobs: Iterable[Any], fields: Sequence[str]) -> Iterator[object]:
        user = fields.index("user_id")
        for row in _rows(jobs, fields):
            row[user] = _user_name(row[user])
            yield row


def main() -> int:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pyslurm = importlib.import_module("pyslurm")
    except ImportError as error:
        _write(answers, {"error": str(error), "missing": getattr(error, "name", None) == "pyslurm"})
        return 1
    _write(answers, {"done": "imported"})
    requests = PyslurmRequests(pyslurm)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        method = getattr(requests, request.pop("do"))
        try:
            _answer(answers, method, request)
        except (pyslurm.PyslurmError, ValueError, OverflowError, TypeError, AttributeError) as error:
            number = getattr(error, "errno", None)
            _write(answers, {"error": f"{error}" or type(error).__name__, "errno": number})
    return 0


def _answer(answers: BinaryIO, method: Callable[..., object], request: Mapping[str, Any]) -> None:
    value = method(**request)
    if isinstance(value, Iterator):
        while batch := list(islice(value, _RECORDS_A_LINE)):
            _write(answers, batch)
        value = None
    _write(answers, {"done": value})


def _rows(records: Iterable[Any], fields: Sequence[str]) -> Iterator[list[Any]]:
    """Read the fields of each record, in their order."""
    read = attrgetter(*fields)
    for record in records:
        try:
            row = list(read(record))
        except ValueError:
            row = [_field(record, name) for name in fields]
        yield row


def _field(record: Any, name: str) -> Any:
    """Read one field; text that is not UTF-8 comes with replacement characters, a list of it as one text."""
    try:
        return getattr(record, name)
    except UnicodeDecodeError as error:
        return error.object.decode(errors="replace")
    except ValueError:
        if name not in _MAY_BE_UNREADABLE:
            raise
        return None


@cache
def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _write(answers: BinaryIO, line: object) -> None:
    answers.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
