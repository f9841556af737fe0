"""What the agent adds to a job's AdminComment, beside whatever the site has written there: pure.

Alone it is a sentence, ``requeued by esagent: ... .``, and behind words of the site it is in brackets. What
is around it is the site's and stays to the letter, also what the site changes later.
"""

from __future__ import annotations

import re

_OURS = r"(?:\w+ by )?esagent: "
_PART = re.compile(rf"\[(?P<beside>{_OURS}[^\[\]]*)\]|\A(?P<alone>{_OURS}[^\[\].]*)\.")
_EARLIER = re.compile(rf"{_OURS}(?:\w+ at \S+: )?its machine has to be empty at [^\[\]\n.]*")
"""What versions before wrote, without an end, in place of whatever was there."""
_ENDS = str.maketrans("[].", "(),")
MOST = 60_000
"""Characters that are written at most: slurmdbd keeps 65,535 bytes, an argument of a command 128 KiB."""
_NOT_TEXT = "\N{REPLACEMENT CHARACTER}"


def with_ours(comment: str, words: str) -> str:
    """Return a comment with these words of ours in place of earlier ones."""
    ours, theirs = words.translate(_ENDS), without_ours(comment)
    return f"{theirs} [{ours}]" if theirs else f"{ours}."


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
    """Return the words of ours in a comment, without what encloses them; "" where there are none."""
    if _EARLIER.fullmatch(comment):
        return comment
    found = list(_PART.finditer(comment))
    return (found[-1]["beside"] or found[-1]["alone"]) if found else ""


def can_be_written(comment: str) -> bool:
    """Tell whether Slurm would have exactly this: no byte of it was lost when it was read, and it fits."""
    return _NOT_TEXT not in comment and len(comment) <= MOST
