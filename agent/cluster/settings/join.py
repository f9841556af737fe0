"""[join]: how a machine becomes a Slurm node, and what it is called there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.core.errors import ConfigError, SlurmError
from agent.core.model import SliverNode
from agent.core.request.rspec import LAN_NAME
from agent.core.settings import Duration, Section
from agent.slurm.names import expand, expand_written

CONTROL = "control"
"""The control network, which SSH goes over; any other name is that of a LAN."""
PLACEHOLDERS = ("node_name", "node_id", "client_id", "address", "hostname", "hardware_type", "username")
_STOP = (
    "pkill -x slurmd || true",
    "for i in 1 2 3 4 5 6 7 8 9 10; do pgrep -x slurmd > /dev/null || break; sleep 0.5; done",
)
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "dynamic": (*_STOP, 'slurmd -Z -N {node_name} --conf "Feature={node_id}"'),
    "cloud": (*_STOP, "slurmd -b -N {node_name}"),
}
"""[join] mode -> the commands where none are set."""


class FileCopy(Section):
    """A file that every machine is given before its join commands run, such as the munge key."""

    source: Path = Field(description="path of the file on this machine")
    target: str = Field(pattern=r"^/[\w./+:@-]+$", description="absolute path of the file on the machines")
    mode: str = Field(
        "0600", pattern=r"^0?[0-7]{3}$", description="permissions there, as chmod(1) takes them"
    )
    owner: str = Field(
        "", pattern=r"^[\w-]*(:[\w-]+)?$", description="owner there, as chown(1) takes it; empty: the login"
    )


class JoinSettings(Section):
    """[join]: how a machine becomes a Slurm node, and how it stops being one."""

    mode: Literal["dynamic", "cloud"] = Field(
        "dynamic",
        description="whether machines register themselves (slurmd -Z), or take over nodes that slurm.conf"
        " declares with State=CLOUD or FUTURE under the name of the machine",
    )
    predeclared: str = Field(
        "",
        description="node set of the nodes that slurm.conf declares for machines that may come; in mode cloud"
        " those without a machine are set down, so that Slurm sends them no job; empty: the site does that",
        examples=["pc[100-140]"],
    )

    power_nodes: str = Field(
        "",
        description="cloud nodes whose machines come and go as Slurm's power saving says, and not by the"
        " queue, such as es-[1-50]; empty: none",
    )
    power_retry: Duration = Field(
        300,
        ge=0,
        description="how long a node of power_nodes stays down for which no machine could be had, before"
        " Slurm may ask again",
    )
    node_name: Literal["node_id", "client_id"] = Field(
        "node_id",
        description="what a new machine is called in Slurm: its node_id or its client_id; where a machine of"
        " another CM has that name, the CM's site is added, as in pc1-utah. One that has joined keeps its"
        " name and mode",
    )
    address: str = Field(
        CONTROL,
        pattern=rf"^{LAN_NAME.pattern}$",
        description="which address of a machine Slurm knows (NodeAddr) and {address} stands for: that on the"
        " control network, or that in a LAN, such as lan-0; SSH goes over the control network",
    )
    commands: tuple[str, ...] = Field(
        _COMMANDS["dynamic"],
        description="shell commands that join a machine, run there in order over SSH, and more than once;"
        f" placeholders: {', '.join(f'{{{p}}}' for p in PLACEHOLDERS)}, and {{address:LAN}} or"
        f" {{address:{CONTROL}}} for one of its addresses; a brace of the shell is doubled",
    )
    probe: tuple[str, ...] = Field(
        (),
        description="shell commands that have to succeed on a machine that Slurm has at work before it counts"
        " as joined, with the same placeholders",
    )
    files: tuple[FileCopy, ...] = Field((), description="Files that are copied before the commands run.")
    leave_commands: tuple[str, ...] = Field(
        _STOP,
        description="shell commands that clean a machine up before its release, with the same placeholders",
    )
    timeout: Duration = Field(
        300, gt=0, description="how long joining a ready machine may take before the machine counts as failed"
    )
    retry_interval: Duration = Field(
        30, gt=0, description="how long the join commands have to take effect before they are run again"
    )
    attempts: int = Field(
        5, ge=1, description="how often the join commands, and the probe, of one machine are run at most"
    )
    keep_failed: Duration = Field(
        0, ge=0, description="how long a machine that failed is kept for a person to look at; 0: not at all"
    )

    @model_validator(mode="before")
    @classmethod
    def _commands_of_the_mode(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("mode") == "cloud":
            return {"commands": _COMMANDS["cloud"], **values}
        return values

    @field_validator("predeclared")
    @classmethod
    def _is_node_set(cls, nodes: str) -> str:
        try:
            expand_written(nodes)
        except SlurmError as error:
            raise ValueError(str(error)) from None
        return nodes

    @model_validator(mode="after")
    def _slurm_can_name_them(self) -> Self:
        if self.power_nodes and (self.mode, self.node_name) != ("cloud", "client_id"):
            raise ValueError('power_nodes: mode = "cloud" and node_name = "client_id" are expected with it')
        try:
            both = expand_written(self.power_nodes) & expand(self.predeclared)
        except SlurmError as error:
            raise ValueError(f"power_nodes: {error}") from None
        if both:
            raise ValueError(
                f"power_nodes: {min(both)} is in predeclared too, and those are set down while they have no"
                " machine: expected one of the two"
            )
        return self

    def in_mode(self, mode: str) -> JoinSettings:
        """Return the settings for a machine that joined in this mode."""
        if mode == self.mode:
            return self
        is_usual = self.commands == _COMMANDS[self.mode]
        commands = _COMMANDS.get(mode, self.commands) if is_usual else self.commands
        return self.model_copy(update={"mode": mode, "commands": commands})

    @property
    def power_names(self) -> frozenset[str]:
        """Names of the nodes that Slurm's power saving asks for."""
        return expand(self.power_nodes)

    @property
    def declared_names(self) -> frozenset[str]:
        """Names of the nodes that slurm.conf declares for machines that may come, as far as they are told."""
        return expand(self.predeclared) | self.power_names

    @property
    def lans(self) -> tuple[str, ...]:
        """Names of the LANs in which a machine has to have an address."""
        specs = [
            spec
            for command in (*self.commands, *self.probe, *self.leave_commands)
            for _, name, spec, _ in Formatter().parse(command)
            if name == "address"
        ]
        return tuple(
            dict.fromkeys(name for name in (self.address, *specs) if name not in {None, "", CONTROL})
        )

    @field_validator("commands", "leave_commands", "probe")
    @classmethod
    def _known_placeholders(cls, commands: tuple[str, ...]) -> tuple[str, ...]:
        for command in commands:
            _check_template(command)
        return commands


