"""The way in through a real slurmrestd: unix socket, token over TCP, and what it costs the controller."""

import os
import re
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError, SlurmError, SlurmRefusedError
from agent.core.ports import SystemClock
from agent.slurm.choice import Choice, choose
from agent.slurm.cli.backend import CliBackend
from agent.slurm.rest.backend import RestBackend
from agent.slurm.settings import SlurmSettings
from testbed.slurmrestd import as_root, rest_plugins
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

NO_TOKEN = "SLURM_JWT=eyJhbGciOiJIUzI1NiJ9.e30.bm9uZQ\n"
NEWEST = {(22, 5): "v0.0.38", (24, 11): "v0.0.42", (25, 11): "v0.0.44", (26, 5): "v0.0.45"}
"""Slurm release -> the newest version of the API that its slurmrestd has."""


def way_in(bed: TestBed, **changes: object) -> Choice:
    merged = {
        "backend": "rest",
        "conf": bed.slurm.conf,
        "rest_url": f"unix:{bed.slurm.rest_socket}",
    } | changes
    settings = SlurmSettings.model_validate(merged)
    return choose(settings, SystemClock(), CliBackend(settings, SystemClock()))


@pytest.fixture(autouse=True)
def _left_as_found(bed: TestBed) -> Iterator[None]:
    yield
    bed.slurm.run("scancel", "-u", "root")
    bed.slurm.wait_until_idle()


def requests_to_slurmctld(bed: TestBed) -> dict[str, int]:
    told = bed.slurm.run("sdiag").partition("Remote Procedure Call statistics by message type")[2]
    by_type = told.partition("Remote Procedure Call statistics by user")[0]
    return {name: int(n) for name, n in re.findall(r"(REQUEST_\w+)\s*\(\s*\d+\) count:(\d+)", by_type)}


def test_a_snapshot_costs_few_requests(bed: TestBed) -> None:
    slurm = way_in(bed).backend
    slurm.snapshot()
    before = requests_to_slurmctld(bed)
    for _ in range(5):
        slurm.snapshot()
    after = requests_to_slurmctld(bed)
    cost = {name: after[name] - before.get(name, 0) for name in after}
    assert cost["REQUEST_JOB_INFO"] == 5
    assert cost["REQUEST_NODE_INFO"] >= 5
    assert cost["REQUEST_STATS_INFO"] <= 6


def test_every_change_is_seen_by_the_next_read(bed: TestBed) -> None:
    slurm = way_in(bed).backend
    assert slurm.snapshot().jobs == ()
    job = str(bed.slurm.submit("sleep 600", "--hold", "--comment", "a\nState=DOWN"))
    assert [j.id for j in slurm.snapshot().jobs] == [job]
    for weight in (5, 6, 7, 0):
        slurm.set_weight(["n1"], weight)
        assert slurm.snapshot().nodes["n1"].weight == weight
    slurm.cancel(job)
    assert slurm.snapshot().jobs == ()


def test_a_long_list_of_array_tasks_never_costs_the_other_jobs(bed: TestBed) -> None:
    bed.slurm.submit("sleep 600", "--hold", "--array=" + ",".join(str(n * n) for n in range(1, 31)))
    other = str(bed.slurm.submit("sleep 600", "--hold"))
    jobs = way_in(bed).backend.snapshot().jobs
    assert other in {j.id for j in jobs}
    (array,) = (j for j in jobs if j.id != other)
    assert 2 <= array.task_count <= 30


def test_bytes_that_are_no_utf_8_are_read(bed: TestBed) -> None:
    environment = {**os.environ, **bed.slurm.environment}
    subprocess.run(
        [b"sbatch", b"--hold", b"--job-name", b"ev\xffil\x1b[2J", b"--wrap", b"true"],
        env=environment, check=True, capture_output=True, timeout=PATIENCE, cwd=bed.slurm.directory,
    )  # fmt: skip
    assert len(way_in(bed).backend.snapshot().jobs) == 1


def test_a_heterogeneous_job_ends_whole(bed: TestBed) -> None:
    bed.slurm.run(
        "sbatch", "--hold", "--output=/dev/null", "--ntasks=1", ":", "--ntasks=1", "--wrap=sleep 600"
    )
    slurm = way_in(bed).backend
    parts = sorted(j.id for j in slurm.snapshot().jobs)
    assert [part.partition("+")[2] for part in parts] == ["0", "1"]
    slurm.cancel(parts[1])
    wait_for("both ended", lambda: slurm.snapshot().jobs == ())


def test_what_this_slurmrestd_cannot_do_is_said_at_the_start(bed: TestBed, tmp_path: Path) -> None:
    (told,) = way_in(bed).remarks
    assert told.startswith(f"slurmrestd {NEWEST[bed.slurm.release.number]} cannot ")
    assert "make or remove a reservation" in told
    assert ("change nodes" in told) == (bed.slurm.release.number == (22, 5))
    assert told.endswith("Slurm's commands do that")
    alone = way_in(bed, bin_dir=tmp_path)
    assert any(
        "cannot make or remove a reservation, and nothing else can" in remark for remark in alone.remarks
    )
    with pytest.raises(SlurmRefusedError, match=r"cannot make or remove a reservation.*scontrol"):
        alone.backend.remove_reservation("x")
    assert alone.backend.snapshot().nodes["n1"].usable


