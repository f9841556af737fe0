"""What the unit keeps from the daemon is a fault, though its user might have it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.check.sandbox import Sandbox, find_sandbox, sandbox_of
from agent.check.user import User, caller, running, unit
from tests.unit.check.conftest import Site

STRICT = {
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ProtectSystem": "strict",
    "StateDirectory": "esagent",
    "RuntimeDirectory": "esagent",
    "ReadWritePaths": "-/srv/tables",
}


@pytest.mark.parametrize(
    "path", ["/home/ada/key", "/root/key", "/run/user/1000/key", "/tmp/key", "/var/tmp/key"]
)
def test_what_the_unit_hides_is_told_with_the_setting_that_hides_it(path: str) -> None:
    assert "of esagent.service hides" in sandbox_of(STRICT).hides(Path(path))
    assert sandbox_of({}).hides(Path(path)) == ""


def test_what_it_does_not_hide_can_be_read() -> None:
    assert [sandbox_of(STRICT).hides(Path(p)) for p in ("/etc/esagent/key", "/homestead/key", "/run/x")] == [
        ""
    ] * 3
    assert sandbox_of({"ProtectHome": "read-only", "PrivateTmp": "no"}).hides(Path("/home/x")) == ""


def test_a_strict_unit_lets_the_daemon_write_its_own_places_alone() -> None:
    strict = sandbox_of(STRICT)
    for path in ("/var/lib/esagent/ledger.db", "/run/esagent/admin.sock", "/srv/tables/borrowed"):
        assert strict.bars_writing(Path(path)) == ""
    barred = strict.bars_writing(Path("/var/lib/other/ledger.db"))
    assert barred.endswith("write below /var/lib/esagent, /run/esagent, /srv/tables alone")
    assert sandbox_of({"ProtectSystem": "full"}).bars_writing(Path("/var/lib/other/ledger.db")) == ""


def test_a_link_into_a_hidden_place_leads_there(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("/home/ada/key")
    assert Sandbox({Path("/home"): "ProtectHome=yes"}, None).hides(tmp_path / "key")


def test_only_the_daemon_of_the_unit_is_kept_in(
    systemd: Callable[..., None], listen: Callable[[Path, User], None], tmp_path: Path
) -> None:
    socket = tmp_path / "admin.sock"
    systemd("LoadState=loaded", "User=root", "MainPID=0", "ProtectHome=yes")
    assert find_sandbox(None, unit(), running(socket)).hidden
    assert not find_sandbox(caller(), unit(), running(socket)).hidden
    listen(socket, caller())
    assert not find_sandbox(None, unit(), running(socket)).hidden


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is judged for the user of the unit")
def test_files_and_places_of_a_site_are_held_against_the_unit(
    site: Site, systemd: Callable[..., None]
) -> None:
    systemd("LoadState=loaded", "User=root", "MainPID=0", "PrivateTmp=yes", "ProtectSystem=strict")
    found = site.look()
    if str(site.root).startswith("/tmp/"):
        assert found["[callback] key"]["seen"].endswith(
            "PrivateTmp=yes of esagent.service hides /tmp from the daemon"
        )
    assert "write below nothing alone" in found["ledger"]["seen"]
