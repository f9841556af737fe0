"""What becomes of a child that misbehaves, and of what it says in errors."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.slurm.pyslurm.process import PyslurmProcess
from testbed.waiting import wait_for
from tests.unit.slurm.pyslurm.conftest import JOB, NODE, Start, journal


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            {"stderr": "slurm: fatal: Could not establish a configuration source\n", "exit": 1},
            r"cannot be used: .* fatal: Could not establish a configuration source \(status 1\)",
        ),
        ({"import_error": "step.so: undefined symbol: slurmdb_x"}, "built for another release of Slurm"),
        ({"import_error": "libslurmfull.so: cannot open shared object file"}, "cannot open shared object"),
        ({"exit": 0}, r"it said nothing \(status 0\)"),
        ({"kill": signal.SIGSEGV}, r"\(status -11\)"),
    ],
)
def test_what_is_wrong_at_import_is_said_in_one_sentence(
    start: Start, fault: dict[str, Any], said: str
) -> None:
    with pytest.raises(SlurmError, match=said) as caught:
        start(faults={"import": fault})
    assert "\n" not in str(caught.value)


def test_a_pyslurm_that_is_not_installed_is_said_so(standin: Path, start: Start) -> None:
    (standin / "pyslurm.py").unlink()
    with pytest.raises(SlurmError, match=r"not installed \(extra esagent\[pyslurm\]\)"):
        start()


def test_a_controller_that_speaks_another_protocol_is_told_at_the_start(start: Start) -> None:
    fault = {"errno": 1007, "text": "Protocol authentication error"}
    with pytest.raises(SlurmDownError, match=r"Protocol authentication error .* the controller is older"):
        start(faults={"config": fault})


@pytest.mark.parametrize("moment", ["import", "config"])
def test_a_child_that_hangs_at_its_start_is_killed_in_time(start: Start, moment: str) -> None:
    with pytest.raises(SlurmError, match=r"no answer within 0\.5 s"):
        start(timeout=0.5, faults={moment: {"hang": True}})


@pytest.mark.parametrize("moment", ["load_jobs", "modify_node"])
def test_a_child_that_hangs_is_killed_in_time_and_replaced(start: Start, standin: Path, moment: str) -> None:
    slurm = start(faults={moment: {"hang": True, "once": "hung"}})
    act = slurm.snapshot if moment == "load_jobs" else partial(slurm.drain, ["n1"], "x")
    slurm._process._timeout = 0.2
    with pytest.raises(SlurmDownError, match=r"no answer within 0\.2 s"):
        act()
    slurm._process._timeout = 20
    assert journal(standin) == []
    act()


def test_a_child_that_dies_in_a_request_is_replaced_at_the_next(start: Start) -> None:
    fault = {"kill": signal.SIGSEGV, "once": "died", "stderr": "free(): invalid pointer\n"}
    slurm = start(faults={"load_jobs": fault}, jobs=[JOB])
    with pytest.raises(
        SlurmDownError, match=r"jobs: its process ended: free\(\): invalid pointer \(status -11\)"
    ):
        slurm.snapshot()
    assert len(slurm.snapshot().jobs) == 1


def test_a_child_killed_between_requests_is_replaced(start: Start) -> None:
    slurm = start()
    first = slurm._process.pid
    assert first is not None
    _kill(first)
    with pytest.raises(SlurmDownError):
        slurm.snapshot()
    assert sorted(slurm.snapshot().nodes) == ["n1"]
    assert slurm._process.pid != first


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for("the child is dead", lambda: "(zombie)" in Path(f"/proc/{pid}/status").read_text(), timeout=10)


def test_a_child_that_grows_is_replaced_once_it_has_answered(standin: Path) -> None:
    (standin / "scenario.json").write_text(
        json.dumps({"nodes": [NODE], "faults": {"load_nodes": {"hold": 300_000_000}}})
    )
    child = PyslurmProcess({"PYTHONPATH": str(standin)}, 20, max_resident=200_000_000)
    try:
        assert child.ask("hello", fields={})["version"] == "25.11.2"
        assert child.pid is not None
        rows: list[Any] = []
        child.ask("nodes", rows.extend, fields=["name", "state"])
        assert rows == [["n1", "IDLE"]]
        assert child.pid is None
        child.ask("hello", fields={})
        assert child.pid is not None
    finally:
        child.close()


def test_a_record_that_cannot_be_read_ends_the_child_and_spoils_no_later_answer(start: Start) -> None:
    slurm = start(jobs=[JOB | {"state": "what?"}] + [JOB] * 3000)
    for _ in range(2):
        with pytest.raises(SlurmError, match="expected a state such as RUNNING"):
            slurm.snapshot()
    slurm.drain(["n1"], "x")


def test_a_second_caller_waits_no_longer_than_the_time_limit(start: Start, standin: Path) -> None:
    slurm = start()
    slurm._process._timeout = 0.1
    with slurm._process._turn, pytest.raises(SlurmDownError, match=r"other requests took the whole 0\.1 s"):
        slurm.drain(["n1"], "x")
    assert journal(standin) == []


def test_many_threads_share_one_child(start: Start) -> None:
    slurm = start(jobs=[JOB], repeat={"jobs": 300})
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: len(slurm.snapshot().jobs), range(24)))
    assert seen == [300] * 24


@pytest.mark.parametrize(
    ("errno", "text", "kind"),
    [
        (1800, "Unable to contact slurm controller (connect failure)", SlurmDownError),
        (5004, "Socket timed out on send/recv operation", SlurmDownError),
        (111, "Connection refused", SlurmDownError),
        (2012, "Slurm backup controller in standby mode", SlurmDownError),
        (2010, "Invalid user id", SlurmRefusedError),
        (2020, "Job can not be altered now", SlurmRefusedError),
        (1, "Operation not permitted", SlurmRefusedError),
    ],
)
def test_what_libslurm_says_becomes_a_typed_error(
    start: Start, errno: int, text: str, kind: type[SlurmError]
) -> None:
    slurm = start(faults={"modify_node": {"errno": errno, "text": text}})
    before = slurm._process.pid
    with pytest.raises(kind) as caught:
        slurm.drain(["n1"], "x")
    assert text in str(caught.value)
    assert slurm._process.pid == before
