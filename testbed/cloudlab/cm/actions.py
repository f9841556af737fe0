"""DeleteSlice, Shutdown, and Start-, Stop-, Restart-, Reload-, PowerCycleSliver.

protogeni.md §3.9, §3.11, §3.12; protogeni-2021.md §5.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from testbed.cloudlab.answer import Code, RefusalError, busy, forbidden, malformed, starting
from testbed.cloudlab.cm.background import Background
from testbed.cloudlab.cm.gate import require_idle, require_kept, take_idle, take_patiently
from testbed.cloudlab.cm.manager import READ, SHUT_DOWN, ComponentManager
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Aggregate, CmSlice, NodeSliver
from testbed.cloudlab.wire.xmlrpc import truthy

_STOP = frozenset({"pi", "instantiate", "control"})
_IN_2016 = {
    "start": (frozenset({"stopped", "new", "mixed"}), "Sliver is not stopped (yet)"),
    "stop": (frozenset({"started", "mixed"}), "Sliver is not started (yet)"),
    "restart": (frozenset({"started", "mixed"}), "Sliver is not started (yet)"),
    "reload": (frozenset({"started", "stopped"}), "Sliver is not started or stopped (yet)"),
}
"""Action -> the states it is allowed in, and the refusal for others."""
_SINCE_2021 = {
    **_IN_2016,
    "start": (frozenset({"stopped", "new", "mixed", "failed", "interrupted"}), "Sliver is not stopped (yet)"),
    "powercycle": (frozenset({"started", "stopped"}), "Sliver is not started or stopped (yet)"),
}
_METHODS = {
    "start": "StartSliver",
    "stop": "StopSliver",
    "restart": "RestartSliver",
    "reload": "ReloadSliver",
    "powercycle": "PowerCycleSliver",
}
_DELETE_WAIT = 5.0
"""Simulated seconds that DeleteSlice waits for the lock."""


class ActionMethods:
    """The methods that act on slivers as a whole."""

    def __init__(self, cm: ComponentManager, background: Background) -> None:
        self._cm = cm
        self._background = background
        cm.methods["DeleteSlice"] = self._delete_slice
        cm.methods["Shutdown"] = self._shut_down
        self._newer = cm.site.generation >= 2021
        self._actions = _SINCE_2021 if self._newer else _IN_2016
        for action in self._actions:
            cm.methods[_METHODS[action]] = partial(self._act, action)

    def _delete_slice(self, request: Request) -> int:
        record, _ = self._cm.find_slice(
            request, frozenset({"pi", "control"}), RefusalError(Code.SEARCHFAILED, "No such slice here")
        )
        cancels = truthy(request.params.get("cancel"))
        if record.locked_down:
            raise RefusalError(Code.REFUSED, "Slice is locked down")
        if record.terminating:
            raise RefusalError(Code.IN_PROGRESS, "Slice is already marked for termination, be patient")
        if record.paniced:
            raise RefusalError(Code.REFUSED, "Refusing to terminate a paniced experiment")
        take_patiently(self._cm, record, _DELETE_WAIT, busy("resource"))
        if self._newer and record.at_work:
            record.lock.free()
            if not cancels:
                raise busy("resource")
            self._background.terminate(record)
        elif record.monitor and not cancels:
            record.lock.free()
            raise starting()
        else:
            self._background.tear_down(record)
        if truthy(request.params.get("blocking")):
            around = self._cm.around
            around.mutex.wait_for(
                lambda: self._cm.slices.get(record.urn) is not record or around.workers.stopping.is_set()
            )
        return 0

    def _shut_down(self, request: Request) -> int:
        request.require("slice_urn", "credentials")
        if request.text("slice_urn") not in self._cm.slices:
            self._cm.check(request, _STOP)
            return 0
        record, _ = self._cm.find_slice(request, _STOP, _nothing())
        if truthy(request.params.get("clear")):
            record.shut_down = False
            return 0
        require_kept(record)
        record.shut_down = True
        require_idle(self._cm, record)
        # Only now, so that a busy slice is closed all the same.
        with record.lock.during("slice"):
            for sliver in record.aggregate.nodes.values() if record.aggregate else ():
                sliver.state = "stopped"
                if sliver.reserved:
                    self._cm.lives.stop(sliver)
        return 0

    def _act(self, action: str, request: Request) -> int:
        request.require("credentials")
        names = request.params.get("sliver_urns", request.params.get("component_urns"))
        whole = "slice_urn" in request.params
        if whole:
            record, _ = self._cm.find_slice(request, READ, _nothing())
            chosen = None
        elif isinstance(names, list):
            credential = self._cm.check(request, READ)[0]
            found = self._cm.lookup(credential)
            if found is None:
                raise _nothing()
            record, chosen = found, [str(name) for name in names]
        else:
            raise malformed("Missing arguments")
        if record.aggregate is None:
            raise _nothing()
        if record.shut_down:
            raise forbidden(SHUT_DOWN)
        take_idle(self._cm, record, "resource")
        try:
            slivers = _choose(record.aggregate, chosen)
            self._check_states(
                action, {record.aggregate.state} if whole else {sliver.state for sliver in slivers}
            )
            self._check_machines(action, slivers)
        except RefusalError:
            record.lock.free()
            raise
        self._carry_out(action, record, record.aggregate, slivers, whole=whole)
        return 0

    def _carry_out(
        self,
        action: str,
        record: CmSlice,
        aggregate: Aggregate,
        slivers: Sequence[NodeSliver],
        *,
        whole: bool,
    ) -> None:
        if action == "start":
            slivers = [sliver for sliver in slivers if sliver.state != "started"]
        if action != "stop" and (whole or self._newer):
            self._background.reboot(record, aggregate, slivers, reload=action == "reload")
            return
        for sliver in slivers:
            if action == "stop":
                sliver.state = "stopped"
                self._cm.lives.stop(sliver)
            else:
                sliver.state = "started"
                self._cm.lives.boot(sliver, aggregate.accounts, reload=action == "reload")
        record.lock.free()

    def _check_states(self, action: str, states: Collection[str]) -> None:
        allowed, refusal = self._actions[action]
        if not allowed.issuperset(states):
            raise RefusalError(Code.REFUSED, refusal)

    def _check_machines(self, action: str, slivers: Sequence[NodeSliver]) -> None:
        if action == "reload" and any(sliver.recovery for sliver in slivers):
            raise RefusalError(Code.REFUSED, "Must clear recovery mode before reload")
        if not all(sliver.reserved for sliver in slivers):
            reason = f"Could not {action} sliver"
            # The reason is in the value in 2016, and in the output since.
            raise RefusalError(Code.ERROR, reason) if self._newer else RefusalError(Code.ERROR, value=reason)


def _nothing() -> RefusalError:
    return RefusalError(Code.BADARGS, "No slice or aggregate here")


def _choose(aggregate: Aggregate, sliver_urns: Sequence[str] | None) -> list[NodeSliver]:
    slivers = {sliver.urn: sliver for sliver in aggregate.nodes.values()}
    if sliver_urns is None:
        return list(slivers.values())
    if not set(sliver_urns) <= set(slivers):
        raise RefusalError(Code.SEARCHFAILED, "Nothing here by that name")
    return [slivers[name] for name in sliver_urns]
