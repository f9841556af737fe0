"""What an agent answers while the one on the other head node acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.admin.answers import StatusAnswer
from agent.admin.routes import Operations
from agent.core.errors import AgentError
from agent.core.notices.calls import Envelope, ProtoGeniClientServerEndpoint, reply

BUSY = 14
"""ProtoGENI's response code for what may be asked again in seconds."""


class StandbyError(AgentError):
    """Asked of an agent that stands by."""


class StandbyEndpoint(ProtoGeniClientServerEndpoint):
    """Answers Cloudlab's calls as busy: nothing is noted, so that Cloudlab asks again.

    Args:
        why: says who acts.
    """

    def __init__(self, why: Callable[[], str]) -> None:
        self._why = why

    def SetResourceValues(self, params: Any) -> Envelope:  # noqa: ARG002, N802 - a name on the wire
        """Take nothing."""
        return self._busy()

    def NotifyDeletePending(self, params: Any) -> Envelope:  # noqa: ARG002, N802
        """Take nothing."""
        return self._busy()

    def NotifyDeleteComplete(self, params: Any) -> Envelope:  # noqa: ARG002, N802
        """Take nothing."""
        return self._busy()

    def _busy(self) -> Envelope:
        return reply(code=BUSY, output=f"standby: {self._why()}")


class _Standby:
    """Tells the status, and refuses all else that an administrator may ask for."""

    def __init__(self, why: Callable[[], str]) -> None:
        self._why = why

    def status(self) -> StatusAnswer:
        return StatusAnswer(
            standby=self._why(),
            slice="",
            slice_expires=None,
            sliver_expires={},
            lease_warnings=(),
            machines=0,
            states={},
            wanted=0,
            growing=None,
            paused="",
            growth_stopped="",
            reasons=(),
            said="",
        )

    def let_go(self) -> None:
        """Let nobody go: nobody waits here."""

    def __getattr__(self, _name: str) -> Any:
        raise StandbyError(f"standby: {self._why()}: ask the agent there")


def standby_operations(why: Callable[[], str]) -> Operations:
    """Make what answers administrators meanwhile; ``why`` says who acts."""
    standby: Any = _Standby(why)
    return Operations(questions=standby, acts=standby)
