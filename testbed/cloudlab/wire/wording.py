"""Numbers and texts of faults by generation of the server (protogeni.md §1.5, protogeni-2021.md §1.2)."""

from __future__ import annotations

from typing import NamedTuple

from testbed.cloudlab.answer import APPLICATION, OVERLOADED, FaultError
from testbed.cloudlab.sites import Generation


class Words(NamedTuple):
    """Number and text of a fault."""

    number: int
    text: str

    def fault(self) -> FaultError:
        """Return an exception to raise, a new one each time."""
        return FaultError(self.number, self.text)


BROKE_OUTSIDE = Words(-32400, "XMLRPC Server Error")
"""The process died outside the method; the same in both."""
TOO_BUSY = Words(OVERLOADED, "Server is WAY too busy; please try again later")
"""The load is above the limit; the same in both."""
EXPERIMENTS_OFF_SINCE_2024 = Words(
    OVERLOADED, "Server temporarily offline;   experiments are disabled in the CM"
)
"""What a server of 2024 says at a CM; one of 2021 has the words of ``offline`` (protogeni-2025.md §1)."""


class Wording(NamedTuple):
    """How the servers of one generation word what is no envelope."""

    offline: Words
    """Logins are off, or the database is away."""
    no_method: int
    death: int
    tells_death: bool
    """Whether the fault of a method that died has Perl's message."""
    unknown_user: Words
    inactive: Words
    frozen: Words | None
    """None: accounts are not asked for it."""
    stranger: Words | None
    """The caller's certificate is of a domain that is no known portal's; None: there is no such rule."""

    def no_such_method(self, method: str) -> FaultError:
        """Return the fault of a call of a method that is not there."""
        return FaultError(self.no_method, f"no such method {method}")

    def died(self, method: str, message: str) -> FaultError:
        """Return the fault of a method that died with a message of Perl."""
        text = f"Internal Error executing {method}"
        if self.tells_death:
            text += f":\n{message} at /usr/testbed/lib/GeniCMV2.pm line 1204.\n"
        return FaultError(self.death, text)


_INACTIVE = "Your account is no longer active!"
_WORDINGS = {
    2016: Wording(
        offline=Words(OVERLOADED, "CM temporarily offline; please try again later"),
        no_method=-32497,
        death=-32600,
        tells_death=False,
        unknown_user=Words(APPLICATION, _INACTIVE),
        inactive=Words(APPLICATION, _INACTIVE),
        frozen=None,
        stranger=None,
    ),
    2021: Wording(
        offline=Words(OVERLOADED, "Server temporarily offline; please try again later"),
        no_method=-32601,
        death=-32400,
        tells_death=True,
        unknown_user=Words(7, "Not a valid local user. Who are you really?"),
        inactive=Words(3, _INACTIVE),
        frozen=Words(3, "Your account has been frozen!"),
        stranger=Words(7, "Not accepting connections from anyone we do not know"),
    ),
}


def wording(generation: Generation) -> Wording:
    """Return the words of a generation."""
    return _WORDINGS[generation]
