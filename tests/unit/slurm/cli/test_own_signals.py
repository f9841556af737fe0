"""Which signals jobs asked for, through Slurm's commands."""

from pathlib import Path

import pytest

from agent.core.errors import SlurmDownError
from agent.slurm.model import OwnSignal, SignalTarget
from tests.unit.slurm.cli.conftest import backend

WRITES = r"""
if [ "$1" = write ]; then case $3 in
    7|9_*) printf '#!/bin/sh\n#SBATCH --signal=B:USR1@30\n';;
    8) printf '#!/bin/sh\n';;
    *) echo 'job script retrieval failed: Invalid job id specified' >&2; exit 1;;
esac; fi
"""
OWN = OwnSignal("USR1", 30, SignalTarget.BATCH)


def test_a_script_is_read_once_for_all_tasks_of_its_array(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    slurm = backend(tmp_path, scontrol=f"echo $3 >> {asked}; {WRITES}")
    (tmp_path / "sacct").unlink(missing_ok=True)
    assert slurm.own_signals(["7", "8", "9_1", "9_2", "99"]) == {"7": OWN, "9_1": OWN, "9_2": OWN}
    assert len(asked.read_text().split()) == 4


def test_a_job_without_a_script_asked_where_its_submission_says_so(tmp_path: Path) -> None:
    shows = (
        r"""if [ "$1" = show ]; then printf '   JobState=RUNNING\n   SubmitLine=salloc --signal=URG\n'; fi"""
    )
    slurm = backend(tmp_path, scontrol=f"{WRITES}{shows}", release="25.11.2")
    assert slurm.own_signals(["99"]) == {"99": OwnSignal("URG", 60, SignalTarget.STEPS)}


def test_before_that_release_slurms_accounts_say_so(tmp_path: Path) -> None:
    slurm = backend(tmp_path, scontrol=WRITES)
    script = tmp_path / "sacct"
    script.write_text(
        """#!/bin/sh
for word; do case $word in --delimiter=*) mark=${word#*=};; esac; done
echo "7${mark}sbatch --signal=URG@9 x"; echo "9_1${mark}sbatch x"; echo "told on two lines"
"""
    )
    script.chmod(0o755)
    assert slurm.own_signals(["7", "9_1"]) == {"7": OwnSignal("URG", 9, SignalTarget.STEPS), "9_1": OWN}


def test_a_controller_that_does_not_answer_is_no_job_without_a_signal(tmp_path: Path) -> None:
    slurm = backend(tmp_path, scontrol="echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SlurmDownError):
        slurm.own_signals(["7"])
