"""A ready machine -> a Slurm node that runs jobs: what to do now, purely decided, and with which commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from string import Formatter
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.cluster.reasons import is_ours
from agent.core.errors import ConfigError, SlurmError
from agent.core.model import SliverNode
from agent.core.settings import Duration, Section, format_duration
from agent.slurm.model import UNUSABLE_FLAGS, Node, Snapshot
from agent.slurm.names import expand

PLACEHOLDERS = ("node_name", "node_id", "client_id", "address", "hostname", "hardware_type", "username")
_SAFE = re.compile(r"[A-Za-z0-9._:-]*")
_ALIVE = frozenset({"IDLE", "MIXED", "ALLOCATED"})
_AWAY = UNUSABLE_FLAGS - {"DRAIN", "MAINTENANCE"}
"""Flags of a node whose slurmd is not at work; a drain or a maintenance reservation does not tell that."""

_STOP = (
    "pkill -x slurmd || true",
    "for i in 1 2 3 4 5 6 7 8 9 10; do pgrep -x slurmd > /dev/null || break; sleep 0.5; done",
)


_CLOUD_COMMANDS = (*_STOP, "slurmd -b -N {node_name}")


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
        " queue, such as node-[1-50]; empty: none",
    )
    power_retry: Duration = Field(
        300,
        ge=0,
        description="how long a node of power_nodes stays down for which no machine could be had, before"
        " Slurm may ask again",
    )
    node_name: Literal["node_id", "client_id"] = Field(
        "node_id", description="what a machine is called in Slurm: its node_id or its client_id"
    )
    commands: tuple[str, ...] = Field(
        (*_STOP, 'slurmd -Z -N {node_name} --conf "Feature={node_id}"'),
        description="shell commands that join a machine, run there in order over SSH, and more than once;"
        f" placeholders: {', '.join(f'{{{p}}}' for p in PLACEHOLDERS)}; a brace of the shell is doubled",
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
            return {"commands": _CLOUD_COMMANDS, **values}
        return values

    @field_validator("predeclared")
    @classmethod
    def _is_node_set(cls, nodes: str) -> str:
        try:
            expand(nodes)
        except SlurmError as error:
            raise ValueError(str(error)) from None
        return nodes

    @model_validator(mode="after")
    def _slurm_can_name_them(self) -> Self:
        if self.power_nodes and (self.mode, self.node_name) != ("cloud", "client_id"):
            raise ValueError('power_nodes: mode = "cloud" and node_name = "client_id" are expected with it')
        try:
            both = expand(self.power_nodes) & expand(self.predeclared)
        except SlurmError as error:
            raise ValueError(f"power_nodes: {error}") from None
        if both:
            raise ValueError(
                f"power_nodes: {min(both)} is in predeclared too, and those are set down while they have no"
                " machine: expected one of the two"
            )
        return self

    @property
    def power_names(self) -> frozenset[str]:
        """Names of the nodes that Slurm's power saving asks for."""
        return expand(self.power_nodes)

    @field_validator("commands", "leave_commands", "probe")
    @classmethod
    def _known_placeholders(cls, commands: tuple[str, ...]) -> tuple[str, ...]:
        for command in commands:
            _check_template(command)
        return commands


@dataclass(frozen=True)
class JoinRecord:
    """What has been tried to join one machine. The caller drops it once the machine has joined."""

    first: datetime
    """When its join was first started."""
    last: datetime
    """When its join commands last started or, once they are over, when they ended."""
    attempts: int
    running: bool
    """The commands, or the probe, run at this moment."""
    probes: int = 0
    """How often the probe was run."""
    error: str = ""
    """Why the last commands failed; "" if they did not."""


@dataclass(frozen=True)
class JoinStep:
    """One machine, and what was decided for it."""

    node: SliverNode
    name: str
    """Its node name."""
    reason: str


@dataclass(frozen=True)
class JoinPlan:
    """What to do about the machines that are ready."""

    start: tuple[JoinStep, ...] = ()
    """Run the join commands there now."""
    probe: tuple[JoinStep, ...] = ()
    """Slurm has them at work: run the probe there now."""
    joined: tuple[JoinStep, ...] = ()
    """They are Slurm nodes at work."""
    failed: tuple[JoinStep, ...] = ()
    """Give them up."""
    watch: tuple[JoinStep, ...] = ()
    """Slurm has them, and not at work at this moment: remember when that was first seen."""


def _check_template(command: str) -> None:
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(command)]
    except ValueError as error:
        raise ValueError(f"{command!r}: {error}; a brace of the shell is written twice") from None
    for name, spec, conversion in fields:
        if name is not None and (name not in PLACEHOLDERS or spec or conversion):
            raise ValueError(
                f"{command!r}: unknown placeholder {{{name}}}; expected one of {', '.join(PLACEHOLDERS)};"
                " a brace of the shell is written twice"
            )


def node_name(node: SliverNode, settings: JoinSettings) -> str:
    """Return what the machine is called in Slurm."""
    return node.node_id if settings.node_name == "node_id" else node.client_id


