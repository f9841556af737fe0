"""The alert rules of contrib/prometheus: each fires when it shall, and stands on figures that we have."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.tell.figures import FIGURES

ROOT = Path(__file__).parents[3]
RULES = ROOT / "contrib/prometheus/esagent.rules.yml"
TESTS = RULES.with_name("esagent.rules.test.yml")


def test_every_figure_that_an_alert_stands_on_is_one_of_ours() -> None:
    used = set(re.findall(r"\besagent_\w+", RULES.read_text()))
    assert used
    assert used <= {name for figure in FIGURES for name in figure.series}


def test_each_alert_is_tested_to_fire_and_to_keep_quiet() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    tests = TESTS.read_text()
    fires = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", tests))
    quiet = set(re.findall(r"alertname: (\w+)}", tests))
    assert fires == alerts
    assert quiet == alerts


def test_every_alert_has_a_place_in_the_runbook_and_no_other_has() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    told = re.findall(r"^## (Esagent\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert told == alerts


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_each_alert_fires_when_it_shall() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", TESTS],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
