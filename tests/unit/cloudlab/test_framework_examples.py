"""What docs/framework.md has its readers write runs, and does what is said of it."""

import re
import ssl
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.cloudlab.rspec import escape_add_nodes
from agent.core.notices.foreign import Whose
from agent.core.request.escaping import meant

DOCUMENT = (Path(__file__).parents[3] / "docs" / "framework.md").read_text(encoding="utf-8")


def chapter(title: str) -> str:
    """Return the text below a heading of the second rank."""
    return re.split(r"(?m)^## ", DOCUMENT.partition(f"\n## {title}\n")[2])[0]


def example(pki: Any) -> str:
    """Return the example with the files, the port and a passphrase-free key of this test."""
    (text,) = re.findall(r"(?s)```python\n(.*?)```", chapter("How Cloudlab's calls reach a manager"))
    here = {
        "/etc/esagent/cloudlab.pem": pki.user,
        "/etc/esagent/cloudlab-ca.pem": pki.ca.path,
        "/etc/esagent/callback.pem": pki.server,
        "/etc/esagent/callback.key": pki.server,
        "/etc/esagent/callers-ca.pem": pki.ca.path,
        "port=12380": "listen='127.0.0.1', port=0",
        'passphrase_file="/etc/esagent/passphrase",': "sa_url='https://127.0.0.1:1/sa', retry_for=0,",
        "boss.utah.cloudlab.us:12369": "127.0.0.1:1",
        "utah.cloudlab.us+authority": "cluster.example.net+authority",
    }
    for what, instead in here.items():
        assert what in text, what
        text = text.replace(what, str(instead))
    return text


def until(what: Callable[[], Any]) -> Any:
    """Wait until something is true; return it."""
    end = time.monotonic() + 20
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def cloudlab(pki: Any, port: int) -> Any:
    """Call the example as a CM does."""
    context = ssl.create_default_context(cafile=pki.ca.path)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(pki.cm)
    return xmlrpc.client.ServerProxy(f"https://localhost:{port}", context=context)


def test_a_call_of_cloudlabs_reaches_the_manager_of_the_example(
    pki: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    thread = threading.Thread(target=exec, args=(compile(example(pki), "framework.md", "exec"), names))
    thread.start()
    try:
        port = until(lambda: "callbacks" in names and names["callbacks"].port)
        # No manifest can be read here.
        names["manager"].whose = lambda revocation: Whose.OURS
        item = {"node_id": "pc100", "client_id": "foo-1", "max_wait_time": 60}
        envelope = cloudlab(pki, port).NotifyDeletePending({"nodelist": [item]})
        assert (envelope["code"], envelope["value"]) == (0, [{**item, "max_wait_time": 0}])
        assert "Cloudlab is about to take ['pc100']\n" in capsys.readouterr().out
    finally:
        until(lambda: names.get("manager")).stop()
        thread.join(20)
    assert not thread.is_alive()


ROWS = re.findall(r"(?m)^\| `(.+?)` \| `(.+?)` \| (.+?) \|$", chapter("Text for AddNodes"))[1:]


@pytest.mark.parametrize(("startup", "runs", "why"), ROWS)
def test_a_startup_command_of_the_document_runs_as_it_says(startup: str, runs: str, why: str) -> None:
    assert meant(startup) == runs, why
    assert escape_add_nodes({"n": {"startup": startup}})
