"""The local API: who may call, what is refused at the door, and what is written down."""

import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from agent.admin.openapi import ErrorAnswer
from agent.admin.server import MAX_HEADER, AdminServer, _json
from agent.admin.settings import AdminSettings
from agent.cli.client import NotAllowedError, call
from agent.core.errors import AgentError, UnavailableError
from tests.unit.admin.conftest import ME, NOBODY, as_nobody, machine


def test_a_drain_reaches_the_manager_with_the_callers_name(rig) -> None:
    answer = rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "reason": "disk", "deadline": 90})
    assert answer == {"version": 1, "kind": "names", "nodes": ["pc102"]}
    drain = rig.manager.memory.drains.of(machine(2))
    assert (drain.reason, drain.who, drain.deadline) == ("disk", ME, rig.clock.now() + timedelta(seconds=90))


def test_each_act_is_in_the_event_log_with_the_uid_also_a_refused_one(rig) -> None:
    rig.call("POST", "/v1/drain", {"nodes": ["pc102"], "reason": "disk"})
    with pytest.raises(AgentError):
        rig.call("POST", "/v1/resume", {"nodes": ["pc103"]})
    done, refused = rig.told("request")
    assert done.subject == "pc102"
    assert done.message == f"{ME} (uid {os.getuid()}) asks: drain pc102 reason=disk: done"
    assert (done.data["uid"], done.data["call"], done.data["outcome"]) == (os.getuid(), "drain", "done")
    assert "was not drained with `esagent drain`" in refused.data["outcome"]


def test_looking_and_poking_leave_no_trace_in_the_event_log(rig) -> None:
    for method, route in (("GET", "/v1/status"), ("POST", "/v1/poke"), ("POST", "/v1/power")):
        rig.call(method, route)
    assert rig.told("request") == []


@pytest.mark.parametrize(
    ("route", "body", "words"),
    [
        ("drain", {}, "nodes: is required: a list of 1 to 1000 names or node sets"),
        ("drain", ["pc101"], r'body: \["pc101"\] is not an object'),
        ("drain", {"nodes": [], "reason": "x"}, r"nodes: \[\] is not a list of 1 to 1000 names or node sets"),
        ("drain", {"nodes": "pc101", "reason": "x"}, "nodes: 'pc101' is not a list of 1 to 1000 names"),
        ("drain", {"nodes": ["x" * 999]}, r"nodes.0: 'x{99}\.\.\. is neither a name"),
        ("drain", {"nodes": ["pc101; reboot"], "reason": "x"}, "nodes.0: 'pc101; reboot' is neither"),
        ("drain", {"nodes": ["@all"], "reason": "x"}, "nodes.0: '@all' is neither a name nor a node set"),
        (
            "drain",
            {"nodes": ["pc101"], "reason": "two\nlines"},
            r"reason: 'two\\nlines' is not a line of 1 to 200 characters \(why, for all to read\)",
        ),
        ("drain", {"nodes": ["pc101"], "reason": 5}, "reason: 5 is not a line of 1 to 200 characters"),
        (
            "drain",
            {"nodes": ["pc101"], "deadline": "30m"},
            r"deadline: '30m' is not a number from 0 to 2592000 \(seconds from now until .* empty\)",
        ),
        ("drain", {"nodes": ["pc101"], "deadline": -1}, "deadline: -1 is not a number from 0 to 2592000"),
        ("drain", {"nodes": ["pc101"], "deadline": float("nan")}, "deadline: NaN is not a number from 0"),
        ("drain", {"nodes": ["pc101"], "force": "yes"}, "force: 'yes' is not true or false"),
        ("drain", {"nodes": ["pc101"], "reason": "\udcff"}, "surrogate"),
        ("drain", {"nodes": ["pc101"], "reason": "a\x00b"}, "reason: "),
        ("drain", {"nodes": ["pc101"], "hurry": True}, "hurry: no such field; there are nodes, reason"),
        ("drain", {"nodes": ["pc101"], "forse": True}, "forse: no such field; did you mean 'force'"),
        ("drain", {"nodes": ["pc[1-99999999]"], "reason": "x"}, "stands for 99999999 names"),
        ("drain", {"nodes": ["pc[1-9999]-[1-9999]"], "reason": "x"}, "stands for 99980001 names"),
        ("grow", {"count": "3"}, "count: '3' is not a whole number from 0 to 10000"),
        ("grow", {"count": 1.5}, "count: 1.5 is not a whole number"),
        ("grow", {"count": 10**9}, "count: 1000000000 is not a whole number from 0 to 10000"),
        ("grow", {"count": 1, "within": 0}, "within: 0 is not a number above 0, 2592000 at most"),
        ("teardown", {}, "slice: is required: a line of 1 to 200 characters"),
        ("teardown", {"slice": ""}, "slice: '' is not a line of 1 to 200 characters"),
        ("teardown", {"slice": "other"}, "not a slice called 'other'"),
    ],
)
def test_bad_input_is_refused_by_name_and_changes_nothing(rig, route: str, body, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        rig.call("POST", f"/v1/{route}", body)
    assert rig.manager.memory.wishes().drains == {}
    assert rig.manager.memory.growing.order is None
    assert rig.manager.memory.hold.wish is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("newest=0", "newest: '0' is not a whole number from 1 to 10000"),
        ("newest=many", "newest: 'many' is not a whole number from 1 to 10000"),
        ("after=-1", "after: '-1' is not a whole number from 0 to 9007199254740992"),
        ("subject=" + "x" * 301, "subject: .* is not a line of 0 to 300 characters"),
        ("newest=1&newest=2", "newest: it is expected once"),
        ("wait=3600", "wait: '3600' is not a number from 0 to 25"),
        ("colour=red", "colour: no such field; there are subject, newest, after, wait"),
        ("&".join(f"x{n}=1" for n in range(30)), "cannot be read"),
    ],
)
def test_a_bad_query_is_refused_by_name(rig, query: str, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        rig.call("GET", f"/v1/events?{query}")


def test_a_refusal_is_short_however_long_what_was_asked(rig) -> None:
    for body in ({"nodes": ["pc101"], "x" * 500_000: 1}, {"nodes": ["x" * 500_000]}, ["x"] * 100_000):
        with pytest.raises(AgentError) as refused:
            rig.call("POST", "/v1/drain", body)
        assert len(str(refused.value)) < 500
    assert max(len(event.message) for event in rig.told("request")) < 1000


def test_a_body_that_is_no_json_is_told_as_that(rig) -> None:
    with socket.socket(socket.AF_UNIX) as caller, caller.makefile("rb") as answer:
        caller.connect(str(rig.socket))
        caller.sendall(b"POST /v1/grow HTTP/1.0\r\nContent-Length: 10\r\n\r\n{count: 1}")
        assert b"body: it is not JSON: key must be a string" in answer.read()


def test_a_call_of_no_query_takes_none(rig) -> None:
    with pytest.raises(AgentError, match="colour: no such field; this call takes none"):
        rig.call("GET", "/v1/status?colour=red")


def test_garbage_on_the_socket_costs_nobody_else(rig) -> None:
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(rig.socket))
        rude.sendall(b"\x00\xff not http\r\n\r\n")
        rude.recv(1000)
    assert rig.call("GET", "/v1/status")["machines"] == 3


