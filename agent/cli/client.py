"""Calls to the running daemon, over its unix socket."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.core.errors import AgentError

TIMEOUT = 10.0


class NoDaemonError(AgentError):
    """No daemon answers on that socket, or this user cannot reach it."""


class NotAllowedError(AgentError):
    """The daemon does not take this call from this user."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Call:
    """One call that is under way; it can be waited for with ``select``.

    Args:
        path: the daemon's socket.
        method: GET or POST.
        route: path and query.
        body: sent as JSON; None for none.
        timeout: seconds to wait for each piece of the answer.

    Raises:
        NoDaemonError: no daemon answers on that socket.
    """

    def __init__(
        self,
        path: Path,
        method: str,
        route: str,
        body: Mapping[str, object] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._path = path
        self._afterwards = "" if method == "GET" else "; it may do it yet: `esagent events` tells"
        self._connection = _UnixConnection(path, timeout)
        payload = json.dumps(body).encode() if body is not None else None
        try:
            self._connection.request(method, route, payload, {"Content-Type": "application/json"})
        except OSError as error:
            self.close()
            raise _no_daemon(path, error) from None

    def fileno(self) -> int:
        """Return the socket's descriptor: it is readable once the answer comes."""
        return self._connection.sock.fileno()

    def close(self) -> None:
        """Give the call up; harmless after its answer."""
        self._connection.close()

    def answer(self) -> Any:
        """Return the decoded JSON.

        Raises:
            NoDaemonError: the daemon went away.
            NotAllowedError: this user may not.
            AgentError: the daemon refused; in its own words.
        """
        try:
            response = self._connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            words = f"{self._path}: the daemon did not answer: {error}{self._afterwards}"
            raise NoDaemonError(words) from error
        finally:
            self.close()
        if status >= 400:
            words = str(answer.get("error", response.reason))
            raise NotAllowedError(words) if status == http.client.FORBIDDEN else AgentError(words)
        return answer


def call(
    path: Path,
    method: str,
    route: str,
    body: Mapping[str, object] | None = None,
    timeout: float = TIMEOUT,
) -> Any:
    """Ask the daemon and return its decoded JSON; errors are those of ``Call``."""
    return Call(path, method, route, body, timeout).answer()


def _no_daemon(path: Path, error: OSError) -> NoDaemonError:
    match error:
        case FileNotFoundError():
            return NoDaemonError(f"no daemon: there is no socket {path} (is `esagent run` up?)")
        case ConnectionRefusedError():
            return NoDaemonError(f"no daemon answers on {path} (is `esagent run` up?)")
        case PermissionError():
            return NoDaemonError(f"{path}: this user may not open the daemon's socket: {_why(path)}")
    return NoDaemonError(f"{path}: the daemon did not answer: {error}")


def _why(path: Path) -> str:
    from agent.check.barrier import barrier, mode_of

    part = barrier(path, os.W_OK)
    return f"{part} is {mode_of(part)}" if part else "its mode does not allow it"
