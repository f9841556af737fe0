"""Which node of a request later machines are like, and what of it they cannot have."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from agent.core.errors import ConfigError
from agent.core.request.document import DocumentNode, RequestDocument
from agent.core.request.helper import ADDED_CLIENT_ID
from agent.core.request.tarballs import INSTALL_PATH, TARBALL_URL

_SHELLS = frozenset({"sh", "bash", "csh", "tcsh"})
"""What ``GeniCM.pm GetTicketAuxAux`` knows, with /bin/ before it or without."""

_TOLD = 5
"""Machines that are named one by one."""


def choose_like(document: RequestDocument, name: str = "") -> DocumentNode:
    """Find the machine that added ones are like.

    Args:
        document: a request with a machine.
        name: its client_id; "" for the first machine.

    Raises:
        ConfigError: the document has no such machine; the message tells which it has.
    """
    if not name:
        return document.machines[0]
    for node in document.machines:
        if node.client_id == name:
            return node
    for node in document.nodes:
        if node.client_id == name:
            raise ConfigError(f"[request] like: {name!r} is no machine, but of sliver_type {node.kind!r}")
    names = [node.client_id for node in document.machines]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f": {', '.join(names)}"
    raise ConfigError(f"[request] like: a machine of the request is expected, not {name!r}{hint}")


def doubts_of_choice(document: RequestDocument, like: DocumentNode) -> Iterator[str]:
    """Say that the machines of a request differ, so that the first one may be the wrong one to be like."""
    if others := [node.client_id for node in document.machines if not _are_alike(node, like)]:
        told = [*others[:_TOLD], *([f"{len(others) - _TOLD} more"] if len(others) > _TOLD else [])]
        differ = "differs" if len(others) == 1 else "differ"
        name = like.client_id
        yield f"added machines are like {name}, the first one, and {', '.join(told)} {differ} from it"


def _are_alike(one: DocumentNode, other: DocumentNode) -> bool:
    return replace(one, client_id="", cm="") == replace(other, client_id="", cm="")


def losses(like: DocumentNode) -> Iterator[str]:
    """Say what of a node ``GeniCMV2 AddNodes`` cannot give to another."""
    name = like.client_id
    for install in like.installs:
        if install.path != INSTALL_PATH:
            yield f"{name}: older CMs add no machine that unpacks {install.url} at {install.path}"
    if like.blockstores:
        yield f"{name}: added machines do not have its block store {', '.join(like.blockstores)}"
    if like.cables:
        yield f"{name}: added machines are not on its link {', '.join(like.cables)}, which is no LAN"


def refusals(nodes: Sequence[DocumentNode]) -> Iterator[str]:
    """Say what a CM will refuse of a request (``GeniCM.pm GetTicketAuxAux``)."""
    for node in nodes:
        name = node.client_id
        if not ADDED_CLIENT_ID.fullmatch(name):
            yield f"{name!r}: a CM takes client_ids of {ADDED_CLIENT_ID.pattern} alone"
        for install in node.installs:
            if not TARBALL_URL.fullmatch(install.url):
                pattern = TARBALL_URL.pattern
                yield f"{name}: a CM takes URLs of {pattern} alone as tarballs, not {install.url!r}"
        for execute in node.executes:
            if execute.shell.removeprefix("/bin/") not in _SHELLS:
                yield f"{name}: a CM knows the shells {', '.join(sorted(_SHELLS))}, not {execute.shell!r}"


def strangers(document: RequestDocument) -> Iterator[str]:
    """Name the nodes that are no machines."""
    for node in document.nodes:
        if not node.is_machine:
            yield f"{node.client_id} ({node.kind}) is no machine: it is neither counted nor joined"