def test_an_oversize_body_or_head_is_refused(rig) -> None:
    with pytest.raises(AgentError):
        rig.call("POST", "/v1/drain", {"nodes": ["pc101"], "reason": "x" * (2 << 20)})
    with pytest.raises(AgentError):
        rig.call("GET", f"/v1/events?subject={'x' * 2 * MAX_HEADER}")
    assert rig.manager.memory.wishes().drains == {}


def test_an_unknown_call_is_refused_and_a_known_one_says_how_it_is_made(rig) -> None:
    with pytest.raises(AgentError, match="no such call: GET /v1/secrets"):
        rig.call("GET", "/v1/secrets")
    with pytest.raises(AgentError, match="/v1/drain takes POST only"):
        rig.call("GET", "/v1/drain")


@pytest.mark.parametrize("key", ["operators", "operator_groups", "readers", "reader_groups"])
def test_a_user_or_group_that_this_machine_does_not_know_is_a_fault_of_the_settings(rig, key: str) -> None:
    with pytest.raises(UnavailableError, match=rf"\[admin\] {key}: .*nobody-like-this"):
        rig.serve(AdminSettings(**{"socket": rig.socket, key: ("nobody-like-this",)}))


def test_a_second_daemon_leaves_the_socket_to_the_first(rig) -> None:
    settings = AdminSettings(socket=rig.socket)
    second = rig.serve(settings)
    with pytest.raises(UnavailableError, match=r"a\.sock: another daemon answers on it"):
        second.start()
    second.stop()
    assert rig.call("GET", "/v1/status")["machines"] == 3


def test_of_daemons_that_start_in_the_same_instant_one_has_the_socket(rig, tmp_path: Path) -> None:
    path = tmp_path / "b.sock"
    for _ in range(10):
        servers = [rig.serve(AdminSettings(socket=path)) for _ in range(4)]
        together = threading.Barrier(len(servers))

        def begin(server: AdminServer, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                server.start()
            except UnavailableError:
                return False
            return True

        with ThreadPoolExecutor(len(servers)) as pool:
            begun = list(pool.map(begin, servers))
        try:
            assert begun.count(True) == 1
            assert call(path, "GET", "/v1/status")["machines"] == 3
        finally:
            for server in servers:
                server.stop()


def test_a_socket_that_a_killed_daemon_left_is_replaced(rig, tmp_path: Path) -> None:
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = rig.serve(AdminSettings(socket=path))
    server.start()
    assert call(path, "GET", "/v1/status")["machines"] == 3
    server.stop()
    assert not path.exists()


def test_a_socket_that_cannot_be_made_is_named(rig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server = rig.serve(AdminSettings(socket=tmp_path / "file" / "a.sock"))
    with pytest.raises(UnavailableError, match="socket"):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_another_user_may_read_and_poke_but_not_act_and_that_is_written_down(rig) -> None:
    rig.socket.parent.chmod(0o755)
    assert as_nobody(lambda near: call(near, "GET", "/v1/status")["machines"] == 3, rig.socket)
    assert as_nobody(lambda near: call(near, "POST", "/v1/poke")["kind"] == "done", rig.socket)
    for route in ("pause", "unpause", "teardown", "drain", "release", "resume", "grow", "renew"):
        assert as_nobody(lambda near, route=route: is_refused(near, route), rig.socket)
    assert rig.manager.memory.hold.wish is None
    assert {e.data["uid"] for e in rig.told("request")} == {NOBODY.pw_uid}


def is_refused(near: Path, route: str) -> bool:
    with pytest.raises(NotAllowedError, match=r"user nobody is not an operator: see \[admin\] operators"):
        call(near, "POST", f"/v1/{route}", {"slice": "demo"})
    return True


def test_a_text_that_cannot_be_encoded_costs_no_answer() -> None:
    answer = _json(ErrorAnswer(error="/etc/\udcff: no such file"))
    assert json.loads(answer)["error"] == "/etc/\ufffd: no such file"
