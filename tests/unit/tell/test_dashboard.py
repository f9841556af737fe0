"""The dashboard of contrib/grafana: panels stand on figures that we have, with labels that they have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.tell.figures import FIGURES

DASHBOARD = Path(__file__).parents[3] / "contrib/grafana/esagent.json"
SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus and histograms add."""


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


@pytest.fixture(scope="module")
def expressions(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_figure_in_the_dashboard_is_one_of_ours(expressions: list[str]) -> None:
    ours = {name for figure in FIGURES for name in figure.series}
    used = {name for expression in expressions for name in re.findall(r"\besagent_\w+", expression)}
    assert used <= ours


def test_every_figure_is_somewhere_in_the_dashboard(expressions: list[str]) -> None:
    text = " ".join(expressions)
    assert [figure.name for figure in FIGURES if figure.name not in text] == []


def test_labels_that_are_chosen_summed_by_or_shown_are_labels_of_the_figure(
    panels: list[dict[str, Any]],
) -> None:
    labels = {name: set(figure.labels) for figure in FIGURES for name in figure.series}
    for panel in panels:
        for target in panel["targets"]:
            names = re.findall(r"\besagent_\w+", target["expr"])
            has = set.union(*(labels[name] for name in names)) | SCRAPED
            chosen = re.findall(r"(\w+)(?:=~|!=|=)\"", target["expr"])
            summed = [
                label.strip()
                for group in re.findall(r"\bby \(([^)]*)\)", target["expr"])
                for label in group.split(",")
            ]
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            assert set(chosen) | set(summed) | set(shown) <= has, panel["title"]


def test_panels_ask_the_chosen_source_and_agent_and_do_not_overlap(panels: list[dict[str, Any]]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["expr"].count("esagent_") == target["expr"].count('instance=~"$instance"')
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_prometheus_can_read_every_expression(expressions: list[str], tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": filled_in(expression)}
        for number, expression in enumerate(expressions)
    ]
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def filled_in(expression: str) -> str:
    """Put values in place of the dashboard's variables, as Grafana does."""
    values = {"$instance": ".*", "$__rate_interval": "5m", "$__range": "6h"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression
