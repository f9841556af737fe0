"""Which signals the jobs on emptied nodes asked for themselves: read once a job, beside all else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from agent.cluster.drain.hands import Hands
from agent.core.errors import SlurmError
from agent.slurm import names
from agent.slurm.model import Job, OwnSignal, SlurmBackend

AT_ONCE = 200
"""Jobs that are asked about at one look: in a storm the next ones have their turn at the next look."""


class OwnSignals:
    """Asks Slurm, and remembers.

    Args:
        backend: the way in to Slurm.
        hands: ask beside all else.
    """

    def __init__(self, backend: SlurmBackend, hands: Hands) -> None:
        self._backend = backend
        self._hands = hands
        self._known: dict[str, OwnSignal | None] = {}
        """``leader`` of a job -> what it asked for."""

    def of(self, jobs: Iterable[Job]) -> Mapping[str, OwnSignal]:
        """Return ``leader`` of a job -> the signal that it asked for; has asked for some of the unknown ones.

        Args:
            jobs: all that are looked at, the most urgent first; others are forgotten.
        """
        leaders = dict.fromkeys(names.leader(job.id) for job in jobs)
        self._known = {lead: own for lead, own in self._known.items() if lead in leaders}
        new = [
            lead for lead in leaders if lead not in self._known and not self._hands.is_at((OwnSignals, lead))
        ]
        if some := new[:AT_ONCE]:

            def take(found: Mapping[str, OwnSignal]) -> None:
                self._known.update({lead: found.get(lead) for lead in some})

            def give_up(_: SlurmError) -> None:
                """Leave it at what is set for all jobs, until the next look."""

            keys = [(OwnSignals, lead) for lead in some]
            self._hands.begin("own-signals", keys, partial(self._backend.own_signals, some), take, give_up)
            self._hands.gather()
        return {lead: own for lead, own in self._known.items() if own is not None}
