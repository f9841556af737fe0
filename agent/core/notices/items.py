"""Items of Cloudlab's ``nodelist``, checked one by one where they enter. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.core.model import Place
from agent.core.said import ResourceValue

NODE_ID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]{0,62}")
"""A physical name, as strict as a host name: it reaches Slurm and command lines."""
CLIENT_ID = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9._]{0,62}")
"""What a request RSpec may call a machine; wider than ``AddNodes`` takes, for slices made by others."""
MAX_WAIT = 366 * 86400.0
"""Seconds; a countdown beyond it is a fault of the sender, not a plan."""

_LARGEST_NAME = 10**18

Item = Mapping[str, Any]
"""One struct of a nodelist, as received: ``{node_id, client_id, max_wait_time}``."""


class BadItemError(ValueError):
    """One item of a ``nodelist`` that is not what the call defines; the message says what was expected."""


@dataclass(frozen=True)
class Notice:
    """One item of ``NotifyDeletePending`` or ``NotifyDeleteComplete``."""

    node_id: str
    client_id: str
    wait: float
    """Seconds that Cloudlab will still wait; 0 in a completion."""
    cm: str = ""
    """URN of the CM; "" where it cannot be told."""

    @property
    def place(self) -> Place:
        """Which physical machine it is about."""
        return self.cm, self.node_id


def read_names(item: object) -> tuple[str, str]:
    """Return (node_id, client_id) of an item; client_id "" where it has none.

    Servers type text by its content (ProtoGENI's ``Frontier``), so a machine called ``12`` comes as a number.

    Raises:
        BadItemError: not a struct, or a name that is missing or outside its pattern.
    """
    if not isinstance(item, Mapping):
        raise BadItemError(f"a struct is expected, not {_show(item)}")
    return _name(item, "node_id", NODE_ID), _name(item, "client_id", CLIENT_ID, needed=False)


def read_value(item: object, now: datetime) -> ResourceValue:
    """Read an item of ``SetResourceValues``.

    Raises:
        BadItemError: a bad name, or a value that is not a number from 0 to 1.
    """
    node_id, client_id = read_names(item)
    assert isinstance(item, Mapping)
    value = _number(item, "value", 1.0)
    return ResourceValue(node_id=node_id, value=value, received=now, client_id=client_id)


def read_pending(item: object) -> Notice:
    """Read an item of ``NotifyDeletePending``.

    Raises:
        BadItemError: a bad name, or a max_wait_time that is not a number of seconds from 0 to ``MAX_WAIT``.
    """
    node_id, client_id = read_names(item)
    assert isinstance(item, Mapping)
    return Notice(node_id, client_id, _number(item, "max_wait_time", MAX_WAIT))


def read_complete(item: object) -> Notice:
    """Read an item of ``NotifyDeleteComplete``, whose max_wait_time means nothing any more.

    Raises:
        BadItemError: a bad name.
    """
    return Notice(*read_names(item), wait=0.0)


def read_component(item: Item) -> str:
    """Return the URN of the machine in an item (``component_urn``); "" where it has none."""
    urn = item.get("component_urn", "")
    return urn if isinstance(urn, str) else ""


def plain(item: Item, notice: Notice) -> dict[str, Any]:
    """Return an item with its names as text, and the CM."""
    return {**item, "node_id": notice.node_id, "client_id": notice.client_id, "cm": notice.cm}


def once(read: list[tuple[Item, Notice]]) -> list[tuple[Item, Notice]]:
    """Keep the first item of each machine."""
    first: dict[Place, tuple[Item, Notice]] = {}
    for item, notice in read:
        first.setdefault(notice.place, (item, notice))
    return list(first.values())


def replied(
    nodelist: Sequence[object], read: Iterable[tuple[Item, Notice]], free: Collection[Place]
) -> list[object]:
    """Return a nodelist as it stands in a reply: a countdown is over where Cloudlab may take the machine.

    Args:
        nodelist: as received.
        read: its good items, and what they say.
        free: places of the machines that may be taken.
    """
    over = {id(item) for item, notice in read if notice.place in free}
    return [
        {**item, "max_wait_time": 0} if isinstance(item, Mapping) and id(item) in over else item
        for item in nodelist
    ]


def _name(item: Mapping[object, object], key: str, pattern: re.Pattern[str], *, needed: bool = True) -> str:
    value = item.get(key)
    if not needed and (value is None or value == ""):
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST_NAME:
        value = str(value)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadItemError(f"{key}: a name of {pattern.pattern} is expected, not {_show(value)}")
    return value


def _number(item: Mapping[object, object], key: str, most: float) -> float:
    value = item.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadItemError(f"{key}: a number is expected, not {_show(value)}")
    # Not a number compares as outside, too.
    if not 0 <= value <= most:
        raise BadItemError(f"{key}: 0 to {most:g} is expected, not {_show(value)}")
    return float(value)


def _show(value: object) -> str:
    try:
        return ascii(value)[:80]
    except ValueError:
        # Python writes no integer of more than 4300 digits.
        return "a huge number"
