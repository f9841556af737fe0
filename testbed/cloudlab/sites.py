"""What a simulated Cloudlab consists of: sites, machines, users, and how long things take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from testbed.cloudlab.steering.control import SteeringError

DEFAULT_BOOT = (
    ("SHUTDOWN", 20.0),
    ("PXEBOOTING", 40.0),
    ("RELOADSETUP", 15.0),
    ("RELOADING", 110.0),
    ("RELOADDONE", 5.0),
    ("SHUTDOWN", 10.0),
    ("PXEBOOTING", 40.0),
    ("BOOTING", 45.0),
    ("TBSETUP", 15.0),
)
"""The way of a raw PC from any state to ISUP with an image load: events and simulated seconds."""

Generation = Literal[2016, 2021]
"""Which source a server is like: protogeni.md, or protogeni-2021.md."""

StartPath = Literal["wait", "os_setup", "reconfigure"]
"""How machines are started: the first path of protogeni-2021.md §3.9; its second («GeniOsSetup»); the second
as it has become, where machines that run are set up again too (protogeni-2025.md §3.9)."""

RELOAD_EVENTS = frozenset({"RELOADSETUP", "RELOADING", "RELOADDONE"})


@dataclass(frozen=True)
class Timing:
    """How long things take, in simulated seconds."""

    boot: tuple[tuple[str, float], ...] = DEFAULT_BOOT
    """Events of a boot with an image load: the first is SHUTDOWN; at BOOTING the machine is switched on.

    A reboot leaves out what is before the last image event.
    """
    mapping: float = 5.0
    """From the reply of an asynchronous CreateSliver until its machines are found, or not."""
    start: float = 20.0
    """Background work after CreateSliver and AddNodes, before the reboots; the slice is locked."""
    resync: float = 10.0
    """Background work after DeleteNodes; the slice is locked."""
    teardown: float = 30.0
    """From the reply of DeleteSlice until the slice is gone."""
    reload: float = 180.0
    """From a machine's release until it is free again."""
    taken: float = 1800.0
    """How long another project uses a machine that was taken by revocation, after its reload."""

    patience: float = 20.0
    """Real seconds that a machine may take to boot at least, before it is given up: a computer that is slow
    for a while is no machine that hangs."""

    @property
    def reboot(self) -> tuple[tuple[str, float], ...]:
        """Events of a boot that loads no image."""
        last = max((i for i, (event, _) in enumerate(self.boot) if event in RELOAD_EVENTS), default=-1)
        return self.boot[last + 1 :]


@dataclass(frozen=True)
class Site:
    """One CM with its machines."""

    domain: str
    machines: tuple[str, ...]
    """node_ids; racks call theirs pc1, pc2 and so on, everywhere."""
    hardware_type: str
    node_class: str = "pc"
    timing: Timing = field(default_factory=Timing)
    generation: Generation = 2016
    """Which server it is like."""
    start_path: StartPath = "wait"
    """How a server of 2021 starts machines."""
    new_osload: bool = True
    """Whether a machine that loads an image is waited for 600 s longer (feature flag «NewOsload»)."""
    callbacks: bool | None = None
    """Whether it calls the agent (protogeni.md §6); None: one of 2016 does, one of 2021 does not.

    Where it does not (protogeni-2021.md §13), machines go without a word: at the lease's end, or by an
    administrator's hand.
    """
    startup_halts: bool = False
    """Its script of start-up commands stops at the first that fails, as from 2023 on: for one of 2021."""
    max_sliver_lifetime: timedelta = timedelta(days=90)
    images: tuple[str, ...] = (
        "emulab-ops:DEBIAN12-64-STD",
        "emulab-ops:UBUNTU16-64-STD",
        "emulab-ops:UBUNTU22-64-STD",
        "emulab-ops:UBUNTU24-64-STD",
        "labproj:worker-os",
    )
    """Known images as PROJECT:OS; the first is the default."""
    other_types: Mapping[str, str] = field(default_factory=dict)
    """Hardware type of those machines that have another, by node_id."""
    reservable: frozenset[str] = frozenset()
    """node_ids of the machines that are reserved singly, and count for no type."""
    reservations_for: Literal["project", "user"] = "project"
    """Whom reservations are for: projects, as in 2021, or also one user of a project, as from 2023 on."""
    clock_offset: timedelta = timedelta(hours=-7)
    """Its local time against UTC: what it writes into some texts, without a zone."""

    @property
    def urn(self) -> str:
        """URN of the CM."""
        return f"urn:publicid:IDN+{self.domain}+authority+cm"

    @property
    def calls_back(self) -> bool:
        """Whether it calls the agent, until that is switched."""
        return self.generation < 2021 if self.callbacks is None else self.callbacks

    def type_of(self, node_id: str) -> str:
        """Hardware type of a machine."""
        return self.other_types.get(node_id, self.hardware_type)


def names_of(sites: Sequence[Site]) -> dict[str, dict[str, str]]:
    """Name the machines for this computer: CM URN -> node_id -> name.

    That is the node_id, and where several sites have it, the first label of the site's domain besides:
    ``pc1-east``.

    Raises:
        SteeringError: two machines would have one name.
    """
    times = Counter(node_id for site in sites for node_id in site.machines)
    names = {
        site.urn: {
            node_id: node_id if times[node_id] == 1 else f"{node_id}-{site.domain.partition('.')[0]}"
            for node_id in site.machines
        }
        for site in sites
    }
    every = Counter(name for of_site in names.values() for name in of_site.values())
    twice = sorted(name for name, count in every.items() if count > 1)
    if twice:
        raise SteeringError(
            f"two machines would be called {twice[0]} here: where sites have the same node_id, "
            "the first labels of their domains must differ"
        )
    return names


@dataclass(frozen=True)
class User:
    """A user of the SA."""

    uid: str
    email: str
    name: str


_GENERATIONS: dict[str, Generation] = {"east": 2016, "west": 2021, "south": 2016}

DEFAULT_SITES = (
    Site(
        domain="cluster.example.net",
        machines=tuple(f"pc{number}" for number in range(100, 108)),
        hardware_type="m510",
    ),
    Site(
        domain="east.example.net",
        machines=tuple(f"pc{number}" for number in range(200, 204)),
        hardware_type="d430",
        generation=2021,
    ),
)
RACKS = tuple(
    Site(
        domain=f"{name}.example.net",
        machines=tuple(f"pc{number}" for number in range(1, 6)),
        hardware_type="dl360",
        generation=generation,
        callbacks=True,
        # Another project is soon done with a machine: it is the next one that is lent.
        timing=Timing(taken=60.0),
    )
    for name, generation in _GENERATIONS.items()
)
"""Small sites that all call their machines pc1 to pc5."""
DEFAULT_USERS = (User("ada", "ada@example.net", "Ada Example"),)
