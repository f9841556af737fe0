"""Runs the manager's steps: one cycle, or for ever, here or in a thread; and keeps what they decided."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog

from agent.core import threads
from agent.core.cycle.lanes import Cycle, Outcome
from agent.core.cycle.schedule import Key, Schedule
from agent.core.errors import AgentError, BusyError, ConfigError, FatalError
from agent.core.events import Event, EventData, EventKind
from agent.core.ports import Clock, EventSink

log = structlog.get_logger()

STOP_TIME = 2.0
"""Seconds that ``stop`` waits for a step under way; one that waits for Cloudlab is left behind."""


class Owner(Protocol):
    """Who has the steps, each a method of its name; one that runs at each CM takes ``cm``."""

    def before_cycles(self) -> None:
        """Get ready: called before the first step of each start."""

    def before_step(self) -> None:
        """Get ready: called before each step."""


class Runner:
    """Runs steps as the schedule says. A step that fails is told once, and leaves the others running.

    Args:
        owner: the manager.
        schedule: which step is due.
        clock: time.
        events: where decisions and acts are told.
        observe: told of each run of a step: its name, the outcome in one word, and seconds.

    Attributes:
        cycle: wakes steps.
        last_success: step -> when it last went well.
        said: the newest decision, in words.
        fatal: why the thread of ``start`` ended by itself; "" otherwise.

    Raises:
        ConfigError: a step that is no method of the owner.
    """

    def __init__(
        self,
        owner: Owner,
        schedule: Schedule,
        clock: Clock,
        events: EventSink,
        observe: Callable[[str, str, float], None] | None = None,
    ) -> None:
        steps = dict.fromkeys(key.step for key in schedule.keys)
        if unknown := [step for step in steps if not callable(getattr(owner, step, None))]:
            raise ConfigError(
                f"manage_order: {', '.join(unknown)}: names of the manager's methods are expected"
            )
        self._owner = owner
        self._clock = clock
        self._events = events
        self._observe = observe
        self._notes = threading.local()
        self._thread: threading.Thread | None = None
        self.cycle = Cycle(schedule, clock, self._perform, _lane)
        self.last_success: dict[str, datetime] = {}
        self.said = ""
        self.fatal = ""

    def once(self, *, force: bool) -> str:
        """Perform one cycle; return what was decided, in one sentence.

        Raises:
            FatalError: going on cannot help.
        """
        self._owner.before_cycles()
        notes: list[str] = []
        self._notes.cycle = notes
        self.cycle.once(force=force)
        self._notes.cycle = None
        return "; ".join(dict.fromkeys(notes)) or "nothing was to be decided"

    def forever(self) -> str:
        """Perform cycles until ``stop``, a fatal error or a user's interrupt; return why it ended.

        Raises:
            FatalError: going on cannot help.
        """
        self.cycle.start()
        self._owner.before_cycles()
        return self.cycle.forever()

    def start(self) -> None:
        """Run ``forever`` in a thread; ``fatal`` tells why, should it end by itself.

        Raises:
            ConfigError: it runs already.
        """
        if self._thread is not None and self._thread.is_alive():
            raise ConfigError("the manager is running already")
        self.fatal = ""
        self.cycle.start()
        self._thread = threads.rely("manager", self._manage)

    def _manage(self) -> None:
        try:
            self._owner.before_cycles()
            self.cycle.forever()
        except FatalError as error:
            self.fatal = str(error)
            self.tell(EventKind.FATAL, "", f"the manager ended: {error}")
        except BaseException as error:
            self.fatal = f"{type(error).__name__}: {error}"
            raise

    def stop(self) -> None:
        """Begin no step any more; wait a little for the thread to end."""
        self.cycle.stop()
        if self._thread is not None:
            self._thread.join(STOP_TIME)

    def tell(self, kind: EventKind, subject: str, message: str, data: EventData | None = None) -> None:
        """Record an event, and add it to what this step decided."""
        self._events.record(Event(self._clock.now(), kind, subject, message, data))
        self.note(message)

    def note(self, text: str) -> None:
        """Add to what this step decided, without an event."""
        self.said = text
        notes = getattr(self._notes, "cycle", None)
        if notes is not None:
            notes.append(text)

    def _perform(self, key: Key) -> Outcome:
        begun = self._clock.monotonic()
        outcome = self._run(key)
        if self._observe is not None:
            self._observe(key.step, outcome.name.lower(), self._clock.monotonic() - begun)
        return outcome

    def _run(self, key: Key) -> Outcome:
        try:
            self._owner.before_step()
            step = getattr(self._owner, key.step)
            step(cm=key.cm) if key.cm else step()
        except FatalError:
            raise
        except AgentError as error:
            return self._failed(key, error)
        except Exception as error:
            log.exception("a step failed", step=str(key))
            return self._failed(key, error)
        if self.cycle.failures(key):
            self.tell(EventKind.STEP, key.step, f"{key} works again")
        self.last_success[key.step] = self._clock.now()
        return Outcome.DONE

    def _failed(self, key: Key, error: Exception) -> Outcome:
        message = f"{key} failed: {error or type(error).__name__}"
        if self.cycle.failures(key):
            self.note(message)
        else:
            self.tell(EventKind.STEP, key.step, message)
        return Outcome.BUSY if isinstance(error, BusyError) else Outcome.FAILED


def _lane(key: Key) -> str:
    return key.cm or ("slice" if key.step in {"ensure_slice", "renew"} else "system")
