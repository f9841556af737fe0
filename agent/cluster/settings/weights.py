"""[weights]: what the weights of nodes obey."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from agent.core.settings import Duration, Section
from agent.slurm.model import MAX_WEIGHT


class WeightSettings(Section):
    """[weights]: how resource values become node weights."""

    weight_min: int = Field(
        10, ge=0, le=MAX_WEIGHT, description="weight of the machines that jobs shall use first"
    )
    weight_max: int = Field(
        1000, ge=0, le=MAX_WEIGHT, description="weight of the machines that jobs shall use last"
    )
    levels: int = Field(
        10, ge=2, le=1000, description="number of steps between weight_min and weight_max, both included"
    )
    high_value: Literal["wanted", "spare"] = Field(
        "wanted",
        description="what a high resource value means: Cloudlab wants the machine soon, or can spare it",
    )
    value_ttl: Duration = Field(
        3600, gt=0, description="how long a resource value holds after it was received"
    )
    default_value: float = Field(
        0.5, ge=0, le=1, description="resource value of a machine for which none holds"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.weight_min > self.weight_max:
            raise ValueError(f"weight_min {self.weight_min} is above weight_max {self.weight_max}")
        return self
