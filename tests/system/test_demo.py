"""``make demo``: the main job, end to end, as it is shown to people."""

import json
import subprocess
import sys

import pytest

from testbed.waiting import PATIENCE, wait_for


@pytest.mark.timeout(900)
def test_every_claim_of_the_demo_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    # A test bed lives in a directory with a short path.
    out = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "testbed.demo", "--out", out],
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    written = out / "claims.json"
    assert written.exists(), done.stdout + done.stderr
    claims = json.loads(written.read_text())
    assert [c for c in claims if not c["ok"]] == []
    assert len(claims) >= 18
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_agent_of_a_demo_that_is_killed_ends_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "testbed.demo", "--out", out]

    def agents() -> list[str]:
        look = ["pgrep", "-f", f"esagent run --config {out}"]
        return subprocess.run(
            look, capture_output=True, text=True, timeout=PATIENCE, check=False
        ).stdout.split()

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as demo:
        log = out / "agent.log"
        wait_for("its agent", lambda: log.exists() and "the agent is up" in log.read_text())
        assert agents()
        demo.kill()
    wait_for("the end of its agent", lambda: not agents())
