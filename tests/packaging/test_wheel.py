"""The wheel, as pip makes it of a clone and of the source archive."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]


def build(kind: str, tree: Path, out: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", out]
    subprocess.run(command, cwd=tree, check=True, timeout=120, capture_output=True)
    (made,) = out.iterdir()
    return made


def test_the_source_archive_makes_the_wheel_that_a_clone_makes(tmp_path: Path) -> None:
    wheel = build("wheel", ROOT, tmp_path / "wheel")
    archive = build("sdist", ROOT, tmp_path / "sdist")
    shutil.unpack_archive(archive, tmp_path)

    again = build("wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "again")

    assert again.read_bytes() == wheel.read_bytes()


def test_the_wheel_carries_programs_as_programs(tmp_path: Path) -> None:
    with ZipFile(build("wheel", ROOT, tmp_path)) as wheel:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in wheel.infolist()}

    (data,) = {name.partition("/")[0] for name in modes if ".data/" in name}
    plugin = f"{data}/data/share/esagent/slurm-plugin"
    geni_lib = f"{data}/data/share/esagent/geni-lib"
    profile = f"{data}/data/share/esagent/cloudlab-profile"
    assert {name for name, mode in modes.items() if mode & 0o111} == {
        f"{plugin}/install.sh",
        f"{plugin}/esagent-orphan",
        f"{geni_lib}/install.sh",
        f"{profile}/setup",
        f"{profile}/join",
    }
    assert not [name for name in modes if name.startswith(f"{plugin}/build")]
