"""Why a machine goes back whatever an administrator says of it now: a pure decision."""

from __future__ import annotations

from agent.cluster.moment import Moment
from agent.cluster.reasons import write_time
from agent.core.model import SliverNode


def why_not_resumed(machine: SliverNode, moment: Moment) -> str:
    """Say why a machine does not go back into service; "" where it does."""
    revocation = moment.slice.revocation_of(machine)
    ending = moment.slice.ending_of(machine)
    due = f"Cloudlab takes it at {write_time(revocation.deadline)}" if revocation else ""
    ends = f"its lease ends at {write_time(ending.deadline)}: {ending.why}" if ending else ""
    return why_not_kept(machine, moment) or due or ends


def why_not_kept(machine: SliverNode, moment: Moment) -> str:
    """Say why a machine is given back and cannot be kept, but for a revocation; "" where it can be."""
    facts, name = moment.slice, moment.name(machine)
    if (end := facts.over.get(machine.cm)) is not None:
        return f"its lease ended at {write_time(end)}, and nobody answers at {machine.cm}"
    if facts.is_taken(machine):
        return "Cloudlab took it"
    if any((each.cm, each.client_id) == (machine.cm, machine.client_id) for each in facts.leaving):
        return "its CM was asked to take it back"
    if name in moment.leaving or name in moment.emptied & moment.chosen:
        return "it is being given back, and its delete commands have begun"
    if moment.tearing_down:
        return f"everything is given back ({moment.held_up}; `esagent unpause` ends it)"
    if torn := moment.torn_down_by(machine):
        return f"everything at {machine.cm} is given back by {torn.who} (`esagent unpause --cm` ends it)"
    if name in moment.failed:
        return "it failed and is given back ([join] keep_failed keeps such a machine for a while)"
    return "the lease is not renewed with it, so that it is given back" if name in moment.blocking else ""
