"""What the submit policy of contrib/slurm-plugin costs slurmctld at each submission.

``python -m bench.submit_policy`` submits held jobs to a slurmctld of its own: without a job_submit plugin,
with a script that does nothing, and with ours. Blocks take turns, so that what else the machine does meets
all alike. The CPU time of slurmctld tells a cost also where other processes make each submission wait.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench.cluster import running
from testbed.told import faults_told

SOURCE = Path(__file__).parent.parent / "contrib/slurm-plugin"
_EMPTY = """\
function slurm_job_submit(job, partitions, uid) return slurm.SUCCESS end
function slurm_job_modify(job, record, partitions, uid) return slurm.SUCCESS end
return slurm.SUCCESS
"""
WAYS = ("no plugin", "a script that does nothing", "esagent's script")


@faults_told("bench.submit_policy")
def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="submissions each way (10000)")
    parser.add_argument("--blocks", type=int, default=10, help="in so many blocks (10)")
    arguments = parser.parse_args()
    block = arguments.jobs // arguments.blocks
    seconds = dict.fromkeys(WAYS, 0.0)
    cpu = dict.fromkeys(WAYS, 0.0)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        program = directory / "submit_jobs"
        source = Path(__file__).with_name("submit_jobs.c")
        gcc = ["gcc", "-O2", "-o", str(program), str(source), "-lslurm"]
        subprocess.run(gcc, check=True, timeout=120)
        for number in range(arguments.blocks):
            first = number % len(WAYS)
            for way in WAYS[first:] + WAYS[:first]:
                place = directory / f"{number}-{WAYS.index(way)}"
                place.mkdir()
                taken, used = submit(place, way, program, block)
                seconds[way] += taken
                cpu[way] += used
    count = block * arguments.blocks
    print(f"load {os.getloadavg()[0]:.1f}, {count} jobs each way, in ms a job")
    for way in WAYS:
        waited, used = (total[way] / count * 1e3 for total in (seconds, cpu))
        more = (cpu[way] - cpu[WAYS[0]]) / count * 1e3
        print(f"{way:28} waited {waited:7.3f}  slurmctld's CPU {used:7.3f} ({more:+.3f})")


def submit(directory: Path, way: str, program: Path, count: int) -> tuple[float, float]:
    """Submit to a fresh slurmctld; return the seconds that it took, and the CPU seconds of slurmctld."""
    with running(directory, nodes=10) as cluster:
        with cluster.conf.open("a") as conf:
            # So that the record of a job tells which script it met.
            conf.write("JobRequeue=0\n" + ("" if way == WAYS[0] else "JobSubmitPlugins=lua\n"))
        if way != WAYS[0]:
            write_script(directory, ours=way == WAYS[2])
        cluster.run("scontrol", "reconfigure")
        before = cpu_seconds(directory)
        done = subprocess.run(
            [program, str(count)],
            env=cluster.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        used = cpu_seconds(directory) - before
        asked = "Requeue=1" in cluster.run("scontrol", "-o", "show", "job", "1")
        assert asked is (way == WAYS[2]), f"{way}: the job came out otherwise than this script has it"
    return float(done.stdout), used


def cpu_seconds(directory: Path) -> float:
    """Return what slurmctld has used, as the kernel counts it (``proc(5)``: utime and stime)."""
    number = (directory / "slurmctld.pid").read_text().strip()
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_script(directory: Path, *, ours: bool) -> None:
    """Write what slurmctld asks."""
    script = directory / "job_submit.lua"
    if ours:
        table = directory / "borrowed"
        now = int(time.time())
        table.write_text(
            f"version 1\nfeature small\nown_feature gpu\npartitions main\nwritten {now + 3600}\n"
            f"lease_end {now + 7200}\nnotice 600\nrequeue yes\n"
        )
        shutil.copy(SOURCE / "esagent_submit.lua", directory)
        text = (SOURCE / "job_submit.lua").read_text()
        script.write_text(text.replace("@SLURM_ETC@", str(directory)).replace("@TABLE@", str(table)))
    else:
        script.write_text(_EMPTY)


if __name__ == "__main__":
    main()
