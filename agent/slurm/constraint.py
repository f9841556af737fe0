"""A job's constraint (``sbatch --constraint``) held against the features of a machine: pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

_TOKEN = re.compile(r"\s*(?:(?P<sign>[&,|()\[\]])|(?P<name>[^&,|()\[\]*\s]+)(?:\*\d+)?)\s*")
_OPENS = {"(": ")", "[": "]"}


class _Reader:
    """Reads one expression by recursive descent: ``|`` binds less than ``&`` and ``,``."""

    def __init__(self, expression: str, offered: Collection[str]) -> None:
        self._offered = offered
        self._tokens: list[str] = []
        at = 0
        while at < len(expression):
            match = _TOKEN.match(expression, at)
            if match is None:
                raise ValueError(expression)
            self._tokens.append(match["sign"] or match["name"])
            at = match.end()
        self._tokens.reverse()

    def read(self) -> bool:
        met = self._either()
        if self._tokens:
            raise ValueError(self._tokens[-1])
        return met

    def _either(self) -> bool:
        met = self._all()
        while self._tokens and self._tokens[-1] == "|":
            self._tokens.pop()
            met = self._all() or met
        return met

    def _all(self) -> bool:
        met = self._one()
        while self._tokens and self._tokens[-1] in {"&", ","}:
            self._tokens.pop()
            met = self._one() and met
        return met

    def _one(self) -> bool:
        word = self._tokens.pop()
        closes = _OPENS.get(word)
        if closes is None:
            if word in "&,|)]":
                raise ValueError(word)
            return word in self._offered
        met = self._either()
        if self._tokens.pop() != closes:
            raise ValueError(closes)
        return met


@lru_cache(maxsize=4096)
def satisfies(offered: frozenset[str], expression: str) -> bool:
    """Tell whether a machine with these features meets a constraint; no for one that cannot be understood.

    Counts (``rack1*4``) ask for several machines and say nothing about one.

    >>> satisfies(frozenset({"ssd", "big"}), "ssd&(big|huge)")
    True
    """
    if not expression:
        return True
    try:
        return _Reader(expression, offered).read()
    except (ValueError, IndexError, RecursionError):
        return False
