"""What the agent adds to a job's AdminComment, beside whatever the site has written there: pure.

Ours is in brackets, ``[requeued by esagent: ...]``, and what is around it is the site's and stays to the
letter, also what the site changes later.
"""

from __future__ import annotations

import re

_OURS = r"(?:\w+ by )?esagent: "
_PART = re.compile(rf"\[({_OURS}[^\[\]]*)\]")
_EARLIER = re.compile(rf"{_OURS}(?:\w+ at \S+: )?its machine has to be empty at [^\[\]\n]*")
"""What versions before wrote, without brackets, in place of whatever was there."""
_BRACKETS = str.maketrans("[]", "()")
MOST = 60_000
"""Characters that are written at most: slurmdbd keeps 65,535 bytes, an argument of a command 128 KiB."""
_NOT_TEXT = "\N{REPLACEMENT CHARACTER}"


def with_ours(comment: str, words: str) -> str:
    """Return a comment with these words of ours in place of earlier ones."""
    part, theirs = f"[{words.translate(_BRACKETS)}]", without_ours(comment)
    return f"{theirs} {part}" if theirs else part


def without_ours(comment: str) -> str:
    """Return what the site wrote, to the letter."""
    if _EARLIER.fullmatch(comment):
        return ""
    left, end = [], 0
    for found in _PART.finditer(comment):
        before = comment[end : found.start()]
        # The space that ``with_ours`` put between.
        left.append(before.removesuffix(" ") if found.start() else before)
        end = found.end()
    return "".join((*left, comment[end:]))


def ours_in(comment: str) -> str:
    """Return the words of ours in a comment, without brackets; "" where there are none."""
    if _EARLIER.fullmatch(comment):
        return comment
    found = _PART.findall(comment)
    return str(found[-1]) if found else ""


def can_be_written(comment: str) -> bool:
    """Tell whether Slurm would have exactly this: no byte of it was lost when it was read, and it fits."""
    return _NOT_TEXT not in comment and len(comment) <= MOST
