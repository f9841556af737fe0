"""Prints docs/events.md: ``.venv/bin/python tools/events_doc.py > docs/events.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields

from agent.core.events import EventKind, Release

HEAD = """\
# Events

<!-- Made by tools/events_doc.py from agent/core/events.py: change it there. -->

Every decision and act is told as an event: in `esagent events`, in the [local API](api.md#following-events),
on the [status page](status-page.md), in the log, and by kind in `esagent_events_total` of the
[metrics](metrics.md). Kinds change only with a line in the changelog; a reader should expect new ones.

*Mail* marks those that a person may have to act on: `[mail]` sends them. *Because of* lists the kinds that
can have led to an event about the same machine: `cause` in the API is the newest of them.

| kind | what it tells | data | mail | because of |
|---|---|---|---|---|"""


def main() -> None:
    """Print the document."""
    print(HEAD)
    for kind in EventKind:
        data = _code(field.name for field in fields(kind.data)) if kind.data else ""
        causes = _code(cause for cause in EventKind if cause in kind.causes)
        print(f"| `{kind}` | {kind.meaning} | {data} | {_mail(kind)} | {causes} |")


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _mail(kind: EventKind) -> str:
    if kind.data is Release:
        return "after its deadline"
    return "yes" if kind.is_notable else ""


if __name__ == "__main__":
    sys.exit(main())
