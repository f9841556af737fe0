"""Writes into jobs what becomes of them, beside what the site wrote there, and takes it off again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

import structlog

from agent.cluster.drain.hands import Hands
from agent.cluster.drain.jobs import leader
from agent.cluster.job_comment import can_be_written, ours_in, with_ours, without_ours
from agent.core.errors import SlurmRefusedError
from agent.slurm.model import Job, SlurmBackend, Snapshot

log = structlog.get_logger()

_Change = Callable[[str], str]
"""Makes of an AdminComment another one."""


class Comments:
    """Keeps in mind which jobs carry words of ours in their AdminComment.

    Args:
        backend: the way in to Slurm.
        hands: read and write, beside all else.
    """

    def __init__(self, backend: SlurmBackend, hands: Hands) -> None:
        self._backend = backend
        self._hands = hands
        self._carrying: dict[str, str] = {}
        """Id of each job -> its ``leader``."""
        self._later: dict[str, _Change] = {}
        """Id of each job that is being written to -> what is to follow."""
        self._has_looked_back = False

    @property
    def are_clean(self) -> bool:
        """No job carries words of ours, as far as is known."""
        return not self._carrying

    def write(self, jobs: Collection[Job], words: str) -> None:
        """Add words of ours, in place of earlier ones; that fails without harm."""
        if jobs:
            self._carrying.update((job.id, leader(job)) for job in jobs)
            self._change([job.id for job in jobs], lambda comment: with_ours(comment, words))

    def take_off(self, jobs: Collection[Job]) -> None:
        """Leave in their comments what the site wrote."""
        if jobs:
            for job in jobs:
                self._carrying.pop(job.id, None)
            self._change([job.id for job in jobs], without_ours)

    def look_back(
        self,
        snapshot: Snapshot,
        ours: Collection[str],
        tell: Callable[[Mapping[str, str], Collection[Job]], None],
    ) -> None:
        """Find, once, what an earlier run of the agent left in the jobs that it may have told something.

        Args:
            snapshot: what Slurm says.
            ours: names of the nodes that have a machine of ours.
            tell: given our words in each job's comment, and those jobs.
        """
        if self._has_looked_back or self._hands.is_at("look back"):
            return
        jobs = [job for job in snapshot.jobs if job.restarts or not job.nodes.isdisjoint(ours)]

        def take(comments: Mapping[str, str]) -> None:
            self._has_looked_back = True
            self.carry(comments, jobs)
            found = {job_id: words for job_id, comment in comments.items() if (words := ours_in(comment))}
            tell(found, [job for job in jobs if job.id in found])

        if jobs:
            ids = [job.id for job in jobs]
            self._hands.begin("look back", ["look back"], partial(self._backend.comments, ids), take)
        else:
            self._has_looked_back = True

    def carry(self, comments: Mapping[str, str], jobs: Iterable[Job]) -> None:
        """Take in what an earlier run of the agent left in comments."""
        self._carrying.update((j.id, leader(j)) for j in jobs if ours_in(comments.get(j.id, "")))

    def tidy(self, snapshot: Snapshot, held_up: Collection[str]) -> None:
        """Take our words off the jobs that run where nothing threatens them any more.

        One that waits keeps them: its user reads why it does.

        Args:
            snapshot: what Slurm says.
            held_up: ``leader`` of the jobs whose nodes are emptied, or were lost.
        """
        if not self._carrying:
            return
        present = {job.id: job for job in snapshot.jobs}
        self._carrying = {job_id: lead for job_id, lead in self._carrying.items() if job_id in present}
        safe = [present[job_id] for job_id, lead in self._carrying.items() if lead not in held_up]
        self.take_off([j for j in safe if j.state == "RUNNING" and not self._hands.is_at(("comment", j.id))])

    def _change(self, ids: Collection[str], change: _Change) -> None:
        """Begin a change; of a job that is being written to, the last one that is wanted follows then."""
        busy = {job_id for job_id in ids if self._hands.is_at(("comment", job_id))}
        self._later.update(dict.fromkeys(busy, change))
        free = [job_id for job_id in ids if job_id not in busy]
        if not free:
            return

        def take(refused: Mapping[str, SlurmRefusedError]) -> None:
            for job_id, why in refused.items():
                log.warning("the comment of a job stays as it is", job=job_id, error=str(why))
            self._go_on(free)

        self._hands.begin(
            f"comment {free[0]}",
            [("comment", job_id) for job_id in free],
            partial(rewrite, self._backend, free, change),
            take,
            lambda _: self._go_on(free),
        )

    def _go_on(self, ids: Iterable[str]) -> None:
        due: dict[_Change, list[str]] = {}
        for job_id in ids:
            if change := self._later.pop(job_id, None):
                due.setdefault(change, []).append(job_id)
        for change, some in due.items():
            self._change(some, change)


def rewrite(
    backend: SlurmBackend, job_ids: Iterable[str], change: Callable[[str], str]
) -> dict[str, SlurmRefusedError]:
    """Change AdminComments as they are now; those that are to be alike are written with one request.

    Returns:
        Job id -> why it was not done.

    Raises:
        SlurmError: no controller answered, or the comments cannot be read: none is written then, lest what
            the site wrote there be lost.
    """
    wanted = list(job_ids)
    before = backend.comments(wanted)
    alike: dict[str, list[str]] = {}
    refused: dict[str, SlurmRefusedError] = {}
    for job_id in wanted:
        comment = before.get(job_id, "")
        after = change(comment)
        if not can_be_written(after):
            refused[job_id] = SlurmRefusedError("its AdminComment is too long, or no text, and is left alone")
        elif after != comment:
            alike.setdefault(after, []).append(job_id)
    for text, ids in alike.items():
        refused |= backend.comment_all(ids, text)
    return refused
