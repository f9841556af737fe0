"""A job's constraint (``sbatch --constraint``), and what it asks of machines by their features: pure.

It is read as slurmctld reads it (``job_scheduler.c``, ``node_scheduler.c``), which was tried with machines of
all kinds: no operator binds more than another, ``a|b&c`` is ``(a|b)&c``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

_TOKEN = re.compile(
    r"(?P<sign>[&,|()\[\]])|\*(?P<count>[1-9]\d{0,5})(?!\d)|(?P<name>[^&,|()\[\]*]+)", re.ASCII
)


@dataclass(frozen=True)
class Features:
    """Features joined by ``&`` and ``|``; without any, every machine has them."""

    steps: tuple[tuple[str, str | Features], ...] = ()
    """Each with the operator before it, from left to right; what stands before the first one is true."""

    def met_by(self, offered: frozenset[str]) -> bool:
        """Tell whether a machine with these features has what is asked for."""
        met = True
        for operator, wanted in self.steps:
            if met is (operator == "&"):
                met = wanted in offered if isinstance(wanted, str) else wanted.met_by(offered)
        return met


@dataclass(frozen=True)
class Group:
    """Some machines of a job that have to have features which the others need not have."""

    features: Features
    count: int


@dataclass(frozen=True)
class Constraint:
    """What a constraint asks of the machines of a job. Without any of it, all machines do."""

    each: Features = Features()
    """What every one of them has."""
    alternatives: tuple[Features, ...] = ()
    """``[a|b]``: all of them have one of these, the same one; empty for no matter."""
    groups: tuple[Group, ...] = ()
    """``[a*2&b*1]``: so many others for each group, and at least their sum in all.

    Slurm chooses for one group after the other, and may give the first what only a later one needs.
    """
    rest_of_groups: bool = False
    """Machines beyond the sum are such as one of the groups has, too."""

    @property
    def count(self) -> int:
        """The fewest machines that a job with it takes."""
        return max(sum(group.count for group in self.groups), 1)

    def admits(self, offered: frozenset[str]) -> bool:
        """Tell whether a machine with these features may be one of them."""
        if not self.each.met_by(offered):
            return False
        if self.alternatives:
            return any(features.met_by(offered) for features in self.alternatives)
        return not self.rest_of_groups or any(group.features.met_by(offered) for group in self.groups)

    def ways(self) -> tuple[Constraint, ...]:
        """Return what it comes to for each alternative: all machines of a job are admitted by one of them."""
        if not self.alternatives:
            return (self,)
        return tuple(replace(self, alternatives=(features,)) for features in self.alternatives)


@dataclass(frozen=True)
class _Term:
    """A feature, or some in parentheses."""

    features: Features
    operator: str
    """What comes behind it; "" at the end."""
    count: int = 0
    is_bracketed: bool = False
    """It stands in brackets, or behind one that does and whose operator ties the two."""


@lru_cache(maxsize=4096)
def parse_constraint(text: str) -> Constraint:
    """Read a constraint.

    >>> parse_constraint("[rack1*2&rack2*1]").count
    3

    Raises:
        ValueError: it is none that Slurm takes.
    """
    terms = _Reader(text).read()
    groups = tuple(Group(term.features, term.count) for term in terms if term.count)
    bracketed = [term for term in terms if term.is_bracketed]
    operators = {term.operator for term in bracketed[:-1]}
    if operators == {"&"} and all(term.count for term in bracketed):
        return Constraint(groups=groups, rest_of_groups=True)
    if operators - {"|"} or (bracketed and groups):
        raise ValueError(f"constraint {text!r}: expected [a|b] or [a*1&b*2] in the brackets")
    if groups:
        # Slurm has the same machines meet all that is counted outside of brackets, and reads nothing else.
        joined = Features(tuple(("&", group.features) for group in groups))
        features = joined if len(groups) > 1 else groups[0].features
        return Constraint(groups=(Group(features, max(group.count for group in groups)),))
    before = ["&", *(term.operator for term in terms)]
    plain = (
        (operator, term.features)
        for operator, term in zip(before, terms, strict=False)
        if not term.is_bracketed
    )
    return Constraint(Features(tuple(plain)), tuple(term.features for term in bracketed))


@lru_cache(maxsize=4096)
def satisfies(offered: frozenset[str], expression: str) -> bool:
    """Tell whether a machine may be one of a job with a constraint; no for one that cannot be understood.

    >>> satisfies(frozenset({"ssd", "big"}), "ssd&(big|huge)")
    True
    """
    try:
        return parse_constraint(expression).admits(offered)
    except ValueError:
        return False


class _Reader:
    """Reads a constraint from left to right, as ``build_feature_list`` does."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.terms: list[_Term] = []
        self._inner: list[tuple[str, str]] = []
        """Features in the parentheses that are open, each with the operator before it."""
        self._operator = "&"
        self._last: Features | None = None
        """What was read since the last operator."""
        self._count = 0
        self._in_parentheses = self._in_brackets = self._had_brackets = self._is_tied = False

    def read(self) -> list[_Term]:
        """Return the terms.

        Raises:
            ValueError: it is no constraint.
        """
        at = 0
        while at < len(self._text):
            token = _TOKEN.match(self._text, at)
            if token is None or not self._take(token):
                raise ValueError(f"constraint {self._text!r}: not expected at {self._text[at:][:20]!r}")
            at = token.end()
        if self._in_parentheses or self._in_brackets:
            raise ValueError(f"constraint {self._text!r}: parentheses or brackets are not closed")
        if self._last is not None:
            self._add("")
        return self.terms

    def _take(self, token: re.Match[str]) -> bool:
        """Take a token; false where it may not stand there."""
        name, count, sign = token["name"], token["count"], token["sign"]
        if sign in ("[", "("):
            return self._open(sign)
        if name:
            is_first = self._last is None and bool(name.strip())
            self._last = Features((("&", name),))
            if self._in_parentheses:
                self._inner.append((self._operator, name))
            return is_first
        if self._last is None:
            return False
        if count:
            is_allowed = not self._count and not self._in_parentheses
            self._count = int(count)
            return is_allowed
        return self._close(sign) if sign in ("]", ")") else self._join("|" if sign == "|" else "&")

    def _open(self, sign: str) -> bool:
        if self._last is not None or self._in_parentheses:
            return False
        if sign == "(":
            self._in_parentheses, self._operator, self._inner = True, "&", []
            return True
        is_only = not self._had_brackets
        self._in_brackets = self._had_brackets = True
        return is_only

    def _close(self, sign: str) -> bool:
        if sign == ")":
            was_open, self._in_parentheses = self._in_parentheses, False
            self._last = Features(tuple(self._inner))
            return was_open
        was_open, self._in_brackets = self._in_brackets, False
        return was_open and not self._in_parentheses

    def _join(self, operator: str) -> bool:
        self._operator = operator
        if self._in_parentheses:
            self._last = None
        else:
            self._add(operator)
        return True

    def _add(self, operator: str) -> None:
        self.terms.append(
            _Term(self._last or Features(), operator, self._count, self._in_brackets or self._is_tied)
        )
        self._is_tied, self._last, self._count = self._in_brackets, None, 0
