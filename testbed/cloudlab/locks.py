"""The lock of a slice: one at the SA, one at each CM, independent of each other (protogeni.md §1.6)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from testbed.cloudlab.answer import busy


class SliceLock:
    """A flag, as in the real database: it never waits and has no time limit."""

    def __init__(self) -> None:
        self.held = False
        self.left = False
        """Whoever held it died: it stays held until an operator acts."""

    def take(self, what: str) -> None:
        """Take the lock.

        Raises:
            RefusalError: code 14, «WHAT is busy; try again later».
        """
        if self.held:
            raise busy(what)
        self.held = True

    def leave(self) -> None:
        """Hold the lock for good, as a method does that dies with it (protogeni.md §1.5)."""
        self.held = self.left = True

    def free(self) -> None:
        """Give the lock back."""
        self.held = self.left = False

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Hold the lock for a block; taking it raises as ``take`` does."""
        self.take(what)
        try:
            yield
        finally:
            self.free()
