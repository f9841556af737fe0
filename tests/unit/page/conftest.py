"""A page view to start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.core.events import PastEvent
from agent.core.views import AgentView, NodeState, NodeView
from agent.page.model import Countdown, HeldBy, PageView, Sample

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:publicid:IDN+utah.cloudlab.us+authority+cm"


def node(name: str, state: NodeState = NodeState.JOINED, **fields: Any) -> NodeView:
    return NodeView(name, name, f"node-{name[2:]}", CM, state, **fields)


def make_view(**fields: Any) -> PageView:
    """Return the view of an agent that is well and empties one machine of two; ``fields`` replace its own."""
    due = NOW + timedelta(minutes=15)
    agent = AgentView(
        nodes=(node("pc100", value=0.25, weight=40), node("pc101", NodeState.DRAINING, value=0.9, due=due)),
        wanted=2,
        slice_expires=NOW + timedelta(days=3),
        sliver_expires={CM: NOW + timedelta(days=2)},
        last_success={"get_system_state": NOW, "update_sliver_status": NOW},
    )
    view = PageView(
        now=NOW,
        slice_urn="urn:publicid:IDN+utah.cloudlab.us+slice+elastic",
        agent=agent,
        hold="",
        reasons=("2 pending jobs want 2 machines",),
        countdowns=(
            Countdown(
                "pc101",
                "revoked",
                "",
                "",
                due,
                NOW + timedelta(minutes=13),
                (HeldBy("7", "ada", "is requeued", NOW + timedelta(minutes=13)),),
            ),
        ),
        events=(PastEvent(NOW, "drain", "pc101", "revoked by Cloudlab", {}),),
        certificate_expires=NOW + timedelta(days=300),
        history=(
            Sample(NOW - timedelta(hours=2), {NodeState.BOOTING: 2}),
            Sample(NOW - timedelta(hours=1), {NodeState.JOINED: 2}),
        ),
    )
    return replace(view, **fields)


@pytest.fixture(scope="session")
def page_view() -> Callable[..., PageView]:
    return make_view
