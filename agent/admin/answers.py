"""What the local API answers: one model a kind, each with its version. Its document is made from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from agent.cluster.grow.demand import JobVerdict
from agent.cluster.planner import PlannedStep
from agent.cluster.shrink.surplus import NodeVerdict
from agent.core.views import NodeState


def write_time(when: datetime) -> str:
    """Write a time as all answers do: ISO 8601 in UTC, whole seconds."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Moment = Annotated[
    datetime, PlainSerializer(write_time), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A time, written by ``write_time``."""


class Part(BaseModel):
    """A piece of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(Part):
    """A whole answer: a version that changes when a reader would have to, and what it is."""

    version: Literal[1] = 1


class Growing(Part):
    """An administrator's wish for more machines (``POST /v1/grow``) that is not fulfilled yet."""

    machines: int = Field(description="machines that are to be in service, in all")
    in_service: int = Field(description="those that are")
    who: str
    until: Moment = Field(description="when the wish ends by itself")


class RetiredRecord(Part):
    """A CM that is not in agent.conf any more, and holds something for us, or may."""

    cm: str = Field(description="URN")
    url: str = Field(description='where it is called; "" where that is not known: it cannot be asked')
    machines: tuple[str, ...] = Field(description="client_ids of our machines there")
    expires: Moment | None = Field(description="until when its sliver lasts; null where it is not known")
    asked: tuple[str, ...] = Field(description="client_ids that it was asked about, with no answer known")
    heard: bool = Field(description="whether it was heard since the start; else this is from the ledger")
    words: str = Field(description="all that, and what can be done")


class StatusAnswer(Answer):
    """What the agent holds, wants and does."""

    kind: Literal["status"] = "status"
    standby: str = Field("", description='which agent acts in place of this one; "" where this one does')
    slice: str = Field(description='URN; "" while it stands by')
    slice_expires: Moment | None
    sliver_expires: dict[str, Moment] = Field(description="URN of a CM -> until when its sliver lasts")
    lease_warnings: tuple[str, ...] = Field(
        description="leases that end soon and that nobody renews, or that are refused, in words"
    )
    machines: int = Field(description="machines held")
    states: dict[NodeState, int] = Field(description="state -> machines; requested ones are not held yet")
    wanted: int = Field(description="machines that the queue wants in addition")
    growing: Growing | None
    paused: str = Field(description='who stopped growth, in words; "" for nobody')
    growth_stopped: str = Field(description='why the protective brake stopped growth; "" while it goes on')
    teardowns: dict[str, str] = Field(
        default_factory=dict, description="URN of a CM that is emptied -> who wants it, in words"
    )
    retired: tuple[RetiredRecord, ...] = Field(
        (), description="CMs that are not in agent.conf and hold something for us"
    )
    left_behind: tuple[str, ...] = Field(
        (), description="what is held in other slices that the agent kept before, in words"
    )
    impasses: tuple[str, ...] = Field(
        (), description="what CMs refuse until a person acts, and what can be done, in words"
    )
    reasons: tuple[str, ...] = Field(description="why machines are wanted, and why jobs do not count")
    foreign: str = Field("", description='machines of the slice that are not ours, in words; "" for none')
    said: str = Field(description="the newest decision, in words")


class NodeRecord(Part):
    """One machine; one whose state is ``foreign`` is not ours: it is shown, and nothing else."""

    node: str = Field(description="node name; the client_id until the machine has a node_id")
    node_id: str = Field(description='"" while the machine was only asked for')
    client_id: str
    cm: str = Field(description="URN")
    state: NodeState
    value: float | None = Field(description="resource value, 0 to 1; null while Cloudlab told none")
    weight: int | None = Field(description="weight in Slurm; null where Slurm does not have it")
    due: Moment | None = Field(description="deadline of its revocation or drain")
    asked: Moment | None = Field(description="when it was asked for; null once Cloudlab has lent it")
    jobs: tuple[str, ...] = Field(
        (), description="the oldest jobs that it was asked for, as far as this run of the agent knows"
    )
    more_jobs: int = Field(0, description="how many others there were")