def _check_template(command: str) -> None:
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(command)]
    except ValueError as error:
        raise ValueError(f"{command!r}: {error}; a brace of the shell is written twice") from None
    for name, spec, conversion in fields:
        if name == "address" and spec and LAN_NAME.fullmatch(spec) and not conversion:
            continue
        if name is not None and (name not in PLACEHOLDERS or spec or conversion):
            shown = f"{name}:{spec}" if spec else name
            raise ValueError(
                f"{command!r}: unknown placeholder {{{shown}}}; expected one of {', '.join(PLACEHOLDERS)}, or"
                " address:LAN; a brace of the shell is written twice"
            )


def node_name(node: SliverNode, settings: JoinSettings) -> str:
    """Return what a new machine is called in Slurm, unless another has that name."""
    return node.node_id if settings.node_name == "node_id" else node.client_id


def address_of(node: SliverNode, network: str) -> str:
    """Return the machine's address on the control network, or in a LAN.

    Args:
        node: the machine.
        network: ``CONTROL``, or the name of a LAN.

    Raises:
        ConfigError: it has no address in that LAN.
    """
    if network == CONTROL:
        return node.address
    ports = {port.lan: port.address for port in node.lans}
    if not ports.get(network):
        there = ", ".join(lan for lan, address in ports.items() if address) or "none"
        raise ConfigError(
            f"machine {node.client_id!r} has no address in LAN {network!r}; its LANs with one are: {there}"
        )
    return ports[network]
