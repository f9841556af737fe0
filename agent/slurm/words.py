"""Slurm's words, as far as a way in acts on them, and ours made fit for Slurm: pure."""

from __future__ import annotations

UNKNOWN_NODE = "Invalid node name specified"
"""This and the refusal below are of slurm_strerror."""
UNKNOWN_JOB = "Invalid job id specified"
_NO_ANSWER = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Zero Bytes were transmitted or received",
    "Connection refused",
    "Connection timed out",
    "Transport endpoint is not connected",
    "Unable to establish controller machine",
    "standby mode",
    "Munge encode failed",
    "Protocol authentication error",
)
"""Slurm's words for «no controller answered»."""
_UNREACHED = (
    *("(connect failure)", "Connection refused", "Unable to establish controller machine"),
    "standby mode",
)
"""Those of them that are said where the request never arrived."""
_NOT_NOW = (
    "can not be altered now",
    "expected it to run",
    "Slurm left it running",
    "and nothing else can",
    "rest_token",
)
"""Words of a refusal that does not last: Slurm's; a way in's that found the job in another state, or does not
know why; and those that are about the way in and not about the job."""
_RESOURCES_IN_WORDS = "Nodes required for job are DOWN"
_MAX_TEXT = 1000


def means_no_answer(words: str) -> bool:
    """Tell whether Slurm's words mean that no controller answered."""
    return any(known in words for known in _NO_ANSWER)


def means_unreached(words: str) -> bool:
    """Tell whether Slurm's words mean that no controller even got the request."""
    return any(known in words for known in _UNREACHED)


def means_not_now(words: str) -> bool:
    """Tell whether a refusal is for a passing reason, so that the same may be asked again."""
    return any(known in words for known in _NOT_NOW)


def main_reason(told: str) -> str:
    """Return the word for why a job waits, ``Resources`` or ``Priority``, of what Slurm tells people."""
    return "Resources" if told.startswith(_RESOURCES_IN_WORDS) else told.split(",", 1)[0]


def printable(text: str, limit: int = 500) -> str:
    """Make foreign text fit for one line of a log."""
    return "".join(c if c.isprintable() else " " for c in text[:limit])


def one_line(text: str) -> str:
    """Make text fit for what people read in Slurm: a reason, a comment, a line in a job's output."""
    return printable(text, _MAX_TEXT).strip()
