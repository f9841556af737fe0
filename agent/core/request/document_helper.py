"""A helper whose request is a document, as a site wrote it or a profile makes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.core.errors import ConfigError
from agent.core.ports import SliceServer
from agent.core.request.document import DocumentNode, RequestDocument, parse_document
from agent.core.request.escaping import as_meant
from agent.core.request.first import first_request
from agent.core.request.helper import AddArgs, SimpleElasticSliceHelper, check_services
from agent.core.request.likeness import choose_like, doubts_of_choice, losses, refusals, strangers
from agent.core.request.startup import startup_of, startup_remarks


class DocumentHelper(SimpleElasticSliceHelper):
    """Asks for a document at first; machines that are added later are like one of its own.

    Like it means the same image, tarballs, start-up commands, hardware type and LANs.

    Args:
        rspec: the request.
        source: where it is from, for errors.
        server: the slice.
        config: kept for subclasses.
        node_prefix: machines that are added later are called PREFIX-1, PREFIX-2, ...
        like: client_id of the machine that they are like; "" for the first one.
        cms: URNs of the CMs that the request has to serve; none for all that the server has.

    Raises:
        ConfigError: no version 3 request with machines for each CM, or none of them is ``like``.
    """

    is_fixed = True

    def __init__(
        self,
        rspec: str,
        source: str,
        server: SliceServer | None = None,
        config: Any = None,
        *,
        node_prefix: str = "node",
        like: str = "",
        cms: Sequence[str] = (),
    ) -> None:
        try:
            document = parse_document(rspec)
            machines = _check_machines(document, cms or (server.cms if server else ()))
            chosen = choose_like(document, like)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error
        super().__init__(
            server,
            config,
            num_pcs=len(machines),
            nodetype=chosen.hardware_type or None,
            node_prefix=node_prefix,
        )
        self._document = document
        self._text = first_request(document)
        self._like = chosen
        self.source = source
        self.image_urn = chosen.image or None
        self.tarballs = [install.argument for install in chosen.installs]
        self.startup_command = as_meant(startup_of(chosen.executes)) or None
        self.lans = list(chosen.lans)
        # Reserved here and not told by ``reserve_names``, which would end the reading of manifests.
        self._names.update(node.client_id.lower() for node in document.nodes)
        self.doubts = tuple(() if like else doubts_of_choice(document, chosen))
        """Why added machines may be like the wrong one."""
        startups = [remark for node in document.nodes for remark in startup_remarks(node)]
        self.remarks = (*refusals(document.nodes), *losses(chosen), *startups, *strangers(document))
        """What a CM will not do of the document."""

    @property
    def machines(self) -> tuple[str, ...]:
        """The client_ids of the document's machines."""
        return tuple(node.client_id for node in self._document.machines)

    @property
    def like(self) -> str:
        """The client_id of the machine that added ones are like."""
        return self._like.client_id

    def asks_for(self, client_id: str) -> bool:
        """Tell whether a client_id is that of a machine of the document."""
        return client_id in self.machines

    def request_of(self, hardware_type: str = "", names: Sequence[str] = ()) -> str:  # noqa: ARG002
        """Return the document, with one start-up command for each machine."""
        return self._text

    def get_add_args(self, count: int = 1) -> AddArgs:
        """Return machines like the chosen one.

        Raises:
            ConfigError: ``AddNodes`` does not take what it has.
        """
        self.check_added()
        return super().get_add_args(count)

    def check_added(self) -> None:
        """See whether machines can be added.

        Raises:
            ConfigError: ``AddNodes`` does not take what they would be like.
        """
        try:
            check_services(self.tarballs, self.startup_command or "")
        except ConfigError as error:
            count = len(self._like.executes)
            hint = f"; {count} commands go as one: call them from one script" if count > 1 else ""
            told = f"{self.source}: no machine like {self.like} can be added: {error}{hint}"
            raise ConfigError(told) from error


def _check_machines(document: RequestDocument, cms: Sequence[str]) -> list[DocumentNode]:
    """Check that every machine is for one of our CMs, and each CM has some; return them."""
    if not document.machines:
        raise ConfigError("the request RSpec has no machine: a raw PC is expected")
    if not cms:
        return list(document.machines)
    found: list[DocumentNode] = []
    for cm in cms:
        of_cm = [node for node in document.machines if node.cm in {"", cm}]
        if not of_cm:
            others = ", ".join(sorted({node.cm for node in document.machines}))
            raise ConfigError(f"the request RSpec has no machine for {cm}; its machines are for {others}")
        found += of_cm
    lowered = [node.client_id.lower() for node in found]
    if twice := sorted({name for name in lowered if lowered.count(name) > 1}):
        raise ConfigError(
            f"the request RSpec has the client_id {', '.join(twice)} twice; with several CMs, each node needs"
            " a component_manager_id"
        )
    for node in document.machines:
        if node.cm and node.cm not in cms:
            raise ConfigError(f"node {node.client_id!r} is for {node.cm}, which is none of our CMs")
    return found
