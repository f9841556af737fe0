"""Every call of the local API: who may make it, what it takes, what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    NodesQuery,
    ReleaseRequest,
    ReopenRequest,
    ResumeRequest,
    TeardownRequest,
)

if TYPE_CHECKING:
    # `esagent api` prints the calls, and needs nothing of the manager for it.
    from agent.admin.acts import Acts
    from agent.admin.questions import Questions


@dataclass(frozen=True)
class Operations:
    """All that administrators can see and do."""

    questions: Questions
    acts: Acts


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


def _read(path: str, answer: type[Answer], handle: Callable[[Questions], Answer]) -> Route:
    summary = (answer.__doc__ or "").partition("\n")[0]
    return Route("GET", path, summary, Permission.READ, answer, lambda ops, _, __: handle(ops.questions))


def _act(
    path: str,
    summary: str,
    answer: type[Answer],
    handle: Callable[[Acts, Any, str], Answer],
    body: type[Ask] | None = None,
) -> Route:
    def act(operations: Operations, ask: Any, who: str) -> Answer:
        return handle(operations.acts, ask, who)

    return Route("POST", path, summary, Permission.ACT, answer, act, body=body)


def _knock(path: str, summary: str, handle: Callable[[Acts], None]) -> Route:
    def done(operations: Operations, _: Any, __: str) -> Answer:
        handle(operations.acts)
        return DoneAnswer()

    # Slurm's epilog runs as a user of its own: anybody may, since a look is all that it sets off.
    return Route("POST", path, summary, Permission.ANYBODY, DoneAnswer, done)


ROUTES: tuple[Route, ...] = (
    _read("/v1/status", StatusAnswer, lambda questions: questions.status()),
    Route(
        "GET",
        "/v1/nodes",
        "The machines that the agent holds, then those that it has asked for; with all, those not ours too.",
        Permission.READ,
        NodesAnswer,
        lambda ops, ask, _: ops.questions.nodes(foreign=ask.all),
        query=NodesQuery,
    ),
    _read("/v1/jobs", JobsAnswer, lambda questions: questions.jobs()),
    _read("/v1/values", ValuesAnswer, lambda questions: questions.values()),
    _read("/v1/plan", PlanAnswer, lambda questions: questions.plan()),
    _read("/v1/drains", DrainsAnswer, lambda questions: questions.drains()),
    Route(
        "GET",
        "/v1/events",
        "Events, oldest first; with wait it answers when the next one comes.",
        Permission.READ,
        EventsAnswer,
        lambda ops, ask, _: ops.questions.events(ask.subject, ask.newest, ask.after, ask.wait),
        query=EventsQuery,
    ),
    _read("/v1/config", ConfigAnswer, lambda questions: questions.config()),
    _act(
        "/v1/drain",
        "Empty machines, to keep or to release them.",
        NamesAnswer,
        lambda acts, ask, who: acts.drain(
            ask.nodes, ask.reason, who, ask.deadline, force=ask.force, release=ask.release
        ),
        DrainRequest,
    ),
    _act(
        "/v1/release",
        "Give machines back to Cloudlab on which nothing runs, or whose jobs are requeued.",
        NamesAnswer,
        lambda acts, ask, who: acts.release(ask.nodes, ask.reason, who, now=ask.now),
        ReleaseRequest,
    ),
    _act(
        "/v1/resume",
        "Give machines back to the scheduler that were drained by this API.",
        NamesAnswer,
        lambda acts, ask, who: acts.resume(ask.nodes, who),
        ResumeRequest,
    ),
    _act(
        "/v1/grow",
        "Have machines in addition, whatever the queue wants.",
        GrowAnswer,
        lambda acts, ask, who: acts.grow(ask.count, who, ask.within),
        GrowRequest,
    ),
    _act(
        "/v1/renew",
        "Renew the lease to its full length now.",
        GrowthAnswer,
        lambda acts, _, who: acts.renew(who),
    ),
    _act("/v1/pause", "Ask for no machine any more.", GrowthAnswer, lambda acts, _, who: acts.pause(who)),
    _act("/v1/unpause", "Allow growth again.", GrowthAnswer, lambda acts, _, who: acts.unpause(who)),
    _act(
        "/v1/reopen",
        "Allow machines to be asked again of one CM that was emptied.",
        GrowthAnswer,
        lambda acts, ask, who: acts.reopen(ask.cm, who),
        ReopenRequest,
    ),
    _act(
        "/v1/teardown",
        "Stop growth, empty every machine and give it back: all of them, or those of one CM.",
        GrowthAnswer,
        lambda acts, ask, who: acts.teardown(ask.slice, who, ask.deadline, ask.cm or ""),
        TeardownRequest,
    ),
    _knock("/v1/poke", "Look at the draining nodes at once.", lambda acts: acts.poke()),
    _knock(
        "/v1/power",
        "Look at Slurm at once: its power saving wants nodes, or lets some go.",
        lambda acts: acts.power(),
    ),
)
"""Every call."""
