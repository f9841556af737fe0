"""Every call of the local API: who may make it, what it takes, what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from agent.admin.answers import (
    Answer,
    ConfigAnswer,
    DoneAnswer,
    DrainsAnswer,
    EventsAnswer,
    GrowAnswer,
    GrowthAnswer,
    JobsAnswer,
    NamesAnswer,
    NodesAnswer,
    PlanAnswer,
    StatusAnswer,
    ValuesAnswer,
)
from agent.admin.peers import Permission
from agent.admin.requests import (
    Ask,
    DrainRequest,
    EventsQuery,
    GrowRequest,
    ReleaseRequest,
    ResumeRequest,
    TeardownRequest,
)


class Operations(Protocol):
    """What administrators can see and do; ``agent.admin.administration.Administration`` tells each."""

    def status(self) -> StatusAnswer:
        """Tell what the agent holds, wants and does."""

    def nodes(self) -> NodesAnswer:
        """Tell one record a machine."""

    def jobs(self) -> JobsAnswer:
        """Tell the jobs on borrowed machines, then those that wait."""

    def values(self) -> ValuesAnswer:
        """Tell how much Cloudlab wants each machine."""

    def plan(self) -> PlanAnswer:
        """Tell what the next cycle would do, and why."""

    def drains(self) -> DrainsAnswer:
        """Tell one record a node that is emptied."""

    def events(self, subject: str, newest: int, after: int | None, wait: float) -> EventsAnswer:
        """Tell events, oldest first; wait for one where asked."""

    def config(self) -> ConfigAnswer:
        """Tell the settings in force."""

    def let_go(self) -> None:
        """Let those go who wait for events."""

    def poke(self) -> None:
        """Look at the drains at once: something changed in Slurm."""

    def power(self) -> None:
        """Look at Slurm at once: its power saving has asked for nodes, or let some go."""

    def drain(
        self,
        names: Iterable[str],
        reason: str | None,
        who: str,
        deadline: float | None,
        *,
        force: bool,
        release: bool,
    ) -> NamesAnswer:
        """Empty machines, to keep or to release them."""

    def release(self, names: Iterable[str], reason: str | None, who: str, *, now: bool) -> NamesAnswer:
        """Give machines back."""

    def resume(self, names: Iterable[str], who: str) -> NamesAnswer:
        """Give machines back to the scheduler."""

    def grow(self, count: int, who: str, within: float) -> GrowAnswer:
        """Have so many machines more."""

    def renew(self, who: str) -> GrowthAnswer:
        """Renew the lease now."""

    def pause(self, who: str) -> GrowthAnswer:
        """Ask for no machine from now on."""

    def unpause(self, who: str) -> GrowthAnswer:
        """Allow growth again."""

    def teardown(self, slice_name: str, who: str, deadline: float | None) -> GrowthAnswer:
        """Stop growth, empty every machine and give it back."""


@dataclass(frozen=True)
class Route:
    """One call."""

    method: str
    path: str
    summary: str
    may: Permission
    answer: type[Answer]
    handle: Callable[[Operations, Any, str], Answer]
    """Called with the operations, the request that was checked, and the caller's name."""
    query: type[Ask] | None = None
    body: type[Ask] | None = None


def _read(path: str, answer: type[Answer], handle: Callable[[Operations], Answer]) -> Route:
    summary = (answer.__doc__ or "").partition("\n")[0]
    return Route("GET", path, summary, Permission.READ, answer, lambda ops, _, __: handle(ops))


def _act(
    path: str,
    summary: str,
    answer: type[Answer],
    handle: Callable[[Operations, Any, str], Answer],
    body: type[Ask] | None = None,
) -> Route:
    return Route("POST", path, summary, Permission.ACT, answer, handle, body=body)


def _knock(path: str, summary: str, handle: Callable[[Operations], None]) -> Route:
    def done(operations: Operations, _: Any, __: str) -> Answer:
        handle(operations)
        return DoneAnswer()

    # Slurm's epilog runs as a user of its own: anybody may, since a look is all that it sets off.
    return Route("POST", path, summary, Permission.ANYBODY, DoneAnswer, done)


ROUTES: tuple[Route, ...] = (
    _read("/v1/status", StatusAnswer, lambda ops: ops.status()),
    _read("/v1/nodes", NodesAnswer, lambda ops: ops.nodes()),
    _read("/v1/jobs", JobsAnswer, lambda ops: ops.jobs()),
    _read("/v1/values", ValuesAnswer, lambda ops: ops.values()),
    _read("/v1/plan", PlanAnswer, lambda ops: ops.plan()),
    _read("/v1/drains", DrainsAnswer, lambda ops: ops.drains()),
    Route(
        "GET",
        "/v1/events",
        "Events, oldest first; with wait it answers when the next one comes.",
        Permission.READ,
        EventsAnswer,
        lambda ops, ask, _: ops.events(ask.subject, ask.newest, ask.after, ask.wait),
        query=EventsQuery,
    ),
    _read("/v1/config", ConfigAnswer, lambda ops: ops.config()),
    _act(
        "/v1/drain",
        "Empty machines, to keep or to release them.",
        NamesAnswer,
        lambda ops, ask, who: ops.drain(
            ask.nodes, ask.reason, who, ask.deadline, force=ask.force, release=ask.release
        ),
        DrainRequest,
    ),
    _act(
        "/v1/release",
        "Give machines back to Cloudlab on which nothing runs, or whose jobs are requeued.",
        NamesAnswer,
        lambda ops, ask, who: ops.release(ask.nodes, ask.reason, who, now=ask.now),
        ReleaseRequest,
    ),
    _act(
        "/v1/resume",
        "Give machines back to the scheduler that were drained by this API.",
        NamesAnswer,
        lambda ops, ask, who: ops.resume(ask.nodes, who),
        ResumeRequest,
    ),
    _act(
        "/v1/grow",
        "Have machines in addition, whatever the queue wants.",
        GrowAnswer,
        lambda ops, ask, who: ops.grow(ask.count, who, ask.within),
        GrowRequest,
    ),
    _act(
        "/v1/renew",
        "Renew the lease to its full length now.",
        GrowthAnswer,
        lambda ops, _, who: ops.renew(who),
    ),
    _act("/v1/pause", "Ask for no machine any more.", GrowthAnswer, lambda ops, _, who: ops.pause(who)),
    _act("/v1/unpause", "Allow growth again.", GrowthAnswer, lambda ops, _, who: ops.unpause(who)),
    _act(
        "/v1/teardown",
        "Stop growth, empty every machine and give it back.",
        GrowthAnswer,
        lambda ops, ask, who: ops.teardown(ask.slice, who, ask.deadline),
        TeardownRequest,
    ),
    _knock("/v1/poke", "Look at the draining nodes at once.", lambda ops: ops.poke()),
    _knock(
        "/v1/power",
        "Look at Slurm at once: its power saving wants nodes, or lets some go.",
        lambda ops: ops.power(),
    ),
)
"""Every call."""
