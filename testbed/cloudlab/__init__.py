"""A simulated Cloudlab: slice authority, component managers, machines and callbacks over real TLS.

``SimulatedCloudlab`` is all that a test or the demo needs; ``python -m testbed cloudlab`` runs one.
"""

from testbed.cloudlab.room import Boot, MachineRoom, NoMachines, RoomError
from testbed.cloudlab.simulator import SimulatedCloudlab
from testbed.cloudlab.sites import DEFAULT_SITES, Site, Timing, User

__all__ = [
    "DEFAULT_SITES",
    "Boot",
    "MachineRoom",
    "NoMachines",
    "RoomError",
    "SimulatedCloudlab",
    "Site",
    "Timing",
    "User",
]
