"""The client that calls the agent's endpoint in the name of a CM (protogeni.md §6)."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from testbed.cloudlab.journal import Callback, Journal
from testbed.cloudlab.wire.xmlrpc import ReplyError, decode_reply, encode_call

LIMIT = 10.0
"""Real seconds for connecting, and again for each wait on the reply."""
TICK = 60.0
"""Simulated seconds between two notices of a countdown, and until a call that failed is made again."""
_PIECE = 64 * 1024
_MOST_PIECES = 64
"""A reply is at most so many pieces of so many bytes; the rest is not read."""
_LONGEST_ERROR = 500

NodeItem = Mapping[str, object]


class Endpoint:
    """The agent's XML-RPC server, called in the name of one CM with its client certificate."""

    def __init__(
        self, url: str, authority: str, cert: Path, key: Path, ca: Path, journal: Journal, *, calls: bool
    ) -> None:
        self.calls = calls
        """Whether it is called; a site without the interface makes no call."""
        self._url = url
        self._authority = authority
        self._journal = journal
        self._tls = (str(cert), str(key)), str(ca)

    def call(self, method: str, nodelist: Sequence[NodeItem]) -> tuple[str, ...] | None:
        """Make a callback and journal it.

        Returns the node_ids that the reply releases; None when there was no usable reply, or one with a code
        other than 0, or when no call is made.
        """
        if not self.calls:
            return None
        code: int | None = None
        released: tuple[str, ...] = ()
        error = ""
        try:
            code, value = self._post(encode_call(method, {"nodelist": list(nodelist)}))
            if code == 0:
                released = _released(value)
        except (requests.RequestException, ReplyError) as reason:
            error = str(reason)[:_LONGEST_ERROR]
        self._journal.add(
            Callback(
                time=time.time(),
                authority=self._authority,
                method=method,
                nodelist=tuple(nodelist),
                code=code,
                released=released,
                error=error,
            )
        )
        return released if code == 0 else None

    def _post(self, body: bytes) -> tuple[int, object]:
        cert, ca = self._tls
        with requests.Session() as session:
            # A proxy or a netrc of the environment has no place between two programs on one machine.
            session.trust_env = False
            headers = {"Content-Type": "text/xml"}
            with session.post(
                self._url, data=body, headers=headers, cert=cert, verify=ca, timeout=LIMIT, stream=True
            ) as response:
                content = b"".join(itertools.islice(response.iter_content(_PIECE), _MOST_PIECES))
                if response.status_code != requests.codes.ok:
                    raise ReplyError(f"HTTP {response.status_code} {response.reason}")
        reply = decode_reply(content)
        if not isinstance(reply, dict) or "code" not in reply:
            # The real client takes a reply without a code for bare success.
            return 0, reply
        code = reply["code"]
        if not isinstance(code, int):
            raise ReplyError(f"code is {code!r}, not a number")
        return code, reply.get("value")


def _released(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    items = [item for item in value if isinstance(item, dict) and "node_id" in item]
    return tuple(str(item["node_id"]) for item in items if _is_zero(item.get("max_wait_time")))


def _is_zero(value: object) -> bool:
    if not isinstance(value, int | float | str):
        return False
    try:
        number = float(value)
    except ValueError:
        return False
    return math.isfinite(number) and number == 0
