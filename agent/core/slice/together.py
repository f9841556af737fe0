"""Does one thing at several CMs at once, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from agent.core import threads

T = TypeVar("T")


def together(cms: Iterable[str], act: Callable[[str], T]) -> dict[str, Future[T]]:
    """Begin ``act`` for each CM in a thread of its own.

    The threads are daemons, so that a CM that hangs does not hold up the end of the process, as those of
    a ``ThreadPoolExecutor`` do.

    Returns:
        CM -> what ``act`` returns or raises, in the order of ``cms``.
    """
    begun: dict[str, Future[T]] = {}
    for cm in cms:
        begun[cm] = Future()
        threads.errand(f"at-{cm}", partial(_settle, begun[cm], act, cm))
    return begun


def _settle(future: Future[T], act: Callable[[str], T], cm: str) -> None:
    try:
        future.set_result(act(cm))
    except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
        future.set_exception(error)
