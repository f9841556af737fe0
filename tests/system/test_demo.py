"""``make demo``: the main job, end to end, as it is shown to people."""

import json
import subprocess
import sys

import pytest


def test_every_claim_of_the_demo_holds(tmp_path_factory: pytest.TempPathFactory) -> None:
    # A test bed lives in a directory with a short path.
    out = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "testbed.demo", "--out", out],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    written = out / "claims.json"
    assert written.exists(), done.stdout + done.stderr
    claims = json.loads(written.read_text())
    assert [c for c in claims if not c["ok"]] == []
    assert len(claims) >= 18
    assert done.returncode == 0, done.stdout + done.stderr
