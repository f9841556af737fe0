"""What the daemon costs slurmctld, counted by slurmctld itself."""

from __future__ import annotations

import re

from testbed.up import TestBed
from testbed.waiting import wait_for


def requests(bed: TestBed) -> dict[str, int]:
    """Count the requests to slurmctld since the last ``sdiag --reset``, by type, without those of sdiag."""
    told = bed.slurm.run("sdiag").partition("Remote Procedure Call statistics by message type")[2]
    by_type = told.partition("Remote Procedure Call statistics by user")[0]
    listed = re.findall(r"((?:REQUEST|MESSAGE)_\w+)\s+\( *\d+\) count:(\d+)", by_type)
    return {name: int(count) for name, count in listed if name != "REQUEST_STATS_INFO"}


def test_a_cycle_of_the_daemon_is_three_requests(agent, bed: TestBed) -> None:
    agent.start()
    agent.let_it_look_again()
    bed.slurm.run("sdiag", "--reset")
    wait_for("ten cycles", lambda: requests(bed).get("REQUEST_JOB_INFO", 0) >= 10)
    counted = requests(bed)
    # A cycle may be under way at either end, and slurmd has its own word with slurmctld.
    counted.pop("MESSAGE_NODE_REGISTRATION_STATUS", None)
    assert sum(counted.values()) <= 3 * (counted["REQUEST_JOB_INFO"] + 2), counted
