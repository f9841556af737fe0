"""One CM is emptied and asked again, and one that agent.conf lost is told: by command and local API."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from agent.admin.questions import describe_retired
from agent.cli.options import _complete_cms
from agent.cli.waiting import wait_for_none
from agent.cluster.memory.hold import PAUSE
from agent.core.config import ManagerConfig
from agent.core.errors import AgentError
from agent.core.model import CmTeardown, Holding, RetiredCm
from agent.core.slice.retired import Retired
from agent.core.slice.words import retired_words
from tests.unit.admin.conftest import CM, ME, NOW

GONE = "urn:publicid:IDN+gone.example.net+authority+cm"
DUE = NOW + timedelta(hours=1)


def retire(rig, url: str) -> None:
    """Let the manager remember a machine at a CM that agent.conf has no more."""
    manager = rig.manager
    holdings = manager._slivers.holdings
    holdings._known[GONE] = Holding(GONE, {"node-9": "urn:sliver-9"}, DUE)
    config = ManagerConfig(clock=rig.clock, retired={GONE: url})
    manager.cmlist = (CM, GONE) if url else (CM,)
    manager.retired = Retired(config, manager.desk, manager._slivers, manager.cmlist)


def test_one_cm_is_emptied_until_it_is_asked_again(rig) -> None:
    told = rig.ask("teardown", "--cm", CM, "--deadline", "10m", input="demo\n").stdout
    assert f"empties all 3 machines of urn:publicid:IDN+example.net+slice+demo at {CM}" in told
    assert f"everything at {CM} is given back by {ME} since 2026-11-22T12:00:00Z, due" in told
    wish = CmTeardown(CM, ME, NOW, NOW + timedelta(minutes=10))
    assert rig.manager.memory.teardowns.wishes == {CM: wish}
    assert rig.manager.memory.hold.wish is None
    assert f"teardowns:       everything at {CM} is given back by {ME}" in rig.ask("status").stdout
    assert f"{CM} is not emptied any more" in rig.ask("unpause", "--cm", CM).stdout
    assert rig.manager.memory.teardowns.wishes == {}
    with pytest.raises(AgentError, match=r"nobody has urn:.* emptied"):
        rig.ask("unpause", "--cm", CM)


def test_unpause_alone_opens_no_cm_that_is_emptied(rig) -> None:
    rig.ask("teardown", "--cm", CM, "--yes")
    with pytest.raises(AgentError, match="growth is neither paused nor stopped"):
        rig.ask("unpause")
    assert CM in rig.manager.memory.teardowns.wishes


def test_its_answers_are_told_as_json(rig) -> None:
    told = json.loads(rig.ask("teardown", "--cm", CM, "--yes", "--json").stdout)
    assert (told["kind"], "3 machines are held there" in told["growth"]) == ("growth", True)
    assert list(rig.call("GET", "/v1/status")["teardowns"]) == [CM]
    assert json.loads(rig.ask("unpause", "--cm", CM, "--json").stdout)["kind"] == "growth"


def test_another_word_than_the_slices_name_empties_no_cm(rig) -> None:
    with pytest.raises(AgentError, match="nothing was done"):
        rig.ask("teardown", "--cm", CM, input="other\n")
    assert rig.manager.memory.teardowns.wishes == {}


def test_a_cm_that_is_not_known_is_refused_with_those_that_are(rig) -> None:
    with pytest.raises(
        AgentError, match=f"'urn:other': the URN of a CM is expected: {CM}".replace("+", r"\+")
    ):
        rig.ask("teardown", "--cm", "urn:other", "--yes")
    assert rig.manager.memory.teardowns.wishes == {}


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("reopen", {}, "cm: is required"),
        ("reopen", {"cm": ""}, "cm: '' is not a line of 1 to 300 characters"),
        ("teardown", {"slice": "demo", "cm": "x" * 301}, "cm: .* is not a line of 1 to 300 characters"),
        ("teardown", {"slice": "demo", "cm": ""}, "cm: '' is not a line of 1 to 300 characters"),
        ("teardown", {"slice": "other", "cm": CM}, "not a slice called 'other'"),
    ],
)
def test_bad_input_is_refused_by_name(rig, route: str, body, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        rig.call("POST", f"/v1/{route}", body)
    assert rig.manager.memory.teardowns.wishes == {}
    assert rig.manager.memory.hold.wish is None


@pytest.mark.parametrize("command", [("teardown", "--yes"), ("unpause",)])
@pytest.mark.parametrize("cm", ["", " "])
def test_an_empty_cm_is_not_taken_for_all(rig, command: tuple[str, ...], cm: str) -> None:
    rig.manager.orders.pause(ME)
    assert "--cm: the URN of a CM is expected" in rig.ask(*command, "--cm", cm, code=2).output
    assert rig.manager.memory.hold.wish.reason == PAUSE


def test_one_that_agent_conf_lost_is_told_and_can_be_emptied(rig) -> None:
    retire(rig, "https://gone.example.net:12369/protogeni/xmlrpc/cm/2.0")
    (record,) = rig.call("GET", "/v1/status")["retired"]
    assert (record["cm"], record["machines"], record["heard"]) == (GONE, ["node-9"], False)
    assert record["expires"] == "2026-11-22T13:00:00Z"
    assert f"`esagent teardown --cm {GONE}` gives it back" in rig.ask("status").stdout
    rig.ask("teardown", "--cm", GONE, "--yes")
    assert list(rig.manager.memory.teardowns.wishes) == [GONE]


def test_one_whose_url_is_not_known_is_not_emptied_and_says_how_it_would_be(rig) -> None:
    retire(rig, "")
    with pytest.raises(AgentError, match=r"its URL is not known: take it into agent\.conf again"):
        rig.ask("teardown", "--cm", GONE, "--yes")
    assert rig.manager.memory.teardowns.wishes == {}


def test_a_record_says_all_that_is_known() -> None:
    report = RetiredCm(GONE, "https://x", ("es-1",), True, DUE, ("es-2",), heard=True)
    record = describe_retired(report)
    assert (record.cm, record.url, record.machines, record.expires) == (GONE, "https://x", ("es-1",), DUE)
    assert (record.asked, record.heard, record.words) == (("es-2",), True, retired_words(report))


def test_waiting_counts_the_machines_of_that_cm_alone_and_ends_with_the_wish(rig) -> None:
    wait_for_none(rig.socket, 0, 60, GONE)
    with pytest.raises(AgentError, match="growth is allowed again, with 3 machines held"):
        wait_for_none(rig.socket, 3, 60, CM)
    told = rig.ask("teardown", "--cm", CM, "--yes", "-w", "--timeout", "0", code=5).stderr
    assert "0/3 giving back: 3 draining\n" in told


class Context:
    """What the completion of a shell is given."""

    def __init__(self, socket) -> None:
        self.params = {"socket": socket}


def test_urns_are_completed(rig, tmp_path) -> None:
    assert _complete_cms(Context(rig.socket), "urn:") == [CM]
    assert _complete_cms(Context(rig.socket), "x") == []
    assert _complete_cms(Context(tmp_path / "none"), "") == []
