"""The submit policy in Lua 5.1, the version that Debian's slurmctld runs it in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lupa import lua51

POLICY = Path(__file__).parents[3] / "contrib/slurm-plugin/esagent_submit.lua"
NO_VAL = 4294967294
INFINITE = 4294967295
NO_VAL16 = 65534
NOW = 1_795_350_000
TABLE = f"""\
version 1
feature elastic
own_feature owned
partitions main gpu
written {NOW - 5}
lease_end {NOW + 7200}
notice 600
requeue yes
"""


class Controller:
    """What slurmctld gives a script, and what a submit came to."""

    def __init__(self, directory: Path) -> None:
        self.lua = lua51.LuaRuntime(unpack_returned_tuples=True)
        self.table = directory / "borrowed"
        self.table.write_text(TABLE)
        self.said: list[str] = []
        self.logged: list[str] = []
        self.lua.execute("slurm = { SUCCESS = 0, ERROR = -1 }")
        slurm = self.lua.globals().slurm
        text = self.lua.eval("string.format")
        slurm.log_user = lambda *words: self.said.append(text(*words))
        slurm.log_error = lambda *words: self.logged.append(text(*words))
        self.clock(NOW)
        self.policy = self.lua.execute(POLICY.read_text())
        self.policy.table_path = str(self.table)

    def clock(self, seconds: int) -> None:
        self.lua.globals().os.time = lambda: seconds

    def write(self, text: str) -> None:
        """Write the table, and let the time pass after which it is read again."""
        self.table.write_text(text)
        self.clock(NOW + 10)

    def submit(self, **job: Any) -> tuple[int, dict[str, Any]]:
        desc = self.lua.table_from(
            {"requeue": NO_VAL16, "time_limit": NO_VAL, **{k: self._value(v) for k, v in job.items()}}
        )
        answer = self.policy.submit(desc, self.lua.table(), 1000)
        return answer, dict(desc.items())

    def _value(self, value: Any) -> Any:
        return self.lua.table_from(value) if isinstance(value, list) else value


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_an_ordinary_job_is_accepted_and_may_be_requeued(controller: Controller) -> None:
    answer, job = controller.submit(time_limit=30)
    assert (answer, job["requeue"], controller.said) == (0, 1, [])
    assert "features" not in job


@pytest.mark.parametrize(
    "asked",
    [
        {"spank_job_env": ["OTHER=1", "SPANK_ELASTIC=never"]},
        {"comment": "elastic=never"},
        {"comment": "run 7; elastic=never, please"},
        {"qos": "elastic-never"},
        {"features": "owned"},
    ],
)
def test_never_keeps_a_job_on_the_sites_own_machines(controller: Controller, asked: dict[str, Any]) -> None:
    answer, job = controller.submit(**asked)
    assert (answer, job["features"]) == (0, "owned")


@pytest.mark.parametrize("asked", [{"spank_job_env": ["SPANK_ELASTIC=only"]}, {"features": "elastic"}])
def test_only_keeps_a_job_on_borrowed_machines(controller: Controller, asked: dict[str, Any]) -> None:
    answer, job = controller.submit(**asked)
    assert (answer, job["features"], job["requeue"]) == (0, "elastic", 1)


def test_the_option_is_heard_before_the_comment(controller: Controller) -> None:
    _, job = controller.submit(spank_job_env=["SPANK_ELASTIC=only"], comment="elastic=never")
    assert job["features"] == "elastic"


@pytest.mark.parametrize(
    ("wanted", "becomes"),
    [
        ("", "owned"),
        ("ssd", "ssd&owned"),
        ("ssd&owned", "ssd&owned"),
        ("ssd|nvme", "ssd|nvme&owned"),
        ("(ssd|nvme)", "(ssd|nvme)&owned"),
        ("[rack1|rack2]", "[rack1|rack2]&owned"),
        ("elastic|owned", "elastic|owned&owned"),
        ("disowned", "disowned&owned"),
        ("rack1*2", "rack1*2"),
        ("[rack1*2&owned*1]", "[rack1*2&owned*1]"),
    ],
)
def test_a_constraint_of_the_users_is_kept(controller: Controller, wanted: str, becomes: str) -> None:
    _, job = controller.submit(features=wanted, comment="elastic=never")
    assert job["features"] == becomes


@pytest.mark.parametrize(
    ("word", "effect"), [("never", "elastic=never has no"), ("only", "elastic=only has no")]
)
def test_a_word_that_slurm_cannot_be_told_beside_counts_is_said_to_have_no_effect(
    controller: Controller, word: str, effect: str
) -> None:
    answer, job = controller.submit(features="rack1*2", comment=f"elastic={word}")
    assert (answer, job["features"]) == (0, "rack1*2")
    assert controller.said == [f"{effect} effect beside a constraint with counts of nodes: rack1*2"]


@pytest.mark.parametrize("features", ["elastic|owned", "[owned|elastic]", "elastic*1"])
def test_who_names_both_kinds_of_machines_asks_for_neither_alone(
    controller: Controller, features: str
) -> None:
    _, job = controller.submit(features=features)
    assert (job["features"], controller.said) == (features, [])


def test_a_word_that_is_none_is_refused_and_named(controller: Controller) -> None:
    answer, _ = controller.submit(comment="elastic=sometimes")
    assert (answer, controller.said) == (-1, ["elastic=sometimes: expected never, ok or only"])


def test_a_job_that_may_not_be_requeued_stays_off_and_is_told_why(controller: Controller) -> None:
    answer, job = controller.submit(requeue=0)
    assert (answer, job["features"]) == (0, "owned")
    assert "may not be requeued" in controller.said[0]


def test_a_job_longer_than_the_lease_stays_off_and_is_told_why(controller: Controller) -> None:
    answer, job = controller.submit(time_limit=121)
    assert (answer, job["features"]) == (0, "owned")
    assert "121 minutes is longer than the lease, which has 120 left" in controller.said[0]


def test_a_job_that_wants_no_time_limit_stays_off_and_is_told_why(controller: Controller) -> None:
    answer, job = controller.submit(time_limit=INFINITE)
    assert (answer, job["features"]) == (0, "owned")
    assert "it has no time limit, and the lease has 120 minutes left" in controller.said[0]


def test_without_a_feature_of_its_own_machines_a_job_is_only_warned(controller: Controller) -> None:
    controller.write(TABLE.replace("own_feature owned\n", ""))
    answer, job = controller.submit(requeue=0)
    assert answer == 0
    assert "features" not in job
    assert "may not be requeued" in controller.said[0]


def test_a_job_for_other_partitions_is_left_alone(controller: Controller) -> None:
    answer, job = controller.submit(partition="debug", requeue=0)
    assert (answer, controller.said, job.get("features")) == (0, [], None)


def test_a_job_for_several_partitions_is_looked_at_when_one_is_borrowed_for(controller: Controller) -> None:
    _, job = controller.submit(partition="debug,gpu", requeue=0)
    assert job["features"] == "owned"


def test_a_silent_agent_changes_nothing(controller: Controller) -> None:
    controller.clock(NOW + 3600)
    answer, job = controller.submit(requeue=0)
    assert (answer, controller.said, job.get("features")) == (0, [], None)


def test_no_table_changes_nothing(controller: Controller) -> None:
    controller.table.unlink()
    assert controller.submit(requeue=0)[0] == 0
    assert controller.said == []


def test_the_table_is_not_read_for_each_job_of_a_burst(controller: Controller) -> None:
    controller.submit()
    controller.table.unlink()
    assert controller.submit(requeue=0)[1]["features"] == "owned"
    controller.clock(NOW + 10)
    assert "features" not in controller.submit(requeue=0)[1]


def test_a_fault_in_the_policy_is_logged_and_the_job_accepted(controller: Controller) -> None:
    controller.policy.objection = controller.lua.eval("function() error('broken') end")
    answer, _ = controller.submit()
    assert answer == 0
    assert "broken" in controller.logged[0]
    assert "%" not in controller.logged[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(text=st.text(), comment=st.none() | st.text(), features=st.none() | st.text())
def test_no_table_and_no_text_of_a_user_is_a_fault(
    controller: Controller, text: str, comment: str | None, features: str | None
) -> None:
    controller.write(f"{TABLE}{text}")
    fields = {k: v for k, v in {"comment": comment, "features": features}.items() if v is not None}
    answer, _ = controller.submit(**fields)
    assert answer in {0, -1}
    assert controller.logged == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text())
def test_any_text_is_a_table_or_none(controller: Controller, text: str) -> None:
    known = controller.policy.parse(text)
    assert known is None or known.written is not None
