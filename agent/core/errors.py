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
    │   ├── BadArgumentsError   the request is wrong as it stands
    │   ├── RefusedError        understood, and declined by a rule of the site
    │   │   └── PromisedError   the lease is not renewed with a machine that is promised to others
    │   ├── UnreservedError     a machine of the sliver is not reserved to us any more
    │   ├── NotFoundError       no such slice, sliver or node there
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

from typing import Any


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
    """

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


class BadArgumentsError(CloudlabError):
    """Code 1: the request is wrong as it stands."""


class RefusedError(CloudlabError):
    """Code 7 and the like: understood, and declined."""


class PromisedError(RefusedError):
    """A sliver is not renewed while it has a machine that is promised to others.

    Attributes:
        node_id: of that machine.
    """

    def __init__(self, message: str, *, node_id: str, **where: Any) -> None:
        super().__init__(message, **where)
        self.node_id = node_id


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


class AlreadyExistsError(CloudlabError):
    """«already a registered slice», «Must delete existing slice first», «Already have NAME»."""


class InsufficientNodesError(CloudlabError):
    """Codes 24 to 28: the mapper cannot place the request now."""


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
