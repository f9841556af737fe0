"""A run that is killed leaves no process and no mount; the next one removes its files, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from testbed.nspawn import remove_dead
from testbed.registry import start_time
from testbed.waiting import wait_for
from tests.packaging.conftest import HEAD

ROOT = Path(__file__).parents[2]
_RUN = """\
import sys
from pathlib import Path
from testbed.nspawn import CleanMachine, place_of_run

with place_of_run() as place:
    machine = CleanMachine(place, "killed", Path(sys.argv[1]))
    machine.boot()
    machine.run("touch", "/root/was-here")
    print(place, *machine.pids, flush=True)
    sys.stdin.read()
"""


def test_its_machines_end_with_it_and_its_files_go_with_the_next_run(place: Path) -> None:
    (place / "precious").touch()
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as run:
        assert run.stdout is not None
        left, *pids = run.stdout.readline().split()
        assert (Path(left) / "killed/layer/root/was-here").exists()
        run.kill()
    wait_for("the end of its machine", lambda: not any(start_time(int(pid)) for pid in pids))
    assert left not in Path("/proc/self/mountinfo").read_text()
    assert left not in Path("/proc/1/mountinfo").read_text()

    remove_dead(place.parent)

    assert not Path(left).exists()
    assert not any(Path("/run/systemd/nspawn/propagate").glob(f"*{Path(left).name}*"))
    assert (place / "precious").exists()
