"""Requests from files and from profile scripts."""

import json
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.config import RequestSettings
from agent.core.errors import ConfigError, UnavailableError
from agent.core.request.profile import MAX_RSPEC, read_rspec, run_profile
from agent.core.request.rspec import RSPEC
from agent.parts import helper_of

CM = "urn:publicid:IDN+utah.example.net+authority+cm"
PARAMETERS = "http://www.protogeni.net/resources/rspec/ext/profile-parameters/1"


def document(*nodes, parameters=()):
    """Write a request as geni-lib does, which tells in it what parameters there are."""
    body = "".join(f'<node client_id="{name}"><hardware_type name="m510"/></node>' for name in nodes)
    items = "".join(f'<data_item name="emulab.net.parameter.{name}">1</data_item>' for name in parameters)
    told = f'<data_set xmlns="{PARAMETERS}">{items}</data_set>' if parameters else ""
    return f'<rspec xmlns="{RSPEC}" type="request">{body}{told}</rspec>\n'


def script(tmp_path, text):
    path = tmp_path / "profile.py"
    path.write_text(textwrap.dedent(text))
    return path


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def run(path, timeout=20.0, **parameters):
    return run_profile(path, python=sys.executable, timeout=timeout, parameters=parameters)


# --- files


def test_a_file_is_read(tmp_path):
    path = tmp_path / "request.xml"
    path.write_text(document("a"))
    assert read_rspec(path) == document("a")


@pytest.mark.parametrize(("data", "words"), [(b"\xff\xfe", "UTF-8"), (b"x" * (MAX_RSPEC + 1), "more than")])
def test_a_file_that_is_no_text_of_a_fair_size_is_refused(tmp_path, data, words):
    path = tmp_path / "request.xml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=words):
        read_rspec(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        read_rspec(tmp_path / "nowhere.xml")


# --- scripts


def test_a_script_prints_the_request(tmp_path):
    path = script(tmp_path, f"print({document('a')!r}, end='')")
    assert run(path) == document("a")


def test_a_script_sees_its_directory_and_no_secret_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("ESAGENT_PASSPHRASE", "sesame")
    (tmp_path / "beside.py").write_text("WORD = 'found'")
    path = script(
        tmp_path, "import beside, os; print(beside.WORD, os.getcwd(), os.environ.get('ESAGENT_PASSPHRASE'))"
    )
    assert run(path).split() == ["found", str(tmp_path), "None"]


def test_a_script_that_fails_is_told_with_its_last_words(tmp_path):
    path = script(tmp_path, "import sys; sys.stderr.write('x' * 100000); raise SystemExit('no such type')")
    with pytest.raises(ConfigError, match=r"profile\.py: ended with status 1: x+.*no such type") as error:
        run(path)
    assert len(str(error.value)) < 1000
    assert not isinstance(error.value, UnavailableError), "to try again is no use"


def test_a_script_that_hangs_is_killed_with_its_children(tmp_path):
    path = script(
        tmp_path,
        f"""
        import subprocess, time
        child = subprocess.Popen(["sleep", "600"])
        open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
        time.sleep(600)
        """,
    )
    with pytest.raises(UnavailableError, match="not done after 2 s"):
        run(path, timeout=2)
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < end, "its child lives"


def test_a_script_that_never_stops_printing_is_ended(tmp_path):
    with pytest.raises(ConfigError, match="more than"):
        run(script(tmp_path, "while True: print('x' * 10000)"))


def test_an_interpreter_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match="/no/python"):
        run_profile(script(tmp_path, ""), python="/no/python", timeout=5)


def test_a_script_that_makes_no_request_is_told_what_is_expected(tmp_path):
    with pytest.raises(ConfigError, match=r"profile\.py: a request is expected of it: .*printRequestRSpec"):
        run(script(tmp_path, "print()"))


# --- as the portal runs them

PORTAL = """
import json, os, sys
made, values = os.environ["GENILIB_PORTAL_REQUEST_PATH"], os.environ["GENILIB_PORTAL_PARAMS_PATH"]
print("what a profile prints besides is nobody's request")
open(made, "w").write({request!r})
json.dump([os.environ["GENILIB_PORTAL_MODE"], json.load(open(values)), made, values], open("told", "w"))
"""


def test_the_request_is_what_geni_lib_writes_for_the_portal(tmp_path):
    assert run(script(tmp_path, PORTAL.format(request=document("a")))) == document("a")
    mode, values, *files = json.loads((tmp_path / "told").read_text())
    assert (mode, values) == ("1", {"bindings": {}})
    assert not any(Path(file).exists() for file in files), "they go with the run"


def test_parameters_are_told_where_each_geni_lib_looks_for_them(tmp_path):
    request = document("a", parameters=("count", "fast"))
    assert run(script(tmp_path, PORTAL.format(request=request)), count=3, fast=False) == request
    values = json.loads((tmp_path / "told").read_text())[1]
    bindings = {"count": {"value": 3}, "fast": {"value": False}}
    assert values == {"count": 3, "fast": False, "bindings": bindings}


@pytest.mark.parametrize(
    ("defined", "words"), [(("count", "type"), "it has count, type"), ((), "it has none")]
)
def test_a_parameter_that_the_script_does_not_define_is_told(tmp_path, defined, words):
    path = script(tmp_path, PORTAL.format(request=document("a", parameters=defined)))
    with pytest.raises(ConfigError, match=rf"\[request\.parameters\] cuont: no such parameter; {words}"):
        run(path, cuont=3)


# --- the settings


def test_a_request_is_built_in_or_a_file_or_a_script_and_nothing_between():
    with pytest.raises(ValueError, match="only one"):
        RequestSettings(rspec_file="a.xml", profile_script="b.py")
    with pytest.raises(ValueError, match="image, tarballs and startup_command"):
        RequestSettings(rspec_file="a.xml", image="urn:image")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parameters": {"n": 1}}, "parameters: profile_script is expected"),
        ({"parameters": {"n": 1}, "rspec_file": "a.xml"}, "parameters: profile_script is expected"),
        ({"like": "cp-1"}, "like: rspec_file or profile_script is expected"),
    ],
)
def test_what_is_for_a_document_needs_one(given, words):
    with pytest.raises(ValueError, match=words):
        RequestSettings(**given)


def settings_with(request):
    return SimpleNamespace(request=request, cloudlab=SimpleNamespace(cms=[SimpleNamespace(urn=CM)]))


def test_the_daemon_takes_the_request_that_the_settings_name(tmp_path):
    text = document("head")
    file, printer = tmp_path / "my.xml", script(tmp_path, f"print({text!r}, end='')")
    file.write_text(text)
    for request in (
        RequestSettings(rspec_file=str(file)),
        RequestSettings(profile_script=str(printer), profile_python=sys.executable),
    ):
        helper = helper_of(settings_with(request), None)
        assert (helper.machines, helper.request_type) == (("head",), "m510")
    built_in = helper_of(settings_with(RequestSettings(nodetype="m400")), None)
    assert 'name="m400"' in built_in.create_rspec()


def test_the_settings_say_which_machine_later_ones_are_like(tmp_path):
    file = tmp_path / "my.xml"
    file.write_text(document("ctl", "cp-1"))
    helper = helper_of(settings_with(RequestSettings(rspec_file=str(file), like="cp-1")), None)
    assert helper.like == "cp-1"
