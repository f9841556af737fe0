"""Options and arguments that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from agent.core.errors import AgentError, ConfigError

DEFAULT_CONFIG = Path("/etc/esagent/agent.conf")
DEFAULT_SOCKET = Path("/run/esagent/admin.sock")
_TYPED = 2


class Asking(TyperCommand):
    """A command that asks the daemon: beside --socket it takes the settings that name the socket."""

    def __init__(self, *arguments: Any, params: list[Any], **others: Any) -> None:
        """Put --config before --socket."""
        place = [option.name for option in params].index("socket")
        config = TyperOption(
            param_decls=["--config", "-c"],
            metavar="FILE",
            envvar="ESAGENT_CONFIG",
            show_envvar=True,
            help="The settings of the daemon to ask.",
            callback=settle_socket,
            expose_value=False,
        )
        super().__init__(*arguments, params=[*params[:place], config, *params[place:]], **others)


def settle_socket(context: typer.Context, _option: typer.CallbackParam, file: Path | None) -> Path | None:
    """Have the daemon asked whose settings these are, unless a socket was told as near to the user.

    The command line comes before the environment, and the socket before the settings.

    Returns:
        The file, where the command line told it.

    Raises:
        ConfigError: the file tells no socket.
    """
    if file is None:
        return None
    nearness = _nearness(context, "config")
    if nearness > _nearness(context, "socket"):
        context.params["socket"] = _socket_of(Path(file))
    return file if nearness == _TYPED else None


def _nearness(context: typer.Context, name: str) -> int:
    """Rank where a parameter's value is from."""
    source = context.get_parameter_source(name)
    return {"COMMANDLINE": _TYPED, "ENVIRONMENT": 1}.get(source.name if source else "", 0)


def _socket_of(file: Path) -> Path:
    """Return [admin] socket of a file of settings. To load all of it would take longer than to ask."""
    import tomllib

    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    admin = settings.get("admin", {})
    socket = admin.get("socket", str(DEFAULT_SOCKET)) if isinstance(admin, dict) else None
    if not isinstance(socket, str):
        raise ConfigError(f"{file}: [admin] socket: expected the path of a unix socket")
    return Path(socket)


def _complete_nodes(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of machines that begin so; node names for none; nothing where no daemon tells."""
    from agent.cli.client import call

    try:
        records = call(Path(context.params["socket"]), "GET", "/v1/nodes", timeout=2)["nodes"]
    except AgentError:
        return []
    names = {
        record[key] for record in records for key in ("node", "client_id") if incomplete or key == "node"
    }
    return sorted(name for name in names if name.startswith(incomplete))


def _complete_cms(context: typer.Context, incomplete: str) -> list[str]:
    """Return the URNs of CMs that hold something for us and begin so; nothing where no daemon tells."""
    from agent.cli.client import call

    try:
        status = call(Path(context.params["socket"]), "GET", "/v1/status", timeout=2)
    except AgentError:
        return []
    known = {*status["sliver_expires"], *status["teardowns"], *(each["cm"] for each in status["retired"])}
    return sorted(urn for urn in known if urn.startswith(incomplete))


# What may not be read is for the command to tell, with what bars it; it is no wrong usage.
Config = Annotated[
    Path,
    typer.Option(
        "--config", "-c", metavar="FILE", envvar="ESAGENT_CONFIG", readable=False, help="The settings."
    ),
]
Socket = Annotated[
    Path,
    typer.Option(
        "--socket",
        metavar="FILE",
        envvar="ESAGENT_SOCKET",
        readable=False,
        # It is known before --config, which gives way to it.
        is_eager=True,
        help="The daemon's socket ([admin] socket).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: an object with its kind and version.")]
Nodes = Annotated[
    list[str],
    typer.Argument(
        metavar="NODE...",
        help="node_id, client_id or node name; node sets such as pc[100-102].",
        autocompletion=_complete_nodes,
    ),
]
Subject = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Only what concerns this: a machine by any of its names, a CM, a step.",
        autocompletion=_complete_nodes,
    ),
]


def _require_urn(cm: str | None) -> str | None:
    """Take no empty text, as of a shell's variable that is not set, for an order that is about all CMs."""
    if cm is not None and not cm.strip():
        raise typer.BadParameter("the URN of a CM is expected", param_hint="--cm")
    return cm


Cm = Annotated[
    str | None,
    typer.Option(
        "--cm", metavar="URN", help="Only this CM.", autocompletion=_complete_cms, callback=_require_urn
    ),
]
Reason = Annotated[
    str | None,
    typer.Option(
        "--reason",
        "-r",
        metavar="TEXT",
        help="Why, for all to read; an earlier drain's words stay without it.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Return when it is so; show how far it is.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="With --wait: wait so long at most, such as 30m.")
]


def seconds(option: str, text: str) -> float | None:
    """Read a duration that an option was given; None where it was not.

    Raises:
        BadParameter: it is none.
    """
    if not text:
        return None
    from agent.core.settings import parse_duration

    try:
        return float(text) if text.isdecimal() else float(str(parse_duration(text)))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def patience(wait: bool, timeout: str) -> float | None:
    """Read how long --wait waits at most; None for without end.

    Raises:
        BadParameter: it is no duration, or nothing is waited for.
    """
    if timeout and not wait:
        raise typer.BadParameter("it goes with --wait", param_hint="--timeout")
    return seconds("--timeout", timeout)
