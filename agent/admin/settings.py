"""[admin]: where the local API listens, who may read and who may act."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from agent.core.settings import Section


class AdminSettings(Section):
    """The local API that the esagent command talks to."""

    socket: Path = Field(Path("/run/esagent/admin.sock"), description="unix socket of the local API")
    operators: tuple[str, ...] = Field(
        (), description="users who may act, besides root and the daemon's own user"
    )
    operator_groups: tuple[str, ...] = Field((), description="groups whose members may act")
    readers: tuple[str, ...] = Field(
        (),
        description="users who may read, besides those who may act; empty, as reader_groups: everybody",
    )
    reader_groups: tuple[str, ...] = Field((), description="groups whose members may read")
