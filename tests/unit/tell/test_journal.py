"""The log for journald, read by a socket that is bound as journald binds its own."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from agent.tell.journal import encode, stderr_is_journal
from agent.tell.log import LogSettings, configure


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.settimeout(10)
        configure(LogSettings(format="journal"), journal_socket=tmp_path / "socket")
        yield receiver
    structlog.reset_defaults()


def decode(data: bytes) -> dict[str, str]:
    """Read fields as systemd.io/JOURNAL_NATIVE_PROTOCOL describes them."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()] = value.decode()
        data = rest
    return fields


def test_an_event_arrives_with_its_fields(journald: socket.socket) -> None:
    structlog.get_logger().info("pc100 is drained", kind="drain", subject="pc100", jobs=3)

    fields = decode(journald.recv(65536))

    assert fields == {
        "MESSAGE": "pc100 is drained jobs=3",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "esagent",
        "ESAGENT_KIND": "drain",
        "ESAGENT_SUBJECT": "pc100",
        "ESAGENT_JOBS": "3",
    }


@pytest.mark.parametrize(("level", "priority"), [("warning", "4"), ("error", "3")])
def test_journald_knows_what_is_urgent(journald: socket.socket, level: str, priority: str) -> None:
    getattr(structlog.get_logger(), level)("Slurm does not answer")
    assert decode(journald.recv(65536))["PRIORITY"] == priority


def test_a_field_of_a_strange_name_cannot_spoil_the_others(journald: socket.socket) -> None:
    structlog.get_logger().info("told", **{"job.id=\nMESSAGE": "7"})
    fields = decode(journald.recv(65536))
    assert fields["ESAGENT_JOB_ID__MESSAGE"] == "7"
    assert fields["MESSAGE"].startswith("told ")


def test_an_exception_is_told_in_full(journald: socket.socket) -> None:
    try:
        int("many")
    except ValueError:
        structlog.get_logger().exception("a step failed", step="renew")
    message = decode(journald.recv(65536))["MESSAGE"]
    assert message.startswith("a step failed step=renew\nTraceback")
    assert message.endswith("'many'")


def test_what_is_too_large_for_a_datagram_comes_as_a_file(journald: socket.socket) -> None:
    structlog.get_logger().info("x" * 2_000_000)

    _, descriptors, _, _ = socket.recv_fds(journald, 16, 1)

    with os.fdopen(descriptors[0], "rb") as file:
        file.seek(0)
        assert len(decode(file.read())["MESSAGE"]) == 2_000_000


def test_without_journald_the_line_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="journal"), journal_socket=tmp_path / "nobody")
    structlog.get_logger().info("the agent is up")
    structlog.reset_defaults()
    assert "the agent is up" in capsys.readouterr().err


def test_stderr_is_the_journal_only_where_the_variable_names_this_very_stream(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "stream").open("w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        status = os.fstat(stream.fileno())
        assert stderr_is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not stderr_is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not stderr_is_journal({})


@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z0-9_]{0,20}", fullmatch=True), st.text(), max_size=5))
def test_whatever_a_field_holds_it_is_read_as_it_was_written(fields: dict[str, str]) -> None:
    assert decode(encode(fields)) == {k: v.encode(errors="replace").decode() for k, v in fields.items()}
