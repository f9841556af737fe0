"""Ask the process that holds pyslurm, and replace it when it hangs, dies or grows."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.core import children
from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.letters import read_json
from agent.slurm.words import printable

MAX_RESIDENT = 512 * 1024 * 1024
"""Bytes that an idle child may hold; one that holds more is replaced."""
_MAX_LINE = 64 * 1024 * 1024
_KEPT_COMPLAINT = 4096
_CHUNK = 256 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NO_SYSTEM_CALL = frozenset({4, 11, 32, 101, 103, 104, 107, 110, 111, 113, 115})
"""errno of a connection: EINTR, EAGAIN, EPIPE, ENETUNREACH, ECONNABORTED, ECONNRESET, ENOTCONN, ETIMEDOUT,
ECONNREFUSED, EHOSTUNREACH, EINPROGRESS."""
_OTHER_RELEASE = frozenset({1005, 1007, 1008})
_OTHER_RELEASE_HINT = ": munge does not work, or the controller is older than pyslurm's Slurm, or much newer"

Take = Callable[[list[Any]], None]


class PyslurmRefusedError(SlurmRefusedError):
    """Slurm said no through pyslurm.

    Attributes:
        errno: of slurm_errno.h; None where pyslurm itself refused.
    """

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno


class _ChildEndedError(SlurmDownError):
    """The child ended before its answer."""


def is_no_answer(errno: int | None, text: str) -> bool:
    """Tell whether an error of libslurm says that no controller answered (slurm_errno.h).

    1000 to 1899 are of the connection, 5000 to 5999 of a message cut short or late, 6000 to 6999 of munge.
    """
    if errno is None:
        return False
    of_connection = 1000 <= errno < 1900 or 5000 <= errno < 7000
    return of_connection or errno in _NO_SYSTEM_CALL or "standby mode" in text


@dataclass
class _Child:
    """A running child: its process, and what it wrote that nobody took yet."""

    process: subprocess.Popen[bytes]
    pending: bytearray = field(default_factory=bytearray)
    searched: int = 0
    complaint: bytearray = field(default_factory=bytearray)


class PyslurmProcess:
    """The child, started when it is first asked. One request at a time; others wait for their turn.

    Args:
        environment: of the child, with SLURM_CONF.
        timeout: how long a request may take, in seconds, the start of a child included; waiting for its turn
            may take as long again.
        max_resident: bytes that an idle child may hold.
    """

    def __init__(
        self, environment: Mapping[str, str], timeout: float, *, max_resident: int = MAX_RESIDENT
    ) -> None:
        self._environment = dict(environment)
        self._timeout = timeout
        self._max_resident = max_resident
        self._turn = threading.Lock()
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return None if self._child is None else self._child.process.pid

    def ask(self, do: str, take: Take | None = None, **arguments: object) -> Any:
        """Ask for one thing of ``PyslurmRequests``; return its value.

        Args:
            do: name of the method.
            take: gets each list of records as it comes; what it raises ends the child and is passed on.
            arguments: of the method.

        Raises:
            SlurmDownError: no controller answered, or no answer came in time, or the child died: what was
                asked may have been done.
            PyslurmRefusedError: Slurm or pyslurm refused.
            SlurmError: pyslurm cannot be used here.
        """
        if not self._turn.acquire(timeout=self._timeout):
            raise SlurmDownError(f"pyslurm: {do}: other requests took the whole {self._timeout:g} s")
        deadline = time.monotonic() + self._timeout
        try:
            child = self._child or self._start(deadline)
            self._send(child, json.dumps({"do": do, **arguments}).encode() + b"\n", do)
            answer = self._receive(child, deadline, do, take)
            if _resident(child.process.pid) > self._max_resident:
                self._end()
        except BaseException:
            self._end()
            raise
        finally:
            self._turn.release()
        if "error" in answer:
            raise _error(do, answer)
        return answer["done"]

    def close(self) -> None:
        """End the child; the next request starts another."""
        with self._turn:
            self._end()

    def _start(self, deadline: float) -> _Child:
        """Start a child and wait until it has imported pyslurm."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "agent.slurm.pyslurm.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                cwd=Path(__file__).parents[3],
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise SlurmError(f"pyslurm: its process cannot be started: {error}") from error
        children.adopt(process)
        child = self._child = _Child(process)
        try:
            imported = self._next(child, deadline, "import")
        except _ChildEndedError as error:
            raise SlurmError(f"pyslurm cannot be used: {error}") from error
        if imported != {"done": "imported"}:
            raise SlurmError(f"pyslurm cannot be used: {_why_not_imported(imported)}")
        return child

    def _send(self, child: _Child, line: bytes, do: str) -> None:
        assert child.process.stdin is not None
        try:
            child.process.stdin.write(line)
        except OSError as error:
            raise SlurmDownError(f"pyslurm: {do}: its process is gone: {_tail(child)}") from error

    def _receive(self, child: _Child, deadline: float, do: str, take: Take | None) -> Mapping[str, Any]:
        """Hand on records; return the last line."""
        while True:
            answer = self._next(child, deadline, do)
            if isinstance(answer, list):
                if take is not None:
                    take(answer)
            elif isinstance(answer, dict) and not {"done", "error"}.isdisjoint(answer):
                return answer
            else:
                raise SlurmError(f"pyslurm: {do}: expected records from its process, got {answer!r:.80}")

    def _next(self, child: _Child, deadline: float, do: str) -> Any:
        """Return the next line, decoded."""
        assert child.process.stdout is not None
        assert child.process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(child.process.stdout, selectors.EVENT_READ)
            selector.register(child.process.stderr, selectors.EVENT_READ)
            while (end := child.pending.find(b"\n", child.searched)) < 0:
                child.searched = len(child.pending)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise SlurmDownError(f"pyslurm: {do}: no answer within {self._timeout:g} s")
                if len(child.pending) > _MAX_LINE:
                    raise SlurmError(f"pyslurm: {do}: a line of more than {_MAX_LINE} bytes")
                for key, _ in selector.select(left):
                    chunk = os.read(key.fd, _CHUNK)
                    if key.fileobj is child.process.stderr:
                        child.complaint = (child.complaint + chunk)[-_KEPT_COMPLAINT:]
                        if not chunk:
                            selector.unregister(key.fileobj)
                    elif chunk:
                        child.pending += chunk
                    else:
                        raise _ChildEndedError(f"pyslurm: {do}: its process ended: {_last_words(child)}")
        line = bytes(child.pending[:end])
        del child.pending[: end + 1]
        child.searched = 0
        try:
            return read_json(line)
        except ValueError as error:
            raise SlurmError(f"pyslurm: {do}: expected JSON from its process, got {line[:80]!r}") from error

    def _end(self) -> None:
        """Kill the child, and whatever it started."""
        child, self._child = self._child, None
        if child is None:
            return
        with child.process:
            if child.process.poll() is None:
                os.killpg(child.process.pid, signal.SIGKILL)


