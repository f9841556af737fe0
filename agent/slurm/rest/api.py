"""What a slurmrestd can do, read from the description that it gives of itself. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agent.core.errors import SlurmError

OLDEST, NEWEST = 38, 45
"""The versions of slurmrestd's API that were seen, as NN of v0.0.NN: Slurm 22.05 to 26.05."""
_NO_EXCLUSIVE = 45
"""The version whose ``shared`` of a job is always empty."""
_FULL_SIGNAL = 38
"""The version that sends a signal to the whole job, batch script and children, and knows no other way."""
_PATH = re.compile(r"/slurm/v0\.0\.(\d{1,4})/(.+)")
_PARAMETER = re.compile(r"\{[^}]*\}")


class Deed(StrEnum):
    """What an agent asks of Slurm beside reading, in words for people."""

    CHANGE_NODES = "change nodes (drain, state, weight)"
    DELETE_NODES = "delete nodes"
    CLOUD_NODES = "tell the address of cloud nodes, or power them up and down"
    RESERVE = "make or remove a reservation"
    REQUEUE = "requeue a job"
    SIGNAL = "signal a job"
    SIGNAL_PART = "signal the batch script or the steps of a job alone"
    NOTIFY = "write to the output of a job"
    CANCEL = "cancel a job"
    COMMENT = "set the AdminComment of a job"
    LET_START = "let a job start that Slurm keeps back"
    SCHEDULING = "tell how Slurm chooses nodes"
    ARRAY_TASK = "act on one task of an array"


@dataclass(frozen=True)
class Api:
    """One version of slurmrestd's API."""

    version: int
    """NN of v0.0.NN."""
    jobs_version: int
    """The version through which jobs are read: the newest that tells whether they want nodes alone."""
    calls: frozenset[tuple[str, str]]
    """Method and path below the version: ``("post", "node/{}")``."""
    signal_flags: frozenset[str] = frozenset()
    """Of ``BATCH_JOB`` and ``FULL_JOB``, those that ``DELETE job/{}`` takes."""

    @property
    def name(self) -> str:
        """The version as it stands in a path: ``v0.0.44``."""
        return f"v0.0.{self.version}"

    @property
    def changes_many(self) -> bool:
        """One request changes nodes of a list, else of a path."""
        return ("post", "nodes") in self.calls

    @property
    def ends_many(self) -> bool:
        """One request signals or cancels jobs of a list, tasks of arrays too."""
        return ("delete", "jobs") in self.calls

    @property
    def requeues_many(self) -> bool:
        """One request requeues jobs of a list, tasks of arrays too, held or not (26.05)."""
        return ("post", "jobs/requeue") in self.calls

    def can(self, deed: Deed) -> bool:
        """Tell whether this version does it, as far as was seen to work."""
        match deed:
            case Deed.CHANGE_NODES:
                return self.changes_many or ("post", "node/{}") in self.calls
            case Deed.DELETE_NODES:
                return ("delete", "node/{}") in self.calls
            case Deed.REQUEUE:
                return self.requeues_many
            case Deed.CANCEL:
                return ("delete", "job/{}") in self.calls
            case Deed.COMMENT:
                # v0.0.38 does not know the field.
                return self.version > OLDEST and ("post", "job/{}") in self.calls
            case Deed.SIGNAL:
                return self.can(Deed.CANCEL) and (
                    self.version == _FULL_SIGNAL or "FULL_JOB" in self.signal_flags
                )
            case Deed.SIGNAL_PART:
                return self.can(Deed.CANCEL) and "BATCH_JOB" in self.signal_flags
            case Deed.SCHEDULING:
                # None tells SelectTypeParameters of the cluster, without which partitions tell too little.
                return False
            case Deed.CLOUD_NODES | Deed.RESERVE | Deed.NOTIFY | Deed.LET_START | Deed.ARRAY_TASK:
                # 22.05 reads 3_1 as no job, and takes the number of a task for no job or for the array.
                return False


def parse_api(document: Mapping[str, Any]) -> Api:
    """Read the reply to ``GET /openapi/v3`` and choose a version: the newest known, else the next newer one.

    Raises:
        SlurmError: it offers no version that can serve.
    """
    paths = document.get("paths")
    if not isinstance(paths, dict):
        raise SlurmError("slurmrestd: expected its paths in /openapi/v3")
    offered: dict[int, dict[tuple[str, str], Any]] = {}
    for path, methods in paths.items():
        match = _PATH.fullmatch(path)
        if match is not None and isinstance(methods, dict):
            short = _PARAMETER.sub("{}", match[2].rstrip("/"))
            calls = offered.setdefault(int(match[1]), {})
            calls.update({(method.lower(), short): told for method, told in methods.items()})
    reads = {v for v, calls in offered.items() if {("get", "nodes"), ("get", "jobs")} <= calls.keys()}
    known = {v for v in reads if OLDEST <= v <= NEWEST}
    newer = {v for v in reads if v > NEWEST}
    if not known | newer:
        names = ", ".join(f"v0.0.{v}" for v in sorted(offered)) or "none"
        raise SlurmError(f"slurmrestd: expected version v0.0.{OLDEST} or later of its API, it offers {names}")
    version = max(known) if known else min(newer)
    tells = known - {_NO_EXCLUSIVE} if version == _NO_EXCLUSIVE else {version}
    cancel = json.dumps(offered[version].get(("delete", "job/{}")))
    return Api(
        version=version,
        jobs_version=max(tells, default=version),
        calls=frozenset(offered[version]),
        signal_flags=frozenset(flag for flag in ("BATCH_JOB", "FULL_JOB") if f'"{flag}"' in cancel),
    )
