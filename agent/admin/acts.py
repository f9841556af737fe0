"""What administrators may do: names resolved, their wishes handed to the manager, and why one is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from agent.admin.answers import GrowAnswer, GrowthAnswer, NamesAnswer
from agent.admin.names import resolve
from agent.admin.questions import describe_growing, read_snapshot
from agent.cluster.grow.supply import count_supply
from agent.cluster.manager import SlurmElasticSliceManager
from agent.cluster.memory.hold import hold_words
from agent.cluster.memory.teardowns import teardown_words
from agent.cluster.moment import Moment
from agent.cluster.reasons import is_ours
from agent.cluster.wishes.going import why_not_kept, why_not_resumed
from agent.core.errors import AgentError
from agent.core.model import AdminDrain, GrowOrder, SliverNode
from agent.core.slice.words import retired_words

NO_WORDS = "administrator"
"""Why a machine is drained, where nobody ever said it."""


class Acts:
    """Turns requests of administrators into wishes of the manager, from memory alone.

    Args:
        manager: what is acted on.
    """

    def __init__(self, manager: SlurmElasticSliceManager) -> None:
        self._manager = manager

    def poke(self) -> None:
        """Look at the drains at once."""
        self._manager.desk.look_at_drains()

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
            AgentError: a name is not a machine of ours, without ``force`` somebody else has drained it, or
                it cannot be kept any more; nothing was done.
        """
        moment = self._manager.memory.now()
        found = resolve(names, moment.machines, moment.foreign)
        if not release:
            _refuse("kept", {name: why_not_kept(machine, moment) for name, machine in found.items()})
        for name in found:
            node = moment.nodes.get(name)
            if node is not None and node.draining and not is_ours(node.reason) and not force:
                words = node.reason or "without a reason"
                raise AgentError(f"{name} is already drained: {words} (--force takes it over)")
        due = moment.now + timedelta(seconds=deadline) if deadline is not None else None
        for name, machine in found.items():
            words = reason or _words_that_stand(name, moment) or NO_WORDS
            meant = (machine.sliver_id, machine.cm, machine.client_id)
            wish = AdminDrain(machine.node_id, words, who, moment.now, due, release, *meant, takes_over=force)
            self._manager.orders.drain(wish)
        if not release:
            self._tell_of_those_that_go(found)
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
        moment = self._manager.memory.now()
        found = resolve(names, moment.machines, moment.foreign)
        for name in found if not now else ():
            if jobs := read_snapshot(moment).jobs_on([name]):
                ids = ", ".join(sorted(job.id for job in jobs)[:5])
                raise AgentError(
                    f"{name} has jobs on it ({ids}): `esagent drain --release` waits for their end,"
                    " `esagent release --now` requeues them"
                )
        return self.drain(found, reason, who, 0.0 if now else None, release=True)

    def resume(self, names: Iterable[str], who: str) -> NamesAnswer:
        """Give machines back to the scheduler.

        Raises:
            AgentError: a name is not a machine of ours, no administrator drained it, or it goes back whatever
                is said now; nothing was done.
        """
        moment = self._manager.memory.now()
        found = resolve(names, moment.machines, moment.foreign)
        for name, machine in found.items():
            if moment.wish_for(machine) is None:
                raise AgentError(f"{name} was not drained with `esagent drain`")
        _refuse("resumed", {name: why_not_resumed(machine, moment) for name, machine in found.items()})
        for machine in found.values():
            self._manager.orders.resume(machine, who)
        self._tell_of_those_that_go(found)
        return NamesAnswer(nodes=tuple(sorted(found)))

    def _tell_of_those_that_go(self, found: Mapping[str, SliverNode]) -> None:
        """Refuse to call done what came too late: delete commands began while the order was written down."""
        late = sorted(name for name, machine in found.items() if self._manager.orders.is_leaving(machine))
        if late:
            raise AgentError(
                f"too late for {', '.join(late)}: the delete commands have begun, and it goes back"
            )

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
        moment = manager.memory.now()
        read_snapshot(moment)
        order = GrowOrder(count_supply(moment).count + count, who, moment.now + timedelta(seconds=within))
        manager.orders.grow(order)
        return GrowAnswer(growing=describe_growing(moment, order))

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

    def reopen(self, cm: str, who: str) -> GrowthAnswer:
        """Allow machines to be asked of a CM again that is emptied; tell in words.

        Raises:
            AgentError: nobody has it emptied.
        """
        if not self._manager.orders.reopen_cm(cm, who):
            raise AgentError(f"nobody has {cm} emptied with `esagent teardown --cm`")
        return GrowthAnswer(growth=f"{cm} is not emptied any more, by {who}")

    def teardown(self, slice_name: str, who: str, deadline: float | None, cm: str = "") -> GrowthAnswer:
        """Stop growth, empty every machine and give it back; tell in words.

        Args:
            slice_name: name of the slice that is meant.
            who: the administrator's user name.
            deadline: seconds until what still runs is requeued; None lets every job run to its end.
            cm: URN of the one CM that is meant; "" for all.

        Raises:
            AgentError: the agent keeps another slice, or has no such CM that it can ask; nothing was done.
        """
        urn = self._manager.server.slice_urn
        if slice_name != urn.rpartition("+")[2]:
            raise AgentError(f"this agent keeps {urn}, not a slice called {slice_name!r}")
        due = self._manager.clock.now() + timedelta(seconds=deadline) if deadline is not None else None
        if cm:
            self._require_cm(cm)
            wish = self._manager.orders.tear_down_cm(cm, who, due)
            held = len(self._manager.held(cm))
            return GrowthAnswer(growth=f"{teardown_words(wish)}; {held} machines are held there")
        hold = self._manager.orders.tear_down(who, due)
        return GrowthAnswer(growth=f"{hold_words(hold)}; {len(self._manager.held())} machines are held")

    def _require_cm(self, cm: str) -> None:
        manager = self._manager
        if cm in manager.cmlist and not manager.retired.is_over(cm):
            return
        for report in manager.retired.reports():
            if report.urn == cm:
                raise AgentError(retired_words(report))
        raise AgentError(f"{cm!r}: the URN of a CM is expected: {', '.join(manager.cmlist)}")


def _refuse(what: str, whys: Mapping[str, str]) -> None:
    for name, why in whys.items():
        if why:
            raise AgentError(f"{name} cannot be {what}: {why}")


def _words_that_stand(name: str, moment: Moment) -> str:
    """Return why a node was drained before, by somebody else in Slurm or with us; "" for nobody."""
    node = moment.nodes.get(name)
    if node is not None and node.draining and not is_ours(node.reason):
        return " ".join(node.reason.split())
    earlier = moment.wish_for(moment.machines[name])
    return earlier.reason if earlier else ""
