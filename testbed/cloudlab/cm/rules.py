"""What an administrator of a site may set while it runs: limits, quota, images, who may use ``cluster``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from testbed.cloudlab.answer import Code, RefusalError

ImageFault = Literal[
    "deprecated", "restricted", "unknown", "version", "unreachable", "system", "import", "setup"
]
"""Why an image cannot be used any more (GeniImage.pm MapToLocalImage, GeniCM.pm CheckForDeprecatedImages)."""

ClusterUse = Literal["users", "forbidden", "offline"]
"""Who may use the module ``cluster``."""

_FAULTS: dict[ImageFault, tuple[Code, Callable[[str], str]]] = {
    "restricted": (Code.BADARGS, lambda name: f"Not allowed to use restricted image {name}"),
    "unknown": (Code.BADARGS, lambda name: f"Unknown image URN: {name}"),
    "version": (Code.BADARGS, lambda name: f"No version 1 exists for {name}"),
    "unreachable": (Code.BADARGS, lambda name: f"Could not lookup image at the image server: {name}"),
    "system": (Code.BADARGS, lambda name: f"Not allowed to import system image: {name}"),
    "import": (Code.ERROR, lambda name: f"Image importer failure for {name}"),
    "setup": (Code.ERROR, lambda name: f"Could not setup images:\n*** image_setup:\n    {name}"),
}


_OLD_FAULTS: dict[ImageFault, Callable[[str], str]] = {
    "restricted": lambda name: f"Insufficient permission to use {name}",
    "unknown": lambda name: f"Unknown image URN: {name}",
    "version": lambda name: f"No image: {name}",
}


@dataclass
class Rules:
    """What holds at one CM now. Guarded by the simulator's one lock."""

    generation: int
    max_sliver_lifetime: timedelta
    limits: dict[str, int] = field(default_factory=dict)
    """Type or class -> the most machines of it that a slice may use."""
    over_quota: bool = False
    """The caller's files take more than they may."""
    most_nodes: int | None = None
    """The most nodes that a slice may have; None: any number."""
    cluster: ClusterUse = "users"
    """Whether users may ask the module ``cluster``."""
    images: dict[str, tuple[ImageFault, str]] = field(default_factory=dict)
    """PROJECT:OS -> why it cannot be used, and its owner's words."""

    def check_image(self, project_and_os: str, name: str) -> None:
        """Refuse a node's image that cannot be used; ``name`` is what the node calls it.

        Raises:
            RefusalError: code 1 or 2, naming the image.
        """
        if project_and_os not in self.images:
            return
        fault, words = self.images[project_and_os]
        if self.generation < 2021:
            # Nothing was deprecated then, and images came from no server.
            if fault in _OLD_FAULTS:
                raise RefusalError(Code.BADARGS, _OLD_FAULTS[fault](name))
            return
        if fault == "deprecated":
            shown = project_and_os.replace(":", "/")
            because = f": {words}" if words else ""
            raise RefusalError(
                Code.BADARGS,
                f"Image {shown} is deprecated and no longer available to use{because}. "
                "Please choose a different image!",
            )
        code, text = _FAULTS[fault]
        raise RefusalError(code, text(name))

    def check_size(self, nodes: Collection[object]) -> None:
        """Refuse a slice of more nodes than the CM allows.

        Raises:
            RefusalError: code 2.
        """
        if self.most_nodes is not None and len(nodes) > self.most_nodes:
            raise RefusalError(
                Code.ERROR,
                f"Experiment needs nodes({len(nodes)}) that are more than the limit({self.most_nodes}) "
                "imposed by CM.",
            )
