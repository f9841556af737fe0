"""No program that was started outlives the process."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import subprocess, sys
from agent.core import children

def start(command):
    child = subprocess.Popen(["sh", "-c", command], start_new_session=True)
    children.adopt(child)
    return child

over = start("true")
over.wait()
first = start("sleep 1000 & wait")
children.end_all()
late = start("sleep 1000")
print(over.returncode, first.wait(), late.wait())
"""


def test_all_that_run_and_all_that_come_later_are_killed_at_the_end() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == ["0", str(-signal.SIGKILL), str(-signal.SIGKILL)]
