"""The log for systemd-journald: one datagram an event, with fields (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog

SOCKET = Path("/run/systemd/journal/socket")
SEND_TIME = 1.0
"""Seconds that journald may take; a line that it does not take goes to stderr."""
_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_UNFIT = re.compile(r"[^A-Z0-9_]")
_LONGEST_NAME = 64
_OUR_WORDS = frozenset({"event", "level", "timestamp", "exception", "kind", "subject"})
_as_words = structlog.processors.LogfmtRenderer(bool_as_flag=False)


def stderr_is_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether what we write to stderr goes to journald (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def to_fields(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, str]:
    """Turn an event into journald's fields: the last processor of structlog.

    MESSAGE holds all of it for a person to read; ESAGENT_KIND, ESAGENT_SUBJECT and the like are for
    ``journalctl ESAGENT_SUBJECT=pc100``.
    """
    rest = {key: value for key, value in event.items() if key not in _OUR_WORDS}
    words = f"{event.get('event', '')} {_as_words(None, '', _plain(rest))}".rstrip()
    if "exception" in event:
        words = f"{words}\n{event['exception']}"
    fields = {
        "MESSAGE": words,
        "PRIORITY": str(_PRIORITIES.get(str(event.get("level")), 6)),
        "SYSLOG_IDENTIFIER": "esagent",
    }
    for key in ("kind", "subject", *rest):
        if (value := event.get(key)) not in (None, ""):
            fields[_name(key)] = str(value)
    return fields


def encode(fields: Mapping[str, str]) -> bytes:
    """Write fields as journald reads them: a value of several lines with its length before it."""
    data = bytearray()
    for name, text in fields.items():
        value = text.encode(errors="replace")
        if b"\n" in value:
            data += name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
        else:
            data += name.encode() + b"=" + value + b"\n"
    return bytes(data)


class JournalLogger:
    """What structlog hands each event to.

    Args:
        path: journald's socket.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)

    def msg(self, **fields: str) -> None:
        """Send one event; what cannot be sent is written to stderr."""
        data = encode(fields)
        try:
            # A socket for each line: it costs microseconds, and outlives no restart of journald.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(SEND_TIME)
                try:
                    sender.sendto(data, self._path)
                except OSError as error:
                    if error.errno != errno.EMSGSIZE:
                        raise
                    sender.connect(self._path)
                    _send_as_file(sender, data)
        except OSError:
            print(fields["MESSAGE"], file=sys.stderr, flush=True)

    debug = info = warning = error = critical = msg


def _send_as_file(sender: socket.socket, data: bytes) -> None:
    """Hand over what is too large for a datagram as a sealed file in memory."""
    import fcntl

    descriptor = os.memfd_create("esagent-log", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, seals)
        socket.send_fds(sender, [b""], [file.fileno()])


def _name(key: str) -> str:
    return f"ESAGENT_{_UNFIT.sub('_', key.upper())}"[:_LONGEST_NAME]


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    return {re.sub(r"\s", "_", key): value for key, value in values.items()}
