"""What `esagent check` says of Slurm's backfill scheduler."""

import pytest

from agent.check.backfill import check_backfill
from agent.check.finding import Grade

CONTINUES = "bf_interval=5,bf_continue,sched_min_interval=0"


def said(version: str, parameters: str = CONTINUES) -> list[tuple[Grade, str]]:
    config = {"SLURM_VERSION": version, "SchedulerParameters": parameters}
    return [(finding.grade, finding.seen) for finding in check_backfill(config)]


@pytest.mark.parametrize("version", ["22.05.8", "22.05.0", "21.08.8-2"])
def test_a_slurmctld_that_crashes_sooner_with_bf_continue_is_warned_of(version: str) -> None:
    ((grade, words),) = said(version)
    assert grade is Grade.WARNING
    assert "bf_continue" in words
    assert "may crash when borrowed nodes come and go" in words
    assert [grade for grade, _ in said(version, "bf_interval=5")] == [Grade.FINE]
    assert [grade for grade, _ in said(version, "bf_continued_not")] == [Grade.FINE]


@pytest.mark.parametrize("version", ["22.05.9", "23.02.0", "24.11.5", "26.05.1", "", "unknown"])
def test_of_others_nothing_is_said(version: str) -> None:
    assert said(version) == []
