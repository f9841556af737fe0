"""Reads the records of some jobs through slurmrestd, one by one, those that are over among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from agent.core.errors import SlurmRefusedError
from agent.slurm import names
from agent.slurm.rest.calls import RestCalls
from agent.slurm.words import UNKNOWN_JOB

_Value = TypeVar("_Value")


def read_each(
    calls: RestCalls, job_ids: Iterable[str], parse: Callable[[Mapping[str, Any]], dict[str, _Value]]
) -> dict[str, _Value]:
    """Ask for each job, of an array and of a heterogeneous one once; what Slurm does not know is in none.

    Args:
        calls: slurmrestd.
        job_ids: whom to ask for.
        parse: reads one reply: job id -> value.

    Raises:
        SlurmError: no answer, or it is not what it has to be.
    """
    found: dict[str, _Value] = {}
    for number in sorted({names.check_leader(job_id).partition("_")[0] for job_id in job_ids}):
        try:
            found |= parse(calls.call("GET", f"job/{number}").document)
        except SlurmRefusedError as error:
            if UNKNOWN_JOB not in str(error):
                raise
    return found
