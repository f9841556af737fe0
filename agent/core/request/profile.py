"""A request RSpec from a file, or from a profile script as Cloudlab's users write them (geni-lib)."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import structlog
from lxml import etree

from agent.core.errors import ConfigError, UnavailableError
from agent.core.ports import SliceServer
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.request.rspec import INSTALL_PATH, RSPEC, request_client_ids

log = structlog.get_logger()

MAX_RSPEC = 1 << 20
"""Bytes of a request: far more than any slice needs."""
KEPT_ERRORS = 2000
"""Bytes of what a script says on stderr that an error shows: the last ones, which tell what went wrong."""
REAP_TIME = 5.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV")
"""The script is the site's, and the passphrase of our key is none of its business."""
_NS = {"r": RSPEC}


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


def run_profile(script: Path, *, python: str, timeout: float) -> str:
    """Run a profile script in a child, and return the request that it prints.

    It runs as the agent's user, in its own directory, with a small environment, and without arguments: its
    parameters have their defaults.

    Args:
        script: the script.
        python: the interpreter that has its libraries: a path, or a name that is looked up in PATH.
        timeout: seconds; what still runs then is killed with its children.

    Raises:
        ConfigError: it cannot be run, or prints too much.
        UnavailableError: it ends with another status than 0, or takes too long.
    """
    try:
        child = subprocess.Popen(
            [python, str(script.absolute())],
            cwd=script.absolute().parent,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{script}: cannot be run with {python}: {error}") from error
    try:
        output, errors, ended = _collect(child, time.monotonic() + timeout)
    finally:
        _end(child)
    if len(output) > MAX_RSPEC:
        raise ConfigError(f"{script}: prints more than {MAX_RSPEC} bytes; a request RSpec is expected")
    if not ended:
        raise UnavailableError(f"{script}: not done after {timeout:g} s, so it was killed")
    if child.returncode != 0:
        said = errors.decode("utf-8", "replace").strip() or "nothing on stderr"
        raise UnavailableError(f"{script}: ended with status {child.returncode}: {said}")
    return _decode(output, f"what {script} prints")


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


class DocumentHelper(SimpleElasticSliceHelper):
    """A helper whose request is a document; machines that are added later are like its first one.

    Like it means the same image, tarballs and startup command; LANs of the document do not grow.

    Args:
        rspec: the request.
        source: where it is from, for errors.
        server: its CMs are those that the request has to serve.
        config: kept for subclasses.
        node_prefix: machines that are added later are called PREFIX-1, PREFIX-2, ...

    Raises:
        ConfigError: not a version 3 request in the default namespace, with machines for each CM, or the first
            machine has what ``GeniCMV2 AddNodes`` would refuse.
    """

    def __init__(
        self,
        rspec: str,
        source: str,
        server: SliceServer,
        config: Any = None,
        *,
        node_prefix: str = "node",
    ) -> None:
        try:
            names = _check_request(rspec, server.cms)
            first = _first_node(rspec)
            super().__init__(
                server,
                config,
                num_pcs=len(names),
                image_urn=_attribute(first, "r:sliver_type/r:disk_image", "name"),
                tarballs=_tarballs(first, source),
                startup_command=_startup(first),
                nodetype=_attribute(first, "r:hardware_type", "name"),
                node_prefix=node_prefix,
            )
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error
        self._rspec = rspec
        # Reserved here and not told by ``reserve_names``, which would end the reading of manifests.
        self._names.update(name.lower() for name in names)

    def request_of(self, hardware_type: str = "", names: Sequence[str] = ()) -> str:  # noqa: ARG002
        """Return the document as it is."""
        return self._rspec


def _check_request(rspec: str, cms: Sequence[str]) -> list[str]:
    """Check that every machine is for one of our CMs, and each CM has some; return the client_ids."""
    names: list[str] = []
    for cm in cms:
        of_cm = request_client_ids(rspec, cm)
        if not of_cm:
            raise ConfigError(f"the request RSpec has no node for {cm}")
        names += of_cm
    root = etree.fromstring(rspec.encode())
    if root.nsmap.get(None) != RSPEC:
        raise ConfigError(f"the request RSpec has {RSPEC} under a prefix; it is expected as the default one")
    lowered = [name.lower() for name in names]
    if twice := sorted({n for n in lowered if lowered.count(n) > 1}):
        raise ConfigError(
            f"the request RSpec has the client_id {', '.join(twice)} twice; with several CMs, each node needs"
            " a component_manager_id"
        )
    for node in root.iterfind("r:node", _NS):
        bound = node.get("component_manager_id")
        if bound and bound not in cms:
            raise ConfigError(f"node {node.get('client_id')!r} is for {bound}, which is none of our CMs")
    return names


def _first_node(rspec: str) -> etree._Element:
    node = etree.fromstring(rspec.encode()).find("r:node", _NS)
    assert node is not None, "checked before"
    return node


def _attribute(node: etree._Element, path: str, name: str) -> str | None:
    found = node.find(path, _NS)
    return found.get(name) if found is not None else None


def _tarballs(node: etree._Element, source: str) -> list[str]:
    installs = node.findall("r:services/r:install", _NS)
    for install in installs:
        path = install.get("install_path", INSTALL_PATH)
        if path != INSTALL_PATH:
            log.warning("AddNodes unpacks at / only", request=source, url=install.get("url"), asked=path)
    return [url for install in installs if (url := install.get("url"))]


def _startup(node: etree._Element) -> str | None:
    commands = [e.get("command") for e in node.findall("r:services/r:execute", _NS)]
    return "; ".join(c for c in commands if c) or None
