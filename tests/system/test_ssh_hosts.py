"""Commands over SSH on real sshd: side by side, bounded, host keys checked."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path

import pytest

from agent.core.ports import Host, HostResult, Upload
from agent.ssh.connection import MAX_HEAD, MAX_TAIL
from agent.ssh.shell import SshSettings, SshShell
from testbed.waiting import PATIENCE, wait_for

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin") or ""
pytestmark = pytest.mark.skipif(not SSHD, reason="no sshd on this machine")


@dataclass
class Server:
    """One sshd on loopback."""

    process: subprocess.Popen[bytes]
    port: int
    directory: Path

    def host(self, name: str = "pc1") -> Host:
        return Host(name, "127.0.0.1", getuser(), self.port)


def make_key(path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)],
        check=True,
        timeout=PATIENCE,
        capture_output=True,
    )


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            return sock.recv(4) == b"SSH-"
    except OSError:
        return False


def start_sshd(directory: Path, user_key: Path, port: int = 0) -> Server:
    directory.mkdir(exist_ok=True)
    # sshd wants its privilege separation directory, which a boot makes; without root it needs none.
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    make_key(directory / "host_key")
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    (directory / "authorized_keys").write_text(user_key.with_suffix(".pub").read_text())
    (directory / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host_key\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\nPidFile {directory}/pid\n"
        "StrictModes no\nUsePAM no\nUseDNS no\nPasswordAuthentication no\nMaxStartups 100\n"
        # What the account's own .bashrc starts and prints is no part of the test.
        f"SetEnv HOME={directory}\n"
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(directory / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    server = Server(process, port, directory)
    try:
        wait_for("sshd", lambda: answers(port))
    except AssertionError:
        stop(server)
        raise
    return server


def stop(server: Server) -> None:
    server.process.kill()
    server.process.wait(30)


@pytest.fixture
def user_key(tmp_path: Path) -> Path:
    make_key(tmp_path / "id")
    return tmp_path / "id"


@pytest.fixture
def server(tmp_path: Path, user_key: Path) -> Iterator[Server]:
    server = start_sshd(tmp_path / "sshd", user_key)
    yield server
    stop(server)


@pytest.fixture
def shell(tmp_path: Path, user_key: Path) -> Callable[..., SshShell]:
    def make(**changes: object) -> SshShell:
        values = {"key": user_key, "known_hosts": tmp_path / "known_hosts", "connect_timeout": 20} | changes
        return SshShell(SshSettings.model_validate(values))

    return make


def one(shell: SshShell, host: Host, *commands: str, timeout: float = PATIENCE) -> HostResult:
    return shell.run({host: commands}, timeout=timeout)[host]


def test_commands_run_in_order_and_both_streams_are_told(
    server: Server, shell: Callable[..., SshShell]
) -> None:
    result = one(shell(), server.host(), "echo one", "echo two >&2", "cat", "echo 'a  \"b\"' | tr a c")
    assert result.ok
    assert result.output == 'one\ntwo\nc  "b"\n'


def test_a_file_is_written_whole_with_its_mode_and_its_content_is_in_no_message(
    server: Server, shell: Callable[..., SshShell], tmp_path: Path
) -> None:
    content = bytes(range(256)) * 400
    target = tmp_path / "made here" / "munge.key"
    result = shell().run(
        {server.host(): [Upload(str(target), content, 0o640), "echo after"]}, timeout=PATIENCE
    )
    assert result[server.host()].output == "after\n"
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o640
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_cannot_be_written_ends_the_series(
    server: Server, shell: Callable[..., SshShell]
) -> None:
    series = [Upload("/proc/nowhere/key", b"secret", 0o600), "echo never"]
    result = shell().run({server.host(): series}, timeout=PATIENCE)[server.host()]
    assert "status 1" in result.error
    assert "secret" not in result.error + result.output


def test_a_command_that_fails_ends_the_series(server: Server, shell: Callable[..., SshShell]) -> None:
    result = one(shell(), server.host(), "echo one", "echo why >&2; exit 3", "echo never")
    assert result.error == "'echo why >&2; exit 3': status 3"
    assert result.output == "one\nwhy\n"


def test_a_daemon_that_a_command_leaves_behind_does_not_hold_it_up(
    server: Server, shell: Callable[..., SshShell]
) -> None:
    result = one(shell(), server.host(), "sleep 20 & echo started", "echo next")
    assert result.ok
    assert result.output == "started\nnext\n"


def test_machines_that_hang_or_are_dead_cost_the_others_nothing(
    tmp_path: Path, server: Server, user_key: Path, shell: Callable[..., SshShell]
) -> None:
    second = start_sshd(tmp_path / "second", user_key)
    try:
        with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            good = [server.host("pc1"), second.host("pc2")]
            hung = Host("pc3", "127.0.0.1", "root", silent.getsockname()[1])
            gone = Host("pc4", "127.0.0.1", "root", dead.getsockname()[1])
            commands = {h: ["hostname"] for h in (hung, gone, *good)}
            results = shell(connect_timeout=12).run(commands, timeout=60)
    finally:
        stop(second)
    assert [results[h].ok for h in good] == [True, True]
    assert "no login within 12 s" in results[hung].error
    assert "refused" in results[gone].error


def test_more_machines_than_the_fan_out_have_their_turn(
    server: Server, shell: Callable[..., SshShell]
) -> None:
    hosts = [server.host(f"pc{n}") for n in range(8)]
    results = shell(fan_out=2).run({h: [f"echo {h.name}"] for h in hosts}, timeout=120)
    assert [results[h].output for h in hosts] == [f"pc{n}\n" for n in range(8)]


def test_machines_run_side_by_side(tmp_path: Path, server: Server, shell: Callable[..., SshShell]) -> None:
    left, right = tmp_path / "left", tmp_path / "right"
    os.mkfifo(left)
    os.mkfifo(right)
    results = shell().run(
        {
            server.host("pc1"): [f"echo x > {left}; cat {right}"],
            server.host("pc2"): [f"cat {left}; echo y > {right}"],
        },
        timeout=PATIENCE,
    )
    assert [r.output for r in results.values()] == ["y\n", "x\n"]


def test_a_command_that_hangs_is_cut_off_at_its_limit(server: Server, shell: Callable[..., SshShell]) -> None:
    # Long enough for the first word of a command on a busy machine.
    result = one(shell(command_timeout=15), server.host(), "echo before; exec sleep 90", "echo never")
    assert result.error == "'echo before; exec sleep 90': not over within 15 s"
    assert result.output == "before\n"


def test_endless_output_is_cut_off(server: Server, shell: Callable[..., SshShell]) -> None:
    result = one(shell(command_timeout=2), server.host(), "yes 0123456789")
    assert "not over within 2 s" in result.error
    assert len(result.output) < MAX_HEAD + MAX_TAIL + 100


def test_long_output_is_kept_at_its_ends(server: Server, shell: Callable[..., SshShell]) -> None:
    result = one(shell(), server.host(), "echo first; yes 0123456789 | head -c 2000000; echo last")
    assert result.ok
    assert len(result.output) < MAX_HEAD + MAX_TAIL + 100
    assert result.output.startswith("first\n0123456789\n")
    assert "bytes left out" in result.output
    assert result.output.endswith("last\n")


def test_output_that_trickles_for_ever_is_cut_off(server: Server, shell: Callable[..., SshShell]) -> None:
    result = one(shell(command_timeout=2), server.host(), "while echo x; do sleep 0.1; done")
    assert "not over within 2 s" in result.error


def test_the_whole_limit_holds_over_all_commands(server: Server, shell: Callable[..., SshShell]) -> None:
    result = one(shell(), server.host(), *["sleep 1"] * 100, timeout=3)
    assert not result.ok


def test_an_sshd_that_stops_answering_after_the_login_is_cut_off(
    server: Server, shell: Callable[..., SshShell]
) -> None:
    result = one(shell(command_timeout=2), server.host(), "kill -STOP $PPID; echo never")
    assert "not over within 2 s" in result.error
    for line in subprocess.run(
        ["ps", "-eo", "pid,stat,ppid"], capture_output=True, text=True
    ).stdout.splitlines()[1:]:
        pid, state, parent = line.split()
        if state.startswith("T") and descends(int(parent), server.process.pid):
            os.kill(int(pid), signal.SIGKILL)


def descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except FileNotFoundError:
            return False
    return False


def test_a_connection_that_breaks_is_told(server: Server, shell: Callable[..., SshShell]) -> None:
    result = one(shell(), server.host(), "kill -9 $PPID; sleep 5")
    assert "connection lost" in result.error


def test_an_unknown_host_key_is_learnt_and_a_changed_one_refused_until_forgotten(
    tmp_path: Path, server: Server, user_key: Path, shell: Callable[..., SshShell]
) -> None:
    ssh = shell()
    assert one(ssh, server.host(), "true").ok
    learnt = (tmp_path / "known_hosts").read_text()
    assert f"[127.0.0.1]:{server.port} ssh-ed25519 " in learnt
    stop(server)
    other = start_sshd(tmp_path / "other", user_key, server.port)
    try:
        refused = one(ssh, other.host(), "true")
        assert "its host key has changed" in refused.error
        assert str(tmp_path / "known_hosts") in refused.error
        assert (tmp_path / "known_hosts").read_text() == learnt
        ssh.forget(other.host())
        assert one(ssh, other.host(), "true").ok
    finally:
        stop(other)


def test_a_machine_that_is_lent_anew_may_have_another_host_key(
    tmp_path: Path, server: Server, user_key: Path, shell: Callable[..., SshShell]
) -> None:
    ssh = shell()
    first = replace(server.host(), life="1")
    assert one(ssh, first, "true").ok
    stop(server)
    other = start_sshd(tmp_path / "other", user_key, server.port)
    try:
        assert "its host key has changed" in one(ssh, first, "true").error
        second = replace(first, life="2\nnot a word")
        assert one(ssh, second, "true").ok
        assert one(ssh, second, "true").ok
    finally:
        stop(other)


def test_strict_refuses_what_is_not_known_and_takes_what_is(
    tmp_path: Path, server: Server, shell: Callable[..., SshShell]
) -> None:
    ssh = shell(host_keys="strict")
    assert "is not known" in one(ssh, server.host(), "true").error
    kind, key, *_ = (server.directory / "host_key.pub").read_text().split()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
    assert one(ssh, server.host(), "true").ok


def test_a_key_that_the_machine_does_not_take_is_told(
    tmp_path: Path, server: Server, shell: Callable[..., SshShell]
) -> None:
    make_key(tmp_path / "stranger")
    result = one(shell(key=tmp_path / "stranger"), server.host(), "true")
    assert f"login as '{getuser()}' refused" in result.error


def test_no_threads_and_no_sockets_are_left(server: Server, shell: Callable[..., SshShell]) -> None:
    def left() -> tuple[int, int]:
        sockets = sum(fd.is_socket() for fd in Path("/proc/self/fd").iterdir())
        return threading.active_count(), sockets

    # The shared test bed of this session has threads and sockets of its own.
    threads, sockets = left()
    ssh = shell(command_timeout=1)
    ssh.run({server.host(f"pc{n}"): ["true", "sleep 20"] for n in range(4)}, timeout=60)
    wait_for("nothing is left", lambda: left()[0] <= threads and left()[1] <= sockets)
