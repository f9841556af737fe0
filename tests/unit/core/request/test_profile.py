"""Requests from files and from profile scripts."""

import importlib.util
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.config import RequestSettings
from agent.core.errors import ConfigError, UnavailableError
from agent.core.request.profile import MAX_RSPEC, DocumentHelper, read_rspec, run_profile
from agent.core.request.rspec import RSPEC
from agent.daemon import helper_of

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"
IMAGE = "urn:publicid:IDN+example.net+image+lab:worker"
NODE = """
  <node client_id="{name}" exclusive="true"{bound}>
    <sliver_type name="raw-pc"><disk_image name="{image}"/></sliver_type>
    <hardware_type name="m510"/>
    <services>
      <install url="https://f.example.net/a.tgz" install_path="/"/>
      <execute shell="sh" command="/local/one.sh"/><execute shell="sh" command="/local/two.sh"/>
    </services>
  </node>"""


def document(*nodes):
    bound = {name: f' component_manager_id="{cm}"' if cm else "" for name, cm in nodes}
    body = "".join(NODE.format(name=name, image=IMAGE, bound=bound[name]) for name, _ in nodes)
    return f'<?xml version="1.0"?>\n<rspec xmlns="{RSPEC}" type="request">{body}\n</rspec>\n'


class Cms:
    cms = (UTAH,)

    def __init__(self, *cms):
        self.cms = cms or self.cms

    def find_sliver(self, cm):
        return None


def script(tmp_path, text):
    path = tmp_path / "profile.py"
    path.write_text(textwrap.dedent(text))
    return path


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def run(path, timeout=20.0):
    return run_profile(path, python=sys.executable, timeout=timeout)


# --- the helper


def test_the_request_is_the_document_and_later_machines_are_like_its_first():
    text = document(("head", ""), ("node-3", ""))
    helper = DocumentHelper(text, "my.xml", Cms())
    assert helper.create_rspec() == text
    assert helper.request_type == "m510"
    fields = {
        "diskimage": IMAGE,
        "startup": "/local/one.sh; /local/two.sh",
        "tarballs": ["https://f.example.net/a.tgz"],
    }
    assert helper.get_add_args(2) == {"node-4": fields, "node-5": fields}


def test_a_manager_makes_and_grows_a_sliver_from_a_document(make_bench):
    bench = make_bench(minthreshold=3, maxthreshold=3)
    bench.manager.set_helper(DocumentHelper(document(("head", "")), "my.xml", bench.server))
    bench.cycles(5)
    assert [m.client_id for m in bench.server.machines()] == ["head", "node-1", "node-2"]


def test_with_several_cms_each_has_its_own_machines():
    bound = document(("a", UTAH), ("b", WISC))
    assert DocumentHelper(bound, "my.xml", Cms(UTAH, WISC)).create_rspec() == bound


@pytest.mark.parametrize(
    ("rspec", "cms", "words"),
    [
        ("<rspec", (UTAH,), "not well formed"),
        ("", (UTAH,), "not well formed"),
        ("<rspec/>", (UTAH,), "namespace"),
        (document(), (UTAH,), "no node for .*utah"),
        (document(("a", WISC)), (UTAH,), "no node for .*utah"),
        (document(("a", UTAH), ("b", WISC)), (UTAH,), "none of our CMs"),
        (document(("a", "")), (UTAH, WISC), "component_manager_id"),
        (document(("a", ""), ("A", "")), (UTAH,), "twice"),
        (f'<x:rspec xmlns:x="{RSPEC}"><x:node client_id="a"/></x:rspec>', (UTAH,), "default"),
        (document(("a", "")).replace("/local/one.sh", "x" * 300), (UTAH,), "startup_command"),
    ],
)
def test_a_document_that_will_not_do_is_refused_with_its_name(rspec, cms, words):
    with pytest.raises(ConfigError, match=r"^my\.xml: .*" + words):
        DocumentHelper(rspec, "my.xml", Cms(*cms))


# --- files


def test_a_file_is_read(tmp_path):
    path = tmp_path / "request.xml"
    path.write_text(document(("a", "")))
    assert read_rspec(path) == document(("a", ""))


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
    path = script(tmp_path, f"print({document(('a', ''))!r}, end='')")
    assert run(path) == document(("a", ""))


def test_a_script_sees_its_directory_and_no_secret_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("ESAGENT_PASSPHRASE", "sesame")
    (tmp_path / "beside.py").write_text("WORD = 'found'")
    path = script(
        tmp_path, "import beside, os; print(beside.WORD, os.getcwd(), os.environ.get('ESAGENT_PASSPHRASE'))"
    )
    assert run(path).split() == ["found", str(tmp_path), "None"]


def test_a_script_that_fails_is_told_with_its_last_words(tmp_path):
    path = script(tmp_path, "import sys; sys.stderr.write('x' * 100000); raise SystemExit('no such type')")
    with pytest.raises(
        UnavailableError, match=r"profile\.py: ended with status 1: x+.*no such type"
    ) as error:
        run(path)
    assert len(str(error.value)) < 3000


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


