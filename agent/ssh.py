"""Commands on many machines at once over SSH: bounded in time, output and number, host keys checked."""

from __future__ import annotations

import logging
import queue
import re
import shlex
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal

import paramiko
from paramiko.pkey import UnknownKeyType
from pydantic import Field

from agent.core.errors import (
    ConfigError,
    SshCommandError,
    SshError,
    SshTimeoutError,
    SshUnreachableError,
)
from agent.core.ports import CommandResult, Host, HostResult, Series, Upload
from agent.core.settings import Duration, Section
from agent.known_hosts import KnownHosts

MAX_HEAD = 16 * 1024
MAX_TAIL = 48 * 1024
"""Bytes of a machine's output that are kept from its beginning and from its end."""
_CHUNK = 32 * 1024
_NO_WORD = re.compile(r"\W")
_SSH_PORT = 22
_KEEPALIVE = 15
"""Seconds between signs of life: firewalls cut connections that are silent."""
_POLL = 0.2
"""Seconds of silence after which it is asked whether a command has ended."""
_BACKSTOP = 60.0
"""Seconds that paramiko's own limits lie beyond ours: two clocks for one wait would tell two stories."""
_GRACE = 2.0
"""Seconds beyond the whole time limit for threads to tell what cut them off."""
_FAULTS = (OSError, EOFError, paramiko.SSHException, ValueError, LookupError, TypeError, struct.error)
"""What paramiko raises: besides its own, whatever its reader met in a server's garbage."""
_LOG_CHANNEL = "agent.ssh.paramiko"

# Its tracebacks repeat what each machine's result says.
logging.getLogger(_LOG_CHANNEL).setLevel(logging.CRITICAL + 1)


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


class _Policy(paramiko.MissingHostKeyPolicy):
    """What to do at a machine of which no key is known."""

    def __init__(self, known: KnownHosts, mode: str, name: str) -> None:
        self._known = known
        self._mode = mode
        self._name = name

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        if self._mode == "strict":
            raise SshUnreachableError(
                f"host key of {hostname} is not known ({key.fingerprint}) and host_keys is strict"
            )
        self._known.learn(self._name, key)


