"""A test bed whose Slurm has the parts of contrib/slurm-plugin, built and installed as a site would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from testbed import release
from testbed.up import TestBed
from testbed.waiting import PATIENCE

SOURCE = Path(__file__).parents[3] / "contrib/slurm-plugin"

SITE_SCRIPT = """\
function slurm_job_submit(job, partitions, uid)
    if job.name == "forbidden" then
        slurm.log_user("the site refuses this job")
        return slurm.ERROR
    end
    job.admin_comment = "the site has seen it"
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
"""


Inside = Callable[[Sequence[object]], list[str]]


class Plugged:
    """Slurm with all parts; n1 has the features of both sides, and no job may be requeued unasked.

    Attributes:
        source: where the parts were built.
        etc: directory of slurm.conf.
        table: what the submit policy reads.
        bin: directory of the programs.
        socket: where Slurm's epilog pokes the agent.
    """

    def __init__(self, bed: TestBed, source: Path) -> None:
        self.bed = bed
        self.source = source
        self.etc = bed.slurm.directory
        self.table = bed.slurm.directory / "borrowed"
        self.bin = bed.slurm.directory / "libexec"
        self.socket = bed.slurm.directory / "admin.sock"

    def install(self, *arguments: str) -> str:
        """Run the installer; return what it says."""
        places = {"etc": self.etc, "lib": self.etc / "lib", "bin": self.bin, "table": self.table}
        options = [word for key, value in places.items() for word in (f"--{key}", str(value))]
        done = subprocess.run(
            [self.source / "install.sh", *options, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    def fragment(self, name: str) -> str:
        """Return what the README says under a name (```` ```NAME ````), with the places of the test bed."""
        match = re.search(rf"```{name}\n(.*?)```", (self.source / "README.md").read_text(), re.DOTALL)
        assert match is not None, f"the README has no fragment {name!r}"
        return match[1].replace("/usr/local/libexec/esagent", str(self.etc))

    def write_table(self, **changes: str) -> None:
        """Write the table as the agent would; a key without a value is left out."""
        now = int(time.time())
        lines = {
            "version": "1",
            "feature": "elastic",
            "own_feature": "owned",
            "written": str(now),
            "lease_end": str(now + 7200),
            "notice": "600",
            "requeue": "yes",
        } | changes
        self.table.write_text("".join(f"{key} {value}\n" for key, value in lines.items() if value))
        self.reread()

    def reread(self) -> None:
        """Have slurmctld load its script anew, and with it the table: it looks for another time stamp."""
        script = self.etc / "job_submit.lua"
        later = script.stat().st_mtime + 2
        os.utime(script, (later, later))

    def run(self, *command: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Run a command of a user."""
        return subprocess.run(
            command,
            env={**os.environ, **self.bed.slurm.environment},
            cwd=self.etc,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def sbatch(self, *options: str) -> tuple[dict[str, str], str]:
        """Submit a held job; return its fields and what the user was told. A refused job has no fields."""
        done = self.run("sbatch", "--parsable", "--hold", *options, "--wrap=true")
        return (self.job(done.stdout.strip()) if done.returncode == 0 else {}), done.stderr

    def job(self, job: str) -> dict[str, str]:
        """Return the fields of a job as scontrol(1) shows them."""
        text = self.bed.slurm.run("scontrol", "-o", "show", "job", job)
        return {key: value.strip() for key, value in re.findall(r"(\S+?)=(.*?)(?= \S+?=|$)", text)}


@pytest.fixture(scope="session")
def inside() -> Inside:
    """Put a command where it finds the release of the tests, and what was built there."""
    found = release.find_release(release.wanted())
    enter = [] if found.is_own else ["unshare", "--mount"]
    return lambda command: [*enter, *found.inside([str(word) for word in command])]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, inside: Inside) -> Path:
    """All parts, built by the Makefile with the compiler and the headers of the release."""
    source = tmp_path_factory.mktemp("plugin") / "slurm-plugin"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("build"))
    prefix = release.wanted()
    headers = [f"SLURM_CFLAGS=-I{prefix}/include"] if prefix and (prefix / "include/slurm").exists() else []
    command = inside(["make", "--silent", "CC=gcc", "CFLAGS=-O2 -g -Werror", *headers])
    subprocess.run(command, cwd=source, check=True, timeout=PATIENCE)
    return source


@pytest.fixture(scope="session")
def has_lua(bed: TestBed, inside: Inside) -> bool:
    """Whether this Slurm has the plugin that asks job_submit.lua; a build of one's own may lack it."""
    found = re.search(r"(?m)^PluginDir\s*= (\S+)", bed.slurm.run("scontrol", "show", "config"))
    assert found is not None, "scontrol tells no PluginDir"
    look = inside(["test", "-e", f"{found[1]}/job_submit_lua.so"])
    return subprocess.run(look, check=False, timeout=PATIENCE).returncode == 0


@pytest.fixture
def lua(has_lua: bool) -> None:
    """For tests of the submit policy."""
    if not has_lua:
        pytest.skip("this Slurm was built without job_submit/lua")


@pytest.fixture(scope="module")
def plugged(bed: TestBed, built: Path, has_lua: bool) -> Iterator[Plugged]:
    """The test bed with all parts; afterwards its slurm.conf is what it was."""
    slurm = bed.slurm
    conf = slurm.conf.read_text()
    plugged = Plugged(bed, built)
    (plugged.etc / "job_submit.lua").write_text(SITE_SCRIPT)
    plugged.install("job-submit", "poke", "orphan", "spank")
    plugged.write_table()
    # Slurm runs them without an environment, and nothing of the test bed is at its usual place.
    write_program(plugged.etc / "esagent-poke", f"ESAGENT_SOCKET={plugged.socket} {plugged.bin}/esagent-poke")
    write_program(plugged.etc / "esagent-orphan", f"SLURM_CONF={slurm.conf} {plugged.bin}/esagent-orphan")
    text = conf.replace("CPUs=2 Weight=0", "CPUs=2 Weight=0 Feature=owned,elastic")
    fragment = plugged.fragment("slurm.conf").replace("Feature=elastic", "Feature=elastic,cloudlab")
    fragment = fragment.replace("HealthCheckInterval=60", "HealthCheckInterval=1")
    if not has_lua:
        fragment = fragment.replace("JobSubmitPlugins=lua\n", "")
    slurm.conf.write_text(f"{text}JobRequeue=0\nPlugStackConfig={plugged.etc}/plugstack.conf\n{fragment}")
    restart(bed)
    yield plugged
    for job in slurm.run("squeue", "-h", "-o", "%A").split():
        slurm.run("scancel", job)
    slurm.wait_until_idle()
    plugged.install("--uninstall", "job-submit", "poke", "orphan", "spank")
    (plugged.etc / "job_submit.lua").unlink()
    slurm.conf.write_text(conf)
    restart(bed)


def write_program(path: Path, command: str) -> None:
    """Write a program that runs a shell command with what it is given."""
    path.write_text(f'#!/bin/sh\n{command} "$@"\n')
    path.chmod(0o755)


def restart(bed: TestBed) -> None:
    """Have slurmctld and the permanent node read slurm.conf anew."""
    bed.slurm.restart_slurmctld()
    bed.machines.power_off("n1")
    bed.slurm.start_permanent_node()
