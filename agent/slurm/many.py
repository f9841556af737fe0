"""One act on many jobs, for a way in to Slurm that takes them one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.core.errors import SlurmRefusedError


def refused_of(job_ids: Iterable[str], act: Callable[[str], None]) -> dict[str, SlurmRefusedError]:
    """Act on each job; return job id -> why, for those that Slurm refused.

    Raises:
        SlurmError: any other error than a refusal; the rest was not tried.
    """
    refused = {}
    for job_id in job_ids:
        try:
            act(job_id)
        except SlurmRefusedError as error:
            refused[job_id] = error
    return refused
