"""The daemon's local API: JSON over HTTP on a unix socket, for the `esagent` command.

Who calls is known from the socket's peer credentials (``unix(7)``, SO_PEERCRED); only operators may act.
"""

from __future__ import annotations

import json
import os
import pwd
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import structlog
from cheroot import wsgi
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.core.errors import AgentError, ConfigError
from agent.core.settings import Duration, Section

log = structlog.get_logger()

MAX_BODY = 1 << 20
Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class AdminSettings(Section):
    """The local API that the esagent command talks to."""

    socket: Path = Field(Path("/run/esagent/admin.sock"), description="unix socket of the local API")
    operators: tuple[str, ...] = Field(
        (), description="users who may drain and resume nodes, besides root and the daemon's own user"
    )


class DrainRequest(BaseModel):
    """Body of ``POST /v1/drain``."""

    model_config = ConfigDict(extra="forbid")
    nodes: list[str] = Field(min_length=1, max_length=10_000)
    reason: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
    deadline: Duration | None = Field(None, ge=0, le=30 * 86400)
    """Seconds from now until the nodes have to be empty; None lets every job run to its end."""
    force: bool = False
    """Take over a node that somebody else drained."""
    release: bool = False
    """Give the machines back to Cloudlab once they are empty."""


class ResumeRequest(BaseModel):
    """Body of ``POST /v1/resume``."""

    model_config = ConfigDict(extra="forbid")
    nodes: list[str] = Field(min_length=1, max_length=10_000)


class TeardownRequest(BaseModel):
    """Body of ``POST /v1/teardown``."""

    model_config = ConfigDict(extra="forbid")
    slice: str = Field(min_length=1, max_length=200)
    """Name of the slice that is meant: nobody tears another one down by a wrong socket."""
    deadline: Duration | None = Field(None, ge=0, le=30 * 86400)
    """Seconds from now until what still runs is requeued; None lets every job run to its end."""


class Operations(Protocol):
    """What administrators can see and do; each method answers from memory or a local file."""

    def status(self) -> Mapping[str, object]:
        """Tell what the agent holds, knows and does."""

    def nodes(self) -> list[Mapping[str, object]]:
        """Tell one record a machine."""

    def plan(self) -> Mapping[str, object]:
        """Tell what the next cycle would do, and why. Raises ``AgentError`` before Slurm was read."""

    def events(self, subject: str, newest: int) -> list[Mapping[str, object]]:
        """Tell the newest events, oldest first; ``subject`` "" for all."""

    def drains(self) -> list[Mapping[str, object]]:
        """Tell one record a node that is emptied: its jobs, what will happen to them, and the margin."""

    def poke(self) -> None:
        """Look at the drains at once: something changed in Slurm."""

    def power(self) -> None:
        """Look at Slurm at once: its power saving has asked for nodes, or let some go."""

    def drain(
        self,
        names: Iterable[str],
        reason: str,
        who: str,
        deadline: float | None,
        *,
        force: bool,
        release: bool,
    ) -> list[str]:
        """Empty these machines, to keep or to release them; return the node names.

        Raises ``AgentError``, nothing done.
        """

    def resume(self, names: Iterable[str], who: str) -> list[str]:
        """Give machines back to the scheduler; return the node names. Raises ``AgentError``, nothing done."""

    def pause(self, who: str) -> str:
        """Ask for no machine from now on; return what is in force, in words."""

    def unpause(self, who: str) -> str:
        """Allow growth again. Raises ``AgentError`` where nothing holds it up."""

    def teardown(self, slice_name: str, who: str, deadline: float | None) -> str:
        """Stop growth, empty every machine and give it back. Raises ``AgentError``, nothing done."""


