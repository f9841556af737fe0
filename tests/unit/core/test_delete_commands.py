"""Shell commands of a helper: one after the other, in time, and whatever they print."""

import time
from pathlib import Path

from agent.core.notices.commands import run_commands


def test_each_command_runs_after_the_one_before(tmp_path):
    out = tmp_path / "out"
    assert run_commands([f"sleep 0.1; echo 1 >> {out}", f"echo 2 >> {out}"], timeout=30, subject="pc1") == ""
    assert out.read_text() == "1\n2\n"


def test_a_fault_is_told_and_the_rest_still_runs(tmp_path):
    fault = run_commands(["exit 7", f"touch {tmp_path / 'ran'}"], timeout=30, subject="pc1")
    assert "status 7" in fault
    assert (tmp_path / "ran").exists()


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path):
    pid = tmp_path / "pid"
    fault = run_commands([f"sleep 60 & echo $! > {pid}; wait", "true"], timeout=0.5, subject="pc1")
    assert "killed" in fault
    child = int(pid.read_text())
    end = time.monotonic() + 10
    while _state(child) != "Z":
        assert time.monotonic() < end


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"


def test_a_child_that_goes_on_in_the_background_holds_nobody_up():
    assert run_commands(["sleep 3 &"], timeout=30, subject="pc1") == ""


def test_a_command_that_cannot_be_one_is_told():
    assert "cannot be started" in run_commands(["a\0b"], timeout=5, subject="pc1")


def test_any_amount_of_output_is_taken():
    assert run_commands(["head -c 3000000 /dev/urandom"], timeout=30, subject="pc1") == ""
