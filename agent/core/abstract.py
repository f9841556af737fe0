"""The manager's interface, as ``elasticslice.managers.core`` gives it."""

from __future__ import annotations

from typing import Any, ClassVar

from agent.core.ports import SliceServer
from agent.core.request.helper import AddArgs, ElasticSliceHelper


class ElasticSliceManager(ElasticSliceHelper):
    """A manager of a dynamic slice: makes it, adds and deletes machines, and renews the lease.

    A manager is a helper, too; one that answers no helper's question itself has ``PluginElasticSliceHelper``
    among its bases. Everything that is not defined here raises ``NotImplementedError``.

    Its constants are those that the reference gives ``SimpleElasticSliceManager``, value for value; seconds.
    """

    CM_METHODS: ClassVar[list[str]] = [
        "ensure_sliver",
        "update_sliver_status",
        "update_available",
        "update_all",
        "add_nodes",
        "delete_nodes",
    ]
    DEF_INTERVAL: ClassVar[int] = 60
    DEF_INTERVALS: ClassVar[dict[str, int]] = {
        "update_available": 600,
        "ensure_sliver": 60,
        "delete_nodes": 300,
        "update_sliver_status": 60,
        "update_all": 86400,
        "renew": 3600,
        "add_nodes": 300,
        "ensure_slice": 60,
    }
    DEF_MAX_THRESHOLD: ClassVar[int] = 10
    DEF_MIN_THRESHOLD: ClassVar[int] = 1
    DEF_ORDER: ClassVar[list[str]] = [
        "ensure_slice",
        "ensure_sliver",
        "update_sliver_status",
        "renew",
        "update_all",
        "update_available",
        "get_system_state",
        "add_nodes",
        "delete_nodes",
        "set_system_state",
    ]
    METHOD_RESET_TRIGGERS: ClassVar[dict[str, list[str]]] = {
        "add_nodes": ["update_sliver_status", "update_available", "get_system_state", "set_system_state"],
        "delete_nodes": ["update_sliver_status", "update_available", "get_system_state", "set_system_state"],
    }

    def __init__(self, server: SliceServer, config: Any = None) -> None:
        ElasticSliceHelper.__init__(self, server, config)

    def create_slice(self) -> Any:
        """Register the slice at the SA."""
        raise NotImplementedError

    def create_sliver(self, cm: str | None = None) -> Any:
        """Ask a CM for a first set of machines, with the helper's request."""
        raise NotImplementedError

    def ensure_slice(self) -> Any:
        """Create the slice if there is none."""
        raise NotImplementedError

    def ensure_sliver(self, cm: str | None = None) -> Any:
        """Create the sliver at a CM if there is none."""
        raise NotImplementedError

    def add_nodes(self, count: int = 0, cm: str | None = None) -> Any:
        """Add machines as ``should_add_nodes`` says.

        Args:
            count: exactly so many, if the manager should; 0 for as many as it likes.
            cm: URN of the CM.
        """
        raise NotImplementedError

    def delete_nodes(self, cm: str | None = None) -> Any:
        """Give machines back as ``should_delete_nodes`` says."""
        raise NotImplementedError

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | AddArgs | None:
        """Decide whether to add machines.

        Returns:
            How many, or the arguments of ``GeniCMV2 AddNodes``; None, False, 0 or {} for none.
        """
        raise NotImplementedError

    def should_delete_nodes(self, cm: str | None = None) -> list[str] | None:
        """Return the client_ids of machines to give back; None, False or [] for none."""
        raise NotImplementedError

    def get_system_state(self) -> Any:
        """Read the state of the system that uses the machines; nothing where there is none."""

    def set_system_state(self) -> Any:
        """Push what Cloudlab said to that system; nothing where there is none."""

    def update_all(self) -> Any:
        """Read all machines of the CMs."""
        raise NotImplementedError

    def update_available(self) -> Any:
        """Read the free machines of the CMs."""
        raise NotImplementedError

    def update_sliver_status(self) -> Any:
        """Read which machines we have and how they are."""
        raise NotImplementedError

    def manage_once(self, force: bool = False) -> Any:
        """Perform one management cycle: every step that is due, or with ``force`` every step."""
        raise NotImplementedError

    def manage(self) -> Any:
        """Perform cycles until a fatal error, or until the user interrupts."""
        raise NotImplementedError
