"""Steering a running test bed: JSON lines over the unix socket ``DIR/control.sock``."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from threading import Thread
from typing import Any

NAME = "control.sock"
_LIMIT = 10.0
_LONGEST_LINE = 1024 * 1024

Commands = Callable[[Mapping[str, Any]], object]
"""Carries out one command; returns what to answer, or raises SteeringError."""


class SteeringError(Exception):
    """A command that cannot be carried out; the words are for the person who gave it."""


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """Give an address for the socket that is short however deep the directory is (unix(7): 107 bytes)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)


def ask(directory: Path, command: Mapping[str, Any]) -> Any:
    """Give a command to the test bed of a directory and return its answer.

    Raises:
        SteeringError: none is running there, or it refuses.
    """
    try:
        with _address(directory) as address, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_LIMIT)
            connection.connect(address)
            connection.sendall(json.dumps(command).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline()
    except (FileNotFoundError, NotADirectoryError, ConnectionError) as error:
        raise SteeringError(f"no test bed is running in {directory}") from error
    except OSError as error:
        raise SteeringError(f"the test bed in {directory} does not answer: {error}") from error
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise SteeringError(f"the test bed in {directory} ended before it answered") from error
    if "error" in answer:
        raise SteeringError(str(answer["error"]))
    return answer["result"]


def is_running(directory: Path) -> bool:
    """Tell whether a test bed answers in the directory."""
    try:
        ask(directory, {"do": "ping"})
    except SteeringError:
        return False
    return True


class ControlServer:
    """Takes commands until it is ended. Only the owner of the directory may give any."""

    def __init__(self, directory: Path, commands: Commands) -> None:
        """Raise SteeringError when a test bed is running in the directory already."""
        if is_running(directory):
            raise SteeringError(f"a test bed is running in {directory} already")
        self._path = directory / NAME
        self._path.unlink(missing_ok=True)
        with _address(directory) as address:
            self._server = _Server(address, commands)
        self._path.chmod(0o600)
        self._thread = Thread(
            name="control", target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        """Stop and remove the socket."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._path.unlink(missing_ok=True)


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, address: str, commands: Commands) -> None:
        super().__init__(address, _Handler)
        self.commands = commands


class _Handler(StreamRequestHandler):
    server: _Server
    timeout = _LIMIT

    def handle(self) -> None:
        """Answer the commands of one connection, a line each."""
        while line := self.rfile.readline(_LONGEST_LINE):
            self.wfile.write(json.dumps(self._answer(line), default=str).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            command = json.loads(line)
        except ValueError as error:
            return {"error": f"not JSON: {error}"}
        if not isinstance(command, dict):
            return {"error": "a command is a JSON object"}
        try:
            return {"result": self.server.commands(command)}
        except SteeringError as error:
            return {"error": str(error)}
