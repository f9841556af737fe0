"""Running a command, bounded in time and size, here and on a head node."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.errors import SlurmDownError, SlurmError, SshUnreachableError
from agent.core.ports import CommandResult, Host
from agent.slurm.cli.command import MAX_OUTPUT, RemoteRunner, run
from tests.unit.slurm.cli.conftest import ENVIRONMENT


def python(code: str, timeout: float = 30) -> str:
    return run([sys.executable, "-c", code], environment=ENVIRONMENT, timeout=timeout).check()


def test_output_larger_than_a_pipe_on_both_streams_is_read_whole() -> None:
    code = "import sys; sys.stderr.write('e' * 300000); sys.stdout.write('o' * 3000000)"
    assert len(python(code)) == 3_000_000


def test_output_is_taken_while_the_command_runs() -> None:
    pieces: list[str] = []
    code = "print('first', flush=True); import sys; sys.stdin.read(); print('caf\u00e9' * 200000)"
    done = run([sys.executable, "-c", code], environment=ENVIRONMENT, timeout=30, take=pieces.append)
    assert (done.status, done.output) == (0, "")
    assert "".join(pieces) == "first\n" + "caf\u00e9" * 200_000 + "\n"
    assert len(pieces) > 2


def test_a_command_whose_output_is_refused_is_ended() -> None:
    def refuse(piece: str) -> None:
        raise SlurmError(f"not {piece!r}")

    with pytest.raises(SlurmError, match="not 'y"):
        run(["yes"], environment=ENVIRONMENT, timeout=30, take=refuse)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    seen = tmp_path / "pid"
    script = f"sleep 600 & echo $! > {seen}; wait"
    with pytest.raises(SlurmDownError, match="no answer within 3 s"):
        run(["/bin/sh", "-c", script], environment=ENVIRONMENT, timeout=3)
    stat = Path(f"/proc/{seen.read_text().strip()}/stat")
    deadline = time.monotonic() + 30
    while stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline, "the child of the command lives on"
        time.sleep(0.01)


def test_a_command_reads_nothing_from_our_standard_input() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))") == "''\n"


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(SlurmError, match=r"squeue.*cannot be started"):
        run(["/nowhere/squeue"], environment=ENVIRONMENT, timeout=5)


def test_a_command_that_was_killed_has_not_answered() -> None:
    with pytest.raises(SlurmError, match="killed by signal 9"):
        python("import os; os.kill(os.getpid(), 9)")


class LocalShell:
    """Stands for SSH: a login shell on this machine."""

    def __init__(self, shell: str = "sh", path: str = os.environ["PATH"]) -> None:
        self._shell = shell
        self._path = path

    def execute(self, host: Host, command: str, *, timeout: float, max_output: int) -> CommandResult:
        assert max_output == MAX_OUTPUT
        environment = {"PATH": self._path, "SQUEUE_FORMAT": "x", "TZ": "Asia/Tokyo"}
        done = subprocess.run(
            [self._shell, "-c", command], env=environment, capture_output=True, timeout=timeout, check=False
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)


HEAD = Host("head", "192.0.2.1", "root")


def remote(shell: LocalShell | None = None, **changes: str) -> RemoteRunner:
    return RemoteRunner(10, shell or LocalShell(), HEAD, changes)


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")), max_size=4))
@settings(deadline=None, max_examples=10)
def test_every_argument_reaches_a_command_on_the_head_node_as_it_is(arguments: list[str]) -> None:
    done = remote()([sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", *arguments])
    assert ast.literal_eval(done.check()) == arguments


def test_a_command_on_the_head_node_has_the_path_of_the_login_and_nothing_else() -> None:
    told = remote(SLURM_CONF="/etc/a b/$x.conf")(["env"]).check().splitlines()
    assert "SLURM_CONF=/etc/a b/$x.conf" in told
    assert {line.partition("=")[0] for line in told} - {"PWD", "SHLVL", "_"} == {
        "PATH", "LC_ALL", "TZ", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN", "SLURM_CONF",
    }  # fmt: skip


def test_status_and_complaint_come_back_from_the_head_node() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff'); sys.stderr.write('no\n'); sys.exit(3)"
    done = remote()([sys.executable, "-c", code])
    assert (done.status, done.output, done.complaint) == (3, "\ufffd", "no\n")


def test_a_command_that_the_head_node_lacks_is_named() -> None:
    with pytest.raises(SlurmError, match="squeue on head: cannot be started"):
        remote()(["/nowhere/squeue"])


def test_a_head_node_that_does_not_answer_is_slurm_down() -> None:
    class Dead(LocalShell):
        def execute(self, host: Host, command: str, *, timeout: float, max_output: int) -> CommandResult:
            raise SshUnreachableError("head (192.0.2.1 port 22): no connection within 10 s")

    with pytest.raises(SlurmDownError, match=r"squeue on head: head .*no connection"):
        remote(Dead())(["squeue"])
