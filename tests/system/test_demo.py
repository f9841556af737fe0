"""``make demo``: the main job, end to end, as it is shown to people."""

import json
import subprocess
import sys
from pathlib import Path


def test_every_claim_of_the_demo_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed.demo", "--out", tmp_path / "demo"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    claims = json.loads((tmp_path / "demo" / "claims.json").read_text())
    assert [c for c in claims if not c["ok"]] == []
    assert len(claims) >= 18
    assert done.returncode == 0, done.stdout + done.stderr
