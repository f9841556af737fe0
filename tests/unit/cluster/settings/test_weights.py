"""Weights in order."""

import pytest
from pydantic import ValidationError

from agent.cluster.settings.weights import WeightSettings


def test_settings_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="weight_min 5 is above weight_max 4"):
        WeightSettings(weight_min=5, weight_max=4)