class _Output:
    """Output of bounded size: its beginning and its end."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, chunk: bytes) -> None:
        room = MAX_HEAD - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[max(room, 0) :]
        surplus = len(self._tail) - MAX_TAIL
        if surplus > 0:
            self._dropped += surplus
            del self._tail[:surplus]

    def text(self) -> str:
        cut = f"\n[{self._dropped} bytes left out]\n" if self._dropped else ""
        return self._head.decode(errors="replace") + cut + self._tail.decode(errors="replace")


class SshShell:
    """A ``RemoteShell`` over paramiko.

    Raises:
        ConfigError: the private key cannot be used.
    """

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._known = KnownHosts(settings.known_hosts)
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
            threading.Thread(target=work, name="ssh", daemon=True).start()
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
        with self._connection(host, deadline) as (client, sock):
            seconds = deadline - time.monotonic()
            transport = client.get_transport()
            assert transport is not None
            late = f"{_shown(command)}: not over within {timeout:g} s"
            try:
                with _limit(sock, seconds, late):
                    channel = transport.open_session(timeout=max(seconds, 0) + _BACKSTOP)
                    channel.exec_command(command)
                    channel.shutdown_write()
                    output, complaint = _read_both(channel, max_output)
                    status = channel.recv_exit_status()
                    channel.close()
            except _FAULTS as error:
                said = error or type(error).__name__
                raise SshUnreachableError(f"{_shown(command)}: connection lost: {said}") from error
        if status == -1:
            raise SshUnreachableError(f"{_shown(command)}: connection lost, or the command was killed")
        return CommandResult(status, output, complaint)

    def forget(self, host: Host) -> None:
        """Drop the machine's known host key.

        Raises:
            SshError: the file of host keys cannot be written.
        """
        try:
            self._known.forget(self._known_as(host))
        except OSError as error:
            raise SshError(f"known_hosts {self._settings.known_hosts}: {error}") from error

    def _run_host(self, host: Host, series: Series, deadline: float) -> HostResult:
        output = _Output()
        try:
            with self._connection(host, deadline) as (client, sock):
                for command in series:
                    if isinstance(command, Upload):
                        self._execute(client, sock, _writing(command), output, deadline, command.content)
                    else:
                        self._execute(client, sock, command, output, deadline)
        except SshError as error:
            return HostResult(host, output.text(), str(error))
        return HostResult(host, output.text())

    def _known_as(self, host: Host) -> str:
        """Return the name of its keys in the file; those that a person wrote down are known by address."""
        learns = self._settings.host_keys != "strict"
        life = _NO_WORD.sub("", host.life)
        return f"{_key_name(host)}-{life}" if learns and life else _key_name(host)

    @contextmanager
    def _connection(self, host: Host, deadline: float) -> Iterator[tuple[paramiko.SSHClient, socket.socket]]:
        where = f"{host.name} ({host.address} port {host.port})"
        seconds = min(self._settings.connect_timeout, deadline - time.monotonic())
        if seconds <= 0:
            raise SshTimeoutError(f"{where}: no time is left to connect")
        began = time.monotonic()
        try:
            sock = socket.create_connection((host.address, host.port), timeout=seconds)
        except TimeoutError as error:
            raise SshUnreachableError(f"{where}: no connection within {seconds:g} s") from error
        except OSError as error:
            raise SshUnreachableError(f"{where}: {error}") from error
        client = paramiko.SSHClient()
        try:
            with _limit(
                sock, seconds - (time.monotonic() - began), f"{where}: no login within {seconds:g} s"
            ):
                self._log_in(client, sock, host, where, seconds)
            yield client, sock
        finally:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            client.close()
            sock.close()

    def _log_in(
        self, client: paramiko.SSHClient, sock: socket.socket, host: Host, where: str, seconds: float
    ) -> None:
        user = self._settings.user or host.username
        try:
            client.set_log_channel(_LOG_CHANNEL)
            client.set_missing_host_key_policy(
                _Policy(self._known, self._settings.host_keys, self._known_as(host))
            )
            for kind, key in self._known.keys(self._known_as(host)):
                client.get_host_keys().add(_key_name(host), kind, key)
            client.connect(
                host.address,
                host.port,
                username=user,
                pkey=self._key,
                sock=sock,
                timeout=seconds + _BACKSTOP,
                banner_timeout=seconds + _BACKSTOP,
                auth_timeout=seconds + _BACKSTOP,
                channel_timeout=seconds + _BACKSTOP,
                allow_agent=False,
                look_for_keys=False,
            )
            transport = client.get_transport()
            assert transport is not None
            transport.set_keepalive(_KEEPALIVE)
        except paramiko.BadHostKeyException as error:
            raise SshUnreachableError(
                f"{where}: its host key has changed: {error.key.fingerprint}, and not the known"
                f" {error.expected_key.fingerprint}; if the machine was set up anew, remove its line from"
                f" {self._settings.known_hosts}"
            ) from error
        except paramiko.AuthenticationException as error:
            raise SshUnreachableError(f"{where}: login as {user!r} refused: {error}") from error
        except _FAULTS as error:
            raise SshUnreachableError(f"{where}: no login: {error or type(error).__name__}") from error

    def _execute(
        self,
        client: paramiko.SSHClient,
        sock: socket.socket,
        command: str,
        output: _Output,
        deadline: float,
        given: bytes = b"",
    ) -> None:
        seconds = min(self._settings.command_timeout, deadline - time.monotonic())
        what = _shown(command)
        transport = client.get_transport()
        assert transport is not None
        try:
            with _limit(sock, seconds, f"{what}: not over within {max(seconds, 0):g} s"):
                channel = transport.open_session(timeout=seconds + _BACKSTOP)
                channel.set_combine_stderr(True)
                channel.exec_command(command)
                channel.sendall(given)
                channel.shutdown_write()
                _read(channel, output)
                status = channel.recv_exit_status()
                channel.close()
        except _FAULTS as error:
            raise SshUnreachableError(f"{what}: connection lost: {error or type(error).__name__}") from error
        if status == -1:
            raise SshUnreachableError(f"{what}: connection lost, or the command was killed")
        if status != 0:
            raise SshCommandError(f"{what}: status {status}")


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


def _read(channel: paramiko.Channel, output: _Output) -> None:
    """Read to the end of the output, or of the command where a daemon that it left holds the output open."""
    channel.settimeout(_POLL)
    while True:
        # Asked before the read: what the command wrote before it ended is there by then.
        over = channel.exit_status_ready()
        try:
            chunk = channel.recv(_CHUNK)
        except TimeoutError:
            if over:
                return
            continue
        if not chunk:
            return
        output.add(chunk)


def _read_both(channel: paramiko.Channel, max_output: int) -> tuple[bytes, bytes]:
    """Read both streams to their end; the first whole, the second cut."""
    complaint = _Output()

    def read_complaint() -> None:
        with suppress(*_FAULTS):
            while chunk := channel.recv_stderr(_CHUNK):
                complaint.add(chunk)

    # Either stream's window may fill up while the other is waited for.
    side = threading.Thread(target=read_complaint, name="ssh-stderr", daemon=True)
    side.start()
    output = bytearray()
    while chunk := channel.recv(_CHUNK):
        output += chunk
        if len(output) > max_output:
            raise SshError(f"more than {max_output} bytes of output")
    side.join()
    return bytes(output), complaint.text().encode()


@contextmanager
def _limit(sock: socket.socket, seconds: float, complaint: str) -> Iterator[None]:
    """Cut the connection when the time is over: nothing else ends every wait inside paramiko.

    Raises:
        SshTimeoutError: it was cut.
    """
    fired = threading.Event()

    def cut() -> None:
        fired.set()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(seconds, 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (*_FAULTS, SshError) as error:
        if fired.is_set():
            raise SshTimeoutError(complaint) from error
        raise
    finally:
        timer.cancel()
    if fired.is_set():
        raise SshTimeoutError(complaint)


def _key_name(host: Host) -> str:
    """Name a machine as known_hosts does (sshd(8), «SSH_KNOWN_HOSTS FILE FORMAT»)."""
    return host.address if host.port == _SSH_PORT else f"[{host.address}]:{host.port}"


def _shown(command: str) -> str:
    line = " ".join(command.split())
    return repr(line if len(line) <= 80 else f"{line[:77]}...")
