"""One question to a server that many threads need answered: asked once at a time, and waited for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

from agent.core import threads
from agent.core.errors import CloudlabError
from agent.core.ports import Clock

T = TypeVar("T")


class SharedAnswer(Generic[T]):
    """Asks on a thread of its own, so that nobody has to wait longer than he likes. Safe for many threads.

    No lock is held while the server is asked.

    Args:
        ask: asks the server; ends by itself, well or not.
        clock: time.
        name: what is asked for; in the thread's name.
    """

    def __init__(self, ask: Callable[[], T], clock: Clock, name: str) -> None:
        self._ask = ask
        self._clock = clock
        self._name = name
        self._lock = threading.Lock()
        self._under_way: tuple[float, Future[T]] | None = None

    def get(self, patience: float | None = None) -> T:
        """Return the answer to the question that is under way, or to a new one.

        Args:
            patience: seconds that the question may have been under way when this gives up; None for as long
                as it takes.

        Raises:
            TimeoutError: there is no answer yet; the question stays under way.
            CloudlabError: what ``ask`` raised.
        """
        with self._lock:
            if self._under_way is None:
                new: Future[T] = Future()
                threads.errand(f"asking-{self._name}", partial(self._work, new))
                self._under_way = (self._clock.monotonic(), new)
            begun, answer = self._under_way
        left = None if patience is None else max(patience - (self._clock.monotonic() - begun), 0.0)
        try:
            return answer.result(left)
        except CloudlabError as error:
            # What each of those who wait adds to it is his own.
            raise _twin(error) from error

    def _work(self, answer: Future[T]) -> None:
        try:
            value = self._ask()
        except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
            self._end()
            answer.set_exception(error)
        else:
            self._end()
            answer.set_result(value)

    def _end(self) -> None:
        """Have the next one who asks begin a new question."""
        with self._lock:
            self._under_way = None


def _twin(error: CloudlabError) -> CloudlabError:
    twin = type(error).__new__(type(error), *error.args)
    vars(twin).update(vars(error))
    return twin
