"""The submit policy and --elastic in a real slurmctld, behind a script of the site's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

DECLINED = "expected never, ok or only"


@pytest.fixture(autouse=True)
def _no_job_is_left(plugged) -> Iterator[None]:
    plugged.write_table()
    yield
    plugged.bed.slurm.run("scancel", "--state=PENDING", "--user=root")


@pytest.mark.usefixtures("lua")
@pytest.mark.parametrize(("word", "features"), [("never", "owned"), ("only", "elastic"), ("ok", "(null)")])
def test_sbatch_takes_the_option(plugged, word: str, features: str) -> None:
    job, _ = plugged.sbatch(f"--elastic={word}")
    assert job["Features"] == features


@pytest.mark.parametrize("command", ["sbatch --hold --wrap=true", "srun true", "salloc true"])
def test_a_word_that_is_none_is_refused_by_each_command(plugged, command: str) -> None:
    name, *rest = command.split()
    done = plugged.run(name, "--elastic=wrong", *rest)
    assert done.returncode != 0
    assert f"--elastic=wrong: {DECLINED}" in done.stderr


@pytest.mark.parametrize("command", ["sbatch", "srun", "salloc"])
def test_each_command_explains_the_option(plugged, command: str) -> None:
    assert "--elastic=never|ok|only" in plugged.run(command, "--help").stdout


@pytest.mark.usefixtures("lua")
@pytest.mark.parametrize("command", ["srun", "salloc"])
@pytest.mark.parametrize(("word", "features"), [("never", "owned"), ("only", "elastic"), ("ok", "(null)")])
def test_srun_and_salloc_take_the_option(plugged, command: str, word: str, features: str) -> None:
    look = 'scontrol -o show job "$SLURM_JOB_ID"'
    done = plugged.run(command, f"--elastic={word}", "sh", "-c", look)
    assert f" Features={features} " in done.stdout, done.stderr


@pytest.mark.usefixtures("lua")
@pytest.mark.parametrize(
    ("option", "features"),
    [
        ("--comment=elastic=never", "owned"),
        ("--comment=run 7, elastic=only", "elastic"),
        ("--qos=elastic-only", "elastic"),
        ("--constraint=elastic", "elastic"),
        ("--constraint=owned", "owned"),
        ("--job-name=any", "(null)"),
    ],
)
def test_a_job_may_ask_without_the_option(plugged, option: str, features: str) -> None:
    job, told = plugged.sbatch(option)
    assert job["Features"] == features, told


@pytest.mark.usefixtures("lua")
@pytest.mark.parametrize(
    "constraint",
    [
        *("owned", "elastic|owned", "(elastic|owned)", "[elastic|owned]", "owned&(elastic|owned)"),
        *("(owned&elastic)|owned", "owned&elastic|owned", "owned&[elastic|owned]"),
        *("elastic*1", "[elastic*1&owned*1]", "[(elastic&owned)*1&owned*1]"),
    ],
)
def test_slurm_takes_every_constraint_that_it_took_before(plugged, constraint: str) -> None:
    for word in ("never", "only"):
        job, told = plugged.sbatch(f"--constraint={constraint}", f"--comment=elastic={word}")
        assert job["Features"].startswith(constraint), told


@pytest.mark.usefixtures("lua")
def test_a_wrong_word_in_the_comment_is_refused_and_named(plugged) -> None:
    job, told = plugged.sbatch("--comment=elastic=sometimes")
    assert job == {}
    assert f"elastic=sometimes: {DECLINED}" in told


@pytest.mark.usefixtures("lua")
def test_a_job_that_may_not_be_requeued_is_kept_off_and_told_why(plugged) -> None:
    job, told = plugged.sbatch("--no-requeue")
    assert (job["Features"], job["Requeue"]) == ("owned", "0")
    assert "stays off borrowed machines: it may not be requeued" in told


@pytest.mark.usefixtures("lua")
def test_a_job_longer_than_the_lease_is_kept_off_and_told_why(plugged) -> None:
    job, told = plugged.sbatch("--time=300")
    assert job["Features"] == "owned"
    assert "its time limit of 300 minutes is longer than the lease" in told


@pytest.mark.usefixtures("lua")
def test_a_job_that_insists_on_borrowed_machines_is_warned(plugged) -> None:
    job, told = plugged.sbatch("--constraint=elastic", "--time=300")
    assert job["Features"] == "elastic"
    assert "this job asks for borrowed machines, but its time limit" in told


@pytest.mark.usefixtures("lua")
def test_without_a_feature_of_the_sites_own_machines_a_job_is_only_warned(plugged) -> None:
    plugged.write_table(own_feature="")
    job, told = plugged.sbatch("--no-requeue")
    assert job["Features"] == "(null)"
    assert "should this job start on a borrowed machine: it may not be requeued" in told


@pytest.mark.usefixtures("lua")
@pytest.mark.parametrize(("asked", "comes_out"), [("yes", "1"), ("no", "0")])
def test_a_job_may_be_requeued_where_the_site_wants_it(plugged, asked: str, comes_out: str) -> None:
    plugged.write_table(requeue=asked)
    job, _ = plugged.sbatch()
    assert job["Requeue"] == comes_out


@pytest.mark.usefixtures("lua")
def test_a_silent_agent_changes_nothing(plugged) -> None:
    plugged.write_table(written="1000")
    job, told = plugged.sbatch("--no-requeue", "--time=300")
    assert (job["Features"], told) == ("(null)", "")


@pytest.mark.usefixtures("lua")
def test_the_sites_own_script_is_asked_first_and_its_refusal_stands(plugged) -> None:
    job, told = plugged.sbatch("--job-name=forbidden", "--comment=elastic=never")
    assert job == {}
    assert "the site refuses this job" in told
    job, _ = plugged.sbatch("--comment=elastic=never")
    assert (job["AdminComment"], job["Features"]) == ("the site has seen it", "owned")


@pytest.fixture
def policy(plugged) -> Iterator[Any]:
    """Our policy may be broken; it is mended afterwards."""
    file = plugged.etc / "esagent_submit.lua"
    text = file.read_text()
    yield plugged
    file.write_text(text)
    plugged.reread()


BROKEN = {
    "a syntax error": "this is no Lua (",
    "an error when it is loaded": "error('broken')",
    "an error at each job": "return { submit = function() error('broken') end }",
    "no answer to a job": "return { submit = function() return {} end }",
    "nothing in it": "",
    "something else in it": "return 7",
}


@pytest.mark.usefixtures("lua")
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_policy_never_blocks_a_submit(policy, text: str) -> None:
    (policy.etc / "esagent_submit.lua").write_text(text)
    policy.reread()
    job, told = policy.sbatch("--comment=elastic=never")
    assert job["AdminComment"] == "the site has seen it", told
    assert job["Features"] == "(null)"


@pytest.mark.usefixtures("lua")
def test_slurmctld_starts_with_a_broken_policy_and_without_one(policy) -> None:
    (policy.etc / "esagent_submit.lua").write_text(BROKEN["a syntax error"])
    policy.bed.slurm.restart_slurmctld()
    (policy.etc / "esagent_submit.lua").unlink()
    policy.bed.slurm.restart_slurmctld()
    job, _ = policy.sbatch()
    assert job["AdminComment"] == "the site has seen it"
