"""The environment of Slurm's own programs."""

from agent.slurm.environment import clean_environment


def test_variables_that_change_the_output_are_dropped() -> None:
    found = clean_environment(
        {
            "PATH": "/bin",
            "SQUEUE_FORMAT": "x",
            "SLURM_TIME_FORMAT": "y",
            "SLURM_CONF": "/a",
            "LC_ALL": "de_DE",
        }
    )
    assert found == {
        "PATH": "/bin", "SLURM_CONF": "/a", "LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s",
        "SLURM_BITSTR_LEN": "0",
    }  # fmt: skip
