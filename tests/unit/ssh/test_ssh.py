"""What of SSH needs no daemon: settings, host keys, bounded output, hosts that do not answer."""

import socket
import stat
from pathlib import Path

import paramiko
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import ConfigError
from agent.core.ports import Host
from agent.ssh.connection import MAX_HEAD, MAX_TAIL, Output
from agent.ssh.known_hosts import KnownHosts
from agent.ssh.shell import SshSettings, SshShell


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    paramiko.ECDSAKey.generate().write_private_key_file(str(path))
    return path


def other_key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


def test_host_keys_are_kept_in_a_private_file_and_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "state" / "known_hosts"
    known = KnownHosts(path)
    assert known.keys("10.0.0.1") == []
    key, another = other_key(), other_key()
    known.learn("10.0.0.1", key)
    known.learn("[10.0.0.1]:2222", another)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [k.asbytes() for _, k in KnownHosts(path).keys("10.0.0.1")] == [key.asbytes()]
    known.forget("10.0.0.1")
    known.forget("10.0.0.1")
    assert known.keys("10.0.0.1") == []
    assert [k.asbytes() for _, k in known.keys("[10.0.0.1]:2222")] == [another.asbytes()]
    assert [p.name for p in path.parent.iterdir()] == ["known_hosts"]


def test_an_edit_of_the_file_of_host_keys_holds_at_once(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    known, key = KnownHosts(path), other_key()
    known.learn("a", key)
    path.write_text(path.read_text().replace("a ", "b ", 1))
    assert known.keys("a") == []
    assert len(known.keys("b")) == 1


@given(st.lists(st.binary(max_size=40_000), max_size=8))
def test_output_keeps_its_beginning_and_its_end(chunks: list[bytes]) -> None:
    output = Output()
    for chunk in chunks:
        output.add(chunk.replace(b"\xff", b"x"))
    whole = b"".join(chunks).replace(b"\xff", b"x")
    text = output.text()
    if len(whole) <= MAX_HEAD + MAX_TAIL:
        assert "bytes left out" not in text
        head, tail = whole[:MAX_HEAD], whole[MAX_HEAD:]
        assert text == head.decode(errors="replace") + tail.decode(errors="replace")
    else:
        assert text.startswith(whole[:MAX_HEAD].decode(errors="replace"))
        assert text.endswith(whole[-MAX_TAIL:].decode(errors="replace"))
        assert f"[{len(whole) - MAX_HEAD - MAX_TAIL} bytes left out]" in text


@pytest.mark.parametrize("content", [None, "", "not a key"])
def test_a_key_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "id"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=str(path)):
        SshShell(SshSettings(key=path))


def test_a_key_with_a_passphrase_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "id"
    paramiko.ECDSAKey.generate().write_private_key_file(str(path), password="secret")
    with pytest.raises(ConfigError, match="without a passphrase"):
        SshShell(SshSettings(key=path))


def test_no_machines_are_no_results(key: Path, tmp_path: Path) -> None:
    assert SshShell(SshSettings(key=key, known_hosts=tmp_path / "k")).run({}, timeout=1) == {}


def test_a_machine_that_refuses_connections_is_told_as_such(key: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        host = Host("pc1", "127.0.0.1", "root", port)
        result = SshShell(SshSettings(key=key, known_hosts=tmp_path / "k")).run({host: ["true"]}, timeout=20)
    assert not result[host].ok
    assert result[host].error.startswith(f"pc1 (127.0.0.1 port {port}): ")
    assert "refused" in result[host].error


def test_a_machine_that_says_nothing_is_given_up_after_the_time_to_connect(key: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = Host("pc1", "127.0.0.1", "root", silent.getsockname()[1])
        ssh = SshShell(SshSettings(key=key, known_hosts=tmp_path / "k", connect_timeout=1))
        result = ssh.run({host: ["true"]}, timeout=60)[host]
    assert "no login within 1 s" in result.error


def test_no_time_left_is_no_connection(key: Path, tmp_path: Path) -> None:
    host = Host("pc1", "127.0.0.1", "root", 9)
    ssh = SshShell(SshSettings(key=key, known_hosts=tmp_path / "k"))
    assert "no time is left" in ssh.run({host: ["true"]}, timeout=0)[host].error
