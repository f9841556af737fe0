"""Names of nodes, jobs and the like: checked and folded on the way to Slurm, taken apart on the way back."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import product
from math import prod

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet

from agent.core.errors import SlurmError, SlurmRefusedError

MAX_NAMES = 1000
"""Nodes in one request: an update of 10,000 was seen to hold the controller up past its message time-out."""
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FOLDS = re.compile(r".*[^0-9][0-9]{1,9}")
"""A name that ends with a number. Slurm before 23.11 reads no text behind a bracket (``pc[100,103]-fort``),
and no release a number that does not fit into its own."""
_LONGEST_LIST = 100_000
"""Characters of a node list that has to be one argument of a command (execve(2): 131,071 bytes)."""
_NODE_LIST = re.compile(r"[A-Za-z0-9._,\[\]-]+")
_ENTRY = re.compile(r"(?:[^,\[\s\x00-\x1f\x7f]|\[\d[\d,-]*\])+", re.ASCII)
_BRACKETS = re.compile(r"\[(\d[\d,-]*)\]", re.ASCII)
_NUMBERS = re.compile(r"(\d{1,18})(?:-(\d{1,18}))?", re.ASCII)
_MOST_NAMES = 1 << 17
"""Names in a list; slurmctld has 65,533 nodes at most (``MAX_NODES``)."""
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")
_RESERVATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_JOB = re.compile(r"[1-9]\d{0,9}(?:_\d{1,9}|_\[[0-9,:-]+\]|\+\d{1,4})?")
_LISTED_JOB = re.compile(r"\d+(?:_\d+|_\[[\d,:-]+(?:%\d+)?\]|\+\d+)?", re.ASCII)
_TASKS = re.compile(r"(\d+)(?:-(\d+)(?::([1-9]\d*))?)?", re.ASCII)
_REAL_TIME = re.compile(r"RT(?P<base>MIN|MAX)(?P<offset>[+-]\d+)?")
_SIGNAL = re.compile(r"[A-Z][A-Z0-9+-]{1,15}|[1-9]\d?")


def fold(names: Iterable[str]) -> Iterator[tuple[frozenset[str], str]]:
    """Yield node names in sets of at most ``MAX_NAMES``, each with its hostlist: ``pc[100-104],pc105-fort``.

    Only what every release reads is folded: names that end with a number, at one bracket.

    Raises:
        SlurmRefusedError: something among them is no node name; nothing is yielded then.
    """
    unique = sorted(set(names))
    for name in unique:
        if _NODE.fullmatch(name) is None:
            raise SlurmRefusedError(f"{name!r} is not a node name")
    for start in range(0, len(unique), MAX_NAMES):
        part = unique[start : start + MAX_NAMES]
        yield frozenset(part), _folded(part)


def is_ordinary(name: str) -> bool:
    """Tell whether a node has a name that ours may have."""
    return _NODE.fullmatch(name) is not None


def shown(names: Iterable[str]) -> str:
    """Return a hostlist for a person, of nodes that may be called anything."""
    every = frozenset(names)
    ordinary = frozenset(filter(is_ordinary, every))
    return ",".join([*(folded for _, folded in fold(ordinary)), *sorted(every - ordinary)])


def listed(names: Iterable[str]) -> str:
    """Return one hostlist of all names, however many, where Slurm takes them only at once.

    Raises:
        SlurmRefusedError: something among them is no node name, or they are too many for one list.
    """
    hostlist = ",".join(folded for _, folded in fold(names))
    if len(hostlist) > _LONGEST_LIST:
        raise SlurmRefusedError(
            f"{hostlist[:80]}...: expected a list of nodes of at most {_LONGEST_LIST} characters, "
            f"got {len(hostlist)}"
        )
    return hostlist


def _folded(names: Iterable[str]) -> str:
    numbered: list[str] = []
    alone: list[str] = []
    for name in names:
        (numbered if _FOLDS.fullmatch(name) else alone).append(name)
    folded = NodeSet(resolver=RESOLVER_NOGROUP)
    # Of two numbers in a name the last one is folded.
    folded.fold_axis = (-1,)
    folded.updaten(numbered)
    return ",".join(filter(None, [str(folded), *alone]))


@lru_cache(maxsize=8192)
def expand(hostlist: str) -> frozenset[str]:
    """Take Slurm's hostlist apart, whatever its nodes are called; empty for none.

    slurm.conf takes as a name what holds no space, no comma and no opening bracket, such as ``a+b1``.

    >>> sorted(expand("pc[8-10],a+b1"))
    ['a+b1', 'pc10', 'pc8', 'pc9']

    Raises:
        SlurmError: it is not a hostlist.
    """
    if hostlist in {"", "(null)"}:
        return frozenset()
    names: set[str] = set()
    at = -1
    while at < len(hostlist):
        part = _ENTRY.match(hostlist, at + 1)
        if part is None or len(names) > _MOST_NAMES:
            raise _not_a_hostlist(hostlist)
        names.update(_entry(part[0], hostlist) if "[" in part[0] else (part[0],))
        at = part.end()
        if hostlist[at : at + 1] not in {",", ""}:
            raise _not_a_hostlist(hostlist)
    return frozenset(names)


def expand_written(hostlist: str) -> frozenset[str]:
    """Take a hostlist apart that a person wrote: with names that ours may have.

    Raises:
        SlurmError: it is not a hostlist, or has other names in it.
    """
    if hostlist and _NODE_LIST.fullmatch(hostlist) is None:
        raise _not_a_hostlist(hostlist)
    return expand(hostlist)


def _entry(entry: str, hostlist: str) -> Iterator[str]:
    """Yield the names of an entry with brackets: ``a[1-2]-[3-4]`` has four."""
    pieces = _BRACKETS.split(entry)
    choices = [list(_numbers(piece, hostlist)) if n % 2 else [piece] for n, piece in enumerate(pieces)]
    if prod(map(len, choices)) > _MOST_NAMES:
        raise _not_a_hostlist(hostlist)
    return map("".join, product(*choices))


def _numbers(listed: str, hostlist: str) -> Iterator[str]:
    """Yield what stands for a bracket: ``08-10`` is 08, 09 and 10."""
    for each in listed.split(","):
        match = _NUMBERS.fullmatch(each)
        first, last = (match[1], match[2] or match[1]) if match else ("1", "0")
        if not 0 <= int(last) - int(first) < _MOST_NAMES:
            raise _not_a_hostlist(hostlist)
        yield from (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))


def _not_a_hostlist(hostlist: str) -> SlurmError:
    return SlurmError(f"expected a list of nodes, got {hostlist[:80]!r}")


def check_job(job_id: str) -> str:
    """Return the id of a job as scontrol takes it.

    Raises:
        SlurmRefusedError: it is not one.
    """
    return _checked(_JOB, job_id, "not a job id such as 12, 12_3 or 12+1")


def leader(job_id: str) -> str:
    """Return the id that acts on a job: Slurm takes a heterogeneous job only as a whole."""
    return job_id.partition("+")[0]


def check_leader(job_id: str) -> str:
    """Return the id that acts on a job, as scontrol takes it.

    Raises:
        SlurmRefusedError: it is not one.
    """
    return leader(check_job(job_id))


def split_tasks(job_id: str) -> tuple[str, int, int | None]:
    """Return the id as scontrol takes it, how many array tasks it stands for, and how many may run at once.

    >>> split_tasks("3_[3,6,9%2]")
    ('3_[3,6,9]', 3, 2)

    Raises:
        SlurmError: it is no job id, or its list of tasks is none.
    """
    if _LISTED_JOB.fullmatch(job_id) is None:
        raise SlurmError(f"expected a job id of squeue, got {job_id[:80]!r}")
    if not job_id.endswith("]"):
        return job_id, 1, None
    array, _, listed = job_id.partition("_[")
    tasks, _, limit = listed.removesuffix("]").partition("%")
    count = sum(_count_tasks(part, job_id) for part in tasks.split(","))
    return f"{array}_[{tasks}]", count, int(limit) if limit else None


def share_tasks(job_id: str, other_id: str) -> bool:
    """Tell whether two ids have a task in common (``5_[1-3]`` and ``5_2``); ``5`` has all of its array."""
    (array, tasks), (other, others) = _array_and_tasks(job_id), _array_and_tasks(other_id)
    if array != other or not tasks or not others:
        return array == other
    return any(_overlap(one, two) for one in tasks for two in others)


def full_signal(signal: str) -> str:
    """Return a signal by its full name, ``SIGUSR1``, or its number.

    Raises:
        SlurmRefusedError: it is not one.
    """
    word = check_signal(signal)
    return word if word.isdecimal() else f"SIG{word.removeprefix('SIG')}"


def signal_number(name: str) -> int:
    """Return the number of a signal such as ``USR1``, ``SIGUSR1``, ``10`` or ``RTMIN+1``; 0 for none."""
    word = name.removeprefix("SIG")
    if word.isdecimal():
        return int(word)
    if match := _REAL_TIME.fullmatch(word):
        base = signal.SIGRTMIN if match["base"] == "MIN" else signal.SIGRTMAX
        return base + int(match["offset"] or 0)
    found = signal.Signals.__members__.get(f"SIG{word}")
    return 0 if found is None else found.value


def check_signal(signal: str) -> str:
    """Return a signal as scancel takes it: ``USR1`` or a number.

    Raises:
        SlurmRefusedError: it is not one.
    """
    return _checked(_SIGNAL, signal, "not a signal such as USR1")


def check_host(host: str) -> str:
    """Return a host name or an address as scontrol takes it.

    Raises:
        SlurmRefusedError: it is neither.
    """
    return _checked(_HOST, host, "not a host name or an address")


def check_reservation(name: str) -> str:
    """Return the name of a reservation as scontrol takes it.

    Raises:
        SlurmRefusedError: it is not one.
    """
    return _checked(_RESERVATION, name, "not the name of a reservation")


def _count_tasks(part: str, job_id: str) -> int:
    match = _TASKS.fullmatch(part)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if match is None or last < first:
        raise SlurmError(f"expected array tasks such as 0-9:3,12 in job {job_id[:80]!r}")
    return (last - first) // int(match[3] or 1) + 1


def _array_and_tasks(job_id: str) -> tuple[str, list[range]]:
    whole, _, _ = job_id.partition(".")
    array, _, tasks = whole.partition("+")[0].partition("_")
    found = []
    for match in _TASKS.finditer(tasks):
        first, last, step = match.groups()
        found.append(range(int(first), int(last or first) + 1, int(step or 1)))
    return array, found


def _overlap(one: range, two: range) -> bool:
    few, many = sorted((one, two), key=len)
    return any(task in many for task in few)


def _checked(pattern: re.Pattern[str], text: str, complaint: str) -> str:
    if pattern.fullmatch(text) is None:
        raise SlurmRefusedError(f"{text!r} is {complaint}")
    return text
