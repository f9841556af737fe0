"""agent.conf: TOML in, frozen settings out; each error names the file, the key and what was expected."""

from __future__ import annotations

import difflib
import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from agent.admin.settings import AdminSettings
from agent.cloudlab.callback import CallbackSettings
from agent.cloudlab.settings import CloudlabSettings
from agent.cluster.settings.cluster import SlurmCycleSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.settings.weights import WeightSettings
from agent.core.errors import ConfigError, SlurmError
from agent.core.request.rspec import check_lan_names
from agent.core.settings import Duration, LeaseSettings, Section, format_duration, parse_duration
from agent.ledger.ledger import LedgerSettings
from agent.page.server import PageSettings
from agent.slurm.names import expand_written
from agent.slurm.settings import SlurmSettings
from agent.ssh.shell import SshSettings
from agent.tell.log import LogSettings
from agent.tell.mail import MailSettings
from agent.tell.metrics import MetricsSettings


class RequestSettings(Section):
    """What is asked of Cloudlab when a machine is borrowed."""

    nodetype: str = Field("", description="hardware type, such as m510; empty: any")
    image: str = Field("", description="URN of the disk image; empty: the site's default")
    percent_available_minimum: float = Field(
        0.5, ge=0, le=1, description="fraction of a CM's machines that are left free"
    )
    tarballs: tuple[str, ...] = Field((), description="URLs of tarballs that are unpacked on a new machine")
    startup_command: str = Field("", description="shell command that a new machine runs at its first boot")
    node_prefix: str = Field(
        "es",
        pattern=r"^[A-Za-z][-A-Za-z0-9]{0,20}$",
        description="first part of a client_id: es-1; a machine of the slice with this prefix and a number is"
        " the agent's, so that it is to be one that nobody else uses",
    )
    own: tuple[str, ...] = Field(
        (),
        description="other machines of the slice that are the agent's, by client_id or node_id, such as"
        " cp-[3-20]; all others are left alone",
    )
    never: tuple[str, ...] = Field(
        (), description="machines that are not the agent's whatever else says so, by client_id or node_id"
    )
    lans: tuple[str, ...] = Field(
        (),
        description="names of the LANs that every machine is in, such as lan-0: LANs that the slice has, and"
        " those that are made with a sliver of our own",
    )
    multiplex_lans: bool = Field(
        False, description="whether LANs that are made share interfaces, as tagged VLANs"
    )
    lan_bandwidth: int = Field(
        0, ge=0, description="bandwidth of a machine in a LAN that is made, in kbit/s; 0: what there is"
    )
    rspec_file: str = Field(
        "", description="file with a request RSpec that takes the place of the built-in request; empty: none"
    )
    profile_script: str = Field(
        "", description="profile script (geni-lib) that prints such a request when it is run; empty: none"
    )
    profile_python: str = Field(
        "python3", min_length=1, description="Python interpreter that runs profile_script, with its libraries"
    )
    profile_timeout: Duration = Field(
        60.0, gt=0, le=3600, description="how long profile_script may run when the daemon starts"
    )
    parameters: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="values of the profile's parameters (defineParameter), by name; the others have their"
        " defaults",
    )
    like: str = Field(
        "",
        description="which machine of rspec_file or profile_script (client_id) those added later are like;"
        " empty: the first one",
    )

    @field_validator("own", "never")
    @classmethod
    def _are_node_sets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for each in names:
            try:
                expand_written(each)
            except SlurmError:
                raise ValueError(
                    f"{each!r}: a name or a set of names such as cp-[3-20] is expected"
                ) from None
        return names

    @model_validator(mode="after")
    def _one_request(self) -> RequestSettings:
        if self.rspec_file and self.profile_script:
            raise ValueError("rspec_file and profile_script: only one of them is expected")
        if (self.rspec_file or self.profile_script) and (self.image or self.tarballs or self.startup_command):
            raise ValueError("image, tarballs and startup_command come from rspec_file or profile_script")
        if (self.rspec_file or self.profile_script) and (self.multiplex_lans or self.lan_bandwidth):
            raise ValueError("multiplex_lans and lan_bandwidth come from rspec_file or profile_script")
        check_lan_names(self.lans)
        if (self.multiplex_lans or self.lan_bandwidth) and not self.lans:
            raise ValueError("multiplex_lans and lan_bandwidth: lans is expected with them")
        if self.parameters and not self.profile_script:
            raise ValueError("parameters: profile_script is expected with them")
        if self.like and not (self.rspec_file or self.profile_script):
            raise ValueError("like: rspec_file or profile_script is expected with it")
        return self