class NodesAnswer(Answer):
    """The machines that the agent holds, those that it has asked for and, where asked, those not ours."""

    kind: Literal["nodes"] = "nodes"
    nodes: tuple[NodeRecord, ...]


class JobRecord(Part):
    """One job that is on borrowed machines, or waits."""

    job: str
    user: str
    state: str = Field(description="Slurm's word")
    nodes: tuple[str, ...] = Field(description="the borrowed machines that it is on")
    ends: Moment | None = Field(description="when its own time limit ends it")
    outlook: str = Field(description="what it means for growth, or what will happen to it on a draining node")


class JobsAnswer(Answer):
    """The jobs on borrowed machines, then those that wait, oldest first."""

    kind: Literal["jobs"] = "jobs"
    jobs: tuple[JobRecord, ...]


class ValueRecord(Part):
    """How much Cloudlab wants one machine."""

    node: str
    node_id: str
    client_id: str
    value: float | None = Field(description="0 (not) to 1 (soon); null while Cloudlab told none")
    received: Moment | None
    weight: int | None
    wanted_weight: int | None = Field(description="what the next push sets; null where the weight is right")


class ValuesAnswer(Answer):
    """Resource values and the weights that follow from them."""

    kind: Literal["values"] = "values"
    values: tuple[ValueRecord, ...]


class PlanAnswer(Answer):
    """What the next cycle would do, why each pending job counts or not, and each node stays or goes."""

    kind: Literal["plan"] = "plan"
    growth: str = Field(description='what holds growth up; "" for nothing')
    steps: tuple[PlannedStep, ...]
    jobs: tuple[JobVerdict, ...]
    nodes: tuple[NodeVerdict, ...]
    leases: tuple[str, ...] = Field(
        (), description="until when each sliver lasts, what is in the way of more, and what is done about it"
    )


class DrainJob(Part):
    """A job that holds a draining node."""

    job: str
    user: str
    fate: str
    at: Moment | None
    expected: str = Field(
        "", description='when it is expected to end and what it loses by starting over; "" where nobody knows'
    )
    saves: str = Field("", description='what tells it to save its work, and when; "" for nothing')


class DrainRecord(Part):
    """One node that is emptied."""

    node: str
    cause: str
    who: str
    why: str
    due: Moment | None
    jobs: tuple[DrainJob, ...]
    empty_at: Moment | None
    margin_seconds: int | None = Field(description="from then to the deadline")


class DrainsAnswer(Answer):
    """The nodes that are emptied, the earliest deadline first."""

    kind: Literal["drains"] = "drains"
    drains: tuple[DrainRecord, ...]


class EventRecord(Part):
    """One decision or act."""

    id: int
    time: Moment
    kind: str
    subject: str = Field(description='a node_id, a node name, a CM, or "" for the whole agent')
    message: str
    data: dict[str, Any]
    cause: int | None = Field(description="id of the event that led to it, where it is told beside it")


class EventsAnswer(Answer):
    """Events, oldest first."""

    kind: Literal["events"] = "events"
    events: tuple[EventRecord, ...]
    last: int = Field(description="ask for what comes after this id to go on from here")


class ConfigAnswer(Answer):
    """The settings in force."""

    kind: Literal["config"] = "config"
    path: str = Field(description="the file that they came from")
    settings: dict[str, Any] = Field(description="section -> key -> value; durations in seconds")
    reloadable: tuple[str, ...] = Field(description="sections that SIGHUP takes up; others need a restart")


class DoneAnswer(Answer):
    """It was taken in; the loop is awake."""

    kind: Literal["done"] = "done"


class NamesAnswer(Answer):
    """The nodes that it concerns, by their names in Slurm."""

    kind: Literal["names"] = "names"
    nodes: tuple[str, ...]


class GrowthAnswer(Answer):
    """What holds for growth now, in words."""

    kind: Literal["growth"] = "growth"
    growth: str


class GrowAnswer(Answer):
    """What is aimed at from now on; null after a wish was withdrawn."""

    kind: Literal["grow"] = "grow"
    growing: Growing | None
