"""Attributes of the manager that one of its parts keeps."""

from __future__ import annotations

from operator import attrgetter
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """A read-only attribute, read anew each time.

    Args:
        path: where it is, from the manager on, such as ``_runner.said``.
    """

    def __init__(self, path: str) -> None:
        self._read = attrgetter(path)

    def __get__(self, owner: object, cls: type | None = None) -> T:
        """Read it; the class itself has none."""
        if owner is None:
            raise AttributeError("it is an attribute of a manager, not of its class")
        value: T = self._read(owner)
        return value

    def __set__(self, owner: object, value: object) -> None:
        """Refuse."""
        raise AttributeError("it is read-only")
