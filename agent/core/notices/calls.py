"""The calls that Cloudlab makes, and how an answer is made; the answers here mean nothing yet.

Names, parameters and defaults are those of ``elasticslice.managers.core``; the replies are ProtoGENI
envelopes (``{code, value, output}``).
"""

from __future__ import annotations

import reprlib
from typing import Any

import structlog

log = structlog.get_logger()

API_VERSION = 1
SUCCESS = 0
BADARGS = 1

Envelope = dict[str, object]


def reply(value: object = 0, *, code: int = SUCCESS, output: str = "") -> Envelope:
    """Make the response struct; no part of it is ever nil, which Cloudlab's parser drops."""
    return {"code": code, "value": value, "output": output}


class ProtoGeniClientServerEndpoint:
    """An object whose public methods Cloudlab may call: each takes one struct and returns an envelope."""

    def GetVersion(self, params: Any = None) -> Envelope:  # noqa: ARG002, N802 - a name on the wire
        """Tell the version of the API; answered to any caller that may connect."""
        return reply(API_VERSION)


class ElasticSliceClientEndpoint(ProtoGeniClientServerEndpoint):
    """Answers every call with SUCCESS and logs its arguments at debug level."""

    def __init__(self) -> None:
        pass

    def GetVersion(self, params: Any = None) -> Envelope:  # noqa: N802
        """Return the version of this API as ``value``."""
        trace("GetVersion", params)
        return super().GetVersion(params)

    def SetResourceValues(self, params: Any) -> Envelope:  # noqa: N802
        """Take ``params["nodelist"]``: ``{node_id, value}`` with value from 0 to 1, per physical machine."""
        trace("SetResourceValues", params)
        return reply()

    def NotifyDeletePending(self, params: Any) -> Envelope:  # noqa: N802
        """Take ``params["nodelist"]``: ``{node_id, client_id, max_wait_time}``, machines to be revoked."""
        trace("NotifyDeletePending", params)
        return reply()

    def NotifyDeleteComplete(self, params: Any) -> Envelope:  # noqa: N802
        """Take ``params["nodelist"]``: machines that are no longer ours. Cloudlab ignores the reply."""
        trace("NotifyDeleteComplete", params)
        return reply()


def trace(method: str, params: object) -> None:
    """Log a call with its arguments, cut to a bounded size."""
    try:
        shown = reprlib.repr(params)
    except ValueError:
        # Python writes no integer of more than 4300 digits.
        shown = "numbers too long to show"
    log.debug("Cloudlab called", method=method, params=shown)
