"""`esagent config`: the settings that are in force, those in the file, and how they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.client import call
from agent.cli.exits import Exit
from agent.cli.options import DEFAULT_SOCKET, Json, Socket, settle_socket
from agent.cli.output import remark, say, say_json, say_table

commands = typer.Typer(
    help="Show, compare and write agent.conf.", no_args_is_help=True, rich_markup_mode=None
)


def _config(words: str) -> Any:
    return typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="ESAGENT_CONFIG",
        readable=False,
        callback=settle_socket,
        help=words,
    )


File = Annotated[Path | None, _config("The settings of this file, in place of those of the daemon.")]
Other = Annotated[Path | None, _config("The file; else the one that the daemon was started with.")]


@commands.command()
def show(config: File = None, socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Print the settings in force in the running daemon, as TOML."""
    if config is None:
        answer = call(socket, "GET", "/v1/config")
    else:
        answer = {"version": 1, "kind": "config", "path": str(config), "settings": _load(config)}
    if as_json:
        say_json(answer)
    else:
        say(f"# {answer['path']}\n{toml(answer['settings'])}")


@commands.command()
def diff(config: Other = None, socket: Socket = DEFAULT_SOCKET, as_json: Json = False) -> None:
    """Tell how the settings in force differ from the file.

    Exit code 1 where they do.
    """
    answer = call(socket, "GET", "/v1/config")
    path = config or Path(answer["path"])
    rows = differences(answer["settings"], _load(path), answer["reloadable"])
    if as_json:
        say_json({"version": 1, "kind": "config-diff", "path": str(path), "differences": rows})
    else:
        told = [{**row, "running": _written(row["running"]), "file": _written(row["file"])} for row in rows]
        say_table(("setting", "running", "file", "taken_up_by"), told)
        if not rows:
            remark(f"the daemon runs with what {path} says")
    if rows:
        raise typer.Exit(Exit.REFUSED)


@commands.command()
def example() -> None:
    """Print agent.conf.example.

    It has every setting with its meaning and default.
    """
    from agent.config import example as written

    say(written().rstrip("\n"))


def differences(
    running: Mapping[str, Any], file: Mapping[str, Any], reloadable: list[str]
) -> list[dict[str, Any]]:
    """Compare two sets of settings.

    Args:
        running: section -> key -> value.
        file: the same.
        reloadable: sections that SIGHUP takes up.

    Returns:
        One record for each setting that differs: ``setting``, ``running``, ``file`` and ``taken_up_by``.
    """
    return [
        {
            "setting": f"[{section}] {key}",
            "running": before.get(key),
            "file": after.get(key),
            "taken_up_by": "reload" if section in reloadable else "restart",
        }
        for section in dict.fromkeys([*running, *file])
        for before, after in [(running.get(section, {}), file.get(section, {}))]
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def toml(settings: Mapping[str, Any]) -> str:
    """Write settings as TOML; what is not set is commented out."""
    lines = []
    for section, keys in settings.items():
        lines.append(f"\n[{section}]")
        lines += [
            f"# {key} is not set" if value is None else f"{key} = {_written(value)}"
            for key, value in keys.items()
        ]
    return "\n".join(lines)


def _written(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(k)} = {_written(v)}' for k, v in value.items() if v is not None)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return "-" if value is None else json.dumps(value)


def _key(key: str) -> str:
    return key if key.replace("_", "").isalnum() and key.isascii() else json.dumps(key)


def _load(path: Path) -> dict[str, Any]:
    from agent.config import load

    return load(path).model_dump(mode="json")
