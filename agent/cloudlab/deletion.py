"""Gives a whole sliver back: asks for its end, and looks until the CM holds nothing for us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agent.cloudlab.phases import after_the_request
from agent.core.errors import BusyError, CloudlabError, EndingError, LostReplyError, NotFoundError

log = structlog.get_logger()


@dataclass(frozen=True)
class Deletion:
    """One deletion.

    ``DeleteSlice`` answers at once, and is carried out later. While machines boot a CM is busy, unless their
    boots are to be ended (``cancel``).
    """

    cm: str
    ask: Callable[[bool], object]
    """Calls ``DeleteSlice``, with ``cancel`` or without."""
    is_there: Callable[[], bool]
    """Tells whether the CM holds something for us."""
    monotonic: Callable[[], float]
    """Seconds that never go back."""
    pause: Callable[[], object]
    """Waits between two looks."""
    timeout: float
    """Seconds to wait for the end."""

    def carry_out(self) -> None:
        """Delete, and wait until it is done.

        Raises:
            BusyError: nothing was begun.
            CloudlabError: with ``begun``, the CM may be at it, and its end was not seen.
        """
        begun = self._begin(asked_before=False)
        with after_the_request():
            self._see_it_gone(begun=begun)

    def _see_it_gone(self, *, begun: bool) -> None:
        """Wait for the end; ask again where it is not known whether it began."""
        end = self.monotonic() + self.timeout
        while self.is_there():
            if not begun:
                begun = self._begin(asked_before=True)
            if self.monotonic() >= end:
                text = f"the sliver is still there after {self.timeout:g} s"
                raise CloudlabError(text, method="DeleteSlice", authority=self.cm)
            self.pause()

    def _begin(self, *, asked_before: bool) -> bool:
        """Ask for the end of a sliver; False where it is not known whether that began.

        A repeat is harmless: it finds nothing, or is told busy, or that it is under way, while the first one
        works.
        """
        try:
            try:
                self.ask(False)
            except BusyError as error:
                log.info("machines boot: their boots are ended", cm=self.cm, error=str(error))
                self.ask(True)
        except (EndingError, NotFoundError, LostReplyError, BusyError) as error:
            if not asked_before and (error.begun is False or isinstance(error, BusyError)):
                raise
            log.info("sliver looked up after DeleteSlice", cm=self.cm, error=str(error))
            return isinstance(error, EndingError | NotFoundError)
        return True
