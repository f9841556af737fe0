"""Reading sbatch's ``--signal``: each reading below is that of a real sbatch of 22.05 and of 24.11."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.slurm.model import OwnSignal, SignalTarget
from agent.slurm.own_signal import own_signal, parse_option

BATCH, STEPS = SignalTarget.BATCH, SignalTarget.STEPS


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("USR1", OwnSignal("USR1", 60, STEPS)),
        ("B:USR1@100", OwnSignal("USR1", 100, BATCH)),
        ("b:sigusr1@100", OwnSignal("USR1", 100, BATCH)),
        ("RB:TERM@9", OwnSignal("TERM", 9, BATCH)),
        ("BR:TERM@9", OwnSignal("TERM", 9, BATCH)),
        ("R:TERM@9", OwnSignal("TERM", 9, STEPS)),
        (":USR1@4", OwnSignal("USR1", 4, STEPS)),
        ("12@5", OwnSignal("12", 5, STEPS)),
        ("USR1@0", OwnSignal("USR1", 0, STEPS)),
        ("USR1@", OwnSignal("USR1", 0, STEPS)),
        ("USR1@+5", OwnSignal("USR1", 5, STEPS)),
        ("KILL@65535", OwnSignal("KILL", 65535, STEPS)),
        ("KILL@65536", None),
        ("USR1@x", None),
        ("5x@1", None),
        ("BUS", None),
        ("RTMIN", None),
        ("", None),
    ],
)
def test_a_signal_is_read_with_its_time_and_to_whom_it_goes(said: str, expected: OwnSignal | None) -> None:
    assert parse_option(said) == expected


@pytest.mark.parametrize(
    "head",
    [
        "#SBATCH --signal=USR1@7",
        "#SBATCH --signal USR1@7",
        "#SBATCH --si=USR1@7",
        "#SBATCH--signal=USR1@7",
        "#SLURM --signal=USR1@7",
        '#SBATCH "--signal=USR1@7"  # why',
        "#SBATCH --signal='USR1'@7 --time=5",
        "#SBATCH --signal=\\U\\SR1@7",
        "# said\n\n  # more\n#SBATCH -n1 --signal=USR1@7",
        "#SBATCH --exclusive --signal=USR1@7",
        "#SBATCH --hold --nice --nodes 1 -n 1 -s --signal=USR1@7",
        "#SBATCH -Hn 1 --signal=USR1@7",
        "#SBATCH --signal=USR2@4\n#SBATCH --signal=USR1@7",
        "#SBATCH --signal=USR1@7\n#SBATCH hetjob\n#SBATCH --signal=USR2",
    ],
)
def test_a_script_asks_in_its_first_comments_as_sbatch_reads_them(head: str) -> None:
    assert own_signal(f"#!/bin/sh\n{head}\nsleep 1\n") == OwnSignal("USR1", 7, STEPS)


@pytest.mark.parametrize(
    "head",
    [
        "echo\n#SBATCH --signal=USR1",
        " #SBATCH --signal=USR1",
        "#SBATCH # --signal=USR1",
        "#SBATCH --comment --signal=USR1",
        "#SBATCH --comment='--signal=USR1'",
        "#SBATCH -J --signal=USR1",
        "#SBATCH hetjob\n#SBATCH --signal=USR1",
        "#SBATCH --signal=BUS",
        "#SBATCH --signal",
        "# --signal=USR1",
    ],
)
def test_what_sbatch_reads_as_no_signal_is_none(head: str) -> None:
    assert own_signal(f"#!/bin/sh\n{head}\nsleep 1\n") is None


SCRIPT = "#!/bin/sh\n#SBATCH --signal=USR1@7\nsleep 1\n"
WRAPPED = "#!/bin/sh\n# This script was created by sbatch --wrap.\n\nsrun x --signal=TERM@1\n"


@pytest.mark.parametrize(
    ("script", "line", "expected"),
    [
        (SCRIPT, "sbatch --signal=B:USR2@9 -n 1 job.sh", OwnSignal("USR2", 9, BATCH)),
        (SCRIPT, "/usr/bin/sbatch -n 1 --exclusive job.sh --signal=TERM", OwnSignal("USR1", 7, STEPS)),
        (SCRIPT, "sbatch job.sh", OwnSignal("USR1", 7, STEPS)),
        (WRAPPED, "sbatch --wrap srun x --signal=TERM@1 --signal=USR2@9", OwnSignal("USR2", 9, STEPS)),
        (WRAPPED, "sbatch --wrap=srun x --signal=TERM@1", None),
        ("", "salloc --signal=USR1@30 -n1 bash --signal=TERM", OwnSignal("USR1", 30, STEPS)),
        ("", "srun -n1 prog --signal=TERM", None),
        ("", "sbatch", None),
    ],
)
def test_the_line_of_the_submission_wins_and_what_the_job_runs_is_none_of_it(
    script: str, line: str, expected: OwnSignal | None
) -> None:
    assert own_signal(script, line) == expected


@given(
    st.sampled_from(["USR1", "TERM", "URG", "10"]), st.integers(0, 65535), st.sampled_from(["", "B:", "RB:"])
)
def test_what_sbatch_prints_is_read_back(signal: str, lead: int, to: str) -> None:
    asked = f"{to}{signal}@{lead}"
    expected = OwnSignal(signal, lead, BATCH if "B" in to else STEPS)
    assert own_signal(f"#!/bin/sh\n#SBATCH -n1 --signal={asked} # x\n") == expected
    assert own_signal("", f"sbatch --signal {asked} job.sh") == expected


@given(st.text(), st.text())
def test_whatever_a_script_holds_is_read_or_is_none(script: str, line: str) -> None:
    for text in (script, f"#SBATCH {script}", f"#SBATCH --signal={script}"):
        found = own_signal(text, line)
        assert found is None or 0 <= found.lead <= 65535
