"""Calls to slurmrestd in a version of its API that it offers; what it can do is asked once a release."""

from __future__ import annotations

from typing import Unpack

from agent.core.errors import SlurmRefusedError
from agent.slurm.json_shapes import complaints, release_of
from agent.slurm.rest.api import Api, parse_api
from agent.slurm.rest.transport import Reply, RestTransport, Sent, UnknownPathError
from agent.slurm.words import printable

_IGNORED = "Ignoring unknown field"


class RestCalls:
    """Calls one slurmrestd, which may be replaced by one of another release meanwhile.

    Args:
        transport: how to reach it.

    Raises:
        SlurmError: from each method: what ``RestTransport.call`` raises.
    """

    def __init__(self, transport: RestTransport) -> None:
        self._transport = transport
        self._known_api: Api | None = None
        self._release = ""

    def api(self) -> Api:
        """Ask slurmrestd what it can do, once for each release of it.

        Raises:
            SlurmError: also where it offers no version that can serve.
        """
        if self._known_api is None:
            self._known_api = parse_api(self._transport.call("GET", "/openapi/v3").document)
        return self._known_api

    def call(self, method: str, path: str, *, version: int | None = None, **sent: Unpack[Sent]) -> Reply:
        """Send one request.

        Args:
            method: of HTTP.
            path: below the version, such as ``nodes``.
            version: NN of v0.0.NN; None for that of ``api``.
            sent: what goes with it.
        """
        spoken = self.api().version if version is None else version
        try:
            reply = self._transport.call(method, f"/slurm/v0.0.{spoken}/{path}", **sent)
        except UnknownPathError:
            # Another release may have taken its place: the next call asks again what it can do.
            self._known_api = None
            raise
        told = release_of(reply.document)
        if told and self._release not in {"", told}:
            # It has: what was asked holds, but a newer one may do more.
            self._known_api = None
        self._release = told or self._release
        return reply

    def change(self, method: str, path: str, **sent: Unpack[Sent]) -> Reply:
        """Send one request that changes something; see ``call``.

        Raises:
            SlurmRefusedError: also where only part of it was done.
        """
        reply = self.call(method, path, **sent)
        ignored = [w for w in complaints(reply.document, "warnings") if _IGNORED in w]
        if ignored:
            raise SlurmRefusedError(f"slurmrestd did only part of it: {printable('; '.join(ignored))}")
        return reply