class Settings(BaseModel):
    """All of agent.conf."""

    model_config = Section.model_config

    cloudlab: CloudlabSettings = Field(description="The user, the slice, the SA and the CMs.")
    callback: CallbackSettings = Field(description="The server that Cloudlab calls.")
    ssh: SshSettings = Field(description="How machines are reached.")
    request: RequestSettings = Field(RequestSettings(), description="What is borrowed.")
    lease: LeaseSettings = Field(LeaseSettings(), description="How long machines are borrowed for.")
    demand: DemandSettings = Field(DemandSettings(), description="How many machines the queue wants.")
    slurm: SlurmSettings = Field(SlurmSettings(), description="The way in to Slurm.")
    weights: WeightSettings = Field(WeightSettings(), description="Resource values as node weights.")
    drain: DrainSettings = Field(DrainSettings(), description="Emptying machines before a deadline.")
    join: JoinSettings = Field(
        JoinSettings(), description="A machine becomes a Slurm node, and stops being one."
    )
    plugin: PluginSettings = Field(PluginSettings(), description="What Slurm's own parts are told.")
    cycle: SlurmCycleSettings = Field(SlurmCycleSettings(), description="How often each step is done.")
    admin: AdminSettings = Field(AdminSettings(), description="The local API that the esagent command uses.")
    mail: MailSettings = Field(MailSettings(), description="Mail to a person when something notable happens.")
    metrics: MetricsSettings = Field(MetricsSettings(), description="Figures for Prometheus.")
    page: PageSettings = Field(PageSettings(), description="The status page.")
    ledger: LedgerSettings = Field(LedgerSettings(), description="What survives a restart.")
    log: LogSettings = Field(LogSettings(), description="The log on stderr.")

    @model_validator(mode="after")
    def _slurm_asks_for_none_that_is_never_ours(self) -> Settings:
        never = frozenset[str]().union(*map(expand_written, self.request.never))
        if both := self.join.power_names & never:
            raise ValueError(
                f"[join] power_nodes: {min(both)} is in [request] never too: expected one of the two"
            )
        return self

    @model_validator(mode="after")
    def _machines_are_in_the_lans_of_join(self) -> Settings:
        request = self.request
        if request.rspec_file or request.profile_script or request.own:
            # Such machines may be in other LANs, which are known once they are there.
            return self
        for name in self.join.lans:
            if name not in request.lans:
                there = ", ".join(request.lans) or "none"
                raise ValueError(
                    f"[join] asks for an address in LAN {name!r}: expected one of [request] lans: {there}"
                )
        return self


def load(path: Path) -> Settings:
    """Read and check agent.conf.

    Raises:
        ConfigError: every fault in the file, one a line, as ``FILE: [section] key: what was expected``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return Settings.model_validate(_without_blanks(Settings, tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        faults = error.errors()
        deeper = {e["loc"][:-2] for e in faults}
        told = [e for e in faults if e["type"] != "too_short" or e["loc"] not in deeper]
        raise ConfigError("\n".join(f"{path}: {_explain(e)}" for e in told)) from error


def _without_blanks(model: type[BaseModel], table: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the example leaves open, so that it is told as missing."""
    kept: dict[str, Any] = {}
    for key, value in table.items():
        info = model.model_fields.get(key)
        inner = section_of(info.annotation) if info else None
        if info and info.is_required() and value in ("", []):
            continue
        if inner and isinstance(value, dict):
            kept[key] = _without_blanks(inner, value)
        elif inner and isinstance(value, list):
            kept[key] = [_without_blanks(inner, v) if isinstance(v, dict) else v for v in value]
        else:
            kept[key] = value
    return kept


