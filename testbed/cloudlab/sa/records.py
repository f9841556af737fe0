"""What the SA remembers: its users and slices. Plain data; guarded by the simulator's one lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from testbed.cloudlab.documents.credentials import Subject
from testbed.cloudlab.locks import SliceLock
from testbed.cloudlab.sites import User


@dataclass(frozen=True)
class Member:
    """A user with what the SA holds of him."""

    user: User
    urn: str
    uuid: str
    subject: Subject
    ssh_keys: tuple[str, ...]


@dataclass(eq=False)
class SaSlice:
    """A slice as the SA knows it."""

    urn: str
    uuid: str
    creator: Member
    expires: datetime
    subject: Subject
    first_expires: datetime
    members: set[str] = field(default_factory=set)
    """URNs of the users bound to it, without the creator."""
    cms: list[str] = field(default_factory=list)
    """CMs that have told of the slice."""
    lock: SliceLock = field(default_factory=SliceLock)
