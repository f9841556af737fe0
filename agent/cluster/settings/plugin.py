"""[plugin]: what the parts in contrib/slurm-plugin are told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from agent.core.settings import Duration, Section

_NAME = r"^[A-Za-z0-9_.-]*$"


class PluginSettings(Section):
    """What the parts in contrib/slurm-plugin are told."""

    table: Path | None = Field(
        None,
        description="file that the submit policy reads; unset: none is written",
        examples=["/run/esagent/borrowed"],
    )
    feature: str = Field(
        "elastic", min_length=1, pattern=_NAME, description="feature of borrowed machines, and of no other"
    )
    own_feature: str = Field(
        "",
        pattern=_NAME,
        description="feature of the site's own machines, and of no borrowed one; empty: none",
    )
    default: Literal["never", "ok", "only"] = Field(
        "ok", description="what holds for a job that asks for nothing"
    )
    requeue: bool = Field(
        True,
        description="whether a job that may land on a borrowed machine may be requeued unless it says no",
    )
    notice: Duration = Field(600, ge=0, description="notice that Cloudlab usually gives")
    lease: str | None = Field(
        None,
        pattern=r"^/[\w./+:@-]+$",
        description="file on each borrowed machine that tells its jobs how long it is lent; unset: none is"
        " written",
        examples=["/run/esagent/lease"],
    )
    orphan_after: Duration = Field(
        0,
        ge=0,
        description="silence of the agent after which a borrowed machine that runs esagent-orphan takes no"
        " new jobs; 0: never",
    )

    @model_validator(mode="after")
    def _orphans_are_told(self) -> Self:
        if self.orphan_after and self.lease is None:
            raise ValueError("orphan_after: lease is expected too, the file that tells a machine of it")
        return self
