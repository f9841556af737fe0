"""A Slurm cluster that grows: a head node with esagent, a file server, and a LAN that borrowed machines join.

Instructions:
On `ctl`, follow docs/experiment.md of esagent from "Your certificate" on.
"""

import geni.portal as portal
import geni.rspec.pg as pg

LAN, NETMASK = "lan-0", "255.255.255.0"
HEAD, STORAGE = "10.10.1.1", "10.10.1.2"
SOURCE = "/srv/esagent"
MAX_COMMAND = 255
"""Characters of a start-up command."""

context = portal.context
context.defineParameter(
    "esagent",
    "Git repository of esagent",
    portal.ParameterType.STRING,
    "https://git.example.net/esagent.git",
    longDescription="The address that you would clone it from, without a password.",
)
context.defineParameter("branch", "Its branch or tag", portal.ParameterType.STRING, "main")
context.defineParameter(
    "type",
    "Hardware type",
    portal.ParameterType.NODETYPE,
    "m510",
    longDescription="Of the head node, the file server, and the machines that are borrowed.",
)
context.defineParameter(
    "image",
    "Disk image",
    portal.ParameterType.IMAGE,
    "urn:publicid:IDN+emulab.net+image+emulab-ops//UBUNTU24-64-STD",
    longDescription="Ubuntu 24.04 or Debian 12, or a newer one. All machines have it, and so the same Slurm.",
)
context.defineParameter("borrowed", "Most machines to borrow", portal.ParameterType.INTEGER, 4)
context.defineParameter(
    "share", "Size of the file server's share, such as 100GB", portal.ParameterType.STRING, "100GB"
)
parameters = context.bindParameters()


def is_one_word(text):
    """Tell whether a shell takes a text as one word as it stands."""
    return text != "" and all(c.isalnum() or c in "-._/:@+~" for c in text)


def command_of(setup):
    """Return what makes a machine what it is there for, at each boot."""
    # Some sites read quotes, $ and backslashes twice.
    clone = f"sudo git clone -q -b {parameters.branch} {parameters.esagent} {SOURCE}"
    return f"test -d {SOURCE} || {clone}; sudo sh {SOURCE}/contrib/cloudlab-profile/setup {setup}"


head_command = command_of(f"head {HEAD} {STORAGE} {parameters.type} {parameters.borrowed}")
storage_command = command_of("nfs 10.10.1.0/24")

for name in ("esagent", "branch", "type"):
    if not is_one_word(getattr(parameters, name)):
        context.reportError(
            portal.ParameterError("Letters, digits and - . _ / : @ + ~ are expected.", [name])
        )
if parameters.borrowed < 0:
    context.reportError(portal.ParameterError("0 or more is expected.", ["borrowed"]))
if not (parameters.share.endswith("GB") and parameters.share[:-2].isdigit()):
    context.reportError(portal.ParameterError("A number and GB are expected.", ["share"]))
if len(head_command) > MAX_COMMAND:
    context.reportError(portal.ParameterError("They are too long together.", ["esagent", "branch"]))
context.verifyParameters()

request = context.makeRequestRSpec()
lan = request.LAN(LAN)


def machine(name, address, command):
    """Add a machine with an address in the LAN."""
    node = request.RawPC(name)
    node.hardware_type = parameters.type
    node.disk_image = parameters.image
    lan.addInterface(node.addInterface("if-lan", pg.IPv4Address(address, NETMASK)))
    node.addService(pg.Execute("sh", command))
    return node


machine("ctl", HEAD, head_command)
machine("nfs", STORAGE, storage_command).Blockstore("share", "/srv/share").size = parameters.share

context.printRequestRSpec(request)
