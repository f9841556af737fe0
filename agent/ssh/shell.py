"""Commands on many machines at once over SSH: bounded in time, output and number, host keys checked."""

from __future__ import annotations

import queue
import shlex
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal

import paramiko
import structlog
from paramiko.pkey import UnknownKeyType
from pydantic import Field

from agent.core import threads
from agent.core.errors import ConfigError, SshError
from agent.core.ports import CommandResult, Host, HostResult, Series, Upload
from agent.core.settings import Duration, Section
from agent.ssh.connection import Connection, Output, connect
from agent.ssh.known_hosts import HostKeys

log = structlog.get_logger()

_GRACE = 2.0
"""Seconds beyond the whole time limit for threads to tell what cut them off."""


class SshSettings(Section):
    """[ssh]: how machines are reached."""

    user: str = Field("", description="user to log in as; empty: the login that the manifest gives")
    key: Path = Field(..., description="path of the private key, without a passphrase")
    known_hosts: Path = Field(
        Path("/var/lib/esagent/known_hosts"), description="path of the agent's own file of host keys"
    )
    host_keys: Literal["accept-new", "strict"] = Field(
        "accept-new",
        description="whether an unknown host key is learnt or refused; a changed one is always refused",
    )
    connect_timeout: Duration = Field(
        15, gt=0, description="how long it may take to connect to a machine and to log in"
    )
    command_timeout: Duration = Field(120, gt=0, description="how long one command may take")
    fan_out: int = Field(32, ge=1, le=1000, description="number of machines that are worked on at once")


class SshShell:
    """A ``RemoteShell`` over paramiko.

    Raises:
        ConfigError: the private key cannot be used.
    """

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._host_keys = HostKeys(settings.known_hosts, strict=settings.host_keys == "strict")
        self._places = threading.BoundedSemaphore(settings.fan_out)
        try:
            self._key = paramiko.PKey.from_path(settings.key)
        except (OSError, ValueError, TypeError, paramiko.SSHException, UnknownKeyType) as error:
            raise ConfigError(
                f"[ssh] key {settings.key}: expected a private key without a passphrase: {error}"
            ) from error

    @property
    def public_key(self) -> str:
        """The public half of our key, as ``TYPE BASE64``."""
        return f"{self._key.get_name()} {self._key.get_base64()}"

    def run(self, commands: Mapping[Host, Series], *, timeout: float) -> Mapping[Host, HostResult]:
        """Run each machine's commands in order, at most ``fan_out`` machines side by side over all calls.

        A fault ends that machine's series and stands in its result. ``timeout`` bounds the whole in seconds.
        """
        deadline = time.monotonic() + timeout
        todo: queue.SimpleQueue[tuple[Host, Series]] = queue.SimpleQueue()
        done: queue.SimpleQueue[HostResult] = queue.SimpleQueue()
        for item in commands.items():
            todo.put(item)

        def work() -> None:
            with suppress(queue.Empty):
                while True:
                    host, series = todo.get_nowait()
                    if not self._places.acquire(timeout=max(deadline - time.monotonic(), 0)):
                        return
                    try:
                        done.put(self._run_host(host, series, deadline))
                    finally:
                        self._places.release()

        # Daemon threads: a resolver that hangs cannot be interrupted and must not hold up the process's end.
        for _ in range(min(self._settings.fan_out, len(commands))):
            threads.errand("ssh", work)
        results: dict[Host, HostResult] = {}
        with suppress(queue.Empty):
            while len(results) < len(commands):
                result = done.get(timeout=max(deadline - time.monotonic(), 0) + _GRACE)
                results[result.host] = result
        late = f"not over within {timeout:g} s"
        return {host: results.get(host, HostResult(host, "", late)) for host in commands}

    def execute(self, host: Host, command: str, *, timeout: float, max_output: int) -> CommandResult:
        """Run one command and return all that it wrote; ``timeout`` bounds it with the login, in seconds.

        Raises:
            SshUnreachableError: no connection, no login, or cut off.
            SshTimeoutError: the time was over.
            SshError: it wrote more than ``max_output`` bytes.
        """
        deadline = time.monotonic() + timeout
        with self._connect(host, deadline) as connection:
            seconds = deadline - time.monotonic()
            return connection.fetch(command, seconds=seconds, told=timeout, max_output=max_output)

    def forget(self, host: Host) -> None:
        """Drop the machine's known host key.

        Raises:
            SshError: the file of host keys cannot be written.
        """
        self._host_keys.forget(host)

    def _run_host(self, host: Host, series: Series, deadline: float) -> HostResult:
        output = Output()
        try:
            with self._connect(host, deadline) as connection:
                for command in series:
                    seconds = min(self._settings.command_timeout, deadline - time.monotonic())
                    if isinstance(command, Upload):
                        connection.run(_writing(command), output, seconds=seconds, given=command.content)
                    else:
                        connection.run(command, output, seconds=seconds)
        except SshError as error:
            return HostResult(host, output.text(), str(error))
        except Exception as error:
            # Whoever waits for the result would else wait out the whole time.
            log.exception("the commands on a machine failed", host=host.name)
            return HostResult(host, output.text(), f"{type(error).__name__}: {error}")
        return HostResult(host, output.text())

    def _connect(self, host: Host, deadline: float) -> AbstractContextManager[Connection]:
        seconds = min(self._settings.connect_timeout, deadline - time.monotonic())
        user = self._settings.user or host.username
        return connect(host, user, self._key, self._host_keys, seconds=seconds)


def _writing(file: Upload) -> str:
    """Return the shell command that writes a file from its input; a cut input leaves the old one in place."""
    path, part = shlex.quote(file.path), shlex.quote(f"{file.path}.esagent")
    steps = [
        "umask 077",
        f"mkdir -p {shlex.quote(str(PurePosixPath(file.path).parent))}",
        f"cat > {part}",
        f'test "$(wc -c < {part})" -eq {len(file.content)}',
        f"chmod {file.mode:04o} {part}",
        *([f"chown {shlex.quote(file.owner)} {part}"] if file.owner else []),
        f"mv -f {part} {path}",
    ]
    return " && ".join(steps)
