"""What `esagent check` makes of files that the daemon's user may not read, and that its mends mend."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent.check.barrier import barrier
from agent.check.files import check_places
from agent.check.names import files_to_read, files_to_write
from agent.check.program import seen_by
from agent.check.sandbox import Sandbox
from agent.check.user import User
from agent.config import Settings, load, section_of
from tests.unit.check.conftest import SECRETS, Site

KNOWN = {
    "cloudlab.pem": "[cloudlab] certificate",
    "passphrase": "[cloudlab] passphrase_file",
    "cloudlab-ca.pem": "[cloudlab] ca_bundle",
    "id_ed25519.pub": "[cloudlab] ssh_keys",
    "callback.pem": "[callback] certificate",
    "callback.key": "[callback] key",
    "callers-ca.pem": "[callback] ca_bundle",
    "id_ed25519": "[ssh] key",
    "mail-password": "[mail] password_file",
    "mail-ca.pem": "[mail] ca_file",
    "slurm.jwt": "[slurm] rest_token",
    "slurm-ca.pem": "[slurm] rest_ca",
    "request.xml": "[request] rspec_file",
}
"""File of ``with_all`` -> the setting that names it."""


def faults(found: dict[str, dict[str, str]]) -> dict[str, str]:
    return {subject: f["mend"] for subject, f in found.items() if f["grade"] == "fault"}


def mend(commands: dict[str, str]) -> None:
    for command in dict.fromkeys(commands.values()):
        subprocess.run(["sh", "-ec", command], check=True, timeout=60)


@pytest.fixture
def with_all(site: Site) -> Site:
    """A site that names a file wherever it may, all of them good."""
    etc = site.etc
    more = (
        f'[slurm]\nrest_token = "{etc}/slurm.jwt"\nrest_ca = "{etc}/slurm-ca.pem"\n'
        f'[request]\nrspec_file = "{etc}/request.xml"\n'
        f'[mail]\nhost = "127.0.0.1"\nstarttls = true\nca_file = "{etc}/mail-ca.pem"\n'
        f'user = "ada"\npassword_file = "{etc}/mail-password"\n'
    )
    site.conf.write_text(site.conf.read_text() + more)
    for name in ("slurm-ca.pem", "mail-ca.pem"):
        (etc / name).write_bytes((etc / "callers-ca.pem").read_bytes())
    (etc / "slurm.jwt").write_text("SLURM_JWT=abc.def\n")
    (etc / "mail-password").write_text("open sesame\n")
    (etc / "request.xml").write_text(
        '<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request"><node client_id="a"/></rspec>'
    )
    for path in etc.iterdir():
        path.chmod(0o600 if path.name in {*SECRETS, "slurm.jwt", "mail-password"} else 0o644)
    return site


def test_a_site_in_order_has_no_fault_nor_warning(with_all: Site) -> None:
    found = with_all.look()
    assert {f["subject"]: f for f in found.values() if f["grade"] not in {"ok", "skipped"}} == {}
    assert found["settings"]["seen"] == str(with_all.conf)
    for subject in ("certificate", "CAs of Cloudlab", "callers", "SSH key", "request", "mail"):
        assert found[subject]["grade"] == "ok"


@pytest.mark.parametrize("name", KNOWN)
def test_a_missing_file_is_told_as_missing(name: str, with_all: Site) -> None:
    (with_all.etc / name).unlink()
    found = with_all.look()[KNOWN[name]]
    assert found["grade"] == "fault"
    assert found["seen"] == f"{with_all.etc / name}: there is no such file"
    assert found["mend"]


@pytest.mark.parametrize("name", KNOWN)
def test_a_malformed_file_is_told_with_what_is_expected(name: str, with_all: Site) -> None:
    (with_all.etc / name).write_text("\n<!?\n")
    told = [f["seen"] for f in with_all.look().values() if f["grade"] == "fault"]
    assert [seen for seen in told if "expected" in seen or "not well formed" in seen], told


def test_a_fault_of_the_certificate_is_told_once(site: Site) -> None:
    (site.etc / "cloudlab.pem").write_text("no certificate")
    assert faults(site.look()).keys() == {"certificate"}


def test_an_old_certificate_is_told_with_the_setting_that_admits_it(site: Site) -> None:
    pem = site.etc / "cloudlab.pem"
    name = ["-subj", "/CN=ada", "-addext", "subjectAltName=URI:urn:publicid:IDN+example.net+user+ada"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-sha1", "-days", "90", *name]
    files = ["-keyout", pem, "-out", site.etc / "old.crt"]
    subprocess.run([*made, *files], check=True, capture_output=True, timeout=60)
    pem.write_bytes(pem.read_bytes() + (site.etc / "old.crt").read_bytes())
    found = site.look()
    assert faults(found).keys() == {"certificate"}
    for words in ("a key of 1024 bits and a SHA-1 signature", "set [cloudlab] tls_security_level = 0"):
        assert words in found["certificate"]["seen"]
    site.add("cloudlab", 'tls_security_level = 0\nsa_url = "https://127.0.0.1:9/sa"')
    found = site.look()
    assert faults(found) == {}
    assert found["certificate"]["grade"] == "ok"


def test_a_fault_of_the_cas_of_cloudlab_is_told_once(site: Site) -> None:
    (site.etc / "cloudlab-ca.pem").write_text("no certificate")
    assert faults(site.look()).keys() == {"CAs of Cloudlab"}


def test_each_unreadable_file_is_told_with_the_command_that_mends_it(with_all: Site, nobody: User) -> None:
    with_all.give_to(nobody)
    for other in ("slurm.jwt", "mail-password"):
        os.chown(with_all.etc / other, nobody.uid, nobody.gid)
    assert faults(with_all.look(nobody)) == {}
    for name in KNOWN:
        os.chown(with_all.etc / name, 0, 0)
        (with_all.etc / name).chmod(0o600)
    found = with_all.look(nobody)
    assert faults(found).keys() == set(KNOWN.values())
    for name, subject in KNOWN.items():
        path = with_all.etc / name
        told = f"{path}: nobody may not read {path} (-rw-------, of user root and group root)"
        assert found[subject]["seen"] == told
        mend({subject: found[subject]["mend"]})
        is_secret = name in {*SECRETS, "slurm.jwt", "mail-password"}
        assert path.stat().st_mode & 0o777 == (0o600 if is_secret else 0o644)
    assert faults(with_all.look(nobody)) == {}


def test_what_a_narrow_umask_left_to_root_is_mended_by_what_is_said(site: Site, nobody: User) -> None:
    for path in (site.conf, *site.etc.iterdir()):
        path.chmod(0o600)
    site.etc.chmod(0o700)
    seen = []
    while commands := faults(site.look(nobody)):
        assert len(seen) < 4, seen
        seen.append(commands)
        mend({s: c.partition(" if it is ")[0] for s, c in commands.items()})
    assert site.etc.stat().st_mode & 0o777 == 0o710
    assert {(site.etc / name).stat().st_mode & 0o077 for name in SECRETS} == {0}


def test_a_directory_on_the_way_is_named(site: Site, nobody: User) -> None:
    site.give_to(nobody)
    closed = site.root / "closed"
    closed.mkdir(0o700)
    (site.etc / "cloudlab-ca.pem").rename(closed / "ca.pem")
    (site.etc / "cloudlab-ca.pem").symlink_to(closed / "ca.pem")
    found = site.look(nobody)["[cloudlab] ca_bundle"]
    assert f"nobody may not enter {closed} (drwx------" in found["seen"]
    assert found["mend"] == f"chmod a+x {closed}"
    mend(faults(site.look(nobody)))
    assert faults(site.look(nobody)) == {}


def test_agent_conf_that_the_daemon_may_not_read_is_a_fault_and_all_else_is_looked_at(
    site: Site, nobody: User
) -> None:
    site.give_to(nobody)
    site.conf.chmod(0o600)
    found = site.look(nobody)
    group = nobody.group
    assert faults(found) == {"settings": f"chgrp {group} {site.conf} && chmod 640 {site.conf}"}
    assert found["certificate"]["grade"] == "ok"
    site.etc.chmod(0o700)
    assert faults(site.look(nobody))["settings"] == f"chgrp {group} {site.etc} && chmod g+x {site.etc}"


def test_a_fault_in_agent_conf_is_told_beside_its_being_unreadable(site: Site, nobody: User) -> None:
    site.add("demand", "no_such_setting = 1")
    site.conf.chmod(0o600)
    told = [f["seen"] for f in site.look_at_all(nobody)]
    assert [("may not read" in seen, "no such setting" in seen) for seen in told[1:]] == [
        (True, False),
        (False, True),
    ]
    told = [f["seen"] for f in site.look_at_all(by=nobody)]
    assert ["may not read" in seen for seen in told[1:]] == [True]


def test_a_munge_key_is_copied_and_not_taken_from_its_owner(site: Site, nobody: User) -> None:
    site.give_to(nobody)
    key = site.root / "munge.key"
    key.touch(0o400)
    site.conf.write_text(
        site.conf.read_text() + f'[[join.files]]\nsource = "{key}"\ntarget = "/etc/munge/munge.key"\n'
    )
    found = site.look(nobody)["[join] files"]
    assert found["mend"].startswith(f"install -o nobody -m 600 {key} {site.etc}/munge.key, and name the copy")


def test_a_secret_that_others_can_read_is_warned_of_with_the_command_that_mends_it(site: Site) -> None:
    key = site.etc / "callback.key"
    key.chmod(0o644)
    found = site.look()["[callback] key"]
    assert (found["grade"], found["mend"]) == ("warning", f"chmod 600 {key}")


def test_a_secret_that_is_read_by_group_is_the_daemons_after_the_mend(site: Site, nobody: User) -> None:
    site.give_to(nobody)
    key = site.etc / "callback.key"
    os.chown(key, 0, nobody.gid)
    key.chmod(0o640)
    found = site.look(nobody)["[callback] key"]
    assert found["grade"] == "warning"
    mend({"": found["mend"]})
    assert site.look(nobody)["[callback] key"]["grade"] == "ok"


@pytest.mark.parametrize("way", ["cloudlab-ca.pem/callback.key", "link/callback.key", "loop"])
def test_a_path_that_leads_nowhere_is_no_matter_of_permissions(way: str, site: Site, nobody: User) -> None:
    site.give_to(nobody)
    (site.etc / "link").symlink_to("cloudlab-ca.pem")
    (site.etc / "loop").symlink_to("round")
    (site.etc / "round").symlink_to("loop")
    site.conf.write_text(site.conf.read_text().replace(f"{site.etc}/callback.key", f"{site.etc}/{way}"))
    found = site.look(nobody)["[callback] key"]
    assert found["grade"] == "fault"
    assert found["seen"].startswith(f"{site.etc / way}: expected a file: ")
    assert found["mend"] == "make certificate and key with openssl, as docs/install.md says"


@pytest.mark.parametrize("section", ["cloudlab", "callback"])
def test_a_file_that_holds_certificate_and_key_is_a_secret_by_both_names(
    section: str, site: Site, nobody: User
) -> None:
    site.give_to(nobody)
    both = site.etc / f"{section}.pem"
    if section == "cloudlab":
        site.add("cloudlab", f'key = "{both}"')
    else:
        both.write_bytes(both.read_bytes() + (site.etc / "callback.key").read_bytes())
        site.conf.write_text(site.conf.read_text().replace(f"{site.etc}/callback.key", str(both)))
    os.chown(both, 0, 0)
    both.chmod(0o600)
    assert set(faults(site.look(nobody)).values()) == {f"chown nobody {both} && chmod 600 {both}"}
    mend(faults(site.look(nobody)))
    assert faults(site.look(nobody)) == {}


def test_a_place_that_the_daemon_may_not_write_is_a_fault_and_one_to_come_is_none(
    site: Site, nobody: User
) -> None:
    site.give_to(nobody)
    assert site.look(nobody)["ledger"]["grade"] == "ok"
    os.chown(site.var, 0, 0)
    found = site.look(nobody)["ledger"]
    assert found["grade"] == "fault"
    assert f"nobody may not write {site.var} (drwx------" in found["seen"]
    assert found["mend"].startswith(f"chown -R nobody {site.var} ")
    site.var.rmdir()
    assert site.look(nobody)["ledger"]["grade"] == "warning"


@pytest.mark.parametrize("way", ["agent.conf/ledger.db", ""])
def test_a_place_that_can_hold_no_file_is_a_fault(way: str, site: Site) -> None:
    site.conf.chmod(0o755)
    text = site.conf.read_text()
    site.conf.write_text(text.replace(f"{site.var}/ledger.db", f"{site.etc}/{way}".rstrip("/")))
    found = site.look()["ledger"]
    assert (found["grade"], found["mend"]) == ("fault", "name another place")
    assert found["seen"].endswith(("agent.conf is no directory", "etc: there is a directory"))


def test_each_file_that_a_setting_may_name_is_looked_at(with_all: Site) -> None:
    """A setting that is a path is one of those that are read or written; so are those that are strings."""
    settings = load(with_all.conf)
    listed = {file.subject for file in files_to_read(settings)} | {KNOWN[name] for name in KNOWN}
    listed |= {"[cloudlab] key", "[slurm] conf", "[slurm] bin_dir", "[join] files", "[plugin] table"}
    places = {"[ledger] path", "[ssh] known_hosts", "[admin] socket"}
    assert len(list(files_to_write(settings))) == len(places)
    strings = {"[mail] password_file", "[mail] ca_file", "[request] rspec_file"}
    assert {f"[{s}] {k}" for s, k in paths_in(Settings)} == (listed | places) - strings


def paths_in(model: type[BaseModel], section: str = "") -> list[tuple[str, str]]:
    found = []
    for key, info in model.model_fields.items():
        annotation: Any = info.annotation
        if "Path" in str(annotation):
            found.append((section, key))
        elif inner := section_of(annotation):
            found += [(section, key)] if section and paths_in(inner) else paths_in(inner, section or key)
    return found


def test_what_bars_is_found_behind_links_and_a_loop_of_links_ends(site: Site, nobody: User) -> None:
    inner = site.root / "inner"
    inner.mkdir(0o700)
    (inner / "x").touch()
    (site.root / "link").symlink_to("inner/x")
    (site.root / "a").symlink_to("b")
    (site.root / "b").symlink_to("a")
    looked = [site.root / "link", site.root / "nothing" / "x", site.root / "a", Path("/")]
    assert seen_by(nobody, lambda: [str(barrier(path)) for path in looked])[:2] == [str(inner), "None"]
    assert barrier(Path("/")) is None


@pytest.mark.parametrize(("left", "entries", "grade"), [(0, 9, "fault"), (9, 0, "fault"), (300, 9, "ok")])
def test_a_file_system_without_room_for_the_ledger_is_a_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch, left: int, entries: int, grade: str
) -> None:
    """Tell blocks of 4096 bytes, and files."""
    said = os.statvfs_result((4096, 4096, 1000, left, left, 1000, entries, entries, 0, 255))
    monkeypatch.setattr("agent.check.files.os.statvfs", lambda _: said)
    ledger = [("ledger", site.var / "ledger.db")]
    (found,) = check_places(ledger, User("root", 0, 0), Sandbox({}, None))
    assert found.grade == grade
