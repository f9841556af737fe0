"""What an agent answers that stands by."""

import pytest

from agent.admin.standby import BUSY, StandbyEndpoint, StandbyError, standby_operations


def why() -> str:
    return "slurmctld is primary on head1"


def test_cloudlab_hears_that_it_may_ask_again() -> None:
    endpoint = StandbyEndpoint(why)
    assert endpoint.GetVersion()["code"] == 0
    for call in (endpoint.SetResourceValues, endpoint.NotifyDeletePending, endpoint.NotifyDeleteComplete):
        answer = call({"nodelist": []})
        assert answer == {"code": BUSY, "value": 0, "output": "standby: slurmctld is primary on head1"}


def test_an_administrator_sees_who_acts_and_is_sent_there() -> None:
    operations = standby_operations(why)
    assert operations.questions.status().standby == "slurmctld is primary on head1"
    with pytest.raises(StandbyError, match="primary on head1: ask the agent there"):
        operations.acts.pause("root")