def _error(do: str, answer: Mapping[str, Any]) -> SlurmError:
    text, errno = printable(str(answer["error"])), answer.get("errno")
    if not isinstance(errno, int):
        return PyslurmRefusedError(f"pyslurm: {do}: {text}", None)
    if is_no_answer(errno, text):
        hint = _OTHER_RELEASE_HINT if errno in _OTHER_RELEASE else ""
        return SlurmDownError(f"pyslurm: {do}: {text} (error {errno}){hint}")
    return PyslurmRefusedError(f"pyslurm: {do}: {text} (error {errno})", errno)


def _why_not_imported(answer: Any) -> str:
    said = answer if isinstance(answer, dict) else {}
    text = printable(str(said.get("error", answer)))
    if said.get("missing"):
        return "it is not installed (extra esagent[pyslurm])"
    if "undefined symbol" in text:
        return f"it was built for another release of Slurm than the library found here: {text}"
    return text


def _last_words(child: _Child) -> str:
    """Wait for a child that closed its output, and tell how it ended and what it said last."""
    assert child.process.stderr is not None
    try:
        status: int | str = child.process.wait(1.0)
    except subprocess.TimeoutExpired:
        status = "unknown"
    else:
        os.set_blocking(child.process.stderr.fileno(), False)
        child.complaint += child.process.stderr.read(_KEPT_COMPLAINT) or b""
    return f"{_tail(child)} (status {status})"


def _tail(child: _Child) -> str:
    lines = child.complaint[-_KEPT_COMPLAINT:].decode(errors="replace").strip().splitlines()
    return printable(lines[-1]) if lines else "it said nothing"


def _resident(pid: int) -> int:
    """Return the bytes that a process holds in memory; 0 when it is gone (proc(5), statm)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
