"""The local API and the command line that speaks to it, over a real unix socket."""

import json
import os
import pwd
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.admin import AdminServer, AdminSettings
from agent.cli import app, main
from agent.client import call
from agent.core.errors import AgentError, ConfigError


class Recorder:
    """Operations that write down what they are asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def status(self) -> Mapping[str, object]:
        return {"slice": "urn:x+slice+demo", "machines": 2, "machines_held": 2, "joined": {"a": 1}}

    def plan(self) -> Mapping[str, object]:
        held = [{"job": str(n), "counts": False, "machines": 0, "why": "held"} for n in range(1, 50_001)]
        wanted = {"job": "77777", "counts": True, "machines": 2, "why": "waits"}
        return {"steps": [], "jobs": [*held, wanted], "nodes": [], "growth": ""}

    def nodes(self) -> list[Mapping[str, object]]:
        return [
            {"node": "pc100", "client_id": "node-1", "cm": "cm", "state": "joined", "value": 0.5, "weight": 7}
        ]

    def events(self, subject: str, newest: int) -> list[Mapping[str, object]]:
        self.asked.append(("events", subject, newest))
        return [{"time": "2026-11-22T12:00:00Z", "kind": "drain", "subject": subject, "message": "why"}]

    def drains(self) -> list[Mapping[str, object]]:
        job = {"job": "7", "user": "ada", "fate": "is requeued", "at": "2026-11-22T12:13:00Z"}
        due = "2026-11-22T12:15:00Z"
        return [
            {"node": "pc1", "cause": "revoked", "due": due, "jobs": [job], "margin_seconds": 120},
            {"node": "pc2", "cause": "admin", "due": None, "jobs": [], "margin_seconds": None},
        ]

    def poke(self) -> None:
        self.asked.append(("poke",))

    def power(self) -> None:
        self.asked.append(("power",))

    def drain(
        self,
        names: Iterable[str],
        reason: str,
        who: str,
        deadline: float | None,
        *,
        force: bool,
        release: bool,
    ) -> list[str]:
        wishes = [word for word, wished in (("force", force), ("release", release)) if wished]
        self.asked.append(("drain", list(names), reason, who, deadline, *wishes))
        if "pc9" in names:
            raise AgentError("pc9 is not one of our machines")
        return list(names)

    def resume(self, names: Iterable[str], who: str) -> list[str]:
        self.asked.append(("resume", list(names), who))
        return list(names)

    def pause(self, who: str) -> str:
        self.asked.append(("pause", who))
        return f"growth is paused by {who}"

    def unpause(self, who: str) -> str:
        self.asked.append(("unpause", who))
        if len(self.asked) > 1:
            raise AgentError("growth is neither paused nor stopped")
        return f"growth is allowed again by {who}"

    def teardown(self, slice_name: str, who: str, deadline: float | None) -> str:
        self.asked.append(("teardown", slice_name, who, deadline))
        return f"everything is given back by {who}"


@pytest.fixture
def operations() -> Recorder:
    return Recorder()


@pytest.fixture
def path(tmp_path: Path, operations: Recorder) -> Iterator[Path]:
    server = AdminServer(AdminSettings(socket=tmp_path / "a.sock"), operations)
    server.start()
    yield tmp_path / "a.sock"
    server.stop()


def test_a_drain_reaches_the_agent_with_the_callers_name(path: Path, operations: Recorder) -> None:
    answer = call(path, "POST", "/v1/drain", {"nodes": ["pc1"], "reason": "disk", "deadline": 90})
    assert answer == {"nodes": ["pc1"]}
    ((what, names, reason, who, deadline),) = operations.asked
    assert (what, names, reason, deadline) == ("drain", ["pc1"], "disk", 90.0)
    assert who == pwd.getpwuid(os.getuid()).pw_name


def test_a_refusal_comes_back_in_the_agents_words(path: Path) -> None:
    with pytest.raises(AgentError, match="pc9 is not one of our machines"):
        call(path, "POST", "/v1/drain", {"nodes": ["pc9"], "reason": "x"})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"nodes": [], "reason": "x"}, "nodes"),
        ({"nodes": "pc1", "reason": "x"}, "nodes"),
        ({"nodes": ["pc1"], "reason": "two\nlines"}, "reason"),
        ({"nodes": ["pc1"], "reason": "x", "deadline": -1}, "deadline"),
        ({"nodes": ["pc1"], "reason": "x", "hurry": True}, "hurry"),
    ],
)
def test_bad_input_is_refused_by_name_and_reaches_nobody(path, operations, body, words) -> None:
    with pytest.raises(AgentError, match=words):
        call(path, "POST", "/v1/drain", body)
    assert operations.asked == []


def test_garbage_on_the_socket_costs_nobody_else(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(path))
        rude.sendall(b"\x00\xff not http\r\n\r\n")
        rude.recv(1000)
    assert call(path, "GET", "/v1/status")["machines_held"] == 2


def test_an_oversize_body_is_refused(path: Path, operations: Recorder) -> None:
    with pytest.raises(AgentError):
        call(path, "POST", "/v1/drain", {"nodes": ["pc1"], "reason": "x" * (2 << 20)})
    assert operations.asked == []


def test_an_unknown_call_is_refused(path: Path) -> None:
    with pytest.raises(AgentError, match="no such call: GET /v1/secrets"):
        call(path, "GET", "/v1/secrets")


def test_an_unknown_operator_is_a_fault_of_the_settings(tmp_path: Path, operations: Recorder) -> None:
    with pytest.raises(ConfigError, match="nobody-like-this"):
        AdminServer(AdminSettings(socket=tmp_path / "b.sock", operators=("nobody-like-this",)), operations)


def test_a_socket_that_cannot_be_made_is_named(tmp_path: Path, operations: Recorder) -> None:
    (tmp_path / "file").touch()
    server = AdminServer(AdminSettings(socket=tmp_path / "file" / "a.sock"), operations)
    with pytest.raises(ConfigError, match="socket"):
        server.start()


def test_events_of_one_machine_can_be_asked_for(path: Path, operations: Recorder) -> None:
    result = CliRunner().invoke(app, ["events", "pc1", "-n", "5", "--socket", str(path)])
    assert result.exit_code == 0
    assert result.output.split()[:3] == ["2026-11-22T12:00:00Z", "drain", "pc1"]
    assert operations.asked == [("events", "pc1", 5)]


def test_the_command_line_prints_tables_for_pipes_and_json_for_programs(path: Path) -> None:
    plain = CliRunner().invoke(app, ["nodes", "--socket", str(path)])
    assert plain.output.rstrip("\n").split("\t") == ["pc100", "node-1", "cm", "joined", "0.5", "7", "-"]
    as_json = CliRunner().invoke(app, ["nodes", "--json", "--socket", str(path)])
    assert json.loads(as_json.output)["nodes"][0]["node"] == "pc100"
    assert "machines held:" in CliRunner().invoke(app, ["status", "--socket", str(path)]).output


def test_a_plan_for_a_long_queue_is_told_in_a_few_lines_and_whole_to_programs(path: Path) -> None:
    told = CliRunner().invoke(app, ["plan", "--socket", str(path)]).output
    assert told.splitlines() == [
        "nothing is to be done",
        "1 2 3 4 5 and 49995 more\tno\t0\theld",
        "77777\tyes\t2\twaits",
    ]
    whole = json.loads(CliRunner().invoke(app, ["plan", "--json", "--socket", str(path)]).output)
    assert len(whole["jobs"]) == 50_001


def test_draining_from_the_command_line_says_what_drains(path: Path, operations: Recorder) -> None:
    result = CliRunner().invoke(
        app, ["drain", "pc1", "pc2", "--deadline", "30m", "--socket", str(path), "-r", "disk"]
    )
    assert result.output == "draining: pc1 pc2\n"
    assert operations.asked[0][1:3] == (["pc1", "pc2"], "disk")
    assert operations.asked[0][4] == 1800.0


ME = pwd.getpwuid(os.getuid()).pw_name


def test_pausing_and_unpausing_reach_the_agent_with_the_callers_name(
    path: Path, operations: Recorder
) -> None:
    assert CliRunner().invoke(app, ["unpause", "--socket", str(path)]).output == (
        f"growth is allowed again by {ME}\n"
    )
    assert CliRunner().invoke(app, ["pause", "--socket", str(path)]).output == f"growth is paused by {ME}\n"
    assert operations.asked == [("unpause", ME), ("pause", ME)]
    with pytest.raises(AgentError, match="neither paused nor stopped"):
        call(path, "POST", "/v1/unpause")


def test_a_teardown_goes_on_when_the_slices_name_is_typed(path: Path, operations: Recorder) -> None:
    arguments = ["teardown", "--deadline", "10m", "--socket", str(path)]
    result = CliRunner().invoke(app, arguments, input="demo\n")
    assert result.exit_code == 0
    assert "empties all 2 machines of urn:x+slice+demo" in result.output
    assert result.output.endswith(f"everything is given back by {ME}\n")
    assert operations.asked == [("teardown", "demo", ME, 600.0)]


@pytest.mark.parametrize("typed", ["other\n", "Demo\n", "yes\n", ""])
def test_any_other_word_or_none_tears_nothing_down(path: Path, operations: Recorder, typed: str) -> None:
    result = CliRunner().invoke(app, ["teardown", "--socket", str(path)], input=typed)
    assert result.exit_code != 0
    assert operations.asked == []


def test_a_script_tears_down_without_being_asked(path: Path, operations: Recorder) -> None:
    result = CliRunner().invoke(app, ["teardown", "--yes", "--socket", str(path)])
    assert result.exit_code == 0
    assert operations.asked == [("teardown", "demo", ME, None)]


@pytest.mark.parametrize(
    "body", [{}, {"slice": ""}, {"slice": "demo", "deadline": -1}, {"slice": "demo", "x": 1}]
)
def test_a_teardown_without_a_slice_or_with_nonsense_reaches_nobody(path, operations, body) -> None:
    with pytest.raises(AgentError):
        call(path, "POST", "/v1/teardown", body)
    assert operations.asked == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("route", ["pause", "unpause", "teardown"])
def test_a_user_who_is_no_operator_may_read_but_changes_nothing(
    path: Path, operations: Recorder, route: str
) -> None:
    path.parent.chmod(0o755)
    child = os.fork()
    if child == 0:
        os._exit(_as_nobody(path, route))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert operations.asked == []


def _as_nobody(path: Path, route: str) -> int:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.setuid(pwd.getpwnam("nobody").pw_uid)
    near = Path(f"/proc/self/fd/{directory}") / path.name
    if call(near, "GET", "/v1/status")["machines_held"] != 2:
        return 1
    try:
        call(near, "POST", f"/v1/{route}", {"slice": "demo"})
    except AgentError as error:
        return 0 if "not an operator" in str(error) else 2
    return 3


def test_without_a_daemon_there_is_one_helpful_sentence(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["esagent", "status", "--socket", str(tmp_path / "none.sock")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    words = capsys.readouterr().err
    assert words.startswith("esagent: no daemon")
    assert "none.sock" in words


def test_a_socket_that_a_dead_daemon_left_is_told_from_a_living_one(tmp_path: Path) -> None:
    path = tmp_path / "odd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(AgentError, match="no daemon answers"):
            call(path, "GET", "/v1/status")


def test_a_drain_may_take_over_and_give_back(path: Path, operations: Recorder) -> None:
    arguments = ["drain", "pc1", "--deadline", "30m", "--force", "--release", "--socket", str(path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    ((what, names, reason, _, deadline, *wishes),) = operations.asked
    assert (what, names, reason, deadline) == ("drain", ["pc1"], "administrator", 1800.0)
    assert wishes == ["force", "release"]


def test_the_list_of_drains_tells_whose_jobs_hold_a_node_what_will_happen_and_the_margin(path: Path) -> None:
    shown = CliRunner().invoke(app, ["drains", "--socket", str(path)]).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0][:5] == ["pc1", "revoked", "2026-11-22T12:15:00Z", "7", "ada"]
    assert lines[0][5:] == ["is", "requeued", "2026-11-22T12:13:00Z", "120", "s"]
    assert "empty" in lines[1]


def test_the_epilog_may_poke_the_agent(path: Path, operations: Recorder) -> None:
    assert CliRunner().invoke(app, ["poke", "--socket", str(path)]).exit_code == 0
    assert operations.asked == [("poke",)]