def _explain(error: ErrorDetails) -> str:
    if not error["loc"]:
        # Of settings that do not fit each other; what was given is all of them.
        return str(error["ctx"]["error"])
    *parents, last = error["loc"]
    table = ".".join(str(p) for p in parents if not isinstance(p, int))
    key = f"[{table}] {last}" if table else f"[{last}]"
    match error["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(last), _known_keys(parents), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{key}: no such setting{hint}"
        case "missing":
            return f"{key}: is required"
        case "value_error":
            words, given = str(error["ctx"]["error"]), repr(error["input"])
            return f"{key}: {words}" if given in words else f"{key}: {words}, not {given}"
        case _:
            return f"{key}: {error['msg']}, not {error['input']!r}"


def _known_keys(parents: list[int | str]) -> list[str]:
    model: type[BaseModel] | None = Settings
    for name in parents:
        if isinstance(name, str) and model is not None:
            info = model.model_fields.get(name)
            model = section_of(info.annotation) if info else None
    return list(model.model_fields) if model else []


def section_of(annotation: Any) -> type[Section] | None:
    """Find the section that a field holds, alone or as the items of a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for part in get_args(annotation):
        if found := section_of(part):
            return found
    return None


def example() -> str:
    """Write agent.conf.example: every setting, with its meaning and default; the required ones left open."""
    head = (
        "# agent.conf: the settings of esagent, in TOML.\n"
        "# A line that is commented out shows the default. Durations are seconds, or strings such as\n"
        '# "30s", "10m", "6h", "5d". A setting marked REQUIRED has no default and is to be filled in.\n'
        "# A table marked ## may be left out, or stand more than once."
    )
    blocks = [head]
    for name, info in Settings.model_fields.items():
        section = section_of(info.annotation)
        assert section is not None
        blocks.extend(_table(name, section, info.description or ""))
    return "\n\n".join(blocks) + "\n"


def _table(name: str, section: type[Section], description: str, brackets: str = "[]") -> Iterator[str]:
    opening, closing = brackets[: len(brackets) // 2], brackets[len(brackets) // 2 :]
    lines = [f"# {line}" for line in (description, section.__doc__ or "") if line]
    lines = [*lines[:1], f"{opening}{name}{closing}"]
    nested = []
    for key, info in section.model_fields.items():
        if inner := section_of(info.annotation):
            nested.append((f"{name}.{key}", inner, info))
            continue
        lines.extend(_setting(key, info))
    yield "\n".join(lines)
    for inner_name, inner, info in nested:
        for block in _table(inner_name, inner, info.description or "", "[[]]"):
            yield block if info.is_required() else _commented_out(block)


def _commented_out(block: str) -> str:
    """Mark a table that may be left out, and may stand more than once: its settings have two signs."""
    return "\n".join(
        f"## {line.removeprefix('# ')}" if " = " in line or line.startswith("[") else line
        for line in block.splitlines()
    )


def _setting(key: str, info: FieldInfo) -> Iterator[str]:
    words = info.description or ""
    if choices := choices_of(info.annotation):
        words += f" ({' or '.join(json.dumps(c) for c in choices)})"
    if info.is_required():
        yield from _sentence(f"{words}. REQUIRED")
        yield f"{key} = {as_toml(_blank(info), info)}"
    else:
        yield from _sentence(f"{words}.")
        default = info.get_default(call_default_factory=True)
        shown = info.examples[0] if default is None and info.examples else default
        yield f"# {key} = {as_toml(shown, info)}"


def _sentence(words: str) -> Iterator[str]:
    yield from textwrap.wrap(words[0].upper() + words[1:], 110, initial_indent="# ", subsequent_indent="#   ")


def choices_of(annotation: Any) -> tuple[str, ...]:
    """List the words that a setting may be; empty where it is no choice."""
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _blank(info: FieldInfo) -> object:
    return [] if get_origin(info.annotation) is tuple else ""


def as_toml(value: object, info: FieldInfo) -> str:
    """Write a value as it stands in agent.conf; a duration with its unit."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float) and is_duration(info):
        return json.dumps(format_duration(value))
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(as_toml(v, info) for v in value)}]"
    if isinstance(value, dict):
        if not value:
            return "{}"
        return f"{{ {', '.join(f'{k} = {as_toml(v, info)}' for k, v in value.items())} }}"
    return json.dumps(str(value))


def is_duration(info: FieldInfo) -> bool:
    """Tell whether a setting is a time in seconds that may have a unit."""
    return any(isinstance(m, BeforeValidator) and m.func is parse_duration for m in info.metadata)
