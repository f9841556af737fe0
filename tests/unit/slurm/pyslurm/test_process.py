"""The pyslurm backend over a stand-in: what the child says, and what becomes of one that misbehaves."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import Reservation, SignalTarget
from agent.slurm.pyslurm.backend import PyslurmBackend
from agent.slurm.pyslurm.process import PyslurmProcess
from agent.slurm.settings import SlurmSettings
from testbed.waiting import wait_for

DATA = Path(__file__).parents[3] / "data"
NODE = {"name": "n1", "state": "IDLE", "total_cpus": 2, "partitions": ["main"]}
JOB = {
    "id": 4,
    "state": "RUNNING",
    "user_id": 0,
    "partition": "main",
    "allocated_nodes": "n1",
    "is_requeueable": True,
}

Start = Callable[..., PyslurmBackend]


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    shutil.copy(DATA / "pyslurm-standin" / "pyslurm.py", tmp_path)
    (tmp_path / "slurm.conf").touch()
    return tmp_path


@pytest.fixture
def start(standin: Path) -> Iterator[Start]:
    """Start a backend over a scenario; each is closed at the end."""
    started: list[PyslurmBackend] = []

    def start(timeout: float = 20, **scenario: Any) -> PyslurmBackend:
        scenario.setdefault("nodes", [NODE])
        (standin / "scenario.json").write_text(json.dumps(scenario))
        # A name that is in no PATH: nothing may fall back to Slurm's commands unseen.
        settings = SlurmSettings(
            command_timeout=timeout, conf=standin / "slurm.conf", bin_dir=Path("/nowhere")
        )
        environment = {"PYTHONPATH": str(standin)}
        commands = CliBackend(settings, SystemClock(), environment)
        started.append(PyslurmBackend(settings, SystemClock(), commands, environment))
        return started[-1]

    yield start
    for backend in started:
        backend.close()


def journal(standin: Path) -> list[list[Any]]:
    path = standin / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_snapshot_has_the_nodes_and_the_jobs_that_are_not_over(start: Start) -> None:
    over = JOB | {"id": 3, "state": "COMPLETED"}
    seen = start(nodes=[NODE | {"state": "MIXED+DRAIN"}], jobs=[over, JOB]).snapshot()
    assert (seen.nodes["n1"].state, seen.nodes["n1"].flags) == ("MIXED", {"DRAIN"})
    (job,) = seen.jobs
    assert (job.id, job.user, job.nodes, job.requeueable) == ("4", "root", {"n1"}, True)


def test_thousands_of_jobs_come_whole(start: Start) -> None:
    seen = start(jobs=[JOB, JOB | {"id": 5, "state": "PENDING"}], repeat={"jobs": 5000}).snapshot()
    assert len(seen.jobs) == 10_000


def test_text_that_is_not_utf8_and_long_text_change_nothing_else(start: Start) -> None:
    hostile = list(b'\xff\xfe{"done":1}\n[1]\x1b[2J' + b"r" * 60_000)
    odd = NODE | {
        "reason": {"bytes": hostile},
        "active_features": {"bytes": list(b"a,\xff")},
        "state": "IDLE+DRAIN",
    }
    job = JOB | {"constraints": {"bytes": list(b"a&\xff,b")}, "state_reason": {"bytes": hostile}}
    seen = start(nodes=[odd], jobs=[job]).snapshot()
    node = seen.nodes["n1"]
    assert node.reason == bytes(hostile).decode(errors="replace")
    assert node.features == {"a", "\ufffd"}
    assert node.drained
    assert seen.jobs[0].features == "a&\ufffd,b"
    assert seen.jobs[0].nodes == {"n1"}


def test_what_pyslurm_cannot_parse_itself_costs_that_field_only(start: Start) -> None:
    seen = start(nodes=[NODE | {"configured_gres": {"raises": "4G"}}]).snapshot()
    assert (seen.nodes["n1"].gres, seen.nodes["n1"].cpus) == ("", 2)


def test_a_field_that_cannot_be_read_fails_the_whole_read(start: Start) -> None:
    slurm = start(nodes=[NODE | {"state": {"raises": "no such state"}}])
    with pytest.raises(SlurmError, match="no such state"):
        slurm.snapshot()


def test_no_node_at_all_is_an_error_and_never_an_empty_cluster(start: Start) -> None:
    with pytest.raises(SlurmError, match="at least one node"):
        start(nodes=[]).snapshot()


def test_garbage_on_standard_output_is_no_part_of_the_answer(start: Start) -> None:
    fault = {"stdout": 'fatal? no\n{"done": 7}\n[[1]]\n', "stderr": "x\n" * 20_000}
    seen = start(faults={"load_nodes": fault, "import": fault}, jobs=[JOB]).snapshot()
    assert sorted(seen.nodes) == ["n1"]
    assert len(seen.jobs) == 1


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


def test_a_configuration_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    settings = SlurmSettings(conf=tmp_path / "slurm.conf")
    with pytest.raises(SlurmError, match=r"\[slurm\] conf: .*/slurm\.conf is not a file"):
        PyslurmBackend(settings, SystemClock(), CliBackend(settings, SystemClock()), {})


def test_a_pyslurm_that_is_not_installed_is_said_so(standin: Path, start: Start) -> None:
    (standin / "pyslurm.py").unlink()
    with pytest.raises(SlurmError, match=r"not installed \(extra esagent\[pyslurm\]\)"):
        start()


def test_a_pyslurm_of_another_shape_is_turned_down_at_the_start(start: Start) -> None:
    with pytest.raises(SlurmError, match=r"25\.11\.2 cannot be used: it has no Job\.constraints"):
        start(without=["constraints"])


def test_a_controller_that_speaks_another_protocol_is_told_at_the_start(start: Start) -> None:
    fault = {"errno": 1007, "text": "Protocol authentication error"}
    with pytest.raises(SlurmDownError, match=r"Protocol authentication error .* the controller is older"):
        start(faults={"config": fault})


def test_a_controller_that_does_not_tell_exclusive_jobs_from_others_is_turned_down(start: Start) -> None:
    with pytest.raises(SlurmError, match=r"25\.11\.2 cannot be used: Slurm 26\.05\.5 .* exclusive"):
        start(controller="26.05.5")


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
    assert type(caught.value).__mro__[1 if kind is SlurmRefusedError else 0] is kind
    assert slurm._process.pid == before


def test_changes_of_nodes_are_one_request_for_all(start: Start, standin: Path) -> None:
    slurm = start()
    slurm.drain(["n2", "n1"], 'revoked, "due"\nnow\udcff')
    slurm.undrain(["n1"])
    slurm.set_weight(["n1", "n3"], 7)
    slurm.set_address("n1", "10.0.0.1", "pc1.example.org")
    slurm.power_up(["n1"])
    slurm.power_down(["n1"])
    assert journal(standin) == [
        ["modify_node", "n[1-2]", {"state": "DRAIN", "reason": 'revoked, "due" now'}],
        ["modify_node", "n1", {"state": "UNDRAIN"}],
        ["modify_node", "n[1,3]", {"weight": 7}],
        ["modify_node", "n1", {"address": "10.0.0.1", "hostname": "pc1.example.org"}],
        ["modify_node", "n1", {"state": "POWER_UP"}],
        ["modify_node", "n1", {"state": "POWER_DOWN_FORCE"}],
    ]


def test_an_unknown_name_costs_the_others_nothing(start: Start, standin: Path) -> None:
    slurm = start(unknown_nodes=["ghost"], nodes=[NODE])
    with pytest.raises(SlurmRefusedError, match="ghost: Invalid node name"):
        slurm.drain(["ghost", "n1"], "x")
    assert [line[1] for line in journal(standin)] == ["ghost,n1", "n1"]
    slurm.delete_nodes(["ghost", "n1"])
    assert [line[1] for line in journal(standin)[2:]] == ["ghost,n1", "ghost", "n1"]


@pytest.mark.parametrize("name", ["n1;reboot", "n1 State=DOWN", "", "n[1-3]"])
def test_what_is_no_node_name_never_reaches_slurm(start: Start, standin: Path, name: str) -> None:
    with pytest.raises(SlurmRefusedError, match="not a node name"):
        start().drain([name], "x")
    assert journal(standin) == []


@pytest.mark.parametrize("errno", [2028, 2180])
def test_resuming_what_is_neither_down_nor_drained_is_harmless(start: Start, errno: int) -> None:
    slurm = start(faults={"modify_node": {"errno": errno, "text": "Invalid node state specified"}})
    slurm.resume(["n1"])
    with pytest.raises(SlurmRefusedError, match="Invalid node state"):
        slurm.undrain(["n1"])


ARRAY = JOB | {"array_id": 12, "array_task_id": 3, "id": 15}


def test_a_running_job_is_requeued_after_a_look_at_its_state(start: Start, standin: Path) -> None:
    start(jobs=[JOB]).requeue("4", hold=True)
    assert journal(standin) == [["load_job", 4], ["requeue", 4, True]]


@pytest.mark.parametrize(
    ("state", "said"),
    [("COMPLETED", "it is over"), ("OUT_OF_MEMORY", "it is over"), ("COMPLETING", "it is COMPLETING")],
)
def test_only_a_running_job_is_requeued(start: Start, standin: Path, state: str, said: str) -> None:
    slurm = start(jobs=[JOB | {"state": state}])
    with pytest.raises(SlurmRefusedError, match=said):
        slurm.requeue("4")
    assert journal(standin) == [["load_job", 4]]


def test_a_pending_job_is_left_alone_and_one_that_is_gone_is_refused(start: Start, standin: Path) -> None:
    slurm = start(jobs=[JOB | {"state": "PENDING"}])
    slurm.requeue("4")
    with pytest.raises(SlurmRefusedError, match="it is over"):
        slurm.requeue("99")
    assert journal(standin) == [["load_job", 4], ["load_job", 99]]


def test_an_array_task_is_found_by_its_own_number(start: Start, standin: Path) -> None:
    slurm = start(jobs=[ARRAY])
    slurm.requeue("12_3")
    assert journal(standin) == [["requeue", 15, False]]
    slurm.snapshot()
    slurm.requeue("12_3")
    slurm.comment("12_3", "told")
    assert journal(standin)[1:] == [
        ["load_job", 15],
        ["requeue", 15, False],
        ["load_job", 15],
        ["modify_job", 15, {"admin_comment": "told"}],
    ]
    with pytest.raises(SlurmRefusedError, match="12_4"):
        slurm.notify("12_4", "x")


def test_the_number_of_another_task_is_not_taken_for_this_one(start: Start, standin: Path) -> None:
    first = ARRAY | {"id": 12, "array_task_id": 9}
    slurm = start(jobs=[first, ARRAY])
    slurm._task_numbers["12_3"] = 12
    slurm.requeue("12_3")
    assert journal(standin) == [["load_job", 12], ["requeue", 15, False]]


def test_a_heterogeneous_job_is_requeued_through_its_leader(start: Start, standin: Path) -> None:
    parts = [
        JOB | {"heterogeneous_id": 4},
        JOB | {"id": 5, "heterogeneous_id": 4, "heterogeneous_offset": 1},
    ]
    slurm = start(jobs=parts)
    assert [j.id for j in slurm.snapshot().jobs] == ["4+0", "4+1"]
    slurm.requeue("4+1")
    assert journal(standin) == [["load_job", 4], ["requeue", 4, False]]


def test_signals_go_to_the_processes_asked_for(start: Start, standin: Path) -> None:
    slurm = start(jobs=[JOB])
    slurm.signal("4", "USR1", SignalTarget.BATCH)
    slurm.signal("4", "10", SignalTarget.STEPS)
    slurm.signal("4", "TERM")
    slurm.cancel("4")
    slurm.notify("4", "line\nline")
    assert journal(standin) == [
        ["signal", 4, "SIGUSR1", "batch"],
        ["signal", 4, "10", "children"],
        ["signal", 4, "SIGTERM", "all"],
        ["signal", 4, "SIGKILL", "children"],
        ["notify", 4, "line line"],
    ]


def test_a_task_of_an_array_is_signalled_by_scancel_and_never_by_number(start: Start, standin: Path) -> None:
    slurm = start(jobs=[ARRAY])
    for act in (slurm.cancel, lambda job: slurm.signal(job, "USR1")):
        with pytest.raises(SlurmError, match="scancel"):
            act("12_3")
    assert journal(standin) == []


def test_requeueable_tells_of_the_jobs_asked_for(start: Start) -> None:
    slurm = start(jobs=[JOB, ARRAY | {"is_requeueable": False}, JOB | {"id": 6}])
    assert slurm.requeueable(["4", "12_3", "99"]) == {"4": True, "12_3": False}


FENCE = Reservation(
    "fence", frozenset({"n1", "n2"}), datetime.fromtimestamp(1_800_000_000, UTC),
    datetime.fromtimestamp(1_800_003_600, UTC), frozenset({"MAINT"}),
)  # fmt: skip
READ = {
    "name": "fence",
    "nodes": "n[1-2]",
    "start_time": 1_800_000_000,
    "end_time": 1_800_003_600,
    "flags": 1,
}


def test_reservations_are_read(start: Start) -> None:
    slurm = start(reservations=[READ, READ | {"name": "odd", "flags": 64}])
    first, second = slurm.reservations()
    assert first == FENCE
    # Flags that this pyslurm does not know are none, and cost nothing else.
    assert (second.name, second.nodes, second.flags) == ("odd", FENCE.nodes, frozenset())


def test_a_reservation_is_made_where_there_is_none_and_moved_where_there_is(
    start: Start, standin: Path
) -> None:
    span = {"nodes": "n[1-2]", "start_time": 1_800_000_000, "end_time": 1_800_003_600}
    made = span | {"users": ["root"], "flags": ["IGNORE_RUNNING_JOBS", "MAINTENANCE"]}
    start().reserve(FENCE)
    assert journal(standin) == [["modify_reservation", "fence", span], ["create_reservation", "fence", made]]
    slurm = start(reservations=[READ])
    slurm.reserve(FENCE)
    assert journal(standin)[2:] == [["modify_reservation", "fence", span]]
    slurm.remove_reservation("fence")
    slurm.remove_reservation("gone")


def test_a_reservation_lasts_a_minute_at_least(start: Start, standin: Path) -> None:
    start().reserve(Reservation("short", FENCE.nodes, FENCE.starts, FENCE.starts + timedelta(seconds=5)))
    assert journal(standin)[1][2]["end_time"] - journal(standin)[1][2]["start_time"] == 60
