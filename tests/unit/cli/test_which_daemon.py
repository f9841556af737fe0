"""Which daemon a command asks: --socket, --config, and the environment."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from agent.check.program import seen_by
from agent.check.user import named
from agent.cli import app
from agent.cli.client import NoDaemonError
from agent.cli.exits import Exit
from agent.core.errors import ConfigError

EXPORTED = {"socket": "ESAGENT_SOCKET", "config": "ESAGENT_CONFIG"}


@pytest.fixture(autouse=True)
def _nothing_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXPORTED.values():
        monkeypatch.delenv(name, raising=False)


def conf_of(place: Path, socket: object) -> Path:
    conf = place / "agent.conf"
    conf.write_text(f'[admin]\nsocket = "{socket}"\n')
    return conf


def run(*arguments: object) -> str:
    """Run a command; return what it prints, or why it failed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, (ConfigError, NoDaemonError)):
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def commands_that_ask(group: Any = None, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            found += commands_that_ask(command, (*before, name))
        elif any(option.name == "socket" for option in command.params):
            found.append((*before, name))
    return found


@pytest.mark.parametrize("command", commands_that_ask(), ids=" ".join)
def test_every_command_that_asks_takes_the_settings_of_the_daemon(command: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*command, "--help"]).output
    assert "-c, --config FILE" in told
    assert told.count("ESAGENT_CONFIG") == 1


def test_the_daemon_of_a_file_of_settings_is_asked(rig, tmp_path: Path, monkeypatch) -> None:
    conf = conf_of(tmp_path, rig.socket)
    assert run("plan", "--config", conf).startswith("weight pc101,pc102,pc103: ")
    assert run("drain", "pc102", "-c", conf) == "draining: pc102\n"
    monkeypatch.setenv("ESAGENT_CONFIG", str(conf))
    assert "pc101" in run("nodes")
    assert "max_nodes = 5" in run("config", "show")


@pytest.mark.parametrize(
    ("typed", "exported", "asked"),
    [
        ((), (), "/run/esagent/admin.sock"),
        ((), ("config",), "/settings.sock"),
        ((), ("socket",), "/exported.sock"),
        ((), ("socket", "config"), "/exported.sock"),
        (("config",), (), "/settings.sock"),
        (("config",), ("socket",), "/settings.sock"),
        (("socket",), ("config",), "/typed.sock"),
        (("config", "socket"), (), "/typed.sock"),
        (("socket", "config"), ("socket", "config"), "/typed.sock"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "config diff"])
def test_what_is_typed_comes_before_what_is_exported_and_a_socket_before_settings(
    tmp_path: Path, monkeypatch, command: str, typed: tuple[str, ...], exported: tuple[str, ...], asked: str
) -> None:
    conf = conf_of(tmp_path, "/settings.sock")
    for name in exported:
        monkeypatch.setenv(EXPORTED[name], "/exported.sock" if name == "socket" else str(conf))
    values = {"socket": "/typed.sock", "config": conf}
    options = [word for name in typed for word in (f"--{name}", values[name])]
    assert run(*command.split(), *options).startswith(f"no daemon: there is no socket {asked} ")


def test_settings_without_a_socket_mean_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "agent.conf").write_text("[demand]\nmax_nodes = 3\n")
    assert "/run/esagent/admin.sock" in run("plan", "-c", tmp_path / "agent.conf")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot be read: No such file or directory"),
        ("[admin\n", "not TOML: "),
        ("[admin]\nsocket = 3\n", "[admin] socket: expected the path of a unix socket"),
        ("admin = 3\n", "[admin] socket: expected the path of a unix socket"),
        ("\udcff", "not TOML: "),
    ],
)
def test_settings_that_tell_no_socket_are_a_fault_with_their_name(
    tmp_path: Path, text: str | None, fault: str
) -> None:
    conf = tmp_path / "agent.conf"
    if text is not None:
        conf.write_text(text, errors="surrogateescape")
    assert run("plan", "-c", conf).startswith(f"{conf}: {fault}")


@pytest.mark.parametrize(
    "command", ["run -c", "state -c", "check -c", "config show -c", "plan -c", "plan --socket"]
)
def test_what_the_caller_may_not_open_is_no_wrong_usage(command: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        file = Path(directory, "closed")
        file.touch(0o000)
        ask = partial(CliRunner().invoke, app, [*command.split(), str(file)])
        (code,) = seen_by(named("nobody"), lambda: [str(ask().exit_code)])
    assert int(code) not in {Exit.DONE, Exit.USAGE}
