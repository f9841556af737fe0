"""What `esagent check` makes of settings that leave machines idle."""

from agent.check.finding import Grade
from agent.check.idle import check_idle
from agent.cluster.settings.demand import DemandSettings
from tests.unit.cluster.conftest import settings_with


def test_settings_that_leave_half_of_a_slice_idle_are_warned_of():
    assert check_idle(settings_with()).grade is Grade.FINE
    finding = check_idle(settings_with(DemandSettings(min_nodes=2, idle_limit=0)))
    assert finding.grade is Grade.WARNING
    assert finding.seen.startswith("[demand] min_nodes is 2, and idle_limit is 0s: a site may stop renewing")
