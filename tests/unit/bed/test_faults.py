"""The test bed tells a fault as a sentence: what, why, and in which log that is."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import instance, starting
from testbed.cloudlab.room import RoomError
from testbed.cloudlab.steering.control import SteeringError
from testbed.instance import usable_directory
from testbed.needs import PROGRAMS, RIGHTS, require_programs
from testbed.registry import BedError
from testbed.starting import Logs, require_alive, wait_until_ready
from testbed.told import faults_told
from testbed.waiting import NotInTimeError

ROOT = Path(__file__).parents[3]
UNREAD = {"cleanup.py", "worker.py"}
"""Programs that nobody starts by hand, and whose words go nowhere."""
MAINS = [
    path
    for folder in ("testbed", "bench")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if '__name__ == "__main__"' in path.read_text() and path.name not in UNREAD
]


# --- the right log


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Path, Path]:
    """A log of a program's own, and one of its streams; both hold errors of an earlier run."""
    own, streams = tmp_path / "slurmctld.log", tmp_path / "slurmctld.out"
    for log in (own, streams):
        log.write_text("fatal: long ago\n")
    return own, streams


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_the_log_that_holds_the_error_is_named_with_the_last_two(logs: tuple[Path, Path]) -> None:
    own, streams = logs
    seen = Logs(own, streams)
    append(own, "begin\nerror: one\nerror: two\nfatal: three\nsaved\n")
    append(streams, "error: x\n")
    assert seen.last_words() == f"{own} says: error: two | fatal: three"


def test_where_the_own_log_holds_no_error_the_streams_are_looked_at(logs: tuple[Path, Path]) -> None:
    own, streams = logs
    seen = Logs(own, streams)
    append(own, "all is well\n")
    append(streams, "fatal: Unable to process\n")
    assert seen.last_words() == f"{streams} says: fatal: Unable to process"


def test_where_no_log_holds_an_error_the_last_line_is_told(logs: tuple[Path, Path]) -> None:
    own, streams = logs
    seen = Logs(own, streams)
    assert seen.last_words() == f"nothing is in {own} and {streams}"
    append(streams, "one\ntwo\n\n")
    assert seen.last_words() == f"{streams} ends: two"


def test_a_log_that_there_is_not_yet_is_read_from_its_start(tmp_path: Path) -> None:
    seen = Logs(tmp_path / "log")
    (tmp_path / "log").write_text("error: \udcff\n", errors="surrogateescape")
    assert seen.last_words().startswith(f"{tmp_path / 'log'} says: error: ")


# --- a program that does not come up


def start(script: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(["sh", "-c", script], stdout=stream, stderr=stream)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo error: no key; exit 3", "munged ended with status 3; {log} says: error: no key"),
        ("echo error: no key; kill -9 $$", "munged was ended by SIGKILL; its logs: {log}"),
        # util-linux 2.38: unshare(1) has been told of the signal, and fails to end so itself.
        (
            "echo 'unshare: sigprocmask unblock failed: Invalid argument'; exit 1",
            "munged was ended by SIGKILL; its logs: {log}",
        ),
    ],
)
def test_a_program_that_ends_is_not_waited_for(tmp_path: Path, script: str, words: str) -> None:
    log = tmp_path / "munged.out"
    seen = Logs(log)
    process = start(script, log)
    with pytest.raises(BedError) as told:
        wait_until_ready("munged", process, seen, lambda: False)
    assert str(told.value) == words.format(log=log)
    with pytest.raises(BedError, match="munged"):
        require_alive("munged", process, seen)


