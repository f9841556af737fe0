"""How jobs ended, and what is written into them, through every way in to a real Slurm."""

from __future__ import annotations

import pytest

from agent.core.errors import SlurmRefusedError
from agent.slurm.model import SlurmBackend
from testbed.up import TestBed
from testbed.waiting import wait_for

NODES = ("pc910", "pc911")
pytestmark = pytest.mark.usefixtures("nodes_as_found")
ON = f"--nodelist={NODES[0]}"
USR1 = 10


def test_how_jobs_of_every_kind_ended_is_told_alike(bed: TestBed, ways_in: dict[str, SlurmBackend]) -> None:
    slurm, one = bed.slurm, ("--ntasks=1", ON)
    up = slurm.directory / "up"
    lasts = f"touch {up}-$SLURM_JOB_ID; exec sleep 600"
    died, step = slurm.submit(lasts, *one), slurm.submit("sh -c 'kill -USR1 $$'; exit $?", *one)
    good, bad = slurm.submit("true", *one), slurm.submit("exit 3", *one)
    hidden = slurm.submit("srun --overlap sh -c 'kill -USR1 $$' || exit 1", *one)
    array = slurm.submit("exec sleep 600", "--array=1-2", "--ntasks=1", f"--nodelist={NODES[1]}")
    two = ("--ntasks=1", ON, ":", "--ntasks=1", "--nodelist=n1")
    hetero = int(slurm.run("sbatch", "--parsable", "--output=/dev/null", *two, f"--wrap={lasts}"))

    def runs(job: int) -> None:
        # A signal that comes before the script has begun is lost.
        wait_for(f"the script of job {job}", (up.parent / f"{up.name}-{job}").exists)

    runs(died)
    slurm.run("scancel", "--signal=USR1", "--full", str(died))
    again = slurm.submit("sleep 600", "--ntasks=1", ON)
    for job in (array, hetero, again):
        slurm.wait_for_job(job, "RUNNING")
    runs(hetero)
    slurm.run("scancel", "--signal=USR1", "--full", str(hetero))
    slurm.run("scancel", f"{array}_1")
    slurm.run("scontrol", "requeue", str(again))
    asked = [
        str(died),
        str(step),
        str(good),
        str(bad),
        str(hidden),
        f"{array}_1",
        f"{array}_2",
        str(hetero),
        str(again),
        "99999",
    ]
    for name, backend in ways_in.items():

        def told(backend: SlurmBackend = backend) -> bool:
            ends = backend.endings(asked)
            over = (str(died), str(step), str(hidden), f"{array}_1", f"{hetero}+0", f"{hetero}+1")
            return all(ends[job].is_over for job in over) and ends[str(again)].state == "PENDING"

        wait_for(f"all ends through {name}", told)
        ends = backend.endings(asked)
        assert "99999" not in ends
        assert (ends[str(died)].state, ends[str(died)].signal) == ("FAILED", USR1), name
        assert (ends[str(step)].state, ends[str(step)].exit_code) == ("FAILED", 128 + USR1), name
        assert (ends[str(good)].state, ends[str(good)].exit_code) == ("COMPLETED", 0), name
        assert (ends[str(bad)].state, ends[str(bad)].exit_code) == ("FAILED", 3), name
        assert (ends[str(hidden)].exit_code, ends[str(hidden)].step_signal) == (1, USR1), name
        assert ends[f"{array}_1"].state == "CANCELLED", name
        assert (ends[f"{array}_2"].state, ends[f"{array}_2"].ended) == ("RUNNING", None), name
        assert ends[f"{hetero}+0"].signal == USR1, name
        assert ends[str(again)].restarts == 1, name
        assert ends[str(good)].ended is not None


def test_comments_come_and_go_to_the_letter(bed: TestBed, each_way_in: SlurmBackend) -> None:
    array = bed.slurm.submit("sleep 600", "--array=1-2", "--hold")
    single = bed.slurm.submit("sleep 600", "--ntasks=1", ON)
    bed.slurm.wait_for_job(single, "RUNNING")
    job = str(single)
    for text in (
        "a|b<c>",
        "two\nlines\n",
        "'quoted'",
        '"',
        "  spaces  ",
        "tab\t[esagent: x]",
        "é ü",
        "(a, b)",
    ):
        assert each_way_in.comment_all([job], text) == {}
        assert each_way_in.comments([job, f"{array}_1", "99999"]) == {job: text}
    assert each_way_in.comment_all([job], "") == {}
    assert each_way_in.comments([job]) == {}
    bed.slurm.run("scancel", job, str(array))
    bed.slurm.wait_for_job(single, "CANCELLED")
    with pytest.raises(SlurmRefusedError):
        raise each_way_in.comment_all([job], "too late")[job]
