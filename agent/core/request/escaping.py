"""Text for servers that paste it into XML between single quotes, as it is: escaped, and once only.

A helper hands over text as it is meant, or escapes it itself, as one that was written for such a server does.
The text tells which: it was escaped if it has an entity of XML's and may stand between single quotes as it
is. So text that was escaped always arrives as it was meant. Text that was not does, too, unless it looks as
if it was, such as ``echo "&lt;"``: to mean that, escape it.
"""

from __future__ import annotations

from functools import lru_cache

import structlog
from lxml import etree

log = structlog.get_logger()

_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord("'"): "&apos;"}


def escape(text: str) -> str:
    """Escape what ends or changes a text between single quotes."""
    return text.translate(_ESCAPES)


def meant(text: str) -> str:
    """Return the text that a helper means, whether it escaped it or not."""
    read = _read(text)
    if read is None:
        return text
    _tell(text)
    return read


def as_meant(text: str) -> str:
    """Return what ``meant`` reads as this very text: itself, unless it looks as if it was escaped."""
    return text if _read(text) is None else escape(text)


def _read(text: str) -> str | None:
    """Read a text that was escaped; None where it was not."""
    if "&" not in text or "'" in text or not text.isprintable():
        return None
    try:
        return etree.fromstring(f"<text is='{text}'/>").get("is")
    except (etree.XMLSyntaxError, ValueError):
        return None


@lru_cache(maxsize=16)
def _tell(text: str) -> None:
    """Say it once of each text: a helper gives the same one for each machine."""
    log.info("the helper escapes its text itself, so it is not escaped again", text=text[:300])