def test_auto_takes_slurmrestd_where_it_is_configured(bed: TestBed) -> None:
    choice = way_in(bed, backend="auto")
    if choice.name == "pyslurm":
        choice.close()
        pytest.skip("pyslurm works with this cluster, and auto takes it")
    assert choice.name == "rest"
    assert choice.passed_over[0].startswith("not pyslurm: ")
    assert isinstance(choice.backend, RestBackend)


def test_a_controller_that_is_off_is_down_and_comes_back(bed: TestBed) -> None:
    slurm = way_in(bed).backend
    before = slurm.snapshot()
    bed.slurm.stop_slurmctld()
    try:
        with pytest.raises(SlurmDownError):
            slurm.snapshot()
        assert way_in(bed, backend="auto", command_timeout=5).name == "cli"
    finally:
        bed.slurm.start_slurmctld()

    def again() -> bool:
        try:
            seen = slurm.snapshot().nodes
        except SlurmError:
            return False
        return seen["n1"].usable and seen.keys() == before.nodes.keys()

    wait_for("slurmrestd answers", again)


def test_an_agent_whose_slurmrestd_goes_takes_another_way_in(agent, bed: TestBed) -> None:
    link = agent.conf.with_name("rest.socket")
    link.symlink_to(bed.slurm.rest_socket)
    agent.change("[slurm]\n", f'[slurm]\nbackend = "auto"\nrest_url = "unix:{link}"\n')
    agent.start()
    agent.wait_for_log("the way in to Slurm is chosen.*rest")
    assert not agent.said("the way in to Slurm is chosen.*cli")
    link.unlink()
    agent.wait_for_log("another way in to Slurm: cli in place of rest")
    agent.wait_for_log("the way in to Slurm is chosen.*cli")
    wait_for("it has read Slurm", lambda: agent.status().get("said"))


@pytest.fixture
def token_url(bed: TestBed) -> Iterator[str]:
    """A slurmrestd over TCP that takes tokens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    plugins = rest_plugins(bed.slurm.release)
    command = [
        *as_root(bed.slurm.release),
        "slurmrestd",
        "-a",
        "rest_auth/jwt",
        *plugins,
        f"127.0.0.1:{port}",
    ]
    process = subprocess.Popen(
        ["unshare", "--mount", *bed.slurm.release.inside(command)],
        env={
            **os.environ, **bed.slurm.environment, "SLURM_JWT": "daemon",
        },
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def listens() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for("slurmrestd listens", listens)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_without_a_token_nobody_is_let_in(bed: TestBed, token_url: str) -> None:
    slurm = way_in(bed, rest_url=token_url).backend
    with pytest.raises(SlurmRefusedError, match=r"HTTP 401.*rest_token"):
        slurm.snapshot()


def test_a_token_that_is_none_is_refused(bed: TestBed, token_url: str, tmp_path: Path) -> None:
    token = tmp_path / "slurm.jwt"
    token.write_text(NO_TOKEN)
    slurm = way_in(bed, rest_url=token_url, rest_token=token).backend
    with pytest.raises(SlurmError, match=r"rest_token|authentication|Zero Bytes"):
        slurm.snapshot()


@pytest.fixture
def _takes_tokens(bed: TestBed) -> Iterator[None]:
    """A slurmctld that knows the key of the tokens."""
    plugin = re.search(r"PluginDir\s*= (\S+)", bed.slurm.run("scontrol", "show", "config"))
    assert plugin is not None
    looked = ["unshare", "--mount", *bed.slurm.release.inside(["test", "-e", f"{plugin[1]}/auth_jwt.so"])]
    if subprocess.run(looked, timeout=PATIENCE, check=False).returncode != 0:
        pytest.skip("Slurm's auth/jwt is missing (Debian: slurm-wlm-jwt-plugin)")
    key = bed.slurm.directory / "jwt.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(32))
    before = bed.slurm.conf.read_text()
    bed.slurm.conf.write_text(f"{before}AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={key}\n")
    bed.slurm.restart_slurmctld()
    yield
    bed.slurm.conf.write_text(before)
    bed.slurm.restart_slurmctld()
    wait_for("n1 is back", lambda: bed.slurm.node_state("n1") == {"IDLE"})


@pytest.mark.usefixtures("_takes_tokens")
def test_a_token_lets_in_and_a_fresh_one_takes_its_place(
    bed: TestBed, token_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "slurm.jwt"
    file.write_text(NO_TOKEN)
    slurm = way_in(bed, rest_url=token_url, rest_token=file).backend
    with pytest.raises(SlurmRefusedError, match="rest_token"):
        slurm.snapshot()
    for lifespan in (200, 300):
        file.write_text(bed.slurm.run("scontrol", "token", "username=root", f"lifespan={lifespan}"))
        assert sorted(slurm.snapshot().nodes) == ["n1"]
    file.write_text(NO_TOKEN)
    with pytest.raises(SlurmRefusedError, match="rest_token"):
        slurm.snapshot()