PORTAL = '''
"""What a profile uses of geni-lib's portal, and what geni-lib 0.9.9.4 writes for it outside the portal."""
import sys


class Node:
    def __init__(self, name):
        self.name, self.services = name, []

    def addService(self, service):
        self.services.append(service)


class Request:
    def __init__(self):
        self.nodes = []

    def RawPC(self, name):
        self.nodes.append(Node(name))
        return self.nodes[-1]


class Context:
    _instance = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance.parameters, cls._instance.request = {}, None
        return cls._instance

    def defineParameter(self, name, description, kind, default):
        self.parameters[name] = default

    def bindParameters(self):
        return type("Namespace", (), self.parameters)

    def makeRequestRSpec(self):
        self.request = Request()
        return self.request

    def printRequestRSpec(self, rspec=None):
        nodes = "".join(
            f'<node client_id="{n.name}" exclusive="true"><sliver_type name="raw">'
            f'<disk_image name="{n.disk_image}"/></sliver_type><hardware_type name="{n.hardware_type}"/>'
            f'<services>{"".join(n.services)}</services></node>'
            for n in (rspec or self.request).nodes
        )
        items = "".join(
            f'<data_item name="emulab.net.parameter.{k}">{v}</data_item>' for k, v in self.parameters.items()
        )
        sys.stdout.write(
            '<rspec xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xmlns="http://www.geni.net/resources/rspec/3" '
            'xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1" type="request">'
            '<rspec_tour xmlns="http://www.protogeni.net/resources/rspec/ext/apt-tour/1">'
            f'<description type="markdown">{sys.modules["__main__"].__doc__}</description></rspec_tour>'
            f"{nodes}"
            '<data_set xmlns="http://www.protogeni.net/resources/rspec/ext/profile-parameters/1">'
            f"{items}</data_set></rspec>\\n"
        )


class ParameterType:
    INTEGER = "integer"


context = Context()
'''
PG = """
def Install(url, path):
    return f'<install url="{url}" install_path="{path}"/>'


def Execute(shell, command):
    return f'<execute shell="{shell}" command="{command}"/>'
"""
PROFILE = '''"""Workers for a queue."""
import geni.portal as portal
import geni.rspec.pg as pg

pc = {context}
pc.defineParameter("n", "Number of machines", portal.ParameterType.INTEGER, 2)
params = pc.bindParameters()
request = pc.makeRequestRSpec()
for i in range(params.n):
    node = request.RawPC("node-%d" % (i + 1))
    node.hardware_type = "m510"
    node.disk_image = "{image}"
    node.addService(pg.Install("https://f.example.net/a.tgz", "/"))
    node.addService(pg.Execute(shell="sh", command="/local/one.sh"))
pc.printRequestRSpec({argument})
'''


@pytest.fixture
def geni_lib(tmp_path, monkeypatch):
    """Let scripts find geni-lib: the installed one, or as much of it as a profile of the common kind uses."""
    if importlib.util.find_spec("geni") is not None:
        return
    package = tmp_path / "site" / "geni"
    (package / "rspec").mkdir(parents=True)
    for name, text in {"__init__": "", "portal": PORTAL, "rspec/__init__": "", "rspec/pg": PG}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))


@pytest.mark.parametrize(
    ("context", "argument"),
    [("portal.Context()", "request"), ("portal.context", "request"), ("portal.context", "")],
)
def test_a_profile_of_the_portal_makes_a_helper(tmp_path, geni_lib, context, argument):
    text = PROFILE.format(context=context, argument=argument, image=IMAGE)
    helper = DocumentHelper(run(script(tmp_path, text)), "profile.py", Cms())
    assert helper.request_type == "m510"
    assert helper.get_add_args(1) == {
        "node-3": {
            "diskimage": IMAGE,
            "startup": "/local/one.sh",
            "tarballs": ["https://f.example.net/a.tgz"],
        }
    }


def test_what_a_profile_prints_besides_its_request_is_told_as_such(tmp_path):
    text = f"print('two machines'); print({document(('a', ''))!r})"
    with pytest.raises(ConfigError, match=r"profile\.py: the request RSpec is not well formed"):
        DocumentHelper(run(script(tmp_path, text)), "profile.py", Cms())


# --- the settings


def test_a_request_is_built_in_or_a_file_or_a_script_and_nothing_between():
    with pytest.raises(ValueError, match="only one"):
        RequestSettings(rspec_file="a.xml", profile_script="b.py")
    with pytest.raises(ValueError, match="image, tarballs and startup_command"):
        RequestSettings(rspec_file="a.xml", image="urn:image")


def test_the_daemon_takes_the_request_that_the_settings_name(tmp_path):
    text = document(("head", ""))
    file, printer = tmp_path / "my.xml", script(tmp_path, f"print({text!r}, end='')")
    file.write_text(text)
    for request in (
        RequestSettings(rspec_file=str(file)),
        RequestSettings(profile_script=str(printer), profile_python=sys.executable),
    ):
        helper = helper_of(SimpleNamespace(request=request), Cms())
        assert (helper.create_rspec(), helper.request_type) == (text, "m510")
    built_in = helper_of(SimpleNamespace(request=RequestSettings(nodetype="m400")), Cms())
    assert 'name="m400"' in built_in.create_rspec()
