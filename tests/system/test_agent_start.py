"""SIGTERM while the daemon starts: it is heard, whatever the start waits for."""

from __future__ import annotations

import signal
from pathlib import Path

from testbed.up import TestBed
from testbed.waiting import wait_for


def test_sigterm_ends_a_daemon_that_waits_for_a_profile_script(agent, tmp_path: Path) -> None:
    script, begun = tmp_path / "profile.py", tmp_path / "begun"
    script.write_text(f"import time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(3600)\n")
    agent.change("[request]\n", f'[request]\nprofile_script = "{script}"\nprofile_timeout = "1h"\n')
    agent.launch()
    wait_for("the script runs", begun.exists)
    assert agent.stop(signal.SIGTERM) == 0


def test_sigterm_ends_a_daemon_that_starts_while_slurm_hangs(agent, bed: TestBed, tmp_path: Path) -> None:
    commands, begun = tmp_path / "bin", tmp_path / "begun"
    commands.mkdir()
    for name in ("scontrol", "squeue", "sinfo", "sbatch", "scancel"):
        program = commands / name
        program.write_text(f"#!/bin/sh\ntouch {begun}\nexec sleep 3600\n")
        program.chmod(0o755)
    if bed.slurm.bin_dir is not None:
        agent.change(f'bin_dir = "{bed.slurm.bin_dir}"\n', "")
    agent.change("[slurm]\n", f'[slurm]\nbin_dir = "{commands}"\n')
    agent.launch()
    wait_for("it asks Slurm", begun.exists)
    assert agent.stop(signal.SIGTERM) == 0


def test_sigterm_ends_a_daemon_that_starts_while_cloudlab_hangs(agent, bed: TestBed) -> None:
    bed.cloudlab.fault("*", "silent", 1_000_000, seconds=600)
    agent.launch()
    wait_for("it asks Cloudlab", lambda: bed.cloudlab.journal.faults(fault="silent"))
    assert agent.stop(signal.SIGTERM) == 0
