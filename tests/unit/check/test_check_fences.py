"""What `esagent check` says of fences."""

from datetime import UTC, datetime, timedelta

from agent.check.fences import check_fences
from agent.check.finding import Grade
from agent.cluster.settings.join import JoinSettings
from agent.slurm.reservation import Reservation

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCRIPT = JoinSettings(commands=("systemctl start slurmd",))


def said(join: JoinSettings, *reservations: Reservation, on: bool = True) -> list[str]:
    found = list(check_fences(join, reservations, on=on))
    assert all(finding.grade is Grade.WARNING for finding in found)
    return [finding.seen for finding in found]


def test_join_commands_that_cannot_register_a_node_drained_are_warned_of() -> None:
    (seen,) = said(SCRIPT)
    assert "jobs may start before the fence" in seen
    assert said(SCRIPT, on=False) == []
    assert said(JoinSettings()) == []
    assert said(JoinSettings(mode="cloud")) == []


def test_fences_that_an_older_agent_may_have_left_are_named() -> None:
    year, hour = timedelta(days=365), timedelta(hours=1)
    older = Reservation("esagent-20261122T120000Z", frozenset({"pc1"}), NOON, NOON + year)
    others = (
        Reservation("esagent-20261123T120000Z", frozenset({"pc1"}), NOON, NOON + hour),
        Reservation("esagent-own", frozenset({"pc1"}), NOON, NOON + year),
        Reservation("esagent-0123456789ab-20261122T120000Z", frozenset({"pc1"}), NOON, NOON + year),
    )
    (seen,) = said(JoinSettings(), older, *others, on=False)
    assert seen.startswith("esagent-20261122T120000Z: ")
