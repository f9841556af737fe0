"""What administrators may ask: an answer for each question, from the manager's memory and the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from agent.admin.answers import (
    ConfigAnswer,
    DrainJob,
    DrainRecord,
    DrainsAnswer,
    EventRecord,
    EventsAnswer,
    Growing,
    JobRecord,
    JobsAnswer,
    NodeRecord,
    NodesAnswer,
    PlanAnswer,
    RetiredRecord,
    StatusAnswer,
    ValueRecord,
    ValuesAnswer,
    write_time,
)
from agent.admin.names import aliases
from agent.cluster.drain.figures import Forecast, foresee
from agent.cluster.drain.jobs import Outlook
from agent.cluster.drain.wanted import wishes_of
from agent.cluster.grow.demand import JobVerdict
from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.memory.hold import hold_words
from agent.cluster.memory.teardowns import teardown_words
from agent.cluster.moment import Moment
from agent.cluster.steer.weights import plan_weights
from agent.core.errors import AgentError
from agent.core.events import PastEvent
from agent.core.model import GrowOrder, RetiredCm
from agent.core.slice.lapse import near, unrenewed_words
from agent.core.slice.outlook import outlook
from agent.core.slice.words import foreign_words, left_behind_words, retired_words
from agent.slurm.model import Job, Snapshot
from agent.tell.causes import find_causes

NOT_READ = "Slurm was not read yet: ask again in a moment"


class EventHistory(Protocol):
    """Where events can be read again."""

    def history(
        self, subjects: Collection[str] = (), *, newest: int = 100, after: int | None = None
    ) -> Sequence[tuple[int, PastEvent]]:
        """Return (id, event) of any of these subjects, oldest first; those after an id, or the newest."""

    def last_event(self) -> int:
        """Return the id of the newest event; 0 before the first."""

    def wait_for_event(self, after: int, timeout: float) -> None:
        """Wait until an event is recorded after the one of this id, or ``let_go`` is called."""

    def let_go(self) -> None:
        """Let those go who wait for events, now and from now on."""


class Questions:
    """Answers what administrators ask; nothing is changed by it.

    Every method but ``plan`` answers from memory or from the ledger; ``events`` may wait for news.

    Args:
        manager: what is looked at.
        history: the events.
        config: returns the settings in force.
    """

    def __init__(
        self,
        manager: SlurmElasticSliceManager,
        history: EventHistory,
        config: Callable[[], ConfigAnswer],
    ) -> None:
        self._manager = manager
        self._history = history
        self._config = config

    def status(self) -> StatusAnswer:
        """Tell what the agent holds, wants and does."""
        view = self._manager.view()
        states: dict[str, int] = {}
        for node in view.nodes:
            states[node.state] = states.get(node.state, 0) + 1
        plan, moment = self._manager.last_plan, self._manager.memory.now()
        return StatusAnswer(
            slice=self._manager.server.slice_urn,
            slice_expires=view.slice_expires,
            sliver_expires=dict(view.sliver_expires),
            lease_warnings=tuple(
                f"{lapse.what} ends at {write_time(lapse.expires)}, and {unrenewed_words(lapse)}"
                for lapse in near(view.lapses, moment.now)
            ),
            machines=len(view.held),
            states=states,
            wanted=view.wanted,
            growing=describe_growing(moment, moment.order),
            paused=hold_words(moment.hold),
            growth_stopped=view.growth_stopped,
            teardowns={cm: teardown_words(wish) for cm, wish in moment.teardowns.items()},
            retired=tuple(describe_retired(report) for report in view.retired),
            left_behind=tuple(map(left_behind_words, view.left_behind)),
            impasses=tuple(impasse.words for impasse in view.impasses),
            reasons=plan.growth.reasons if plan else (),
            foreign=foreign_words([node.client_id for node in view.foreign]),
            said=self._manager.said,
        )

    def nodes(self, *, foreign: bool = False) -> NodesAnswer:
        """Tell one record a machine, those included that were asked for and have not come.

        Args:
            foreign: tell those of the slice too that are not ours, after all others.
        """
        view = self._manager.view()
        shown = (*view.nodes, *view.foreign) if foreign else view.nodes
        return NodesAnswer(nodes=tuple(NodeRecord(**vars(node)) for node in shown))

    def jobs(self) -> JobsAnswer:
        """Tell the jobs on borrowed machines, then those that wait.

        Raises:
            AgentError: Slurm was not read yet.
        """
        plan, moment = self._manager.last_plan, self._manager.memory.now()
        verdicts = plan.growth.jobs if plan else ()
        outlooks = self._manager.drainer.outlooks
        return JobsAnswer(jobs=job_records(read_snapshot(moment), moment.machines, outlooks, verdicts))

    def values(self) -> ValuesAnswer:
        """Tell how much Cloudlab wants each machine, and the weights that follow from it."""
        moment = self._manager.memory.now()
        due = {name: change.weight for change in plan_weights(moment) for name in change.nodes}
        records = []
        for name, machine in sorted(moment.machines.items()):
            value = moment.slice.value_of(machine)
            records.append(
                ValueRecord(
                    node=name,
                    node_id=machine.node_id,
                    client_id=machine.client_id,
                    value=value.value if value else None,
                    received=moment.on_the_wall(value.received) if value else None,
                    weight=moment.nodes[name].weight if name in moment.nodes else None,
                    wanted_weight=due.get(name),
                )
            )
        return ValuesAnswer(values=tuple(records))

    def plan(self) -> PlanAnswer:
        """Tell what the next cycle would do, why each pending job counts or not, and each node stays or goes.

        Raises:
            AgentError: Slurm was not read yet, or its reservations could not be, where a node is about to go.
        """
        plan = self._manager.plan()
        if plan is None:
            raise AgentError(NOT_READ)
        view = self._manager.view()
        return PlanAnswer(
            steps=plan.steps,
            jobs=plan.jobs,
            nodes=plan.nodes,
            growth=plan.held_up,
            leases=outlook(view.sliver_expires, view.lapses, self._manager.lease),
        )

    def events(self, subject: str, newest: int, after: int | None, wait: float) -> EventsAnswer:
        """Tell events, oldest first, each with what led to it where that is told beside it.

        Args:
            subject: any name of a machine, a CM, or "" for all.
            newest: how many at most: the newest, or with ``after`` the oldest after it.
            after: only what came after the event of this id.
            wait: seconds to wait for one, with ``after``, while there is none.
        """
        last = self._history.last_event()
        if after is not None:
            # A ledger that was begun anew counts from 1 again.
            after = min(after, last)
            self._history.wait_for_event(after, wait)
            last = self._history.last_event()
        found = self._history.history(self._subjects(subject), newest=newest, after=after)
        if after is not None and len(found) == newest:
            last = found[-1][0]
        causes = find_causes(found, aliases(self._manager.memory.now().machines))
        records = (
            EventRecord(
                **{"id": number, **vars(event), "data": dict(event.data), "cause": causes.get(number)}
            )
            for number, event in found
        )
        return EventsAnswer(events=tuple(records), last=last)

    def let_go(self) -> None:
        """Let those go who wait for events."""
        self._history.let_go()

    def drains(self) -> DrainsAnswer:
        """Tell one record a node that is emptied, the earliest deadline first."""
        moment = self._manager.memory.now()
        drains = wishes_of(moment).drains
        forecasts = foresee(drains, self._manager.drainer.outlooks, moment.now)
        return DrainsAnswer(drains=tuple(_drain_record(forecast) for forecast in forecasts))

    def config(self) -> ConfigAnswer:
        """Tell the settings in force."""
        return self._config()

    def _subjects(self, subject: str) -> set[str]:
        """Return every name of a machine of the slice; the word itself for anything else, "" for nothing."""
        moment = self._manager.memory.now()
        machines = {**moment.foreign, **moment.machines}
        name = aliases(machines).get(subject)
        if name is None:
            return {subject} if subject else set()
        return {name, machines[name].node_id, machines[name].client_id}


def read_snapshot(moment: Moment) -> Snapshot:
    """Return what Slurm said last.

    Raises:
        AgentError: Slurm was not read yet.
    """
    if moment.snapshot is None:
        raise AgentError(NOT_READ)
    return moment.snapshot


def describe_retired(report: RetiredCm) -> RetiredRecord:
    """Tell of a CM that is not in agent.conf any more."""
    return RetiredRecord(
        cm=report.urn,
        url=report.url,
        machines=report.machines,
        expires=report.expires,
        asked=report.asked,
        heard=report.heard,
        words=retired_words(report),
    )


def describe_growing(moment: Moment, order: GrowOrder | None) -> Growing | None:
    """Tell how far a wish for more machines is; None for none."""
    if order is None:
        return None
    return Growing(machines=order.machines, in_service=moment.in_service, who=order.who, until=order.until)


def job_records(
    snapshot: Snapshot, ours: Collection[str], outlooks: Iterable[Outlook], verdicts: Iterable[JobVerdict]
) -> tuple[JobRecord, ...]:
    """Tell the jobs on our machines, by id, then those that wait, in the order of the verdicts.

    Args:
        snapshot: what Slurm says.
        ours: node names of our machines.
        outlooks: what will become of the jobs on draining nodes.
        verdicts: what each pending job means for growth.
    """
    fates = {outlook.job.id: _fate(outlook) for outlook in outlooks}
    mine = frozenset(ours)
    on_ours = [job for job in snapshot.jobs if job.holds_nodes and job.nodes & mine]
    pending = {job.id: job for job in snapshot.jobs if job.state == "PENDING"}
    running = [_record(job, mine, fates.get(job.id, "")) for job in sorted(on_ours, key=lambda job: job.id)]
    waiting = [_record(pending[v.job], mine, v.why) for v in verdicts if v.job in pending]
    return (*running, *waiting)


def _record(job: Job, ours: frozenset[str], outlook: str) -> JobRecord:
    return JobRecord(
        job=job.id,
        user=job.user,
        state=job.state,
        nodes=tuple(sorted(job.nodes & ours)),
        ends=job.ends,
        outlook=outlook,
    )


def _fate(outlook: Outlook) -> str:
    return f"{outlook.fate.value} at {write_time(outlook.at)}" if outlook.at else outlook.fate.value


def _drain_record(forecast: Forecast) -> DrainRecord:
    drain, margin = forecast.drain, forecast.margin
    return DrainRecord(
        node=drain.node,
        cause=drain.cause.value,
        who=drain.who,
        why=drain.why,
        due=drain.deadline,
        jobs=tuple(
            DrainJob(
                job=o.job.id,
                user=o.job.user,
                fate=o.fate.value,
                at=o.at,
                expected=o.expected,
                saves=o.saves,
            )
            for o in forecast.outlooks
        ),
        empty_at=forecast.empty,
        margin_seconds=round(margin.total_seconds()) if margin is not None else None,
    )
