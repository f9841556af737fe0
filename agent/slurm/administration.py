"""What administrators see and do: names resolved, wishes taken, the agent's knowledge shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Protocol

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

from agent.core.errors import AgentError
from agent.core.model import AdminDrain, Event, NodeView, SliverNode
from agent.slurm.drain import is_ours
from agent.slurm.drain_figures import Forecast, foresee
from agent.slurm.hold import TEARDOWN
from agent.slurm.manager import SlurmElasticSliceManager


class EventHistory(Protocol):
    """Where events can be read again."""

    def events(self, subject: str = "", *, newest: int = 100) -> Sequence[Event]:
        """Return the newest events about a subject ("" for all), oldest first."""


class Administration:
    """Turns requests of administrators into wishes of the manager; answers from memory, but for ``plan``."""

    def __init__(self, manager: SlurmElasticSliceManager, history: EventHistory) -> None:
        self._manager = manager
        self._history = history

    def status(self) -> Mapping[str, object]:
        """Tell what the agent holds, wants and does."""
        view = self._manager.view()
        states: dict[str, int] = {}
        for node in view.nodes:
            states[node.state] = states.get(node.state, 0) + 1
        growth = self._manager.growth
        return {
            "slice": self._manager.server.slice_urn,
            "slice_expires": _iso(view.slice_expires),
            "sliver_expires": {cm: _iso(when) for cm, when in view.sliver_expires.items()},
            "machines": len(view.nodes),
            "states": states,
            "wanted": view.wanted,
            "paused": hold_words(self._manager.hold),
            "growth_stopped": view.growth_stopped,
            "reasons": list(growth.reasons) if growth else [],
            "said": self._manager.said,
        }

    def nodes(self) -> list[Mapping[str, object]]:
        """Tell one record a machine."""
        return [_node_record(node) for node in self._manager.view().nodes]

    def plan(self) -> Mapping[str, object]:
        """Tell what the next cycle would do, why each pending job counts or not, and each node stays or goes.

        Raises:
            AgentError: Slurm was not read yet, or its reservations could not be, where a node is about to go.
        """
        preview = self._manager.preview()
        if preview is None:
            raise AgentError("Slurm was not read yet: ask again in a moment")
        return asdict(preview)

    def events(self, subject: str, newest: int) -> list[Mapping[str, object]]:
        """Tell the newest events, oldest first."""
        return [
            {"time": _iso(e.time), "kind": e.kind, "subject": e.subject, "message": e.message, **e.data}
            for e in self._history.events(subject, newest=newest)
        ]

    def drains(self) -> list[Mapping[str, object]]:
        """Tell one record a node that is emptied, the earliest deadline first."""
        now = self._manager.clock.now()
        forecasts = foresee(self._manager.wishes().drains, self._manager.drainer.outlooks, now)
        return [_drain_record(forecast) for forecast in forecasts]

    def poke(self) -> None:
        """Look at the drains at once."""
        self._manager.drainer.wake()

    def power(self) -> None:
        """Look at Slurm at once: its power saving has asked for nodes, or let some go."""
        self._manager.wake("get_system_state")

    def drain(
        self,
        names: Iterable[str],
        reason: str,
        who: str,
        deadline: float | None,
        *,
        force: bool = False,
        release: bool = False,
    ) -> list[str]:
        """Empty machines, to keep them or, with ``release``, to give them back.

        Raises:
            AgentError: a name is not a machine of ours, or without ``force`` somebody else has drained it;
                nothing was done.
        """
        found = self._resolve(names)
        snapshot = self._manager.snapshot
        for name in found:
            node = snapshot.nodes.get(name) if snapshot else None
            if node is not None and node.draining and not is_ours(node.reason) and not force:
                words = node.reason or "without a reason"
                raise AgentError(f"{name} is already drained: {words} (--force takes it over)")
        now = self._manager.clock.now()
        due = now + timedelta(seconds=deadline) if deadline is not None else None
        for machine in found.values():
            wish = AdminDrain(machine.node_id, reason, who, now, due, release)
            self._manager.put_admin_drain(wish, take_over=force)
        return sorted(found)

    def resume(self, names: Iterable[str], who: str) -> list[str]:
        """Give machines back to the scheduler.

        Raises:
            AgentError: a name is not a machine of ours, or no administrator drained it; nothing was done.
        """
        found = self._resolve(names)
        for name, machine in found.items():
            if self._manager.admin_drain(machine.node_id) is None:
                raise AgentError(f"{name} was not drained with `esagent drain`")
        for machine in found.values():
            self._manager.remove_admin_drain(machine.node_id, who)
        return sorted(found)

    def pause(self, who: str) -> str:
        """Ask for no machine from now on; tell in words what is in force."""
        return hold_words(self._manager.pause(who))

    def unpause(self, who: str) -> str:
        """Allow growth again, whether somebody or the protective brake stopped it; tell in words.

        Raises:
            AgentError: nothing holds growth up.
        """
        if not self._manager.unpause(who):
            raise AgentError("growth is neither paused nor stopped")
        return f"growth is allowed again by {who}"

    def teardown(self, slice_name: str, who: str, deadline: float | None) -> str:
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
        hold = self._manager.tear_down(who, due)
        return f"{hold_words(hold)}; {len(self._manager.held())} machines are held"

    def _resolve(self, names: Iterable[str]) -> dict[str, SliverNode]:
        """Turn node_ids, client_ids, node names and node sets of them into node name -> machine."""
        machines = self._manager.machines()
        known = {alias: name for name, m in machines.items() for alias in (m.client_id, m.node_id, name)}
        found = {}
        for word in names:
            for alias in _expand(word):
                if alias not in known:
                    raise AgentError(f"{alias} is not one of our machines: {_list(machines)}")
                found[known[alias]] = machines[known[alias]]
        return found


def _expand(word: str) -> Iterable[str]:
    try:
        expanded: Iterable[str] = NodeSet(word, resolver=RESOLVER_NOGROUP)
    except NodeSetException as error:
        raise AgentError(f"{word!r} is neither a name nor a node set: {error}") from None
    return expanded


def _list(machines: Mapping[str, Any]) -> str:
    if not machines:
        return "there are none"
    return f"they are {NodeSet.fromlist(list(machines), resolver=RESOLVER_NOGROUP)}"


def hold_words(hold: AdminDrain | None) -> str:
    """Tell who holds growth up, and since when; "" for nobody."""
    if hold is None:
        return ""
    due = f", due {_iso(hold.deadline)}" if hold.deadline else ""
    what = "everything is given back" if hold.reason == TEARDOWN else "growth is paused"
    return f"{what} by {hold.who} since {_iso(hold.since)}{due}"


def _node_record(node: NodeView) -> Mapping[str, object]:
    return {**vars(node), "state": node.state.value, "due": _iso(node.due)}


def _drain_record(forecast: Forecast) -> Mapping[str, object]:
    drain, margin = forecast.drain, forecast.margin
    return {
        "node": drain.node,
        "cause": drain.cause.value,
        "who": drain.who,
        "why": drain.why,
        "due": _iso(drain.deadline),
        "jobs": [
            {"job": o.job.id, "user": o.job.user, "fate": o.fate.value, "at": _iso(o.at)}
            for o in forecast.outlooks
        ],
        "empty_at": _iso(forecast.empty),
        "margin_seconds": round(margin.total_seconds()) if margin is not None else None,
    }


def _iso(when: Any) -> str | None:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when is not None else None
