"""What the process that holds pyslurm answers, whatever the library gives it."""

import pytest

from agent.core.errors import SlurmError
from tests.unit.slurm.pyslurm.conftest import JOB, NODE, Start


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


def test_garbage_on_standard_output_is_no_part_of_the_answer(start: Start) -> None:
    fault = {"stdout": 'fatal? no\n{"done": 7}\n[[1]]\n', "stderr": "x\n" * 20_000}
    seen = start(faults={"load_nodes": fault, "import": fault}, jobs=[JOB]).snapshot()
    assert sorted(seen.nodes) == ["n1"]
    assert len(seen.jobs) == 1
