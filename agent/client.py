"""One call to the running daemon, over its unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.core.errors import AgentError

TIMEOUT = 10.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(str(self._path))


def call(path: Path, method: str, route: str, body: Mapping[str, object] | None = None) -> Any:
    """Ask the daemon and return its decoded JSON.

    Raises:
        AgentError: no daemon answers on that socket, or it refused; in its own words.
    """
    connection = _UnixConnection(path)
    try:
        payload = json.dumps(body).encode() if body is not None else None
        connection.request(method, route, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except FileNotFoundError:
        raise AgentError(f"no daemon: there is no socket {path} (is `esagent run` up?)") from None
    except ConnectionRefusedError:
        raise AgentError(f"no daemon answers on {path} (is `esagent run` up?)") from None
    except PermissionError:
        raise AgentError(f"{path}: this user may not open the daemon's socket") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise AgentError(f"{path}: the daemon did not answer: {error}") from error
    finally:
        connection.close()
    if response.status >= 400:
        raise AgentError(str(answer.get("error", response.reason)))
    return answer
