"""What `esagent check --offline` says of the request, and how `esagent run` ends where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.core.request.rspec import EMULAB, RSPEC
from tests.unit.check.conftest import CM, Site

ESAGENT = Path(sys.executable).with_name("esagent")
WORKER = '<node client_id="{}"><hardware_type name="{}"/>{}</node>'
PRINTED = "\n".join(WORKER.format(name, kind, "") for name, kind in (("ctl", "d430"), ("cp-1", "m510")))
STORE = '<node client_id="store"><sliver_type name="emulab-blockstore"/></node>'
LONG = f'<services><execute command="{"x" * 300}"/></services>'


def document(*nodes: str) -> str:
    return f'<rspec xmlns="{RSPEC}" xmlns:emulab="{EMULAB}" type="request">{"".join(nodes)}</rspec>'


def name_file(site: Site, text: str, *lines: str) -> Path:
    path = site.etc / "request.xml"
    path.write_text(text)
    set_up(site, f'rspec_file = "{path}"', *lines)
    return path


def name_script(site: Site, text: str, *lines: str) -> Path:
    path = site.etc / "profile.py"
    path.write_text(text)
    set_up(site, f'profile_script = "{path}"', f'profile_python = "{sys.executable}"', *lines)
    return path


def set_up(site: Site, *lines: str) -> None:
    site.conf.write_text("\n".join([site.conf.read_text(), "[request]", *lines, ""]))


def told(site: Site) -> list[tuple[str, str, str]]:
    found = [f for f in site.look_at_all() if f["subject"] == "request"]
    return [(f["grade"], f["seen"], f["mend"]) for f in found]


def test_a_request_of_the_settings_is_in_order(site: Site) -> None:
    assert told(site) == [("ok", "as [request] says", "")]


def test_a_document_is_told_with_its_machines(site: Site) -> None:
    path = name_file(site, document(PRINTED), 'like = "cp-1"')
    assert told(site) == [("ok", f"{path}: 2 machines, ctl the first; added machines are like cp-1", "")]


def test_machines_that_differ_and_what_no_cm_does_are_warnings(site: Site) -> None:
    name_file(site, document(PRINTED, STORE))
    fine, doubt, remark = told(site)
    assert fine[0] == "ok"
    assert doubt[0] == remark[0] == "warning"
    assert "cp-1 differs" in doubt[1]
    assert "[request] like" in doubt[2]
    assert remark[1].startswith("store (emulab-blockstore) is no machine")


def test_a_machine_that_cannot_be_added_is_a_fault(site: Site) -> None:
    path = name_file(site, document(WORKER.format("cp-1", "m510", LONG)))
    fine, fault = told(site)
    assert (fine[0], fault[0]) == ("ok", "fault")
    assert fault[1].startswith(f"{path}: no machine like cp-1 can be added: startup_command: at most 255")


def test_a_machine_that_the_document_lacks_is_a_fault(site: Site) -> None:
    name_file(site, document(PRINTED), 'like = "cp-2"')
    [(grade, seen, _)] = told(site)
    assert (grade, seen.partition("[request] ")[2]) == (
        "fault",
        "like: a machine of the request is expected, not 'cp-2'; did you mean 'cp-1'?",
    )


def test_a_document_for_another_cm_is_a_fault(site: Site) -> None:
    name_file(site, document('<node client_id="a" component_manager_id="urn:other"/>'))
    [(grade, seen, _)] = told(site)
    assert grade == "fault"
    assert f"no machine for {CM}; its machines are for urn:other" in seen


def test_a_profile_is_run(site: Site) -> None:
    path = name_script(site, f"print({document(PRINTED)!r})")
    assert told(site)[0] == ("ok", f"{path}: 2 machines, ctl the first; added machines are like ctl", "")


@pytest.mark.parametrize("gone", ["cloudlab.pem", "id_ed25519"])
def test_a_profile_that_cannot_run_is_a_fault_whatever_else_is_missing(site: Site, gone: str) -> None:
    path = name_script(site, "import geni_lib_of_ours")
    (site.etc / gone).unlink()
    [(grade, seen, mend)] = told(site)
    assert grade == "fault"
    assert f"{path}: ended with status 1: ModuleNotFoundError: No module named 'geni_lib_of_ours'" in seen
    assert mend.endswith(f"run it by hand: cd {site.etc} && {sys.executable} profile.py")


def test_a_missing_geni_lib_is_told_with_how_to_get_it(site: Site) -> None:
    name_script(
        site, "import sys\nsys.modules['geni'] = None\nraise ModuleNotFoundError(\"No module named 'geni'\")"
    )
    [(_, seen, _)] = told(site)
    assert f"{sys.executable} has no geni-lib: docs/profiles.md" in seen


def test_a_daemon_whose_profile_fails_ends_with_a_sentence_and_waits_for_a_person(site: Site) -> None:
    path = name_script(site, "def make():\n    raise ValueError('no such type')\nmake()")
    done = subprocess.run(
        [ESAGENT, "run", "--config", site.conf], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 78
    [sentence] = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert sentence == f"esagent: {path}: ended with status 1: ValueError: no such type ({path}, line 2)"
