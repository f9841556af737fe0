"""What administrators see and do: names resolved, wishes taken, the agent's knowledge shown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Protocol

from agent.admin.answers import (
    ConfigAnswer,
    DrainJob,
    DrainRecord,
    DrainsAnswer,
    EventRecord,
    EventsAnswer,
    GrowAnswer,
    Growing,
    GrowthAnswer,
    JobsAnswer,
    NamesAnswer,
    NodeRecord,
    NodesAnswer,
    PlanAnswer,
    StatusAnswer,
    ValueRecord,
    ValuesAnswer,
)
from agent.admin.joblook import job_records
from agent.admin.names import aliases, resolve
from agent.cluster.drain.figures import Forecast, foresee
from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.memory.grow_order import in_service
from agent.cluster.memory.hold import hold_words
from agent.cluster.reasons import is_ours
from agent.core.errors import AgentError
from agent.core.events import PastEvent
from agent.core.model import AdminDrain, GrowOrder
from agent.slurm.model import Snapshot
from agent.tell.causes import find_causes

NOT_READ = "Slurm was not read yet: ask again in a moment"
NO_WORDS = "administrator"
"""Why a machine is drained, where nobody ever said it."""


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


class Administration:
    """Turns requests of administrators into wishes of the manager.

    Every method but ``plan`` answers from memory or from the ledger; ``events`` may wait for news.

    Args:
        manager: what is looked at and acted on.
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

    # --- what is known

    def status(self) -> StatusAnswer:
        """Tell what the agent holds, wants and does."""
        view = self._manager.viewer.view()
        states: dict[str, int] = {}
        for node in view.nodes:
            states[node.state] = states.get(node.state, 0) + 1
        growth = self._manager.growth
        return StatusAnswer(
            slice=self._manager.server.slice_urn,
            slice_expires=view.slice_expires,
            sliver_expires=dict(view.sliver_expires),
            machines=len(view.held),
            states=states,
            wanted=view.wanted,
            growing=self._growing(self._manager.orders.growing),
            paused=hold_words(self._manager.orders.hold),
            growth_stopped=view.growth_stopped,
            reasons=growth.reasons if growth else (),
            said=self._manager.said,
        )

    def nodes(self) -> NodesAnswer:
        """Tell one record a machine, those included that were asked for and have not come."""
        return NodesAnswer(
            nodes=tuple(NodeRecord(**vars(node)) for node in self._manager.viewer.view().nodes)
        )

    def jobs(self) -> JobsAnswer:
        """Tell the jobs on borrowed machines, then those that wait.

        Raises:
            AgentError: Slurm was not read yet.
        """
        outlooks = self._manager.drainer.outlooks
        growth = self._manager.growth
        verdicts = growth.jobs if growth else ()
        return JobsAnswer(
            jobs=job_records(self._snapshot(), self._manager.known.machines(), outlooks, verdicts)
        )

    def values(self) -> ValuesAnswer:
        """Tell how much Cloudlab wants each machine, and the weights that follow from it."""
        manager = self._manager
        snapshot = manager.known.snapshot
        with manager.rlock:
            values = dict(manager.resource_values)
        changes = manager.weigher.plan(manager.known.picture(snapshot)) if snapshot else ()
        due = {name: change.weight for change in changes for name in change.nodes}
        known = snapshot.nodes if snapshot else {}
        records = []
        for name, machine in sorted(manager.known.machines().items()):
            value = values.get(machine.node_id)
            records.append(
                ValueRecord(
                    node=name,
                    node_id=machine.node_id,
                    client_id=machine.client_id,
                    value=value.value if value else None,
                    received=value.received if value else None,
                    weight=known[name].weight if name in known else None,
                    wanted_weight=due.get(name),
                )
            )
        return ValuesAnswer(values=tuple(records))

    def plan(self) -> PlanAnswer:
        """Tell what the next cycle would do, why each pending job counts or not, and each node stays or goes.

        Raises:
            AgentError: Slurm was not read yet, or its reservations could not be, where a node is about to go.
        """
        preview = self._manager.preview()
        if preview is None:
            raise AgentError(NOT_READ)
        return PlanAnswer(**vars(preview))

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
        causes = find_causes(found)
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
        now = self._manager.clock.now()
        forecasts = foresee(self._manager.known.wishes().drains, self._manager.drainer.outlooks, now)
        return DrainsAnswer(drains=tuple(_drain_record(forecast) for forecast in forecasts))

    def config(self) -> ConfigAnswer:
        """Tell the settings in force."""
        return self._config()

    # --- what is done

    def poke(self) -> None:
        """Look at the drains at once."""
        self._manager.drainer.wake()

    def power(self) -> None:
        """Look at Slurm at once: its power saving has asked for nodes, or let some go."""
        self._manager.wake("get_system_state")

    def drain(
        self,
        names: Iterable[str],
        reason: str | None,
        who: str,
        deadline: float | None,
        *,
        force: bool = False,
        release: bool = False,
    ) -> NamesAnswer:
        """Empty machines, to keep them or, with ``release``, to give them back.

        Without a reason the words of an earlier drain stay.

        Raises:
            AgentError: a name is not a machine of ours, or without ``force`` somebody else has drained it;
                nothing was done.
        """
        found = resolve(names, self._manager.known.machines())
        snapshot = self._manager.known.snapshot
        for name in found:
            node = snapshot.nodes.get(name) if snapshot else None
            if node is not None and node.draining and not is_ours(node.reason) and not force:
                words = node.reason or "without a reason"
                raise AgentError(f"{name} is already drained: {words} (--force takes it over)")
        now = self._manager.clock.now()
        due = now + timedelta(seconds=deadline) if deadline is not None else None
        for name, machine in found.items():
            words = reason or self._words_that_stand(name, machine.node_id) or NO_WORDS
            wish = AdminDrain(machine.node_id, words, who, now, due, release)
            self._manager.orders.drain(wish, take_over=force)
        return NamesAnswer(nodes=tuple(sorted(found)))

    def release(
        self, names: Iterable[str], reason: str | None, who: str, *, now: bool = False
    ) -> NamesAnswer:
        """Give machines back to Cloudlab on which nothing runs; with ``now`` their jobs are requeued at once.

        Without a reason the words of an earlier drain stay.

        Raises:
            AgentError: a name is not a machine of ours, a job is on it, or somebody else has drained it;
                nothing was done.
        """
        found = resolve(names, self._manager.known.machines())
        for name in found if not now else ():
            if jobs := self._snapshot().jobs_on([name]):
                ids = ", ".join(sorted(job.id for job in jobs)[:5])
                raise AgentError(
                    f"{name} has jobs on it ({ids}): `esagent drain --release` waits for their end,"
                    " `esagent release --now` requeues them"
                )
        return self.drain(found, reason, who, 0.0 if now else None, release=True)

    def resume(self, names: Iterable[str], who: str) -> NamesAnswer:
        """Give machines back to the scheduler.

        Raises:
            AgentError: a name is not a machine of ours, or no administrator drained it; nothing was done.
        """
        found = resolve(names, self._manager.known.machines())
        for name, machine in found.items():
            if self._manager.orders.drain_of(machine.node_id) is None:
                raise AgentError(f"{name} was not drained with `esagent drain`")
        for machine in found.values():
            self._manager.orders.resume(machine.node_id, who)
        return NamesAnswer(nodes=tuple(sorted(found)))

    def grow(self, count: int, who: str, within: float) -> GrowAnswer:
        """Have so many machines more than are held now, whatever the queue wants; 0 withdraws the wish.

        Args:
            count: machines.
            who: the administrator's user name.
            within: seconds after which the wish ends by itself.

        Raises:
            AgentError: something holds growth up, ``max_nodes`` does not allow it, or there is nothing to
                withdraw; nothing was done.
        """
        manager = self._manager
        if not count:
            if not manager.orders.withdraw_growth(who):
                raise AgentError("nobody has asked for machines with `esagent grow`")
            return GrowAnswer(growing=None)
        self._snapshot()
        order = GrowOrder(
            manager.wanting.held_or_coming() + count, who, manager.clock.now() + timedelta(seconds=within)
        )
        manager.orders.grow(order)
        return GrowAnswer(growing=self._growing(order))

    def renew(self, who: str) -> GrowthAnswer:
        """Renew the lease to its full length now, whatever it has left; events tell how that went."""
        return GrowthAnswer(growth=self._manager.orders.renew(who))

    def pause(self, who: str) -> GrowthAnswer:
        """Ask for no machine from now on; tell in words what is in force."""
        return GrowthAnswer(growth=hold_words(self._manager.orders.pause(who)))

    def unpause(self, who: str) -> GrowthAnswer:
        """Allow growth again, whether somebody or the protective brake stopped it; tell in words.

        Raises:
            AgentError: nothing holds growth up.
        """
        if not self._manager.orders.unpause(who):
            raise AgentError("growth is neither paused nor stopped")
        return GrowthAnswer(growth=f"growth is allowed again by {who}")

    def teardown(self, slice_name: str, who: str, deadline: float | None) -> GrowthAnswer:
        """Stop growth, empty every machine and give it back; tell in words.

        Args:
            slice_name: name of the slice that is meant.
            who: the administrator's user name.
            deadline: seconds until what still runs is requeued; None lets every job run to its end.

        Raises:
            AgentError: the agent keeps another slice; nothing was done.
        """
        urn = self._manager.server.slice_urn
        if slice_name != urn.rpartition("+")[2]:
            raise AgentError(f"this agent keeps {urn}, not a slice called {slice_name!r}")
        due = self._manager.clock.now() + timedelta(seconds=deadline) if deadline is not None else None
        hold = self._manager.orders.tear_down(who, due)
        return GrowthAnswer(growth=f"{hold_words(hold)}; {len(self._manager.held())} machines are held")

    # --- the small things

    def _snapshot(self) -> Snapshot:
        snapshot = self._manager.known.snapshot
        if snapshot is None:
            raise AgentError(NOT_READ)
        return snapshot

    def _words_that_stand(self, name: str, node_id: str) -> str:
        """Return why a node was drained before, by somebody else in Slurm or with us; "" for nobody."""
        snapshot = self._manager.known.snapshot
        node = snapshot.nodes.get(name) if snapshot else None
        if node is not None and node.draining and not is_ours(node.reason):
            return " ".join(node.reason.split())
        earlier = self._manager.orders.drain_of(node_id)
        return earlier.reason if earlier else ""

    def _growing(self, order: GrowOrder | None) -> Growing | None:
        if order is None:
            return None
        snapshot = self._manager.known.snapshot
        there = in_service(self._manager.known.picture(snapshot)) if snapshot else 0
        return Growing(machines=order.machines, in_service=there, who=order.who, until=order.until)

    def _subjects(self, subject: str) -> set[str]:
        """Return every name of a machine that is ours; the word itself for anything else, "" for nothing."""
        machines = self._manager.known.machines()
        name = aliases(machines).get(subject)
        if name is None:
            return {subject} if subject else set()
        return {name, machines[name].node_id, machines[name].client_id}


def _drain_record(forecast: Forecast) -> DrainRecord:
    drain, margin = forecast.drain, forecast.margin
    return DrainRecord(
        node=drain.node,
        cause=drain.cause.value,
        who=drain.who,
        why=drain.why,
        due=drain.deadline,
        jobs=tuple(
            DrainJob(job=o.job.id, user=o.job.user, fate=o.fate.value, at=o.at) for o in forecast.outlooks
        ),
        empty_at=forecast.empty,
        margin_seconds=round(margin.total_seconds()) if margin is not None else None,
    )
