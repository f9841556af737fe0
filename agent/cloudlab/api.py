"""The remote methods of the SA and of a CM (API 2.0), one method each, with typed results.

Sources: Emulab's GeniSA.pm and GeniCMV2.pm. Every method raises a subclass of ``CloudlabError``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from agent.cloudlab.accounts import UserKeys, account_argument, read_account
from agent.cloudlab.credentials import Credential, parse_credential
from agent.cloudlab.lan_form import LanForm
from agent.cloudlab.rspec import escape_add_nodes, parse_advertisement, parse_manifest
from agent.cloudlab.sliver_status import read_sliver_status
from agent.cloudlab.times import format_time, parse_time
from agent.cloudlab.transport import MAX_REPLY, Remote, Transport
from agent.cloudlab.type_form import TypeForm
from agent.cloudlab.urn import check_client_id, same_urn
from agent.core.errors import BadArgumentsError, MalformedReplyError, NotFoundError
from agent.core.model import AdvertisedNode, Sliver, SliverStatus
from agent.core.request.escaping import as_meant, meant
from agent.core.request.rspec import STARTUP
from agent.core.request.startup import alike

T = TypeVar("T")

_BUSY_TRIES = 3
"""For a change where busy may mean half an hour, and may mean that the CM looks at the slice for a moment."""


class SliceAuthority:
    """The SA."""

    def __init__(self, transport: Transport, remote: Remote) -> None:
        self._transport = transport
        self._remote = remote

    def get_credential(self) -> Credential:
        """Fetch our self credential: it may end in a second, for the SA keeps it until its end."""
        return self._credential("GetCredential", {})

    def get_slice_credential(self, own: Credential, slice_urn: str) -> Credential:
        """Fetch the credential of a slice of ours; it ends when the slice does.

        Raises:
            NotFoundError: no such slice.
        """
        arguments = {"credential": own.text, "urn": slice_urn, "type": "Slice"}
        return self._slice_credential("GetCredential", arguments, slice_urn)

    def get_project_credential(self, own: Credential, project_urn: str) -> Credential:
        """Fetch the credential of a project that we are in (``GeniSA GetCredential``)."""
        return self._credential(
            "GetCredential", {"credential": own.text, "urn": project_urn, "type": "Project"}
        )

    def register(self, own: Credential, slice_urn: str, expires: datetime) -> Credential:
        """Make a slice; return its credential.

        Raises:
            AlreadyExistsError: the name is taken, maybe by another project.
        """
        arguments = {
            "credential": own.text,
            "urn": slice_urn,
            "type": "Slice",
            "expiration": format_time(expires),
        }
        return self._slice_credential("Register", arguments, slice_urn)

    def renew_slice(self, credential: Credential, expires: datetime) -> Credential:
        """Extend a slice; return its new credential, which CMs want to see before they extend."""
        arguments = {"credential": credential.text, "expiration": format_time(expires)}
        return self._slice_credential("RenewSlice", arguments, credential.target_urn)

    def get_keys(self, own: Credential) -> tuple[UserKeys, ...]:
        """Fetch the SSH keys that we keep at Cloudlab."""
        value = self._call("GetKeys", {"credential": own.text, "version": 2})
        if not isinstance(value, list):
            raise _malformed("the keys are not a list", "GetKeys", self._remote)
        return tuple(read_account(item) for item in value if isinstance(item, dict))

    def _call(self, method: str, arguments: Mapping[str, object] | None = None) -> object:
        return self._transport.call(self._remote, method, arguments)

    def _credential(self, method: str, arguments: Mapping[str, object]) -> Credential:
        value = self._call(method, arguments)
        return _document(lambda: parse_credential(value), method, self._remote)

    def _slice_credential(self, method: str, arguments: Mapping[str, object], slice_urn: str) -> Credential:
        credential = self._credential(method, arguments)
        if not same_urn(credential.target_urn, slice_urn):
            raise _malformed(
                f"asked for {slice_urn}, got a credential for {credential.target_urn}", method, self._remote
            )
        return credential


class ComponentManager:
    """A CM. The credential of its methods is the slice's unless said otherwise.

    Args:
        transport: carries the calls.
        remote: where they go.
        user: our login on machines, where a manifest has several.
    """

    def __init__(self, transport: Transport, remote: Remote, user: str) -> None:
        self._transport = transport
        self._remote = remote
        self._user = user
        self._lan_form = LanForm()
        self._type_form = TypeForm(remote.authority)
        self._busy_tries = 0

    @property
    def urn(self) -> str:
        """URN of the CM."""
        return self._remote.authority

    def discover_resources(self, credential: Credential, *, available: bool) -> tuple[AdvertisedNode, ...]:
        """List machines that can be borrowed whole.

        With the credential of a slice, what its project may have is free, and no other (ptopgen); the self
        credential is enough. The CM runs one generator at a time and gives its document to all who ask
        meanwhile, whatever they asked for: so each machine's flag is to be looked at, and a list of all may
        lack machines that are not free.

        Args:
            credential: the slice's, or our self credential.
            available: list the free ones only, and those of the slice, which are not.
        """
        arguments = {
            "credentials": [credential.text],
            "available": int(available),
            "compress": 1,
            "rspec_version": "3",
        }
        value = self._call("DiscoverResources", arguments)
        return self._document(
            "DiscoverResources", lambda: parse_advertisement(_unpack(value), self._remote.authority)
        )

    def create_sliver(
        self, credential: Credential, rspec: str, keys: Sequence[UserKeys]
    ) -> tuple[Credential, Sliver]:
        """Ask for a first set of machines; return the sliver's credential and the sliver.

        Raises:
            AlreadyExistsError: this CM holds a sliver for the slice.
            InsufficientNodesError: the machines cannot be placed.
        """
        arguments: dict[str, object] = {**_slice(credential), "rspec": rspec}
        if accounts := [account_argument(k) for k in keys if k.keys]:
            arguments["keys"] = accounts
        match self._call("CreateSliver", arguments):
            case [text, str(manifest)]:
                sliver = self._document("CreateSliver", lambda: parse_credential(text))
                return sliver, self._sliver("CreateSliver", manifest, sliver.target_urn)
        raise _malformed("expected a credential and a manifest", "CreateSliver", self._remote)

    def resolve(self, credential: Credential, sliver_urn: str = "") -> Sliver | None:
        """Read the manifest without taking a lock; None when the slice has no sliver here.

        Where an asynchronous change by a portal failed, the CM tells no manifest of the slice though the
        machines may run (GeniCMV2 Resolve, ``async_code``): it does of the sliver. Where that is not known
        or not there, the status tells whether there are machines.

        Args:
            credential: the slice's.
            sliver_urn: URN that the sliver had; "" where that is not known.

        Raises:
            NotFoundError: the CM does not know the slice.
            MalformedReplyError: also for a sliver that is there and whose manifest is not told.
        """
        arguments = {"credentials": [credential.text], "urn": credential.target_urn}
        value = _struct(self._call("Resolve", arguments), "Resolve", self._remote)
        urn, manifest = value.get("sliver_urn"), value.get("manifest")
        if not urn:
            if "urn" not in value or manifest:
                # It must not read as if all machines had gone.
                raise _malformed("expected a slice, with or without a sliver", "Resolve", self._remote)
            return self._resolve_hidden(credential, sliver_urn) if value.get("async_code") else None
        if not isinstance(manifest, str):
            raise _malformed("a sliver without a manifest", "Resolve", self._remote)
        return self._sliver("Resolve", manifest, str(urn))

    def _resolve_hidden(self, credential: Credential, sliver_urn: str) -> Sliver | None:
        """Read the manifest of a slice whose own answer hides it."""
        if sliver_urn:
            arguments = {"credentials": [credential.text], "urn": sliver_urn}
            with suppress(NotFoundError):
                value = _struct(self._call("Resolve", arguments), "Resolve", self._remote)
                return self._sliver("Resolve", str(value.get("manifest", "")), sliver_urn)
        if self._ask_status(credential).get("details") == {}:
            return None
        text = "the manifest is not told since a change by a portal failed, and there is a sliver"
        raise _malformed(text, "Resolve", self._remote)

    def sliver_status(self, credential: Credential) -> SliverStatus:
        """Return the state of each machine.

        It takes the slice's lock, and pollers ask again anyhow: a busy CM is not waited for.

        Raises:
            NotFoundError: no sliver here.
            BusyError: a change is on its way.
        """
        status = read_sliver_status(self._remote.authority, self._ask_status(credential))
        self._busy_tries = _BUSY_TRIES if status.waits_for_boots else 0
        return status

    def _ask_status(self, credential: Credential) -> dict[str, object]:
        reply = self._call("SliverStatus", _slice(credential), busy_tries=1)
        return _struct(reply, "SliverStatus", self._remote)

    def renew_slice(self, credential: Credential, expires: datetime) -> datetime:
        """Extend the sliver, at most to the credential's end; return the granted time.

        Raises:
            RefusedError: a rule of the site, such as a machine that is promised to others (it is named).
        """
        arguments = {**_slice(credential), "valid_until": format_time(expires)}
        value = self._call("RenewSlice", arguments)
        return self._document("RenewSlice", lambda: parse_time(str(value)))

    def add_nodes(
        self, credential: Credential, sliver_urn: str, nodes: Mapping[str, Mapping[str, object]]
    ) -> Sliver:
        """Add machines, all or none; see ``escape_add_nodes`` for the fields.

        Raises:
            BadArgumentsError: also for what the server would misread; then nothing was sent.
            AlreadyExistsError: a client_id is in the sliver, maybe by an earlier call whose reply was lost.
            InsufficientNodesError: they cannot be placed, or a machine asked for by name is taken.
        """
        try:
            ready = escape_add_nodes(_run_alike(self._type_form.choose(nodes)))
        except ValueError as error:
            raise BadArgumentsError(str(error), method="AddNodes", authority=self.urn) from error
        sent = self._lan_form.first(ready)
        try:
            sliver = self._change("AddNodes", credential, sliver_urn, sent)
        except BadArgumentsError as error:
            if (other := self._lan_form.other(error, sent, ready)) is None:
                raise
            # Nothing was done.
            sliver = self._change("AddNodes", credential, sliver_urn, other)
        self._type_form.came(ready, sliver.nodes)
        return sliver

    def delete_nodes(self, credential: Credential, sliver_urn: str, client_ids: Sequence[str]) -> Sliver:
        """Give machines back, all or none.

        Raises:
            NotFoundError: one is not in the sliver, maybe by an earlier call whose reply was lost.
        """
        try:
            names = [check_client_id(name) for name in client_ids]
        except ValueError as error:
            raise BadArgumentsError(str(error), method="DeleteNodes", authority=self.urn) from error
        return self._change("DeleteNodes", credential, sliver_urn, names)

    def delete_slice(self, credential: Credential, *, cancel: bool = False) -> None:
        """Begin to give everything back; ``resolve`` tells when it is done.

        Args:
            credential: the slice's.
            cancel: end the boots that are under way; else the CM is busy until they end.

        Raises:
            NotFoundError: the slice is not here.
            EndingError: that has begun already.
            BusyError: at once, without ``cancel``.
        """
        arguments = {**_slice(credential), **({"cancel": 1} if cancel else {})}
        self._call("DeleteSlice", arguments, busy_tries=self._busy_tries if cancel else 1)

    def _call(
        self, method: str, arguments: Mapping[str, object] | None = None, *, busy_tries: int = 0
    ) -> object:
        return self._transport.call(self._remote, method, arguments, busy_tries=busy_tries)

    def _change(self, method: str, credential: Credential, sliver_urn: str, nodes: object) -> Sliver:
        arguments = {**_slice(credential), "nodes": nodes}
        value = self._call(method, arguments, busy_tries=self._busy_tries)
        if not isinstance(value, str):
            raise _malformed("expected a manifest", method, self._remote)
        return self._sliver(method, value, sliver_urn)

    def _sliver(self, method: str, manifest: str, urn: str) -> Sliver:
        cm = self._remote.authority
        read = self._document(method, lambda: parse_manifest(manifest, cm, self._user))
        self._lan_form.read(read.lans)
        self._type_form.read(knows_types=read.knows_types)
        return Sliver(cm, urn, read.expires, read.nodes, manifest, read.unread, read.generator, read.lans)

    def _document(self, method: str, read: Callable[[], T]) -> T:
        return _document(read, method, self._remote)


def _run_alike(nodes: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """Give machines start-up commands that every CM runs alike."""

    def ready(client_id: str, fields: Mapping[str, object]) -> dict[str, object]:
        command = fields.get("startup")
        if not isinstance(command, str) or not STARTUP.fullmatch(text := meant(command)):
            return dict(fields)
        try:
            return {**fields, "startup": as_meant(alike(text))}
        except ValueError as error:
            raise ValueError(f"nodes[{client_id!r}].startup: {error}") from error

    return {client_id: ready(client_id, fields) for client_id, fields in nodes.items()}


def _slice(credential: Credential) -> dict[str, object]:
    return {"slice_urn": credential.target_urn, "credentials": [credential.text]}


def _malformed(message: str, method: str, remote: Remote) -> MalformedReplyError:
    return MalformedReplyError(message, method=method, authority=remote.authority)


def _document(read: Callable[[], T], method: str, remote: Remote) -> T:
    try:
        return read()
    except ValueError as error:
        raise _malformed(str(error), method, remote) from error


def _struct(value: object, method: str, remote: Remote) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _malformed(f"expected a struct, not {type(value).__name__}", method, remote)
    return value


def _unpack(value: object) -> str:
    """Return the text of an advertisement: the CM may send it compressed or not, whatever was asked."""
    if isinstance(value, bytes):
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(value, MAX_REPLY)
        except zlib.error as error:
            raise ValueError(f"the advertisement is not zlib data: {error}") from error
        if not unpacker.eof:
            raise ValueError(f"the advertisement is cut off, or longer than {MAX_REPLY} bytes")
        return data.decode()
    if isinstance(value, str):
        return value
    raise ValueError(f"an advertisement is text, not {type(value).__name__}")
