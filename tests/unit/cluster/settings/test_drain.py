"""The leads of a drain, in order."""

import pytest
from pydantic import ValidationError

from agent.cluster.settings.drain import DrainSettings


@pytest.mark.parametrize(
    ("leads", "words"),
    [
        ({"requeue_lead": 30}, "requeue_lead is 30s and kill_lead 45s: expected requeue_lead to be at least"),
        ({"cleanup_lead": 61}, "kill_lead is 45s and cleanup_lead 61s"),
        ({"checkpoint_signal": "USR1", "checkpoint_lead": 60}, "checkpoint_lead is 1m and requeue_lead 2m"),
        ({"policies": ({"checkpoint_signal": "USR1"},), "checkpoint_lead": 60}, "checkpoint_lead is 1m"),
    ],
)
def test_leads_that_are_not_in_order_are_a_mistake(leads: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DrainSettings.model_validate(leads)


def test_the_checkpoint_lead_does_not_matter_where_nothing_is_signalled() -> None:
    assert DrainSettings(requeue_lead=3600).checkpoint_signal == ""
