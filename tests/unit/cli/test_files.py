"""`esagent files`: what comes with the program is found, however it was installed."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.cli import files

ROOT = Path(__file__).parents[3]
ESAGENT = Path(sys.executable).with_name("esagent")
CODE = "lib/python3.11/site-packages/agent/cli/about.py"
DEBIAN = {
    "agent.conf.example": "share/doc/esagent/agent.conf.example",
    "contrib/systemd/esagent.service": "lib/systemd/system/esagent.service",
    "contrib/prometheus/esagent.rules.yml": "share/esagent/prometheus/esagent.rules.yml",
    "contrib/grafana/esagent.json": "share/esagent/grafana/esagent.json",
    "contrib/slurm-plugin": "share/esagent/slurm-plugin",
    "contrib/cloudlab-profile": "share/esagent/cloudlab-profile",
    "contrib/geni-lib": "share/esagent/geni-lib",
    "docs/man/esagent.1": "share/man/man1/esagent.1.gz",
    "docs/man/agent.conf.5": "share/man/man5/agent.conf.5.gz",
    "contrib/completion/esagent": "share/bash-completion/completions/esagent",
}
"""A file of the clone -> its place under /usr; tests/packaging looks at the package itself."""


def shared_data() -> dict[str, str]:
    """Return what the wheel carries: a place in the clone -> its place under the prefix."""
    with (ROOT / "pyproject.toml").open("rb") as project:
        wheel = tomllib.load(project)["tool"]["hatch"]["build"]["targets"]["wheel"]
    return dict(wheel["shared-data"])


def lay_out(places: dict[str, str], prefix: Path) -> None:
    for source, place in places.items():
        target = prefix / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target)
        else:
            shutil.copy(ROOT / source, target)


def test_a_clone_has_all_of_them() -> None:
    assert files.find(ROOT / "agent/cli/about.py") == {
        what: ROOT / places[0] for what, places in files.PLACES.items()
    }


@pytest.mark.parametrize(
    ("places", "code"),
    [(shared_data(), CODE), (DEBIAN, f"lib/esagent/{CODE}")],
    ids=["a wheel", "Debian's package"],
)
def test_an_installation_has_all_of_them_under_its_prefix(
    tmp_path: Path, places: dict[str, str], code: str
) -> None:
    lay_out(places, tmp_path)

    found = files.find(tmp_path / code)

    assert found.keys() == files.PLACES.keys()
    for what, path in found.items():
        assert path.is_relative_to(tmp_path)
        source = ROOT / files.PLACES[what][0]
        assert path.is_dir() if source.is_dir() else path.read_bytes() == source.read_bytes()


def test_they_are_a_table_for_people_and_an_object_for_programs() -> None:
    def told(*options: str) -> str:
        command = [ESAGENT, "files", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    head, first, *_ = told().splitlines()
    assert head.split() == ["WHAT", "PATH"]
    assert first.split() == ["settings", str(ROOT / "agent.conf.example")]
    answer = json.loads(told("--json"))
    assert (answer["version"], answer["kind"]) == (1, "files")
    assert answer["files"][0] == {"what": "settings", "path": str(ROOT / "agent.conf.example")}


def test_a_program_that_none_came_with_says_so(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    script = "import sys; from agent.cli import main; sys.argv = ['esagent', 'files']; main()"

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONSAFEPATH": "", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("esagent: what comes with esagent is in no directory above ")
    assert done.stderr.count("\n") == 1
