"""For whom `esagent check` judges, and what it says where it cannot become that user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.check.program import PACKAGE, check_program, program, seen_by
from agent.check.user import User, caller, find_user, named, of_unit, running, unit
from agent.cli import app
from agent.core.errors import ConfigError
from tests.unit.check.conftest import Site

Listen = Callable[[Path, User], None]
Systemd = Callable[..., None]


def test_without_a_daemon_and_a_unit_things_are_judged_for_the_caller(site: Site) -> None:
    found = site.look()
    assert next(iter(found)) == "user"
    me = caller().name
    assert found["user"]["grade"] == "ok"
    assert found["user"]["seen"] == f"{me}, who calls: no daemon answers, and there is no esagent.service"


def test_a_user_is_named_by_name_or_uid() -> None:
    assert named("root") == named("0") == User("root", 0, 0, named("root").groups)
    for unknown in ("no-such-user", "4294967294", "99999999999999", "-1", ""):
        with pytest.raises(ConfigError, match="no such user on this machine"):
            named(unknown)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (("LoadState=loaded", "User=nobody", "Group=", "SupplementaryGroups="), "nobody"),
        (("LoadState=loaded", "User=65534", "Group=", "SupplementaryGroups="), "nobody"),
        (("LoadState=loaded", "User=", "Group=", "SupplementaryGroups="), "root"),
    ],
)
def test_the_units_user_is_taken(lines: tuple[str, ...], name: str, systemd: Systemd, tmp_path: Path) -> None:
    systemd(*lines)
    user, told = find_user(None, unit(), running(tmp_path / "no.sock"))
    assert (user.name, told.seen) == (name, f"{name}, as esagent.service says")


@pytest.mark.parametrize("lines", [("LoadState=not-found", "User="), ("System has not been booted",), ()])
def test_a_unit_that_is_not_there_says_nothing(lines: tuple[str, ...], systemd: Systemd) -> None:
    systemd(*lines)
    assert unit() == {}


def test_the_units_groups_are_those_of_the_daemon() -> None:
    user = of_unit({"User": "nobody", "Group": "daemon", "SupplementaryGroups": "mail 4321"})
    assert user.group == "daemon"
    assert {4321, named("nobody").gid} < set(user.groups)


def test_a_unit_whose_user_this_machine_does_not_know_is_a_fault(site: Site, systemd: Systemd) -> None:
    systemd("LoadState=loaded", "User=no-such-user")
    found = site.look()
    assert list(found) == ["user"]
    assert found["user"]["grade"] == "fault"
    assert found["user"]["seen"] == "esagent.service: no such user on this machine: 'no-such-user'"


def test_the_running_daemons_user_is_taken_by_its_socket(
    site: Site, listen: Listen, stranger: User, systemd: Systemd
) -> None:
    socket = site.var / "admin.sock"
    listen(socket, stranger)
    daemon = running(socket)
    assert daemon
    assert daemon.user == stranger
    user, told = find_user(None, unit(), daemon)
    assert (user.uid, told.seen) == (stranger.uid, f"{stranger.name}, as whom the daemon runs")
    systemd("LoadState=loaded", f"User={named('nobody').uid}")
    user, told = find_user(None, unit(), running(socket))
    assert (user.uid, told.grade) == (stranger.uid, "warning")
    assert told.seen == f"{stranger.name}, as whom the daemon runs; esagent.service says nobody"


def test_a_running_daemon_of_the_units_user_is_in_order(
    site: Site, listen: Listen, nobody: User, systemd: Systemd
) -> None:
    systemd("LoadState=loaded", "User=nobody")
    listen(site.var / "admin.sock", nobody)
    assert find_user(None, unit(), running(site.var / "admin.sock"))[1].grade == "ok"


def test_root_looks_with_the_eyes_of_the_units_user(site: Site, systemd: Systemd, nobody: User) -> None:
    systemd("LoadState=loaded", "User=nobody")
    found = site.look()
    assert found["user"]["seen"] == "nobody, as esagent.service says"
    assert found["[callback] key"]["grade"] == "fault"
    site.give_to(nobody)
    assert {f["grade"] for f in site.look().values()} == {"ok", "skipped"}


def test_the_daemons_own_user_needs_nobodys_help(site: Site, nobody: User, systemd: Systemd) -> None:
    systemd("LoadState=loaded", "User=nobody")
    site.give_to(nobody)
    assert {f["grade"] for f in site.look(by=nobody).values()} == {"ok", "skipped"}


def test_to_a_bystander_nothing_is_told_as_if_it_were_the_daemons(
    site: Site, nobody: User, stranger: User, systemd: Systemd
) -> None:
    systemd("LoadState=loaded", "User=nobody")
    site.give_to(nobody)
    for mode in (0o644, 0o600):
        site.conf.chmod(mode)
        found = site.look(by=stranger)
        assert found.pop("user")["grade"] == "warning"
        assert {f["grade"] for f in found.values()} == {"skipped"}
        assert "only root or nobody can tell" in found["rights in Slurm"]["seen"]
    site.conf.chmod(0o644)
    site.add("demand", "no_such_setting = 1")
    assert site.look(by=stranger)["settings"]["grade"] == "fault"


@pytest.mark.parametrize(
    ("mode", "word"), [(0o700, "nobody may not read"), (0o755, "")], ids=["closed", "open"]
)
def test_a_program_that_the_daemon_may_not_read_is_a_fault(
    mode: int, word: str, site: Site, nobody: User
) -> None:
    library = site.root / "opt" / "library.py"
    library.parent.mkdir(mode)
    library.touch(0o644)
    found = list(check_program(nobody, {library: os.R_OK, Path("/bin/sh"): os.X_OK}))
    assert [f.seen.startswith(f"{word} {library.parent} (drwx------") for f in found] == [True] * bool(word)


def test_a_venv_that_was_made_with_a_narrow_umask_is_mended_as_a_whole(
    site: Site, nobody: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = site.root / "opt"
    (home / "lib").mkdir(mode=0o755, parents=True)
    library = home / "lib" / "library.py"
    library.touch(0o600)
    monkeypatch.setattr("sys.prefix", str(home))
    monkeypatch.setattr("agent.check.everything.program", lambda: {library: os.R_OK})
    found = site.look(nobody)
    assert found["program"]["mend"] == f"chmod -R a+rX {home}"
    assert found["program"]["seen"].startswith(f"nobody may not read {library} (-rw-------")
    assert [f["seen"] for f in found.values()][2:] == ["nobody cannot look"] * 5
    subprocess.run(found["program"]["mend"], shell=True, check=True, timeout=60)
    assert "program" not in site.look(nobody)


def test_nothing_of_the_machine_is_opened_that_is_not_ours(site: Site, nobody: User) -> None:
    closed = site.root / "root"
    closed.mkdir(0o700)
    (found,) = check_program(nobody, {closed / "python3": os.X_OK, closed: os.X_OK})
    assert found.mend == f"install esagent and its Python where nobody may read them, not below {closed}"


def test_what_runs_now_is_what_has_to_be_readable() -> None:
    needed = program()
    assert needed[PACKAGE / "page" / "page.css"] == os.R_OK
    assert needed[PACKAGE] == os.R_OK | os.X_OK
    assert {Path(sys.executable), Path(pytest.__file__)} <= needed.keys()
    assert not [path for path in needed if path.is_relative_to(PACKAGE) and path.suffix == ".pyc"]


def test_settings_that_the_caller_may_not_read_are_looked_at_all_the_same(site: Site, nobody: User) -> None:
    site.conf.chmod(0o600)
    if list(check_program(nobody, program())):
        pytest.skip("nobody may not run this clone")
    code, said = seen_by(nobody, lambda: ask("--offline", "--config", str(site.conf)))
    assert code == "1"
    assert f"fault settings: {site.conf}: nobody may not read {site.conf} (-rw-------" in said


def ask(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, ["check", *arguments])
    return [str(done.exit_code), " ".join(done.output.split())]


def test_as_an_unknown_user_is_wrong_usage() -> None:
    code, said = ask("--as", "no-such-user")
    assert code == "2"
    assert "Invalid value for --as: no such user on this machine: 'no-such-user'" in said


def test_as_a_user_of_no_name_is_not_taken_for_as_nobody_in_particular() -> None:
    assert ask("--as", "")[0] == "2"


def test_only_root_looks_as_somebody_else(nobody: User) -> None:
    code, said = seen_by(nobody, lambda: ask("--as", "root"))
    assert code == "2"
    assert "Invalid value for --as: only root may look as root" in said


def test_a_process_that_may_not_become_the_user_says_so(nobody: User) -> None:
    def told() -> list[str]:
        with pytest.raises(PermissionError, match="Operation not permitted") as raised:
            seen_by(named("root"), lambda: ["this is never seen"])
        return [str(raised.value)]

    assert seen_by(nobody, told) == ["[Errno 1] Operation not permitted"]
