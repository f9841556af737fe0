"""Running a command, bounded in time and size; and the backend over commands that misbehave."""

import ast
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError, SshUnreachableError
from agent.core.ports import CommandResult, Host
from agent.slurm.cli.backend import CliBackend
from agent.slurm.cli.command import MAX_OUTPUT, RemoteRunner, run
from agent.slurm.model import SignalTarget
from agent.slurm.settings import SlurmSettings

SAMPLES = Path(__file__).parents[3] / "data" / "slurm"
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, 14, 0, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


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


def backend(
    directory: Path,
    *,
    scontrol: str = "",
    squeue: str = "",
    sinfo: str = "",
    scancel: str = "",
    release: str = "22.05.8",
) -> CliBackend:
    """Make a backend over shell scripts that stand for Slurm's commands."""
    version = f'if [ "$1" = --version ]; then echo slurm-wlm {release}; exit; fi\n'
    scripts = {"scontrol": scontrol, "squeue": version + squeue, "sinfo": sinfo, "scancel": scancel}
    for name, script in scripts.items():
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return CliBackend(SlurmSettings(bin_dir=directory, command_timeout=10), FixedClock(), ENVIRONMENT)


def cat(name: str) -> str:
    return f"cat {SAMPLES / '22.05' / name}"


def test_a_cluster_without_jobs_is_a_whole_answer(tmp_path: Path) -> None:
    snapshot = backend(tmp_path, scontrol=cat("nodes.txt")).snapshot()
    assert sorted(snapshot.nodes) == ["n1", "n2", "n3", "n4"]
    assert snapshot.jobs == ()
    assert snapshot.taken == FixedClock().now()


PRINTS_JOBS = r"""
echo "$@" >> {asked}
case "$*" in
*%x*) echo '4_[1-5]|n[2-3]|'; echo '5||';;
*)
    for argument; do form=$argument; done
    mark=$(echo "$form" | sed 's/.*Partition:\(<[a-z0-9]*>\).*/\1/')
    end=$(echo "$form" | sed 's/.*:\(<[a-z0-9]*>\)$/\1/')
    excluded=
    case "$form" in *ExcNodes*) excluded=${{mark}}n2;; esac
    cat {jobs} | while read -r own reason; do
        m=$mark
        echo "$own|main${{m}}eve${{m}}${{m}}$reason${{m}}${{m}}${{m}}${{m}}${{m}}${{m}}$excluded$end"
    done;;
esac
"""
SHAPE = "||1|N/A|N/A|PENDING|1|1|OK|1|0|5:00|0|"


def test_excluded_nodes_are_asked_for_once_where_the_list_of_jobs_cannot_tell_them(tmp_path: Path) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"4_[1-5]{SHAPE} Resources\n5{SHAPE} Priority\n6{SHAPE} JobHeldUser\n")
    slurm = backend(tmp_path, scontrol=cat("nodes.txt"), squeue=PRINTS_JOBS.format(asked=asked, jobs=jobs))
    for _ in range(3):
        first, second, held = slurm.snapshot().jobs
        assert (first.id, first.excluded_nodes) == ("4_[1-5]", {"n2", "n3"})
        assert second.excluded_nodes == held.excluded_nodes == frozenset()
    closer = [line for line in asked.read_text().splitlines() if "%x" in line]
    assert len(closer) == 1
    assert "-j 4,5 " in closer[0]
    jobs.write_text(jobs.read_text().replace("Priority", "Resources"))
    slurm.snapshot()
    assert sum("%x" in line for line in asked.read_text().splitlines()) == 2


def test_a_job_that_changed_before_the_closer_look_is_looked_at_again(tmp_path: Path) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"5{SHAPE} Resources\n7{SHAPE} Resources\n")
    slurm = backend(tmp_path, scontrol=cat("nodes.txt"), squeue=PRINTS_JOBS.format(asked=asked, jobs=jobs))
    for _ in range(2):
        slurm.snapshot()
    closer = [line for line in asked.read_text().splitlines() if "%x" in line]
    assert ["-j 5,7 " in closer[0], "-j 7 " in closer[1]] == [True, True]


def test_excluded_nodes_are_in_the_list_of_jobs_of_newer_releases(tmp_path: Path) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"5{SHAPE} Priority\n")
    script = PRINTS_JOBS.format(asked=asked, jobs=jobs)
    slurm = backend(tmp_path, scontrol=cat("nodes.txt"), squeue=script, release="24.11.5")
    assert slurm.snapshot().jobs[0].excluded_nodes == {"n2"}
    assert "%x" not in asked.read_text()


