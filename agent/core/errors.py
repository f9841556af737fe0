"""Every error of the agent: one class per thing that a caller can act on differently.

::

    AgentError
    ├── ConfigError             a setting, a file or a name that a person has to mend
    │   └── UnavailableError    what a setting names cannot be had now: it may come by itself
    ├── LedgerError             the ledger cannot be read or written
    ├── FatalError              going on cannot help: ends the manager's loop
    ├── CloudlabError           an SA or CM did not do what was asked
    │   ├── BusyError           locked, or starting: the same call may work in seconds
    │   ├── UnreachableError    nothing was carried out: no connection, or turned away at the door
    │   ├── LostReplyError      sent, and no answer: it may or may not have been carried out
    │   ├── MalformedReplyError answered with something that is not an answer
    │   ├── CredentialExpiredError
    │   ├── ForbiddenError      these credentials do not allow it
    │   │   └── AccountError    the site does not serve this user: a person has to mend that
    │   ├── BadArgumentsError   the request is wrong as it stands
    │   │   ├── ImageError      an image of a machine of the sliver cannot be used any more
    │   │   ├── EarlierSliceError  the CM's sliver is of an earlier slice of this name
    │   │   └── LastMachineError  the last machine goes with the whole sliver only
    │   ├── RefusedError        understood, and declined by a rule of the site
    │   │   ├── PromisedError   the lease is not renewed with a machine that is promised to others
    │   │   ├── RenewalRefusedError  the lease is not renewed, for another reason
    │   │   ├── LockedDownError the sliver is locked: it does not end, and nobody may delete it
    │   │   ├── ShutDownError   the site's operators stopped the sliver
    │   │   └── QuotaError      the user's disk quota at the site is used up
    │   ├── EndingError         the sliver is being deleted already, by us or by somebody else
    │   ├── UnreservedError     a machine of the sliver is not reserved to us any more
    │   ├── NotFoundError       no such slice, sliver or node there
    │   │   └── SliceGoneError  the SA has no such slice: nothing is made for it at any CM
    │   ├── AlreadyExistsError  it is there already
    │   └── InsufficientNodesError  the site cannot place these machines now
    ├── SlurmError              Slurm did not do what was asked
    │   ├── SlurmDownError      no answer in time: whether it was done is unknown
    │   └── SlurmRefusedError   answered with a refusal
    └── SshError                a machine did not do what was asked
        ├── SshUnreachableError
        ├── SshTimeoutError
        └── SshCommandError
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.obstacles import RenewalObstacle


class AgentError(Exception):
    """Root of everything that the agent raises on purpose."""


class ConfigError(AgentError):
    """Something that a person has to mend: it names the place, the thing and what was expected."""


class UnavailableError(ConfigError):
    """What a setting names cannot be had now, and may be later: an address, a user, a program's answer."""


class LedgerError(AgentError):
    """The ledger cannot be opened, read or written."""


class FatalError(AgentError):
    """Going on cannot help: ends the manager's loop, with the reason as its message."""


class CloudlabError(AgentError):
    """An SA or a CM did not do what was asked.

    Attributes:
        method: the remote method, such as ``AddNodes``.
        authority: URN of the SA or CM that answered (or did not).
        code: ProtoGENI response code or XML-RPC fault code; None where no reply was decoded.
        log_url: the server's ``protogeni_error_url``, which its operators ask for; "" if it sent none.
        begun: whether the change that the caller asked for may have been carried out, where that takes more
            than one request: False for a fault before the one that counts, True for a fault after it. None
            where the class alone tells.
        mend: what a person can do about it; "" where nothing but waiting helps, or it is not known.
    """

    mend: str = ""

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        authority: str = "",
        code: int | None = None,
        log_url: str = "",
    ) -> None:
        super().__init__(message)
        self.method = method
        self.authority = authority
        self.code = code
        self.log_url = log_url
        self.begun: bool | None = None

    def __str__(self) -> str:
        """Tell what failed, where, and the server's own words."""
        parts = [f"{self.method or 'call'} at {self.authority or 'Cloudlab'}: {super().__str__()}"]
        if self.code is not None:
            parts.append(f"(code {self.code})")
        if self.log_url:
            parts.append(f"log {self.log_url}")
        return " ".join(parts)


class BusyError(CloudlabError):
    """Code 14: the slice is locked, or its nodes are starting."""


class UnreachableError(CloudlabError):
    """No connection, TLS refused, HTTP 503 or fault 503: nothing was carried out, so a repeat is safe."""


class LostReplyError(CloudlabError):
    """The request went out and no whole reply came back: read the state again before repeating."""


class MalformedReplyError(CloudlabError):
    """The reply is not XML-RPC, or not the envelope, or a document in it cannot be read."""


class CredentialExpiredError(CloudlabError):
    """Code 1 with «expired at»: fetch new credentials, then repeat."""


class ForbiddenError(CloudlabError):
    """Code 3: these credentials do not allow it."""


class AccountError(ForbiddenError):
    """Faults 3 and 7: the site does not serve this user (protogeni-wrapper.pl)."""

    mend = (
        "the account at the site is frozen, inactive or unknown there, or the site serves users of its own"
        " federation only: ask its operators, or use the certificate of a user whom it serves"
    )


class BadArgumentsError(CloudlabError):
    """Code 1: the request is wrong as it stands."""


