"""Where the test bed finds another release of Slurm, and how its tests are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed import release
from testbed.registry import BedError
from testbed.release import Release
from testbed.releases import Outcome

REPORT = """\
<testsuites><testsuite>
<testcase classname="tests.system.test_slurm_cli" name="test_one" time="1"/>
<testcase classname="tests.system.test_slurm_cli" name="test_two[a]"><failure>x</failure></testcase>
<testcase classname="tests.system.test_demo" name="test_three"><error>x</error></testcase>
<testcase classname="tests.system.test_demo" name="test_four"><skipped message="no pyslurm"/></testcase>
<testcase classname="tests.system.test_demo" name="test_five"><skipped message="no pyslurm"/></testcase>
</testsuite></testsuites>
"""


def test_the_machines_own_release_changes_no_command() -> None:
    assert Release("22.05.8", "true").inside(["squeue", "-h"]) == ["squeue", "-h"]


def test_another_release_lies_over_usr_when_the_command_starts() -> None:
    inside = Release("24.11.5", "mount --bind /x/usr /usr").inside(["squeue", "-h"])
    assert inside == ["sh", "-c", 'mount --bind /x/usr /usr && exec "$0" "$@"', "squeue", "-h"]


def test_releases_compare_as_numbers() -> None:
    assert Release("24.11.5", "true").number == (24, 11)
    assert Release("9.08.1", "true").number < Release("22.05.8", "true").number


def test_a_debian_tree_is_bound_and_a_prefix_laid_over(tmp_path: Path) -> None:
    tree, prefix = tmp_path / "tree", tmp_path / "prefix"
    (tree / "usr/sbin").mkdir(parents=True)
    (tree / "usr/sbin/slurmctld").symlink_to("/nowhere/slurmctld")
    (prefix / "sbin").mkdir(parents=True)
    (prefix / "sbin/slurmctld").touch()
    assert release._mount(tree) == f"mount --bind {tree}/usr /usr"
    assert f"lowerdir={prefix}/sbin:/usr/sbin" in release._mount(prefix)


@pytest.mark.parametrize("name", ["empty", "with a space", "with:colon", "$HOME"])
def test_a_directory_that_cannot_serve_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(BedError, match=name.replace("$", r"\$")):
        release._mount(tmp_path / name)


def test_an_empty_variable_names_no_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(release.VARIABLE, "")
    assert release.wanted() is None
    monkeypatch.setenv(release.VARIABLE, "/x")
    assert release.wanted() == Path("/x")


def test_the_scripts_run_slurms_own_command_and_not_themselves(tmp_path: Path) -> None:
    Release("24.11.5", "mount --bind /x/usr /usr").write_commands(tmp_path / "bin")
    script = tmp_path / "bin/squeue"
    assert script.stat().st_mode & 0o777 == 0o755
    assert script.read_text().startswith("#!/bin/sh\nexec unshare --mount sh -c")
    assert script.read_text().endswith('/usr/bin/squeue "$@"\n')


def test_a_report_is_counted_with_the_reasons_of_what_was_skipped(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    outcome = Outcome.of_report("24.11.5", tmp_path / "report.xml")
    assert outcome.passed == 1
    assert outcome.failed == ["test_slurm_cli::test_two[a]", "test_demo::test_three"]
    assert outcome.skipped == {"no pyslurm": 2}
