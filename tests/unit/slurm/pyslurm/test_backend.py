"""The way in through pyslurm over a stand-in: what is read, and what is asked of the library."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.core.ports import SystemClock
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import SignalTarget
from agent.slurm.pyslurm.backend import PyslurmBackend
from agent.slurm.reservation import Reservation
from agent.slurm.settings import SlurmSettings
from tests.unit.slurm.pyslurm.conftest import JOB, NODE, Start, journal


def test_a_snapshot_has_the_nodes_and_the_jobs_that_are_not_over(start: Start) -> None:
    over = JOB | {"id": 3, "state": "COMPLETED"}
    seen = start(nodes=[NODE | {"state": "MIXED+DRAIN"}], jobs=[over, JOB]).snapshot()
    assert (seen.nodes["n1"].state, seen.nodes["n1"].flags) == ("MIXED", {"DRAIN"})
    (job,) = seen.jobs
    assert (job.id, job.user, job.nodes, job.requeueable) == ("4", "root", {"n1"}, True)


def test_no_node_at_all_is_an_error_while_a_job_is_on_one(start: Start) -> None:
    with pytest.raises(SlurmError, match="at least one node"):
        start(nodes=[], jobs=[JOB]).snapshot()
    assert start(nodes=[], jobs=[]).snapshot().nodes == {}


def test_a_configuration_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    settings = SlurmSettings(conf=tmp_path / "slurm.conf")
    with pytest.raises(SlurmError, match=r"\[slurm\] conf: .*/slurm\.conf is not a file"):
        PyslurmBackend(settings, SystemClock(), CliBackend(settings, SystemClock()), {})


def test_a_pyslurm_of_another_shape_is_turned_down_at_the_start(start: Start) -> None:
    with pytest.raises(SlurmError, match=r"25\.11\.2 cannot be used: it has no Job\.constraints"):
        start(without=["constraints"])


def test_a_controller_that_does_not_tell_exclusive_jobs_from_others_is_turned_down(start: Start) -> None:
    with pytest.raises(SlurmError, match=r"25\.11\.2 cannot be used: Slurm 26\.05\.5 .* exclusive"):
        start(controller="26.05.5")


def test_a_controller_that_is_upgraded_to_such_a_release_is_not_misread(start: Start, standin: Path) -> None:
    slurm = start(jobs=[JOB | {"resource_sharing": "NO"}])
    assert slurm.snapshot().jobs[0].exclusive
    (standin / "upgraded").write_text("26.05.5")
    with pytest.raises(SlurmError, match=r"cannot be used: Slurm 26\.05\.5"):
        slurm.snapshot()


def test_changes_of_nodes_are_one_request_for_all(start: Start, standin: Path) -> None:
    slurm = start()
    slurm.drain(["n2", "n1"], 'revoked, "due"\nnow\udcff')
    slurm.undrain(["n1"])
    slurm.set_weight(["n1", "n3"], 7)
    slurm.set_address("n1", "10.0.0.1", "pc1.example.org")
    slurm.set_address("n1", "10.10.1.1")
    slurm.power_up(["n1"])
    slurm.power_down(["n1"])
    assert journal(standin) == [
        ["modify_node", "n[1-2]", {"state": "DRAIN", "reason": 'revoked, "due" now'}],
        ["modify_node", "n1", {"state": "UNDRAIN"}],
        ["modify_node", "n[1,3]", {"weight": 7}],
        ["modify_node", "n1", {"address": "10.0.0.1", "hostname": "pc1.example.org"}],
        ["modify_node", "n1", {"address": "10.10.1.1"}],
        ["modify_node", "n1", {"state": "POWER_UP"}],
        ["modify_node", "n1", {"state": "POWER_DOWN_FORCE"}],
    ]


def test_an_unknown_name_costs_the_others_nothing(start: Start, standin: Path) -> None:
    slurm = start(unknown_nodes=["ghost"], nodes=[NODE])
    with pytest.raises(SlurmRefusedError, match="ghost: Invalid node name"):
        slurm.drain(["ghost", "n1"], "x")
    assert [line[1] for line in journal(standin)] == ["n1,ghost", "n1"]
    slurm.delete_nodes(["ghost", "n2"])
    assert [line[1] for line in journal(standin)[2:]] == ["n2,ghost", "ghost", "n2"]


def test_names_that_end_in_letters_are_listed(start: Start, standin: Path) -> None:
    start().drain(["pc100-fort", "pc103-fort"], "x")
    assert journal(standin)[0][1] == "pc100-fort,pc103-fort"


@pytest.mark.parametrize("name", ["n1;reboot", "n1 State=DOWN", "", "n[1-3]"])
def test_what_is_no_node_name_never_reaches_slurm(start: Start, standin: Path, name: str) -> None:
    with pytest.raises(SlurmRefusedError, match="not a node name"):
        start().drain([name], "x")
    assert journal(standin) == []


@pytest.mark.parametrize("errno", [2028, 2180])
def test_a_refusal_of_what_is_so_is_harmless_and_one_of_what_is_not_is_told(start: Start, errno: int) -> None:
    nodes = [NODE, NODE | {"name": "n2", "state": "DOWN+DRAIN"}]
    fault = {"errno": errno, "text": "Invalid node state specified"}
    slurm = start(faults={"modify_node": fault}, nodes=nodes)
    slurm.resume(["n1"])
    slurm.undrain(["n1"])
    for act in (slurm.resume, slurm.undrain):
        with pytest.raises(SlurmRefusedError, match=r"n2: .*Invalid node state"):
            act(["n1", "n2"])


ARRAY = JOB | {"array_id": 12, "array_task_id": 3, "id": 15}


def test_jobs_are_requeued_by_slurms_commands_which_can_leave_out_what_has_completed(
    start: Start, standin: Path
) -> None:
    slurm = start(jobs=[JOB])
    with pytest.raises(SlurmError, match="squeue"):
        slurm.requeue("4", hold=True)
    assert journal(standin) == []


def test_an_array_task_is_found_by_its_own_number(start: Start, standin: Path) -> None:
    slurm = start(jobs=[ARRAY])
    slurm.comment("12_3", "told")
    slurm.snapshot()
    slurm.comment("12_3", "again")
    assert journal(standin) == [
        ["modify_job", 15, {"admin_comment": "told"}],
        ["load_job", 15],
        ["modify_job", 15, {"admin_comment": "again"}],
    ]
    with pytest.raises(SlurmRefusedError, match="12_4"):
        slurm.notify("12_4", "x")


def test_the_number_of_another_task_is_not_taken_for_this_one(start: Start, standin: Path) -> None:
    first = ARRAY | {"id": 12, "array_task_id": 9}
    slurm = start(jobs=[first, ARRAY])
    slurm._task_numbers["12_3"] = 12
    slurm.comment("12_3", "told")
    assert journal(standin) == [["load_job", 12], ["modify_job", 15, {"admin_comment": "told"}]]


def test_a_heterogeneous_job_is_acted_on_through_its_leader(start: Start, standin: Path) -> None:
    parts = [
        JOB | {"heterogeneous_id": 4},
        JOB | {"id": 5, "heterogeneous_id": 4, "heterogeneous_offset": 1},
    ]
    slurm = start(jobs=parts)
    assert [j.id for j in slurm.snapshot().jobs] == ["4+0", "4+1"]
    slurm.comment("4+1", "told")
    assert journal(standin) == [["modify_job", 4, {"admin_comment": "told"}]]


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


def test_a_task_of_an_array_is_signalled_by_slurms_commands_and_never_by_number(
    start: Start, standin: Path
) -> None:
    slurm = start(jobs=[ARRAY])
    for act in (slurm.cancel, lambda job: slurm.signal(job, "USR1")):
        with pytest.raises(SlurmError, match="/nowhere/s"):
            act("12_3")
    assert journal(standin) == []


FENCE = Reservation(
    "fence", frozenset({"n1", "n2"}), datetime.fromtimestamp(1_800_000_000, UTC),
    datetime.fromtimestamp(1_800_003_600, UTC), frozenset({"MAINT"}),
    users=frozenset({"root"}), cpus=4,
)  # fmt: skip
READ = {
    "name": "fence",
    "nodes": "n[1-2]",
    "start_time": 1_800_000_000,
    "end_time": 1_800_003_600,
    "flags": 1,
    "partition": None,
    "users": ["root"],
    "tres": {"cpu": "4"},
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


def test_of_a_reservation_that_has_begun_slurm_takes_no_start(start: Start, standin: Path) -> None:
    begun = datetime.fromtimestamp(1_700_000_000, UTC)
    start(reservations=[READ]).reserve(replace(FENCE, starts=begun))
    assert journal(standin) == [
        ["modify_reservation", "fence", {"nodes": "n[1-2]", "end_time": 1_800_003_600}]
    ]


def test_a_reservation_lasts_a_minute_at_least(start: Start, standin: Path) -> None:
    start().reserve(Reservation("short", FENCE.nodes, FENCE.starts, FENCE.starts + timedelta(seconds=5)))
    assert journal(standin)[1][2]["end_time"] - journal(standin)[1][2]["start_time"] == 60
