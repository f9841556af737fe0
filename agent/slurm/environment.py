"""The environment in which Slurm's own programs and libslurm are run."""

from __future__ import annotations

from collections.abc import Mapping

_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})
_CHANGES_OUTPUT = ("SLURM_", "SQUEUE_", "SINFO_", "SCONTROL_", "SCANCEL_", "LC_")


def clean_environment(inherited: Mapping[str, str], **changes: str) -> dict[str, str]:
    """Drop the variables that change what Slurm's commands print (squeue(1), scontrol(1)), then set ours."""
    kept = {k: v for k, v in inherited.items() if k in _KEPT or not k.startswith(_CHANGES_OUTPUT)}
    return kept | {"LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"} | changes
