"""The alert rules of contrib/prometheus: each fires when it shall, and stands on figures that we have."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.core.model import AgentView, NodeState, NodeView
from agent.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "contrib/prometheus/esagent.rules.yml"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def figures() -> set[str]:
    """Return the names of all figures of an agent that holds a machine."""
    node = NodeView("pc1", "pc1", "node-1", "urn:cm", NodeState.DRAINING, value=0.5, weight=7, due=NOW)
    view = AgentView(
        nodes=(node,),
        wanted=0,
        slice_expires=NOW,
        sliver_expires={"urn:cm": NOW},
        last_success={"renew": NOW},
    )
    metrics = Metrics()
    metrics.watch(lambda: view, NOW, lambda: {"slice": NOW})
    return {name for family in metrics.registry.collect() for name in _names(family.name, family.type)}


def _names(name: str, kind: str) -> list[str]:
    match kind:
        case "counter":
            return [f"{name}_total"]
        case "histogram":
            return [f"{name}_{end}" for end in ("bucket", "count", "sum")]
        case _:
            return [name]


def test_every_figure_that_an_alert_stands_on_is_one_of_ours(figures: set[str]) -> None:
    used = set(re.findall(r"\besagent_\w+", RULES.read_text()))
    assert used
    assert used <= figures


def test_every_alert_has_a_place_in_the_runbook_and_no_other_has() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    told = re.findall(r"^## (Esagent\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert told == alerts


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_each_alert_fires_when_it_shall() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", RULES.with_name("esagent.rules.test.yml")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
