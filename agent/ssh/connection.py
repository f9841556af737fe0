"""SSH to one machine: a login, and commands over it, each to its end, within its time, its output bounded."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko

from agent.core import threads
from agent.core.errors import SshCommandError, SshError, SshTimeoutError, SshUnreachableError
from agent.core.ports import CommandResult, Host
from agent.ssh.known_hosts import HostKeys

MAX_HEAD = 16 * 1024
MAX_TAIL = 48 * 1024
"""Bytes of a machine's output that are kept from its beginning and from its end."""
_CHUNK = 32 * 1024
_KEEPALIVE = 15
"""Seconds between signs of life: firewalls cut connections that are silent."""
_POLL = 0.2
"""Seconds of silence after which it is asked whether a command has ended."""
_BACKSTOP = 60.0
"""Seconds that paramiko's own limits lie beyond ours: two clocks for one wait would tell two stories."""
_FAULTS = (OSError, EOFError, paramiko.SSHException, ValueError, LookupError, TypeError, struct.error)
"""What paramiko raises: besides its own, whatever its reader met in a server's garbage."""
_LOG_CHANNEL = "agent.ssh.shell.paramiko"

# Its tracebacks repeat what each machine's result says.
logging.getLogger(_LOG_CHANNEL).setLevel(logging.CRITICAL + 1)


class Output:
    """Output of bounded size: its beginning and its end."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, chunk: bytes) -> None:
        """Take what comes next."""
        room = MAX_HEAD - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[max(room, 0) :]
        surplus = len(self._tail) - MAX_TAIL
        if surplus > 0:
            self._dropped += surplus
            del self._tail[:surplus]

    def text(self) -> str:
        """Return what was kept, with a word on what was left out."""
        cut = f"\n[{self._dropped} bytes left out]\n" if self._dropped else ""
        return self._head.decode(errors="replace") + cut + self._tail.decode(errors="replace")


class Connection:
    """A login on a machine, for one command after the other; ``connect`` makes it."""

    def __init__(self, client: paramiko.SSHClient, sock: socket.socket) -> None:
        self._client = client
        self._sock = sock

    def run(self, command: str, output: Output, *, seconds: float, given: bytes = b"") -> None:
        """Run a command that has to succeed, with both its streams into ``output``.

        A daemon that it leaves behind may hold its output open: that is read to the command's end.

        Args:
            command: a line of shell.
            output: where what it writes is added.
            seconds: time limit.
            given: what it reads.

        Raises:
            SshUnreachableError: cut off.
            SshTimeoutError: the time was over.
            SshCommandError: its status is not 0.
        """
        with self._session(command, seconds, told=max(seconds, 0)) as channel:
            channel.set_combine_stderr(True)
            channel.exec_command(command)
            channel.sendall(given)
            channel.shutdown_write()
            _read_merged(channel, output)
            status = _status(command, channel)
        if status != 0:
            raise SshCommandError(f"{_shown(command)}: status {status}")

    def fetch(self, command: str, *, seconds: float, told: float, max_output: int) -> CommandResult:
        """Run a command and return all that it wrote, whatever its status is.

        Args:
            command: a line of shell.
            seconds: time limit.
            told: the time limit as the caller knows it, with the login.
            max_output: bytes that it may write.

        Raises:
            SshUnreachableError: cut off.
            SshTimeoutError: the time was over.
            SshError: it wrote more than ``max_output`` bytes.
        """
        with self._session(command, seconds, told) as channel:
            channel.exec_command(command)
            channel.shutdown_write()
            output, complaint = _read_both(channel, max_output)
            return CommandResult(_status(command, channel), output, complaint)

    @contextmanager
    def _session(self, command: str, seconds: float, told: float) -> Iterator[paramiko.Channel]:
        what = _shown(command)
        transport = self._client.get_transport()
        assert transport is not None
        try:
            with _limit(self._sock, seconds, f"{what}: not over within {told:g} s"):
                channel = transport.open_session(timeout=max(seconds, 0) + _BACKSTOP)
                yield channel
                channel.close()
        except _FAULTS as error:
            raise SshUnreachableError(f"{what}: connection lost: {error or type(error).__name__}") from error


@contextmanager
def connect(
    host: Host, user: str, key: paramiko.PKey, host_keys: HostKeys, *, seconds: float
) -> Iterator[Connection]:
    """Log in on a machine, and out again at the end.

    Args:
        host: the machine.
        user: who logs in.
        key: what lets us in.
        host_keys: tell whether it is that machine.
        seconds: time limit.

    Raises:
        SshUnreachableError: no connection, or no login.
        SshTimeoutError: the time was over.
    """
    where = f"{host.name} ({host.address} port {host.port})"
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
        left = seconds - (time.monotonic() - began)
        with _limit(sock, left, f"{where}: no login within {seconds:g} s"):
            try:
                host_keys.guard(client, host)
                _log_in(client, sock, host, user, key, seconds)
            except paramiko.BadHostKeyException as error:
                raise SshUnreachableError(
                    f"{where}: its host key has changed: {error.key.fingerprint}, and not the known"
                    f" {error.expected_key.fingerprint}; if the machine was set up anew, remove its line"
                    f" from {host_keys.path}"
                ) from error
            except paramiko.AuthenticationException as error:
                raise SshUnreachableError(f"{where}: login as {user!r} refused: {error}") from error
            except _FAULTS as error:
                raise SshUnreachableError(f"{where}: no login: {error or type(error).__name__}") from error
        yield Connection(client, sock)
    finally:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        client.close()
        sock.close()


def _log_in(
    client: paramiko.SSHClient, sock: socket.socket, host: Host, user: str, key: paramiko.PKey, seconds: float
) -> None:
    client.set_log_channel(_LOG_CHANNEL)
    client.connect(
        host.address,
        host.port,
        username=user,
        pkey=key,
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


def _read_merged(channel: paramiko.Channel, output: Output) -> None:
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
    complaint = Output()

    def read_complaint() -> None:
        with suppress(*_FAULTS):
            while chunk := channel.recv_stderr(_CHUNK):
                complaint.add(chunk)

    # Either stream's window may fill up while the other is waited for.
    side = threads.errand("ssh-stderr", read_complaint)
    output = bytearray()
    while chunk := channel.recv(_CHUNK):
        output += chunk
        if len(output) > max_output:
            raise SshError(f"more than {max_output} bytes of output")
    side.join()
    return bytes(output), complaint.text().encode()


def _status(command: str, channel: paramiko.Channel) -> int:
    status = channel.recv_exit_status()
    if status == -1:
        raise SshUnreachableError(f"{_shown(command)}: connection lost, or the command was killed")
    return status


def _shown(command: str) -> str:
    line = " ".join(command.split())
    return repr(line if len(line) <= 80 else f"{line[:77]}...")
