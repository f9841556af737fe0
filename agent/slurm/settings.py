"""[slurm] of agent.conf: which way in to Slurm, and how to find it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from agent.core.settings import Duration, Section

_REST_URL = re.compile(r"unix:/.+|https?://[^\s/@?#]+/?")


class SlurmSettings(Section):
    """[slurm]: how to reach Slurm and whose jobs count."""

    backend: Literal["auto", "pyslurm", "rest", "cli"] = Field(
        "auto",
        description="way in to Slurm; auto: pyslurm if it works with this cluster, else rest if rest_url is "
        "set and answers, else cli; chosen anew while the agent runs when another one has become the best",
    )
    conf: Path | None = Field(
        None, description="path of slurm.conf; unset: Slurm's own choice", examples=["/etc/slurm/slurm.conf"]
    )
    bin_dir: Path | None = Field(
        None,
        description="directory of squeue, scontrol, sinfo and scancel; unset: found in PATH",
        examples=["/usr/bin"],
    )
    command_timeout: Duration = Field(
        30.0, gt=0, description="how long one of Slurm's commands, or one request to it, may take"
    )
    partitions: tuple[str, ...] = Field(
        (), description="partitions whose pending jobs count as demand; empty: all"
    )
    host: str = Field(
        "",
        description="machine, such as head or root@head, on which Slurm's commands are run over SSH; empty: "
        "this one",
        pattern=r"^(?:[A-Za-z_][\w-]*@)?(?:[A-Za-z0-9][A-Za-z0-9.-]*)?$",
    )
    act: Literal["always", "primary"] = Field(
        "always",
        description="when the agent acts; primary: only while slurmctld is primary on this machine, for an "
        "agent on each head node",
    )
    ping_interval: Duration = Field(
        10, gt=0, description="with act primary, how often Slurm is asked which slurmctld is primary"
    )
    rest_url: str = Field(
        "",
        description="where slurmrestd listens, unix:/path or http(s)://host:port; empty: nowhere",
    )
    rest_user: str = Field("root", min_length=1, description="Slurm user to whom the token belongs")
    rest_token: Path | None = Field(
        None,
        description="file with the JSON web token (scontrol token); read again when it changes; unset: none",
        examples=["/etc/esagent/slurm.jwt"],
    )
    rest_ca: Path | None = Field(
        None,
        description="file with the certificates that vouch for an https:// slurmrestd; unset: the system's",
        examples=["/etc/esagent/slurmrestd-ca.pem"],
    )

    @field_validator("rest_url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        if url and _REST_URL.fullmatch(url) is None:
            raise ValueError("unix:/path, http://host:port or https://host:port is expected")
        return url
