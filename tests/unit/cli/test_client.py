"""Calls that no daemon answers, or not in time."""

import os
import socket
from pathlib import Path

import pytest

from agent.cli.client import NoDaemonError, call
from tests.unit.admin.conftest import as_nobody


def test_a_daemon_that_hangs_may_do_yet_what_it_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "hangs.sock"
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(path))
        hangs.listen()
        with pytest.raises(NoDaemonError, match=r"did not answer: timed out; it may do it yet: `esagent ev"):
            call(path, "POST", "/v1/pause", timeout=0.1)
        with pytest.raises(NoDaemonError, match=r"did not answer: timed out$"):
            call(path, "GET", "/v1/status", timeout=0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_socket_in_a_directory_that_is_closed_says_which_and_whose_it_is(rig) -> None:
    rig.socket.parent.chmod(0o700)

    def told(_: Path) -> bool:
        with pytest.raises(
            NoDaemonError, match=r"may not open the daemon's socket: .* is drwx------, of user"
        ):
            call(rig.socket, "GET", "/v1/status")
        return True

    assert as_nobody(told, rig.socket)


def test_a_socket_that_a_dead_daemon_left_is_told_from_none(tmp_path: Path) -> None:
    path = tmp_path / "odd.sock"
    with pytest.raises(NoDaemonError, match="there is no socket"):
        call(path, "GET", "/v1/status")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(NoDaemonError, match="no daemon answers"):
            call(path, "GET", "/v1/status")
