"""Run one of Slurm's commands, here or on a head node.

No shell misreads an argument; time, size and environment are of our making.
"""

from __future__ import annotations

import codecs
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.core import children
from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError, SshError
from agent.core.ports import Host, RemoteCommand
from agent.slurm.environment import clean_environment
from agent.slurm.words import means_no_answer, printable

MAX_OUTPUT = 256 * 1024 * 1024
"""Bytes of standard output; `sinfo --json` of 100,000 nodes is half of it."""
_MAX_COMPLAINT = 64 * 1024
_CHUNK = 64 * 1024
_CANNOT_START = frozenset({126, 127})
"""env(1): the command cannot be invoked, or found."""


@dataclass(frozen=True)
class Finished:
    """A command that ended by itself."""

    argv: tuple[str, ...]
    status: int
    output: str
    complaint: str
    """What it wrote to standard error."""

    def check(self) -> str:
        """Return the output of a command that succeeded.

        Raises:
            SlurmDownError: no controller answered.
            SlurmRefusedError: any other status than 0, with Slurm's own words.
        """
        if self.status == 0:
            return self.output
        said = printable(self.complaint.strip() or self.output.strip() or "no message")
        message = f"{short(self.argv)}: {said} (status {self.status})"
        if means_no_answer(self.complaint):
            raise SlurmDownError(message)
        raise SlurmRefusedError(message)


def short(argv: Sequence[str]) -> str:
    """Name a command in a message."""
    return printable(" ".join((os.path.basename(argv[0]), *argv[1:])), 160)  # noqa: PTH119


Take = Callable[[str], None]
"""Takes standard output piece by piece, while the command still runs."""


class Runner(Protocol):
    """Runs one of Slurm's commands to its end."""

    def __call__(self, argv: Sequence[str], /, *, take: Take | None = None) -> Finished:
        """Run a command; what ``take`` is given is not in ``Finished.output``.

        Raises:
            SlurmDownError: it did not end in time.
            SlurmError: it did not run, or its output is too large.
        """


class LocalRunner:
    """Runs commands on this machine.

    Args:
        timeout: seconds for one command.
        environment: what the commands inherit, such as PATH; variables that change their output are dropped.
        changes: variables to set, such as SLURM_CONF.
    """

    def __init__(self, timeout: float, environment: Mapping[str, str], changes: Mapping[str, str]) -> None:
        self._timeout = timeout
        self._environment = clean_environment(environment, **changes)

    def __call__(self, argv: Sequence[str], /, *, take: Take | None = None) -> Finished:
        """Run a command."""
        return run(argv, environment=self._environment, timeout=self._timeout, take=take)


class RemoteRunner:
    """Runs commands on a head node over SSH, in a session each.

    Args:
        timeout: seconds for one command, with its login.
        shell: the way there.
        host: the head node.
        changes: variables to set, such as SLURM_CONF.
    """

    def __init__(self, timeout: float, shell: RemoteCommand, host: Host, changes: Mapping[str, str]) -> None:
        self._timeout = timeout
        self._shell = shell
        self._host = host
        self._environment = clean_environment({}, **changes)

    def __call__(self, argv: Sequence[str], /, *, take: Take | None = None) -> Finished:
        """Run a command; each argument reaches it as it is, through whatever shell the login has."""
        settings = (f"{name}={value}" for name, value in self._environment.items())
        # The path is the only thing of the login's own environment that is kept.
        line = f'exec env -i PATH="$PATH" {shlex.join([*settings, *argv])}'
        try:
            done = self._shell.execute(self._host, line, timeout=self._timeout, max_output=MAX_OUTPUT)
        except SshError as error:
            raise SlurmDownError(f"{short(argv)} on {self._host.name}: {printable(str(error))}") from error
        output, complaint = (part.decode(errors="replace") for part in (done.output, done.complaint))
        if done.status in _CANNOT_START:
            raise SlurmError(f"{short(argv)} on {self._host.name}: cannot be started: {printable(complaint)}")
        if take is not None:
            take(output)
            output = ""
        return Finished(tuple(argv), done.status, output, complaint)


def run(
    argv: Sequence[str], *, environment: Mapping[str, str], timeout: float, take: Take | None = None
) -> Finished:
    """Run a command to its end; one whose output ``take`` refuses is killed.

    Raises:
        SlurmDownError: it did not end within ``timeout`` seconds; it and its children are killed.
        SlurmError: it cannot be started, was killed, or its output is larger than ``MAX_OUTPUT``.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        raise SlurmError(f"{short(argv)}: cannot be started: {error}") from error
    children.adopt(process)
    with process:
        try:
            output, complaint = _drain(process, argv, timeout, take)
        except BaseException:
            _kill_group(process)
            raise
    if process.returncode < 0:
        raise SlurmError(f"{short(argv)}: killed by signal {-process.returncode}")
    return Finished(tuple(argv), process.returncode, output, complaint)


def _drain(
    process: subprocess.Popen[bytes], argv: Sequence[str], timeout: float, take: Take | None
) -> tuple[str, str]:
    """Read both streams to their end and wait for the process."""
    deadline = time.monotonic() + timeout
    late = SlurmDownError(f"{short(argv)}: no answer within {timeout:g} s")
    assert process.stdout is not None
    assert process.stderr is not None
    pieces: list[str] = []
    take = pieces.append if take is None else take
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    complaint, size = bytearray(), 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise late
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    size += len(chunk)
                    take(decoder.decode(chunk))
                elif len(complaint) < _MAX_COMPLAINT:
                    complaint += chunk
            if size > MAX_OUTPUT:
                raise SlurmError(f"{short(argv)}: more than {MAX_OUTPUT} bytes of output")
    take(decoder.decode(b"", final=True))
    try:
        process.wait(max(deadline - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        raise late from None
    return "".join(pieces), complaint.decode(errors="replace")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the command and whatever it started; its group lives as long as the process is not waited for."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
