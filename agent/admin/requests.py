"""What callers of the local API send: each model says all that is taken, and how much of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MOST_WORDS = 1000
"""Names or node sets in one call; a node set may stand for many."""
MOST_MACHINES = 10_000
LONGEST_WAIT = 25.0
"""Seconds that a call may wait for events."""
_A_MONTH = 30 * 86400

Names = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_.,\[\]-]+$")]],
    Field(
        min_length=1,
        max_length=MOST_WORDS,
        description="node_ids, client_ids, node names, or node sets of them such as pc[100-102]",
    ),
]
Reason = Annotated[
    Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] | None,
    Field(description="why, for all to read; null keeps the words of an earlier drain"),
]


def _whole(value: object) -> object:
    """Take 3.0 for 3, as JSON does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Deadline = Annotated[float, Field(ge=0, le=_A_MONTH)]


class Ask(BaseModel):
    """What a call takes: nothing that it does not name."""

    model_config = ConfigDict(extra="forbid")


class EventsQuery(Ask):
    """Query of ``GET /v1/events``."""

    subject: str = Field("", max_length=300, description="any name of a machine, or a CM; empty: all")
    newest: int = Field(100, ge=1, le=10_000, description="how many at most")
    after: int | None = Field(None, ge=0, le=2**53, description="only what came after the event of this id")
    wait: float = Field(
        0, ge=0, le=LONGEST_WAIT, description="seconds to wait for an event, with after, where there is none"
    )


class NodesQuery(Ask):
    """Query of ``GET /v1/nodes``."""

    all: bool = Field(False, description="tell the machines of the slice too that are not ours")


class DrainRequest(Ask):
    """Body of ``POST /v1/drain``."""

    nodes: Names
    reason: Reason = None
    deadline: Deadline | None = Field(
        None,
        description="seconds from now until the nodes have to be empty; null lets every job run to its end",
    )
    force: bool = Field(False, description="also nodes that somebody else drained")
    release: bool = Field(False, description="give the machines back to Cloudlab once they are empty")


class ReleaseRequest(Ask):
    """Body of ``POST /v1/release``."""

    nodes: Names
    reason: Reason = None
    now: bool = Field(False, description="requeue what runs there; else a job there is a refusal")


class ResumeRequest(Ask):
    """Body of ``POST /v1/resume``."""

    nodes: Names


class GrowRequest(Ask):
    """Body of ``POST /v1/grow``."""

    count: Annotated[int, BeforeValidator(_whole)] = Field(
        ge=0, le=MOST_MACHINES, description="machines in addition; 0 withdraws an earlier wish"
    )
    within: float = Field(3600, gt=0, le=_A_MONTH, description="seconds after which the wish ends by itself")


class ReopenRequest(Ask):
    """Body of ``POST /v1/reopen``."""

    cm: str = Field(min_length=1, max_length=300, description="URN of the CM")


class TeardownRequest(Ask):
    """Body of ``POST /v1/teardown``."""

    cm: str | None = Field(
        None,
        min_length=1,
        max_length=300,
        description="URN of the one CM that is meant; null: the whole slice",
    )

    slice: str = Field(
        min_length=1,
        max_length=200,
        description="name of the slice that is meant: nobody tears another one down by a wrong socket",
    )
    deadline: Deadline | None = Field(
        None,
        description="seconds from now until what still runs is requeued; null lets every job run to its end",
    )
