"""Helpers: what a slice is made of, and what is done when machines come and go.

Names, parameters and defaults are those of ``elasticslice.managers.core``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from agent.core.errors import CloudlabError, ConfigError
from agent.core.estimates import ForJobs
from agent.core.ports import SliceServer
from agent.core.request.escaping import meant
from agent.core.request.rspec import MAX_STARTUP, STARTUP, RequestNode, build_request, check_lan_names
from agent.core.request.startup import alike
from agent.core.request.tarballs import read_tarballs

log = structlog.get_logger()

ADDED_CLIENT_ID = re.compile(r"[-A-Za-z0-9_]{1,32}")
"""What ``GeniCMV2 AddNodes`` takes as a client_id."""
_PREFIX = re.compile(r"[A-Za-z][-A-Za-z0-9_]{0,21}")
"""A letter first, since ProtoGENI returns a name of digits as a number; room for ten digits behind it."""

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")

AddArgs = dict[str, dict[str, Any]]
"""client_id -> fields of ``GeniCMV2 AddNodes``: diskimage, startup, tarballs, lans, node, hardware_type.

With both of the last, a CM that knows types may give any machine of the type, and others give the one that is
named.
Text is as it is meant, or escaped as a whole (see ``escaping``). An item of ``lans`` is the name of a LAN in
the slice, and the manager adds an address where the CM wants one; or a dict with ``name``, ``address`` and
``netmask``.
"""


class ElasticSliceHelper:
    """What a manager asks; subclass it to give a dynamic experiment its own request, nodes and clean-up."""

    def __init__(self, server: SliceServer | None = None, config: Any = None) -> None:
        self.server: Any = server
        self.config: Any = config

    def create_rspec(self) -> str:
        """Return the request RSpec for a sliver that does not exist yet."""
        raise NotImplementedError(f"{type(self).__name__} has no create_rspec")

    def get_add_args(self, count: int = 1) -> AddArgs:
        """Return ``count`` new machines: client_id -> fields of ``GeniCMV2 AddNodes``."""
        raise NotImplementedError(f"{type(self).__name__} has no get_add_args")

    def get_delete_commands(self, nodelist: Sequence[Any]) -> Sequence[str] | None:  # noqa: ARG002
        """Return shell commands that clean these machines up; run one after the other in a child."""
        return None

    def handle_added_node(self, node: Mapping[str, Any], status: str) -> object:  # noqa: ARG002
        """Take note that an added machine is ``ready`` or ``failed``; called once a machine.

        Args:
            node: ``client_id``, ``node_id``, ``cm``, ``sliver_id``, ``hardware_type``, ``address``,
                ``hostname``, ``username``.
            status: ``ready`` or ``failed``.
        """
        return None

    def handle_deleted_node(self, node: Mapping[str, Any]) -> object:  # noqa: ARG002
        """Take note that a machine is gone; called once a machine."""
        return None

    def reserve_names(self, names: Iterable[str]) -> object:  # noqa: ARG002
        """Take note of client_ids in use: a manager tells what manifests and intents hold."""
        return None

    def release_names(self, names: Iterable[str]) -> object:  # noqa: ARG002
        """Take note that machines of these client_ids never were: a CM refused them."""
        return None

    def owns(self, client_id: str) -> bool:  # noqa: ARG002
        """Tell whether a client_id is one that this helper alone gives out.

        A machine of such a name is ours even where nothing else remembers that we asked for it; any other
        machine in the slice is not.
        """
        return False

    def asks_for(self, client_id: str) -> bool:  # noqa: ARG002
        """Tell whether a client_id is one of the first request's, whoever else may give such a name.

        In a sliver that was made by our request such a machine is ours, where nothing else is remembered.
        """
        return False

    def lans_of_added(self) -> Sequence[str]:
        """Return the LANs that each added machine joins: a manager looks for them before it asks for more."""
        return ()


class SimpleElasticSliceHelper(ElasticSliceHelper):
    """Equal raw PCs, all in the same LANs.

    Args:
        server: read for names in use when no manager tells them; None to trust ``reserve_names``.
        config: kept for subclasses.
        num_pcs: machines in the first request.
        image_urn: disk image; None for the site's default.
        num_lans: LANs that every machine is in.
        multiplex_lans: let LANs share interfaces as tagged VLANs.
        tarballs: URLs, unpacked at ``/``, or pairs of URL and path.
        startup_command: run at each boot; None for none. As it is meant, or escaped for XML.
        nodetype: hardware type of the first request; machines added later have their type from the manager,
            which picks physical machines.
        node_prefix: machines are called PREFIX-1, PREFIX-2, ...
        lan_prefix: LANs are called PREFIX0, PREFIX1, ...

    Attributes:
        lans: names of the LANs; ``num_lans`` and ``lan_prefix`` unless ``use_lans`` gave others.
        lan_bandwidth: of the LANs in the first request, kbit/s; 0 for what there is.
        is_fixed: the first request cannot be made smaller.

    Raises:
        ConfigError: a value that ``AddNodes`` would refuse; the message names it.
    """

    is_fixed = False

    def __init__(
        self,
        server: SliceServer | None = None,
        config: Any = None,
        num_pcs: int = 1,
        image_urn: str | None = None,
        num_lans: int = 0,
        multiplex_lans: bool = False,
        tarballs: Sequence[str | Sequence[str]] = [],
        startup_command: str | None = None,
        nodetype: str | None = None,
        node_prefix: str = "node",
        lan_prefix: str = "lan",
    ) -> None:
        if not hasattr(self, "server"):
            # Where a manager stands behind this class and was set up first, it keeps its own arguments.
            super().__init__(server, config)
        _check("node_prefix", node_prefix, _PREFIX)
        _check("lan_prefix", lan_prefix, _PREFIX)
        check_services(tarballs, startup_command or "")
        if num_pcs < 0 or num_lans < 0:
            raise ConfigError(f"num_pcs and num_lans: 0 or more is expected, not {num_pcs} and {num_lans}")
        self.num_pcs = num_pcs
        self.image_urn = image_urn
        self.num_lans = num_lans
        self.multiplex_lans = multiplex_lans
        self.tarballs = list(tarballs)
        self.startup_command = startup_command
        self.request_type = nodetype
        self.node_prefix = node_prefix
        self.lan_prefix = lan_prefix
        self.lans = [f"{lan_prefix}{n}" for n in range(num_lans)]
        self.lan_bandwidth = 0
        self._names: set[str] = set()
        self._names_told = False
        self._names_lock = threading.Lock()

    def create_rspec(self) -> str:
        """Write a request for ``num_pcs`` machines with names that nobody had."""
        return self.request_of()

    def request_of(self, hardware_type: str = "", names: Sequence[str] = ()) -> str:
        """Write a request like ``create_rspec``.

        Args:
            hardware_type: of its machines; "" for ``request_type``.
            names: their client_ids; empty for ``num_pcs`` names that nobody had.
        """
        return self.request_with(dict.fromkeys(names or self.new_names(self.num_pcs), hardware_type))

    def request_with(self, types: Mapping[str, str]) -> str:
        """Write a request for these machines: client_id -> hardware type, "" for ``request_type``."""
        nodes = [
            RequestNode(
                client_id=name,
                image_urn=meant(self.image_urn or ""),
                hardware_type=hardware_type or self.request_type or "",
                tarballs=read_tarballs(self.tarballs),
                startup_command=_alike(meant(self.startup_command or "")),
            )
            for name, hardware_type in types.items()
        ]
        return build_request(
            nodes, self.lans, multiplex_lans=self.multiplex_lans, bandwidth=self.lan_bandwidth
        )

    def get_add_args(self, count: int = 1) -> AddArgs:
        """Return ``count`` machines with names that no manifest, no intent and no earlier call had."""
        return {name: self._fields() for name in self.new_names(count)}

    def get_delete_commands(self, nodelist: Sequence[Any]) -> Sequence[str]:  # noqa: ARG002
        """Return none: nothing is on such a machine that has to be cleaned up."""
        return []

    def reserve_names(self, names: Iterable[str]) -> None:
        """Never give these client_ids out."""
        with self._names_lock:
            self._names_told = True
            # ``AddNodes`` refuses names that differ only in case.
            self._names.update(name.lower() for name in names)

    def release_names(self, names: Iterable[str]) -> None:
        """Give these client_ids out again."""
        with self._names_lock:
            self._names.difference_update(name.lower() for name in names)

    def owns(self, client_id: str) -> bool:
        """Tell whether a client_id is PREFIX and a number."""
        prefix, hyphen, number = client_id.rpartition("-")
        return bool(hyphen) and prefix == self.node_prefix and _NUMBER.fullmatch(number) is not None

    def use_lans(self, names: Sequence[str], *, multiplex: bool = False, bandwidth: int = 0) -> None:
        """Put every machine into these LANs: the first request makes them, added machines join them.

        Args:
            names: client_ids of links, as they are in the slice where it has them.
            multiplex: let LANs share interfaces as tagged VLANs.
            bandwidth: of each interface in the first request, kbit/s; 0 for what there is.

        Raises:
            ConfigError: what can be no name of a LAN, or one twice.
        """
        try:
            check_lan_names(names)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.lans = list(names)
        self.multiplex_lans = multiplex
        self.lan_bandwidth = bandwidth

    def lans_of_added(self) -> Sequence[str]:
        """Return the LANs that each added machine joins."""
        return tuple(self.lans)

    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.image_urn:
            fields["diskimage"] = self.image_urn
        if self.startup_command:
            fields["startup"] = self.startup_command
        if self.tarballs:
            fields["tarballs"] = list(self.tarballs)
        if self.lans:
            fields["lans"] = list(self.lans)
        return fields

    def new_names(self, count: int) -> list[str]:
        """Return client_ids that no manifest, no intent and no earlier call had."""
        if not self._names_told and self.server is not None:
            self._ask_for_names()
        with self._names_lock:
            prefix = f"{self.node_prefix}-".lower()
            taken = (name.removeprefix(prefix) for name in self._names if name.startswith(prefix))
            last = max((int(n) for n in taken if n.isascii() and n.isdecimal() and len(n) <= 9), default=0)
            names = [f"{self.node_prefix}-{n}" for n in range(last + 1, last + 1 + count)]
            self._names.update(name.lower() for name in names)
        return names

    def _ask_for_names(self) -> None:
        for cm in self.server.cms:
            try:
                sliver = self.server.find_sliver(cm)
            except CloudlabError as error:
                # A clash is impossible at the CM that is asked for machines: it has to be readable for that.
                log.warning("names in use at a CM are not known", cm=cm, error=str(error))
                continue
            with self._names_lock:
                self._names.update(node.client_id.lower() for node in (sliver.nodes if sliver else ()))


class PluginElasticSliceHelper(ElasticSliceHelper):
    """Hands every question to the helper that ``set_helper`` gave.

    Raises:
        ConfigError: from each method, while no helper is set.
    """

    def __init__(
        self,
        server: SliceServer | None = None,
        config: Any = None,
        helper: ElasticSliceHelper | None = None,
    ) -> None:
        ElasticSliceHelper.__init__(self, server, config)
        self.helper = helper

    def set_helper(self, helper: ElasticSliceHelper) -> None:
        """Use this helper from now on."""
        self.helper = helper

    def create_rspec(self) -> str:
        """Ask the helper."""
        return self._asked().create_rspec()

    def get_add_args(self, count: int = 1) -> AddArgs:
        """Ask the helper."""
        return self._asked().get_add_args(count)

    def get_delete_commands(self, nodelist: Sequence[Any]) -> Sequence[str] | None:
        """Ask the helper."""
        return self._asked().get_delete_commands(nodelist)

    def handle_added_node(self, node: Mapping[str, Any], status: str) -> object:
        """Tell the helper."""
        return self._asked().handle_added_node(node, status)

    def handle_deleted_node(self, node: Mapping[str, Any]) -> object:
        """Tell the helper."""
        return self._asked().handle_deleted_node(node)

    def reserve_names(self, names: Iterable[str]) -> object:
        """Tell the helper."""
        return self._asked().reserve_names(names)

    def release_names(self, names: Iterable[str]) -> object:
        """Tell the helper."""
        return self._asked().release_names(names)

    def owns(self, client_id: str) -> bool:
        """Ask the helper; no name is ours while there is none."""
        return self.helper is not None and self.helper.owns(client_id)

    def asks_for(self, client_id: str) -> bool:
        """Ask the helper; no name is in its request while there is none."""
        return self.helper is not None and self.helper.asks_for(client_id)

    def lans_of_added(self) -> Sequence[str]:
        """Ask the helper."""
        return self._asked().lans_of_added()

    def simple_helper(self) -> SimpleElasticSliceHelper | None:
        """Return the helper that writes the first request; None where a site's own code does."""
        helper = self if isinstance(self, SimpleElasticSliceHelper) else self.helper
        ours = (SimpleElasticSliceHelper.create_rspec, PluginElasticSliceHelper.create_rspec)
        if not isinstance(helper, SimpleElasticSliceHelper):
            return None
        return helper if all(type(each).create_rspec in ours for each in (self, helper)) else None

    def can_ask_for_fewer(self) -> bool:
        """Tell whether the first request can be made smaller: it is our own, and no document."""
        helper = self.simple_helper()
        return helper is not None and not helper.is_fixed

    def asked_for(self, cm: str, client_ids: Sequence[str]) -> ForJobs:  # noqa: ARG002
        """Take note of what is about to be asked for, and say for which jobs; a site may tell none."""
        return ForJobs()

    def type_asked(self, cm: str, client_id: str) -> str:  # noqa: ARG002
        """Return the hardware type that a machine was asked for as; "" for that of all."""
        return ""

    def _asked(self) -> ElasticSliceHelper:
        if self.helper is None:
            raise ConfigError(f"{type(self).__name__} has no helper: call set_helper first")
        return self.helper


def check_services(tarballs: Iterable[object], startup_command: str) -> None:
    """Check what an added machine unpacks and runs.

    Raises:
        ConfigError: ``GeniCMV2 AddNodes`` would refuse it; the message names the value.
    """
    command = meant(startup_command)
    _check("startup_command", command, STARTUP)
    if len(command) > MAX_STARTUP:
        given = len(command)
        raise ConfigError(f"startup_command: at most {MAX_STARTUP} characters are expected, not {given}")
    _alike(command)
    try:
        read_tarballs(tarballs)
    except ValueError as error:
        raise ConfigError(f"tarballs: {error}") from error


def _alike(command: str) -> str:
    try:
        return alike(command)
    except ValueError as error:
        raise ConfigError(f"startup_command: {error}") from error


def _check(name: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise ConfigError(f"{name}: {pattern.pattern} is expected, not {value!r}")
