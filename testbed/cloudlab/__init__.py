"""A simulated Cloudlab: slice authority, component managers, machines and callbacks over real TLS.

``SimulatedCloudlab`` is all that a test or the demo needs; ``python -m testbed cloudlab`` runs one.

A folder for each part; what they share is beside them:

    wire/       how a call comes in and its reply goes out
    sa/         the slice authority
    cm/         a component manager: reading, nodes, tickets, actions, and the life of machines
    documents/  RSpecs and signed credentials, read and written
    callbacks/  what Cloudlab tells the agent
    steering/   what a person switches by hand: the control socket, its commands, faults
    hands/      what somebody else does: an administrator, a portal, another user
"""

from testbed.cloudlab.room import Boot, MachineRoom, NoMachines, RoomError
from testbed.cloudlab.simulator import SimulatedCloudlab
from testbed.cloudlab.sites import DEFAULT_SITES, RACKS, Site, Timing, User

__all__ = [
    "DEFAULT_SITES",
    "RACKS",
    "Boot",
    "MachineRoom",
    "NoMachines",
    "RoomError",
    "SimulatedCloudlab",
    "Site",
    "Timing",
    "User",
]
