"""What is not as it should be right now, in words: the warnings at the head of the page. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from agent.core.slice.lapse import near, unrenewed_words
from agent.core.slice.words import left_behind_words, retired_words
from agent.core.views import NodeState
from agent.page.model import PageView
from agent.page.words import cm_name, span, until

BLIND_AFTER = timedelta(minutes=15)
CERTIFICATE_LEFT = timedelta(days=14)
LOOKS = {
    "get_system_state": "Slurm was not read",
    "update_sliver_status": "Cloudlab's machines were not looked at",
}
"""Steps without which the agent is blind, and what it means when one does not go well."""


def standing_warnings(view: PageView) -> tuple[str, ...]:
    """Return the warnings that hold at the moment, the most urgent first."""
    return tuple(_warnings(view))


def _warnings(view: PageView) -> Iterator[str]:
    now, agent = view.now, view.agent
    for countdown in view.countdowns:
        if countdown.due is None:
            continue
        if countdown.due < now:
            yield f"{countdown.node} had to be empty {span(now - countdown.due)} ago"
        elif countdown.empty is not None and countdown.empty > countdown.due:
            late = span(countdown.empty - countdown.due)
            yield f"{countdown.node} will not be empty in time: its last job goes {late} after the deadline"
    for step, what in LOOKS.items():
        seen = agent.last_success.get(step)
        if seen is None:
            yield f"{what} yet ({step})"
        elif now - seen > BLIND_AFTER:
            yield f"{what} for {span(now - seen)} ({step})"
    for lapse in near(agent.lapses, now):
        what = f"the sliver at {cm_name(lapse.cm)}" if lapse.cm else "the slice"
        yield f"the lease of {what} ends in {span(lapse.expires - now)}, and {unrenewed_words(lapse)}"
    for what in view.objections:
        yield f"sites may stop renewing a slice half of which is idle for 3 h: {what}"
    if view.certificate_expires - now < CERTIFICATE_LEFT:
        yield f"the user's certificate ends in {span(view.certificate_expires - now)}"
    if agent.growth_stopped:
        yield f"growth is stopped: {agent.growth_stopped}"
    for impasse in agent.impasses:
        yield f"{cm_name(impasse.cm)} refuses what it is asked: {impasse.words}"
    if view.hold:
        yield view.hold
    yield from view.teardowns
    yield from map(retired_words, agent.retired)
    yield from map(left_behind_words, agent.left_behind)
    for node in agent.foreign:
        if node.due is not None:
            yield f"Cloudlab takes {node.client_id}, which is not ours: {until(node.due, now)}"
    failed = sum(node.state is NodeState.FAILED for node in agent.nodes)
    if failed:
        yield f"{failed} machine{'s' * (failed > 1)} failed"
    if view.unread:
        yield f"the events cannot be read: {view.unread}"