def join_commands(node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that join this machine.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command.
    """
    return _fill(settings.commands, node, settings)


def leave_commands(node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that clean this machine up before it is released.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command.
    """
    return _fill(settings.leave_commands, node, settings)


def probe_commands(node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    """Return the shell commands that tell whether this machine is fit for jobs.

    Raises:
        ConfigError: a value of the manifest is not fit for a shell command.
    """
    return _fill(settings.probe, node, settings)


def _fill(commands: Sequence[str], node: SliverNode, settings: JoinSettings) -> tuple[str, ...]:
    values = {name: getattr(node, name, "") for name in PLACEHOLDERS} | {
        "node_name": node_name(node, settings)
    }
    for name, value in values.items():
        # Quoting alone is no guard: the site's template may stand in quotes of its own.
        if _SAFE.fullmatch(value) is None:
            raise ConfigError(f"machine {node.client_id!r}: {name} {value!r} is not fit for a shell command")
    quoted = {name: shlex.quote(value) for name, value in values.items()}
    return tuple(command.format_map(quoted) for command in commands)


def plan_joins(
    ready: Sequence[SliverNode],
    snapshot: Snapshot,
    history: Mapping[str, JoinRecord],
    settings: JoinSettings,
    now: datetime,
    *,
    proven: Collection[str] = (),
) -> JoinPlan:
    """Decide for each machine that is ready at its CM whether it has joined, has to be joined, or has failed.

    A machine is joined when Slurm says that its slurmd is at work, also when somebody drained it since. One
    that holds jobs but does not answer is left alone. Where there is a probe, it has to have passed, also
    where Slurm was quick to start jobs there; but not on a machine that runs jobs since an earlier run of the
    agent. ``history`` and ``proven``, those that passed, are by sliver_id: a machine that comes again starts
    anew.

    A node that Slurm has is not joined anew at the first sight of its slurmd being away: one that was just
    resumed, or that missed a ping, reads so for a moment (``scontrol update State=UNDRAIN``).
    """
    start, probe, joined, failed, watch = [], [], [], [], []
    for node in ready:
        name = node_name(node, settings)
        seen = snapshot.nodes.get(name)
        record = history.get(node.sliver_id)
        if seen is not None and at_work(seen):
            step = JoinStep(node, name, f"Slurm says {_words(seen)}")
            if not settings.probe or node.sliver_id in proven:
                joined.append(step)
            elif record is None and snapshot.jobs_on({name}):
                # An earlier run of the agent joined it: no record is older than this process.
                joined.append(step)
            elif record is None or (record.probes == 0 and not record.running):
                probe.append(step)
            elif fault := _fault(record, settings, now):
                failed.append(JoinStep(node, name, f"{fault}: the probe does not pass{_last_error(record)}"))
            elif _is_due(record, settings, now):
                probe.append(step)
        elif snapshot.jobs_on({name}) and not _is_awaited(seen, settings):
            continue
        elif record is None and seen is not None and not _rests(seen, settings):
            watch.append(JoinStep(node, name, f"Slurm says {_words(seen)}"))
        elif record is None:
            start.append(JoinStep(node, name, f"ready, and Slurm says {_words(seen)}"))
        elif fault := _fault(record, settings, now):
            failed.append(JoinStep(node, name, f"{fault}; Slurm says {_words(seen)}{_last_error(record)}"))
        elif _is_due(record, settings, now):
            why = f"attempt {record.attempts + 1} of {settings.attempts}: Slurm says {_words(seen)}"
            start.append(JoinStep(node, name, f"{why}{_last_error(record)}"))
    return JoinPlan(tuple(start), tuple(probe), tuple(joined), tuple(failed), tuple(watch))


def at_work(node: Node) -> bool:
    """Tell whether its slurmd is at work, also when somebody drained it."""
    return node.state in _ALIVE and not node.flags & _AWAY


def _is_awaited(node: Node | None, settings: JoinSettings) -> bool:
    """Tell whether the jobs on a node have not started: Slurm powers it up for them."""
    return settings.mode == "cloud" and node is not None and "POWERING_UP" in node.flags


def _rests(node: Node, settings: JoinSettings) -> bool:
    """Tell whether a node is known to have no machine behind it: there is nothing to wait for."""
    asleep = settings.mode == "cloud" and bool(node.flags & {"POWERED_DOWN", "POWERING_UP"})
    return asleep or (node.state == "DOWN" and is_ours(node.reason))


def _fault(record: JoinRecord, settings: JoinSettings, now: datetime) -> str:
    """Say why a machine is given up; "" while there is hope."""
    if now - record.first >= timedelta(seconds=settings.timeout):
        return f"not joined within {format_duration(settings.timeout)}"
    tried = max(record.attempts, record.probes)
    if tried >= settings.attempts and _is_due(record, settings, now):
        return f"not joined after {tried} attempts"
    return ""


def _is_due(record: JoinRecord, settings: JoinSettings, now: datetime) -> bool:
    return not record.running and now - record.last >= timedelta(seconds=settings.retry_interval)


def _words(node: Node | None) -> str:
    return "nothing of it" if node is None else node.words


def _last_error(record: JoinRecord) -> str:
    return f"; last error: {record.error}" if record.error else ""
