"""A request RSpec from a file, or from a profile script as Cloudlab's users write them (geni-lib)."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from agent.core import children
from agent.core.errors import ConfigError, UnavailableError
from agent.core.request.complaint import complaint
from agent.core.request.document import parse_document

MAX_RSPEC = 1 << 20
"""Bytes of a request: far more than any slice needs."""
KEPT_ERRORS = 4000
"""Bytes of what a script says on stderr that are looked at: the last ones, which tell what went wrong."""
REAP_TIME = 5.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
"""The script is the site's, and the passphrase of our key is none of its business."""


def read_rspec(path: Path) -> str:
    """Read a request from a file.

    Raises:
        ConfigError: it cannot be read, or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RSPEC + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return _decode(data, str(path))


def run_profile(
    script: Path, *, python: str, timeout: float, parameters: Mapping[str, Any] | None = None
) -> str:
    """Run a profile script in a child, and return the request that it makes.

    It runs as the agent's user, in its own directory, with a small environment, in the mode in which the
    portal runs it (``geni.portal.Context``): geni-lib reads the parameters from a file, and writes the
    request to another. A script without geni-lib prints its request.

    Args:
        script: the script.
        python: the interpreter that has its libraries: a path, or a name that is looked up in PATH.
        timeout: seconds; what still runs then is killed with its children.
        parameters: values of what it defines with ``defineParameter``; the others have their defaults.

    Raises:
        ConfigError: it cannot be run, fails, prints too much, or does not define one of the parameters.
        UnavailableError: it takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="esagent-profile-") as directory:
        made = Path(directory, "request.xml")
        values = Path(directory, "parameters.json")
        # The portal's geni-lib looks below "bindings", and the one of PyPI at the top.
        given = dict(parameters or {})
        bindings = {name: {"value": value} for name, value in given.items()}
        values.write_text(json.dumps({**given, "bindings": bindings}))
        mode = {
            "GENILIB_PORTAL_MODE": "1",
            "GENILIB_PORTAL_PARAMS_PATH": str(values),
            "GENILIB_PORTAL_REQUEST_PATH": str(made),
            "PYTHONUTF8": "1",
        }
        printed = _run(script, python, timeout, mode)
        text = read_rspec(made) if made.exists() else _decode(printed, f"what {script} prints")
    if not text.strip():
        raise ConfigError(
            f"{script}: a request is expected of it: portal.context.printRequestRSpec() makes one"
        )
    if parameters:
        _check_defined(parameters, text, script)
    return text


def _run(script: Path, python: str, timeout: float, mode: Mapping[str, str]) -> bytes:
    """Run a script to its end, and return what it prints."""
    try:
        child = subprocess.Popen(
            [python, str(script.absolute())],
            cwd=script.absolute().parent,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ} | dict(mode),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{script}: cannot be run with {python}: {error}") from error
    children.adopt(child)
    try:
        output, errors, ended = _collect(child, time.monotonic() + timeout)
    finally:
        _end(child)
    if len(output) > MAX_RSPEC:
        raise ConfigError(f"{script}: prints more than {MAX_RSPEC} bytes; a request RSpec is expected")
    if not ended:
        raise UnavailableError(f"{script}: not done after {timeout:g} s, so it was killed")
    if child.returncode != 0:
        said = complaint(errors.decode("utf-8", "replace"), python)
        raise ConfigError(f"{script}: ended with status {child.returncode}: {said}")
    return output


def _check_defined(parameters: Mapping[str, Any], text: str, script: Path) -> None:
    """See that a script knows its parameters: geni-lib passes over those that it does not define."""
    try:
        defined = parse_document(text).parameters
    except ConfigError as error:
        raise ConfigError(f"{script}: {error}") from error
    if unknown := sorted(parameters.keys() - defined):
        known = f"it has {', '.join(sorted(defined))}" if defined else "it has none"
        raise ConfigError(f"{script}: [request.parameters] {', '.join(unknown)}: no such parameter; {known}")


def _collect(child: subprocess.Popen[bytes], end: float) -> tuple[bytes, bytes, bool]:
    """Read both streams to their end; return stdout, the end of stderr, and whether it ended in time."""
    assert child.stdout is not None
    assert child.stderr is not None
    kept: dict[IO[bytes], bytes] = {child.stdout: b"", child.stderr: b""}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and len(kept[child.stdout]) <= MAX_RSPEC:
            left = end - time.monotonic()
            if left <= 0:
                break
            for key, _ in selector.select(left):
                stream = child.stdout if key.fileobj is child.stdout else child.stderr
                data = os.read(stream.fileno(), 1 << 16)
                kept[stream] += data
                if not data:
                    selector.unregister(stream)
                elif stream is child.stderr:
                    kept[stream] = kept[stream][-KEPT_ERRORS:]
        if not selector.get_map():
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(end - time.monotonic(), 0.0))
    return kept[child.stdout], kept[child.stderr], child.returncode is not None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a child and its children, and close its streams."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        child.wait(REAP_TIME)
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def _decode(data: bytes, where: str) -> str:
    if len(data) > MAX_RSPEC:
        raise ConfigError(f"{where}: more than {MAX_RSPEC} bytes; a request RSpec is expected")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: a request RSpec in UTF-8 is expected: {error}") from error
