"""Calls to the agent's endpoint (protogeni.md §6): the client, and the push of resource values."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from testbed.cloudlab import urn
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.journal import Callback, Journal
from testbed.cloudlab.wire.xmlrpc import ReplyError, decode_reply, encode_call

LIMIT = 10.0
"""Real seconds for connecting, and again for each wait on the reply."""
TICK = 60.0
"""Simulated seconds between two notices of a countdown, and until a call that failed is made again."""
PUSH_EVERY = 600.0
"""Simulated seconds between two pushes of unchanged values."""
_PIECE = 64 * 1024
_MOST_PIECES = 64
"""A reply is at most so many pieces of so many bytes; the rest is not read."""
_LONGEST_ERROR = 500

NodeItem = Mapping[str, object]


class Endpoint:
    """The agent's XML-RPC server, called in the name of one CM with its client certificate."""

    def __init__(self, url: str, authority: str, cert: Path, key: Path, ca: Path, journal: Journal) -> None:
        self._url = url
        self._authority = authority
        self._journal = journal
        self._tls = (str(cert), str(key)), str(ca)

    def call(self, method: str, nodelist: Sequence[NodeItem]) -> tuple[str, ...] | None:
        """Make a callback and journal it.

        Returns the node_ids that the reply releases; None when there was no usable reply, or one with a code
        other than 0.
        """
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


class ValuePush:
    """Tells the agent the resource values of all machines of a CM: at once on a change, and now and then."""

    def __init__(self, cm: ComponentManager, endpoint: Endpoint) -> None:
        self._cm = cm
        self._endpoint = endpoint
        self._changed = True

    def changed(self) -> None:
        """Push soon; the caller holds the mutex."""
        self._changed = True
        self._cm.around.mutex.notify_all()

    def run(self) -> None:
        """Push until the simulator stops."""
        around = self._cm.around
        due = time.monotonic()
        while True:
            with around.mutex:
                if around.workers.stopping.is_set():
                    return
                left = due - time.monotonic()
                if not self._changed and left > 0:
                    around.mutex.wait(left)
                    continue
                self._changed = False
                nodelist = self._nodelist()
            heard = self._endpoint.call("SetResourceValues", nodelist) is not None
            due = time.monotonic() + around.pace.real(PUSH_EVERY if heard else TICK)

    def _nodelist(self) -> list[NodeItem]:
        items: list[NodeItem] = []
        for machine in self._cm.machines.values():
            item: dict[str, object] = {
                "node_id": machine.node_id,
                "value": machine.value,
                "component_urn": urn.make(self._cm.site.domain, "node", machine.node_id),
            }
            if machine.holder is not None:
                item["client_id"] = machine.holder.client_id
            items.append(item)
        return items
