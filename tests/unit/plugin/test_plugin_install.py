"""The installer, on a directory that stands for /etc/slurm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "contrib/slurm-plugin"
PARTS = ("job-submit", "spank", "poke", "orphan", "power")
SITE = "-- the site's own\nfunction slurm_job_submit() end\n"
PLUGSTACK = "required /usr/lib/other.so\n"


class Site:
    """A site with scripts of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root / "site"
        self.etc = self.root / "etc"
        self.etc.mkdir(parents=True)
        self.source = root / "slurm-plugin"
        shutil.copytree(SOURCE, self.source, ignore=shutil.ignore_patterns("build"))
        (self.source / "build").mkdir()
        for name in ("spank_esagent.so", "esagent-poke"):
            (self.source / "build" / name).write_text("built\n")

    def install(
        self, *arguments: str, check: bool = True, umask: int = -1
    ) -> subprocess.CompletedProcess[str]:
        places = ("--etc", self.etc, "--lib", self.root / "lib", "--bin", self.root / "bin")
        return subprocess.run(
            [self.source / "install.sh", *places, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=check,
            umask=umask,
        )

    def files(self) -> dict[str, str]:
        return {str(p.relative_to(self.root)): p.read_text() for p in self.root.rglob("*") if p.is_file()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    (site.etc / "job_submit.lua").write_text(SITE)
    (site.etc / "plugstack.conf").write_text(PLUGSTACK)
    return site


def test_slurm_and_users_may_read_what_is_installed_whatever_roots_umask_is(site: Site) -> None:
    before = site.files()
    site.install(*PARTS, umask=0o077)
    for name in site.files().keys() - before.keys():
        for path in (site.root / name, (site.root / name).parent):
            assert path.stat().st_mode & 0o044 == 0o044, path


def test_a_dry_run_changes_nothing_and_tells_what_it_would_do(site: Site) -> None:
    before = site.files()
    said = site.install("--dry-run", *PARTS).stdout
    assert site.files() == before
    assert said == site.install(*PARTS).stdout
    for name in site.files().keys() - before.keys():
        assert str(site.root / name) in said


def test_what_changes_in_a_file_of_the_sites_is_shown(site: Site) -> None:
    said = site.install("--dry-run", "spank").stdout
    line = f"optional {site.root}/lib/spank_esagent.so table=/run/esagent/lease"
    assert f"change {site.etc}/plugstack.conf\n     {PLUGSTACK}    +{line}\n" in said


def test_a_file_of_the_sites_keeps_its_permissions_and_the_link_that_leads_to_it(site: Site) -> None:
    real = site.root / "kept" / "plugstack.conf"
    real.parent.mkdir()
    (site.etc / "plugstack.conf").rename(real)
    real.chmod(0o600)
    (site.etc / "plugstack.conf").symlink_to(real)
    site.install("spank")
    assert (site.etc / "plugstack.conf").is_symlink()
    assert "spank_esagent.so" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_sites_own_files_are_kept_and_given_back(site: Site) -> None:
    before = site.files()
    site.install(*PARTS)
    files = site.files()
    assert files["etc/job_submit.site.lua"] == SITE
    assert files["etc/plugstack.conf"].startswith(PLUGSTACK)
    site.install("--uninstall", *PARTS)
    assert site.files() == before


def test_to_install_twice_is_to_install_once(site: Site) -> None:
    site.install(*PARTS)
    once = site.files()
    said = site.install(*PARTS).stdout
    assert site.files() == once
    assert "new " not in said
    assert "change " not in said


def test_it_goes_where_it_is_told_that_the_tables_are(site: Site) -> None:
    site.install("--table", "/srv/borrowed", "--lease", "/srv/lease", "job-submit", "spank")
    files = site.files()
    assert 'table_path = "/srv/borrowed"' in files["etc/job_submit.lua"]
    assert f"optional {site.root}/lib/spank_esagent.so table=/srv/lease\n" in files["etc/plugstack.conf"]


def test_two_scripts_that_are_the_sites_own_are_left_alone(site: Site) -> None:
    (site.etc / "job_submit.site.lua").write_text("-- another\n")
    before = site.files()
    done = site.install("job-submit", check=False)
    assert done.returncode == 1
    assert "make one of the two" in done.stderr
    assert site.files() == before


def test_slurmctld_keeps_a_script_when_the_site_has_none(site: Site) -> None:
    (site.etc / "job_submit.lua").unlink()
    site.install("job-submit")
    assert "stays as long as slurm.conf says" in site.install("--uninstall", "job-submit").stdout
    assert "etc/job_submit.lua" in site.files()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "usage:"),
        (("everything",), "expected job-submit, spank, poke, orphan or power"),
        (("--table", "x", "job-submit"), "--table: an absolute path"),
        (("--table", "/a|b", "job-submit"), "--table: an absolute path"),
        (("--etc",), "--etc: an absolute path"),
        (("--etc", "/nowhere", "poke"), "/nowhere: the directory of slurm.conf is expected"),
    ],
)
def test_what_it_does_not_understand_changes_nothing(
    site: Site, arguments: tuple[str, ...], words: str
) -> None:
    before = site.files()
    done = site.install(*arguments, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert site.files() == before


def test_a_part_that_was_not_built_is_named(site: Site) -> None:
    shutil.rmtree(site.source / "build")
    done = site.install("spank", check=False)
    assert "spank_esagent.so is missing: run make" in done.stderr