def test_a_short_queue_is_read_as_json_from_the_second_look_on(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    document = SAMPLES / "22.05" / "rest-v0.0.38-jobs.json"
    slurm = backend(
        tmp_path,
        scontrol=cat("nodes.txt"),
        squeue=f'echo "$@" >> {asked}; case "$*" in *--json*) cat {document};; esac',
    )
    assert slurm.snapshot().jobs == ()
    assert "3_0" in {job.id for job in slurm.snapshot().jobs}
    forms = [line.split()[-2] for line in asked.read_text().splitlines()]
    assert forms == ["-O", "--noconvert"]


@pytest.mark.parametrize(
    "said", ["exit 1", "echo no JSON", "echo '[]'", """echo '{"errors": ["cut"]}'""", "echo '{}'"]
)
def test_a_squeue_without_json_is_read_as_text_and_left_alone(tmp_path: Path, said: str) -> None:
    asked, jobs = tmp_path / "asked", tmp_path / "jobs"
    jobs.write_text(f"5{SHAPE} JobHeldUser\n")
    text = PRINTS_JOBS.format(asked=asked, jobs=jobs)
    slurm = backend(
        tmp_path,
        scontrol=cat("nodes.txt"),
        squeue=f'case "$*" in *--json*) echo json >> {asked}; {said};; *) {text};; esac',
    )
    for _ in range(4):
        assert [job.id for job in slurm.snapshot().jobs] == ["5"]
    assert asked.read_text().count("json") == 1


def test_a_cluster_without_nodes_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(SlurmError, match="at least one node"):
        backend(tmp_path).snapshot()


def test_a_phantom_in_a_comment_is_found_out_by_asking_for_it(tmp_path: Path) -> None:
    phantom = "sed 's/NodeName=n4 /NodeName=ghost /' " + str(SAMPLES / "22.05" / "nodes.txt")
    script = f'case "$*" in *"show nodes"*) {phantom};; *) echo Node ghost not found; exit 1;; esac'
    names = f'case "$*" in *%N*) echo "n[1-3]";; *) {cat("nodes.json")};; esac'
    snapshot = backend(tmp_path, scontrol=script, sinfo=names).snapshot()
    assert sorted(snapshot.nodes) == ["n1", "n2", "n3", "n4"]


@pytest.mark.parametrize(
    "said",
    [
        "slurm_load_nodes error: Unable to contact slurm controller (connect failure)",
        "slurm_load_nodes error: Socket timed out on send/recv operation",
    ],
)
def test_no_answer_of_the_controller_is_told_from_a_refusal(tmp_path: Path, said: str) -> None:
    with pytest.raises(SlurmDownError, match="scontrol"):
        backend(tmp_path, scontrol=f"echo '{said}' >&2; exit 1").snapshot()


def test_a_failed_read_of_jobs_is_not_an_empty_queue(tmp_path: Path) -> None:
    with pytest.raises(SlurmRefusedError, match="slurm_load_jobs"):
        backend(
            tmp_path, scontrol=cat("nodes.txt"), squeue="echo slurm_load_jobs error >&2; exit 1"
        ).snapshot()


def test_hidden_control_characters_in_slurms_words_do_not_reach_the_log(tmp_path: Path) -> None:
    with pytest.raises(SlurmRefusedError) as caught:
        backend(tmp_path, scontrol=r"printf 'bad \033[2J name\nnext' >&2; exit 1").drain(["n1"], "x")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("state", ["COMPLETING", "COMPLETED", "NODE_FAIL", ""])
def test_a_job_that_does_not_run_is_never_requeued(tmp_path: Path, state: str) -> None:
    asked = tmp_path / "asked"
    slurm = backend(tmp_path, scontrol=f"touch {asked}", squeue=f"echo '7|{state}'")
    with pytest.raises(SlurmRefusedError, match="requeue of job 7"):
        slurm.requeue("7")
    assert not asked.exists()


def test_a_job_that_is_back_in_the_queue_is_left_alone(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    backend(tmp_path, scontrol=f"touch {asked}", squeue="echo '7|PENDING'").requeue("7")
    assert not asked.exists()


def test_many_jobs_are_requeued_by_one_command_and_each_refusal_is_told_from_the_others(
    tmp_path: Path,
) -> None:
    asked = tmp_path / "asked"
    words = "Requested operation is presently disabled for job 2\\n4_1: Job is pending execution\\n"
    slurm = backend(
        tmp_path,
        scontrol=f"echo $* >> {asked}; printf '{words}' >&2; exit 1",
        squeue="printf '1|RUNNING\\n2|RUNNING\\n3|COMPLETING\\n4_1|RUNNING\\n6+0|RUNNING\\n6+1|RUNNING\\n'",
    )
    refused = slurm.requeue_all(["1", "2", "3", "4_1", "5", "6+1"])
    assert asked.read_text() == "requeue 1,2,4_1,6\n"
    assert sorted(refused) == ["2", "3", "4_1", "5"]
    assert "presently disabled" in str(refused["2"])
    assert "it is over" in str(refused["5"])


def test_many_jobs_are_signalled_by_one_command_and_each_refusal_is_told_from_the_others(
    tmp_path: Path,
) -> None:
    asked = tmp_path / "asked"
    words = "scancel: error: Kill job error on job id 2: Invalid job id specified\\n"
    slurm = backend(tmp_path, scancel=f"echo $* >> {asked}; printf '{words}' >&2; exit 1")
    refused = slurm.signal_all(["1", "2", "4_1", "6+1"], "USR1", SignalTarget.BATCH)
    assert asked.read_text() == "--batch --signal=USR1 1 2 4_1 6\n"
    assert list(refused) == ["2"]


def test_what_administrators_wrote_into_jobs_is_read_for_many_at_once(tmp_path: Path) -> None:
    listing = "printf '1|esagent: x|\\n2_1|(null)|\\n7|not asked for|\\n'"
    assert backend(tmp_path, squeue=listing).comments(["1", "2_1", "9"]) == {"1": "esagent: x"}


@pytest.mark.parametrize("weight", [-1, 4294967281])
def test_a_weight_out_of_range_is_refused_before_anything_is_sent(tmp_path: Path, weight: int) -> None:
    with pytest.raises(SlurmRefusedError, match="expected 0 to 4294967280"):
        backend(tmp_path).set_weight(["n1"], weight)
