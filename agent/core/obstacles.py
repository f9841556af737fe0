"""What keeps a lease from being renewed, and what a person can do about each."""

from __future__ import annotations

from enum import StrEnum


class RenewalObstacle(StrEnum):
    """Why a CM does not renew a sliver (``GeniCMV2 RenewSlice``, ``GeniCM SetSliceExpiration``)."""

    RESERVED = "reserved"
    """The reservation system would run short of a type."""
    PRERESERVE = "prereserve"
    """A machine is reserved by name for another project; the refusal tells neither which nor from when."""
    IDLE = "idle"
    """The slice's renew limit is 0, set for good by the site's idle check (``expire_daemon CheckIdle``)."""
    LIMIT = "limit"
    """A limit that the site set for this slice."""
    MAXIMUM = "maximum"
    """The site's longest lease, for every slice."""
    SHORT = "short"
    """The end that was asked for is too near, or past."""
    BEYOND_SLICE = "beyond-slice"
    """The credential does not last that long."""
    OTHER = "other"
    """Refused in words that are not known."""

    @property
    def mend(self) -> str:
        """What a person can do."""
        return _MENDS[self]


_MENDS: dict[RenewalObstacle, str] = {
    RenewalObstacle.RESERVED: (
        "others have reserved machines of a type that we hold: give some of that type back, ask for a shorter"
        " lease, or reserve them for the project"
    ),
    RenewalObstacle.PRERESERVE: (
        "a machine that we hold is reserved by name for others: an earlier end is granted, and the site's"
        " operators can say which machine it is"
    ),
    RenewalObstacle.IDLE: (
        "the site found the machines idle for too long and renews them no more: ask its operators to lift the"
        " limit, or give all of them back and borrow anew"
    ),
    RenewalObstacle.LIMIT: (
        "the site limits how long this slice may last there: ask its operators to raise that"
    ),
    RenewalObstacle.MAXIMUM: "set [lease] duration to no more than the site admits",
    RenewalObstacle.SHORT: (
        "set [lease] duration to more than a few minutes, and look whether this computer's clock is right"
    ),
    RenewalObstacle.BEYOND_SLICE: (
        "the slice ends earlier at the slice authority: it is to be renewed there first"
    ),
    RenewalObstacle.OTHER: "the site's words tell what it objects to",
}
