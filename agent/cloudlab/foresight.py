"""Asks a site's reservation system which types are short: dry runs of ``Reserve`` (GeniCluster.pm).

A reservation of as many machines as a project holds, from the end of their lease on, is admitted where the
lease could be as long: a project counts as using what it holds or what it has reserved, whichever is more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, auto

import structlog

from agent.cloudlab.credentials import Credential
from agent.cloudlab.times import format_time
from agent.cloudlab.transport import Remote, Transport
from agent.core.errors import (
    BadArgumentsError,
    BusyError,
    CloudlabError,
    LostReplyError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)

log = structlog.get_logger()

_CM_MODULE = re.compile(r"/xmlrpc/cm(?:/[0-9.]+)?/?$")
_LIMIT = "admission control"
"""In what is refused for another reason: a project may not have so many, whether they are reserved or not."""

_NO_NAME = "invalid type"
"""In what is said of a type with other characters than letters, digits and dashes (GeniCluster Reserve)."""


def module_url(cm_url: str) -> str:
    """Return where a CM's ``cluster`` module is called; "" where its URL has not the usual form."""
    url, count = _CM_MODULE.subn("/xmlrpc/cluster", cm_url)
    return url if count else ""


class _Look(Enum):
    """What a dry run says of a type."""

    ENOUGH = auto()
    MAYBE = auto()
    """Others want it whose reservation nobody has approved yet."""
    SHORT = auto()
    UNKNOWN = auto()
    """The reservation system knows no such type, or takes no such name."""


class Foresight:
    """The ``cluster`` modules beside the CMs. A site that does not admit us is not asked again.

    Args:
        transport: carries the calls.
        urls: URN of a CM -> where it is called.
        credential: fetches that of the user's project, or of the user.
    """

    def __init__(
        self, transport: Transport, urls: Mapping[str, str], credential: Callable[[], Credential]
    ) -> None:
        self._transport = transport
        self._remotes = {cm: Remote(at, cm) for cm, url in urls.items() if (at := module_url(url))}
        self._credential = credential

    def find_short(self, cm: str, held: Mapping[str, int], begin: datetime, end: datetime) -> tuple[str, ...]:
        """Ask which types are short; none where the site does not tell.

        Args:
            cm: the CM.
            held: type -> how many machines the sliver has.
            begin: when the sliver ends.
            end: when it should end.
        """
        remote = self._remotes.get(cm)
        if remote is None:
            return ()
        try:
            credential = self._credential()
            looks = {
                kind: self._look(remote, credential, kind, count, begin, end)
                for kind, count in held.items()
                if kind
            }
        except (BusyError, LostReplyError, UnreachableError) as error:
            log.info("the reservation system did not answer", cm=cm, error=str(error))
        except CloudlabError as error:
            self._remotes.pop(cm, None)
            log.info("the reservation system is not asked again", cm=cm, error=str(error))
        else:
            sure = tuple(kind for kind, look in looks.items() if look is _Look.SHORT)
            return sure or tuple(kind for kind, look in looks.items() if look is _Look.MAYBE)
        return ()

    def _look(
        self,
        remote: Remote,
        credential: Credential,
        kind: str,
        count: int,
        begin: datetime,
        end: datetime,
    ) -> _Look:
        arguments = {
            "credentials": [credential.text],
            "type": kind,
            "count": count,
            "start": format_time(begin),
            "end": format_time(end),
            "reason": "whether the lease can be extended",
            # Nothing is reserved.
            "check": 1,
        }
        try:
            value = self._transport.call(remote, "Reserve", arguments)
        except NotFoundError:
            return _Look.UNKNOWN
        except BadArgumentsError as error:
            if _NO_NAME in str(error).lower():
                return _Look.UNKNOWN
            raise
        except RefusedError as error:
            return _Look.ENOUGH if _LIMIT in str(error).lower() else _Look.SHORT
        is_doubted = isinstance(value, dict) and bool(value.get("conflict"))
        return _Look.MAYBE if is_doubted else _Look.ENOUGH
