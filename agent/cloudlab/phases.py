"""What a fault before or after the request that counts says of the whole change: not begun, or begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.core.errors import CloudlabError


@contextmanager
def before_the_request() -> Iterator[None]:
    """Get what a request needs, such as credentials: a fault here means that nothing was asked."""
    try:
        yield
    except CloudlabError as error:
        error.begun = False
        raise


@contextmanager
def after_the_request() -> Iterator[None]:
    """See what becomes of a change that a CM may be at: a fault here, whatever its kind, undoes nothing."""
    try:
        yield
    except CloudlabError as error:
        error.begun = True
        raise