def test_a_program_that_is_not_ready_in_time_is_told_with_its_log(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(starting, "PATIENCE", 0.1)
    log = tmp_path / "munged.out"
    log.write_text("error: long ago\n")
    seen = Logs(log)
    process = start("exec sleep 60", log)
    try:
        with pytest.raises(NotInTimeError) as told:
            wait_until_ready("munged", process, seen, lambda: False)
    finally:
        process.kill()
        process.wait(10)
    assert str(told.value) == f"munged is not ready within 0.1 s; nothing is in {log}"


# --- a sentence


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (BedError("no place"), "no place"),
        (NotInTimeError("too late"), "too late"),
        (RoomError("power on n1: no"), "power on n1: no"),
        (SteeringError("none is running"), "none is running"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (FileNotFoundError(2, "No such file or directory", "munged"), "munged: No such file or directory"),
        (
            subprocess.CalledProcessError(1, ["gcc", "a b.c"], stderr="x\nno such header\n"),
            "gcc 'a b.c': status 1: no such header",
        ),
        (subprocess.CalledProcessError(2, "make", b"", b""), "make: status 2"),
        (subprocess.TimeoutExpired(["sinfo"], 5), "sinfo: it did not end within 5 s"),
    ],
)
def test_a_fault_ends_a_program_with_a_sentence(fault: Exception, words: str) -> None:
    with pytest.raises(SystemExit) as ended, faults_told("demo"):
        raise fault
    assert ended.value.code == f"demo: {words}"


def test_ctrl_c_ends_a_program_without_words() -> None:
    with pytest.raises(SystemExit) as ended, faults_told("demo"):
        raise KeyboardInterrupt
    assert ended.value.code == 130


def test_a_fault_of_our_own_keeps_its_traceback() -> None:
    with pytest.raises(AssertionError), faults_told("demo"):
        raise AssertionError


@pytest.mark.parametrize("path", MAINS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_program_tells_its_faults(path: Path) -> None:
    (main,) = (
        part
        for part in ast.parse(path.read_text()).body
        if isinstance(part, ast.FunctionDef) and part.name == "main"
    )
    assert [ast.unparse(each).partition("(")[0] for each in main.decorator_list] == ["faults_told"]


# --- what it needs, before anything is made


def without_rights() -> list[str]:
    """Begin a command that lacks the right to make namespaces, whoever runs it."""
    return ["setpriv", "--bounding-set", "-sys_admin"] if os.geteuid() == 0 else []


@pytest.mark.parametrize(
    "words",
    [["testbed", "up", "--dir"], ["testbed.demo", "--out"], ["testbed.releases", "--out"]],
    ids=lambda words: words[0],
)
def test_without_the_rights_a_program_says_what_it_needs_and_makes_nothing(
    tmp_path: Path, words: list[str]
) -> None:
    place = tmp_path / "made"
    ended = subprocess.run(
        [*without_rights(), sys.executable, "-m", *words, place],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    needed = "give it CAP_SYS_ADMIN" if os.geteuid() == 0 else "it has to run as root"
    assert "the test bed" in line
    assert line.endswith(needed)
    assert not place.exists()


@pytest.mark.skipif(not shutil.which("ip"), reason="ip (Debian: iproute2) is not installed")
def test_a_root_of_a_user_namespace_only_is_told_what_it_lacks() -> None:
    if subprocess.run(["unshare", "-U", "-r", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespace may be made here")
    asked = ["unshare", "-U", "-r", RIGHTS]
    ended = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "the test bed needs a root that may make" in ended.stderr


def test_missing_programs_are_named_with_their_packages(tmp_path: Path, monkeypatch) -> None:
    for program in PROGRAMS:
        (tmp_path / program).symlink_to(shutil.which("true") or "/bin/true")
    monkeypatch.setattr("testbed.needs.PATH", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    require_programs()
    (tmp_path / "munged").unlink()
    (tmp_path / "ip").unlink()
    with pytest.raises(BedError, match="needs munged, ip; on Debian: apt-get install munge iproute2"):
        require_programs()


def test_a_directory_that_takes_no_files_is_told(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BedError, match=rf"{tmp_path}/file: the test bed cannot keep its files there: "):
        usable_directory(tmp_path / "file")
    monkeypatch.setattr(instance, "_ROOM", shutil.disk_usage(tmp_path).total * 2)
    with pytest.raises(BedError, match=rf"{tmp_path}: the test bed needs \d+ MB for its files, and \d+ are"):
        usable_directory(tmp_path)