class _Refusal(Exception):  # noqa: N818 - an HTTP status, not an error of ours
    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class AdminServer:
    """Serves the operations on a unix socket."""

    def __init__(self, settings: AdminSettings, operations: Operations) -> None:
        self._settings = settings
        self._operations = operations
        self._operators = {0, os.getuid(), *map(_uid_of, settings.operators)}
        self._server: wsgi.Server | None = None

    def start(self) -> None:
        """Bind and serve.

        Raises:
            ConfigError: the socket cannot be made; the message names it.
        """
        path = self._settings.socket
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            server = wsgi.Server(
                str(path),
                self._answer,
                numthreads=4,
                timeout=10,
                peercreds_enabled=True,
                server_name="esagent",
            )
            server.max_request_body_size = MAX_BODY
            server.shutdown_timeout = 1
            server.prepare()
            # Anybody may read; acting is decided by who the caller is.
            path.chmod(0o666)
        except OSError as error:
            raise ConfigError(f"[admin] socket {path}: {error}") from error
        self._server = server
        threading.Thread(target=server.serve, name="admin", daemon=True).start()

    def stop(self) -> None:
        """End and remove the socket."""
        if self._server is not None:
            self._server.stop()
        self._settings.socket.unlink(missing_ok=True)

    def _answer(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        try:
            status, body = "200 OK", self._dispatch(environ)
        except _Refusal as error:
            status, body = error.status, {"error": str(error)}
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            status, body = "400 Bad Request", {"error": f"{where}: {first['msg']}"}
        except AgentError as error:
            status, body = "409 Conflict", {"error": str(error)}
        payload = json.dumps(body, default=str).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(payload)))])
        return [payload]

    def _dispatch(self, environ: Environ) -> object:
        route = (environ["REQUEST_METHOD"], environ["PATH_INFO"])
        match route:
            case ("GET", "/v1/status"):
                return self._operations.status()
            case ("GET", "/v1/plan"):
                return self._operations.plan()
            case ("GET", "/v1/nodes"):
                return {"nodes": self._operations.nodes()}
            case ("GET", "/v1/events"):
                query = dict(part.partition("=")[::2] for part in environ["QUERY_STRING"].split("&"))
                newest = query.get("newest", "100")
                if not newest.isdecimal() or int(newest) > 10_000:
                    raise _Refusal("400 Bad Request", "newest: a number up to 10000 is expected")
                return {"events": self._operations.events(query.get("subject", ""), int(newest))}
            case ("POST", "/v1/drain"):
                who = self._operator(environ)
                ask = DrainRequest.model_validate_json(_body(environ))
                drained = self._operations.drain(
                    ask.nodes, ask.reason, who, ask.deadline, force=ask.force, release=ask.release
                )
                return {"nodes": drained}
            case ("GET", "/v1/drains"):
                return {"drains": self._operations.drains()}
            case ("POST", "/v1/poke"):
                # Slurm's epilog runs as a user of its own: anybody may, since a look is all that it sets off.
                self._operations.poke()
                return {}
            case ("POST", "/v1/power"):
                # As above: what is wanted is read from Slurm.
                self._operations.power()
                return {}
            case ("POST", "/v1/resume"):
                who = self._operator(environ)
                names = ResumeRequest.model_validate_json(_body(environ)).nodes
                return {"nodes": self._operations.resume(names, who)}
            case ("POST", "/v1/pause"):
                return {"growth": self._operations.pause(self._operator(environ))}
            case ("POST", "/v1/unpause"):
                return {"growth": self._operations.unpause(self._operator(environ))}
            case ("POST", "/v1/teardown"):
                who = self._operator(environ)
                order = TeardownRequest.model_validate_json(_body(environ))
                return {"growth": self._operations.teardown(order.slice, who, order.deadline)}
            case _:
                raise _Refusal("404 Not Found", f"no such call: {route[0]} {route[1]}")

    def _operator(self, environ: Environ) -> str:
        uid = int(environ["X_REMOTE_UID"])
        if uid not in self._operators:
            raise _Refusal("403 Forbidden", f"user {_user_of(uid)} is not an operator: see [admin] operators")
        return _user_of(uid)


def _body(environ: Environ) -> bytes:
    body: bytes = environ["wsgi.input"].read(MAX_BODY)
    return body


def _uid_of(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"[admin] operators: no such user on this machine: {name!r}") from None


def _user_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