class ImageError(BadArgumentsError):
    """An image cannot be used any more: the CM then adds no machine to its sliver and deletes none.

    It looks up the images of all machines of the sliver at each change (``GeniImage MapToLocalImage``,
    ``GeniCM CheckForDeprecatedImages``).

    Attributes:
        image: URN or name of the image; "" where the refusal does not name it.
    """

    mend = (
        "have the image mended at the site, or give all machines that run it back"
        " (a whole sliver can be given back all the same)"
    )

    def __init__(self, message: str, *, image: str = "", **where: Any) -> None:
        super().__init__(message, **where)
        self.image = image


class EarlierSliceError(BadArgumentsError):
    """A CM has a slice of this name that is gone at the SA: only the credential of that one acts on it.

    ``GeniCMV2 Credential2SliceAggregate``: «Duplicate slice URN already exists here», since the uuids differ.
    """


class RefusedError(CloudlabError):
    """Code 7 and the like: understood, and declined."""


class PromisedError(RefusedError):
    """A sliver is not renewed while it has a machine that is promised to others.

    Attributes:
        node_id: of that machine.
    """

    mend = "give that machine back, or ask the site's operators to lift its mark"

    def __init__(self, message: str, *, node_id: str, **where: Any) -> None:
        super().__init__(message, **where)
        self.node_id = node_id


class LastMachineError(BadArgumentsError):
    """«Not allowed to delete all nodes from the topology!»: ``DeleteSlice`` does (GeniCMV2 of 2021)."""


class RenewalRefusedError(RefusedError):
    """A sliver is not renewed until the time that was asked for.

    Attributes:
        obstacle: why.
        short_at: with ``RESERVED``, when the site would run short: in its own words and its own time zone,
            "" where it does not say.
        short_by: with ``RESERVED``, how many machines are short then; None where it does not say.
        longest: with ``MAXIMUM``, seconds of the longest lease; None where it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        obstacle: RenewalObstacle = RenewalObstacle.OTHER,
        short_at: str = "",
        short_by: int | None = None,
        longest: float | None = None,
        **where: Any,
    ) -> None:
        super().__init__(message, **where)
        self.obstacle = obstacle
        self.short_at = short_at
        self.short_by = short_by
        self.longest = longest
        self.mend = obstacle.mend


class LockedDownError(RefusedError):
    """The sliver was locked (``GeniCMV2 Lockdown``): it does not end, and is not deleted."""

    mend = "whoever locked the slice at the portal, or an operator of the site, has to unlock it"


class ShutDownError(RefusedError):
    """The site's operators shut the slice down there (``GeniCMV2 Shutdown``)."""

    mend = "ask the site's operators why they shut the slice down"


class QuotaError(RefusedError):
    """Code 23: the user's disk quota at the site is used up."""

    mend = "delete files in the user's directories at the site"


class EndingError(CloudlabError):
    """Code 16, or «marked for termination»: the sliver is being deleted; nothing else is done there."""

    mend = (
        "the sliver is being deleted there: machines are borrowed again once it is gone, and if nobody meant"
        " that, ask at the portal or the site's operators who deleted it"
    )


class UnreservedError(CloudlabError):
    """A CM does nothing for a sliver with a machine that it does not reserve to us any more.

    Attributes:
        node_id: of that machine.
    """

    def __init__(self, message: str, *, node_id: str, **where: Any) -> None:
        super().__init__(message, **where)
        self.node_id = node_id


class NotFoundError(CloudlabError):
    """Code 12, or «No such node» of ``DeleteNodes``."""


class SliceGoneError(NotFoundError):
    """The SA has no such slice, or one that has ended. CMs are not told, and would make machines for it."""


class AlreadyExistsError(CloudlabError):
    """«already a registered slice», «Must delete existing slice first», «Already have NAME»."""


@dataclass(frozen=True)
class Shortage:
    """One type of which a CM gives fewer machines than were asked for (tbsetup/mapper.in)."""

    hardware_type: str
    """"" where all machines of the sliver are counted."""
    wanted: int
    """Machines of that type in the whole sliver then, those included that it has already."""
    available: int
    """How many the sliver may have, those included that it has already."""
    reserved: bool = False
    """Others have reserved the rest: a shorter lease may admit more."""
    limited: bool = False
    """A rule of the site, not a lack of machines: "only allowed to use"."""


class InsufficientNodesError(CloudlabError):
    """Codes 24 to 30: the mapper cannot place the request now.

    Attributes:
        shortages: the types that are short, where the refusal tells them.
        never: the site could not place it even if it were empty.
        node_id: the machine that is asked for by name, or that the sliver has, and that the CM cannot give;
            "" where the refusal names none.
    """

    def __init__(
        self,
        message: str,
        *,
        shortages: Sequence[Shortage] = (),
        never: bool = False,
        node_id: str = "",
        **where: Any,
    ) -> None:
        super().__init__(message, **where)
        self.shortages = tuple(shortages)
        self.never = never
        self.node_id = node_id


class SlurmError(AgentError):
    """Slurm did not do what was asked."""


class SlurmDownError(SlurmError):
    """No answer in time: a change may have been applied all the same, so read again."""


class SlurmRefusedError(SlurmError):
    """Slurm answered with an error; parts of a list may have been applied all the same."""


class SshError(AgentError):
    """A machine did not do what was asked over SSH."""


class SshUnreachableError(SshError):
    """No connection, or no login."""


class SshTimeoutError(SshError):
    """A time limit of ours passed."""


class SshCommandError(SshError):
    """A command ended with a status other than 0."""
