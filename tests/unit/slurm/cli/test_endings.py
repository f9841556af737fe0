"""How jobs ended, as the releases of Slurm print it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.slurm.cli.endings import parse_accounted, parse_endings
from agent.slurm.model import JobEnd
from tests.unit.slurm.cli.conftest import backend

AT = datetime(2026, 11, 30, 20, 55, 26, tzinfo=UTC)
SECONDS = int(AT.timestamp())


@pytest.mark.parametrize(
    ("of_2205", "of_2411", "exit_code", "signal"),
    [("10", "0:10", 0, 10), ("35328", "138:0", 138, 0), ("768", "3:0", 3, 0), ("0", "0:0", 0, 0)],
)
def test_exit_codes_of_old_and_new_releases_are_the_same(of_2205, of_2411, exit_code, signal) -> None:
    expected = {"7_1": JobEnd("FAILED", exit_code, signal, AT, 2, exit_code, signal)}
    for code in (of_2205, of_2411):
        assert parse_endings(f"7_1|FAILED|{code}|{code}|2|{SECONDS}|\n") == expected


def test_a_job_that_is_not_over_has_no_end_though_slurm_expects_one() -> None:
    told = f"6+0|RUNNING|0|0|0|{SECONDS}|\n6+1|COMPLETING|15|0|1|{SECONDS}|\n8|PENDING|0|0|1|NONE|\n"
    found = parse_endings(told)
    assert sorted(found) == ["6+0", "6+1", "8"]
    assert not any(end.ended or end.is_over for end in found.values())


def test_the_accounting_tells_who_cancelled_after_the_state() -> None:
    told = f"7|CANCELLED by 1000|0:15|0:10|{SECONDS}\n8_2|NODE_FAIL|1:0|0:0|Unknown\n"
    assert parse_accounted(told) == {
        "7": JobEnd("CANCELLED", 0, 15, AT, step_signal=10),
        "8_2": JobEnd("NODE_FAIL", 1, 0, None),
    }


@pytest.mark.parametrize(
    "told", ["7|FAILED|x|0|0|0|\n", "7|FAILED\n", "7|FAILED|0|0|x|0|\n", "x|FAILED|0|0|0|0|\n"]
)
def test_what_is_no_list_of_jobs_is_an_error(told: str) -> None:
    with pytest.raises(SlurmError, match="expected"):
        parse_endings(told)
    with pytest.raises(SlurmError, match="expected"):
        parse_accounted("7|FAILED\n")


def test_what_slurm_has_forgotten_is_looked_up_in_the_accounting(tmp_path: Path) -> None:
    slurm = backend(tmp_path, squeue=f"echo '7|COMPLETED|0:0|0:0|0|{SECONDS}|'")
    (tmp_path / "sacct").write_text(f'#!/bin/sh\necho "$5|FAILED|0:10|0:0|{SECONDS}"\n')
    (tmp_path / "sacct").chmod(0o755)
    found = slurm.endings(["7", "9+1"])
    assert found["7"].state == "COMPLETED"
    assert found["9"] == JobEnd("FAILED", 0, 10, AT), "the whole of a heterogeneous job is asked for"


def test_a_site_without_accounting_knows_no_more_of_a_forgotten_job(tmp_path: Path) -> None:
    assert backend(tmp_path).endings(["7"]) == {}
    (tmp_path / "sacct").write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2; exit 1\n")
    (tmp_path / "sacct").chmod(0o755)
    assert backend(tmp_path).endings(["7"]) == {}


def test_comments_of_many_are_read_to_the_letter(tmp_path: Path) -> None:
    script = r"""end=${8#*:|,admin_comment:}
printf '7|a|b\nc%s\n8_1|(null)%s\n9+0|%s\n10|not asked for%s\n' "$end" "$end" "$end" "$end" """
    assert backend(tmp_path, squeue=script).comments(["7", "8_1", "9+0", "11"]) == {"7": "a|b\nc"}
    with pytest.raises(SlurmError, match="cut"):
        backend(tmp_path, squeue="echo '7|half'").comments(["7"])


def test_a_comment_is_written_to_the_letter(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    slurm = backend(tmp_path, scontrol=f'printf %s "$3" > {asked}')
    assert slurm.comment_all(["7"], "'a'\nb|  ") == {}
    assert asked.read_text() == "AdminComment='a'\nb|  "
    slurm.comment("7", "a\nb")
    assert asked.read_text() == "AdminComment=a b"
    with pytest.raises(SlurmRefusedError):
        slurm.comment("x", "a")
