"""What a CM refuses until a person acts: values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.core.errors import (
    AccountError,
    CloudlabError,
    EndingError,
    ImageError,
    LockedDownError,
    QuotaError,
    ShutDownError,
)


class Cause(StrEnum):
    """Why a CM gives nothing until a person acts."""

    ACCOUNT = "account"
    QUOTA = "quota"
    IMAGE = "image"
    ENDING = "ending"
    SHUT_DOWN = "shutdown"
    LOCKED_DOWN = "locked-down"
    NEVER = "never"


@dataclass(frozen=True)
class Impasse:
    """What a CM refuses until a person acts."""

    cm: str
    cause: Cause
    about: str
    """The image or the type; "" where it is about all that is asked."""
    words: str
    """What the CM said, and what a person can do."""


def cause_of(error: CloudlabError) -> Cause | None:
    """Return why this is refused until a person acts; None for what may pass by itself."""
    match error:
        case AccountError():
            return Cause.ACCOUNT
        case QuotaError():
            return Cause.QUOTA
        case ImageError():
            return Cause.IMAGE
        case EndingError():
            return Cause.ENDING
        case ShutDownError():
            return Cause.SHUT_DOWN
        case LockedDownError():
            return Cause.LOCKED_DOWN
    return None
