"""The command line as people and scripts use it, over the real local API."""

import json
import os
import pwd
import shlex
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.settings import differences, toml
from agent.cli.show import alike, drains
from agent.core.errors import AgentError, RefusedError, UnavailableError
from agent.core.settings import LeaseSettings
from tests.unit.admin.conftest import machine

ME = pwd.getpwuid(os.getuid()).pw_name
ESAGENT = Path(sys.executable).with_name("esagent")


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# --- what is known


@pytest.mark.parametrize(
    "words", ["drain pc102", "release pc102", "grow 1", "renew", "teardown --yes"], ids=lambda w: w.split()[0]
)
def test_a_limit_without_a_wait_is_refused_and_nothing_is_done(rig, words: str) -> None:
    result = rig.ask(*words.split(), "--timeout", "30m", code=2)
    assert "--timeout: it goes with --wait" in result.output
    assert rig.told("request") == []


def test_nodes_are_a_table_for_people_and_an_object_for_programs(rig) -> None:
    rig.value("pc101", 0.5)
    head, first, *_ = lines(rig.ask("nodes").stdout)
    assert head == ["NODE", "CLIENT", "ID", "STATE", "VALUE", "WEIGHT", "DUE", "CM"]
    assert first[:5] == ["pc101", "node-1", "joined", "0.5", "10"]
    told = json.loads(rig.ask("nodes", "--json").stdout)
    assert (told["version"], told["kind"], told["nodes"][0]["node"]) == (1, "nodes", "pc101")


def test_machines_that_are_not_ours_are_listed_where_all_are_asked_for(rig) -> None:
    rig.add_foreign("ctl", "pc900")
    rig.look()
    assert "ctl" not in rig.ask("nodes").stdout
    *_, last = lines(rig.ask("nodes", "--all").stdout)
    assert last[:3] == ["pc900", "ctl", "foreign"]
    told = json.loads(rig.ask("nodes", "--all", "--json").stdout)["nodes"]
    assert [node["state"] for node in told] == ["joined", "joined", "joined", "foreign"]
    status = dict(line.split(":", 1) for line in rig.ask("status").stdout.splitlines())
    assert status["foreign"].strip() == "1 machine of this slice is not ours: ctl"
    assert "1 machine of this slice is not ours: ctl" in rig.ask("top").stdout


def test_a_machine_that_was_asked_for_is_told_of_before_it_comes_and_is_not_held(rig) -> None:
    seen = []

    def add_nodes(_cm, nodes):
        """Look around while Cloudlab takes its time."""
        seen.append((rig.call("GET", "/v1/nodes")["nodes"][3:], rig.call("GET", "/v1/status")))
        seen.append((list(nodes), lines(rig.ask("nodes").stdout)))
        raise RefusedError("not now", code=7)

    rig.cloudlab.add_nodes = add_nodes
    rig.ask("grow", "1")
    rig.look()
    with pytest.raises(RefusedError):
        rig.manager.add_nodes()
    ((told,), status), ((name,), (head, *_, last)) = seen
    assert (told["node"], told["client_id"], told["state"]) == (name, name, "requested")
    assert (told["node_id"], told["asked"]) == ("", "2026-11-22T12:00:00Z")
    assert (status["machines"], status["states"]["requested"]) == (3, 1)
    assert head == ["NODE", "CLIENT", "ID", "STATE", "ASKED", "VALUE", "WEIGHT", "DUE", "CM"]
    assert last[:4] == [name, name, "requested", "2026-11-22T12:00:00Z"]
    assert len(rig.call("GET", "/v1/nodes")["nodes"]) == 3


def test_status_tells_who_asked_for_machines(rig) -> None:
    rig.ask("grow", "1")
    fields = dict(line.split(":", 1) for line in rig.ask("status").stdout.splitlines())
    assert fields["machines"].strip() == "3"
    assert f"3 of 4 machines in service, asked for by {ME}" in fields["growing"]
    assert "kind" not in fields


def test_status_warns_of_a_lease_that_nobody_renews(rig) -> None:
    fields = dict(line.split(":", 1) for line in rig.ask("status").stdout.splitlines())
    assert fields["lease warnings"].strip() == "-"
    rig.manager.lease = LeaseSettings(renew="never")
    fields = dict(line.split(":", 1) for line in rig.ask("status").stdout.splitlines())
    assert fields["lease warnings"].strip() == (
        'the slice ends at 2026-11-23T08:00:00Z, and nobody renews it: [lease] renew is "never"'
    )


def test_jobs_and_values_are_listed(rig) -> None:
    _, running, waiting = lines(rig.ask("jobs").stdout)
    assert running[:3] == ["7", "ada", "RUNNING"]
    assert waiting[:3] == ["8", "bob", "PENDING"]
    assert lines(rig.ask("values").stdout)[1][:2] == ["pc101", "node-1"]


def test_a_plan_for_a_long_queue_is_told_in_a_few_lines() -> None:
    held = [{"job": str(n), "counts": False, "machines": 0, "why": "held"} for n in range(1, 50_001)]
    wanted = {"job": "77777", "counts": True, "machines": 2, "why": "waits"}
    assert alike([*held, wanted]) == [
        {"jobs": "1 2 3 4 5 and 49995 more", "counts": "no", "machines": 0, "why": "held"},
        {"jobs": "77777", "counts": "yes", "machines": 2, "why": "waits"},
    ]


def test_the_plan_tells_jobs_and_nodes(rig) -> None:
    told = rig.ask("plan").stdout
    assert told.startswith("weight pc101,pc102,pc103: ")
    assert ["8", "no", "0"] in [words[:3] for words in lines(told)]
    assert json.loads(rig.ask("plan", "--json").stdout)["kind"] == "plan"


def test_the_list_of_drains_tells_whose_jobs_hold_a_node_and_the_margin(rig) -> None:
    assert rig.ask("drains").stderr == "no machine is being emptied\n"
    rig.ask("drain", "pc102", "--deadline", "30m")
    _, row = lines(rig.ask("drains").stdout)
    assert row[:3] == ["pc102", "admin", "2026-11-22T12:30:00Z"]
    assert "empty" in row


def test_what_is_expected_of_a_job_is_a_column_of_its_own_where_anything_is(capsys) -> None:
    job = {"job": "7", "user": "eve", "fate": "is requeued", "at": None}
    record = {"node": "pc102", "cause": "revoked", "due": None, "margin_seconds": 60}
    empty = {**record, "jobs": []}
    drains({"drains": [{**record, "jobs": [{**job, "expected": ""}]}, empty]})
    assert "EXPECTED" not in capsys.readouterr().out
    drains({"drains": [{**record, "jobs": [{**job, "expected": "to end soon"}]}, empty]})
    head, row, _ = lines(capsys.readouterr().out)
    assert (head[-1], row[-3:]) == ("EXPECTED", ["to", "end", "soon"])


def test_events_of_one_machine_can_be_asked_for_and_an_unknown_name_is_told_with_the_nearest(rig) -> None:
    rig.record("drain", "pc101", "two\nlines")
    head, *_, last = rig.ask("events", "pc101", "-n", "5").stdout.splitlines()
    assert head.split() == ["TIME", "KIND", "SUBJECT", "MESSAGE"]
    assert last.split() == ["2026-11-22T12:00:00Z", "drain", "pc101", "two", "lines"]
    assert rig.ask("events", "pc1011").stderr == "no event is about pc1011; did you mean pc101 or pc103?\n"


@pytest.mark.parametrize(
    "command", ["status", "nodes", "jobs", "values", "plan", "drains", "events", "top", "config show"]
)
def test_everything_that_is_told_comes_as_an_object_of_its_kind_and_version(rig, command: str) -> None:
    told = json.loads(rig.ask(*command.split(), "--json").stdout)
    assert (told["version"], told["kind"]) == (1, command.removesuffix(" show"))


# --- what is done


def test_draining_says_what_drains_and_reaches_the_manager(rig) -> None:
    told = rig.ask("drain", "pc[102-103]", "--deadline", "30m", "-r", "disk", "--force", "--release")
    assert told.stdout == "draining: pc102 pc103\n"
    drain = rig.manager.memory.drains.of(machine(2))
    assert (drain.reason, drain.who, drain.give_back) == ("disk", ME, True)
    assert drain.deadline == rig.clock.now() + timedelta(minutes=30)


def test_a_number_of_seconds_needs_no_unit_and_nonsense_is_wrong_usage(rig) -> None:
    rig.ask("drain", "pc102", "--deadline", "0")
    assert rig.manager.memory.drains.of(machine(2)).deadline == rig.clock.now()
    told = rig.ask("drain", "pc103", "--deadline", "soon", code=2).stderr
    assert "--deadline" in told
    assert "'soon' is not a duration" in told
    assert rig.manager.memory.drains.of(machine(3)) is None


def test_resume_undoes_a_drain(rig) -> None:
    rig.ask("drain", "pc102")
    assert rig.ask("resume", "node-2").stdout == "resumed: pc102\n"
    assert rig.manager.memory.drains.of(machine(2)) is None


def test_pausing_and_unpausing_say_who(rig) -> None:
    assert rig.ask("pause").stdout.startswith(f"growth is paused by {ME} since")
    assert rig.ask("unpause").stdout == f"growth is allowed again by {ME}\n"
    with pytest.raises(AgentError, match="neither paused nor stopped"):
        rig.ask("unpause")


def test_every_act_prints_its_answer_as_json(rig) -> None:
    for words, kind in (
        (["drain", "pc102"], "names"),
        (["resume", "pc102"], "names"),
        (["release", "pc102"], "names"),
        (["grow", "1"], "grow"),
        (["grow", "0"], "grow"),
        (["renew"], "growth"),
        (["pause"], "growth"),
        (["unpause"], "growth"),
        (["poke"], "done"),
        (["teardown", "--yes"], "growth"),
    ):
        told = json.loads(rig.ask(*words, "--json").stdout)
        assert (told["version"], told["kind"]) == (1, kind)


def test_a_teardown_goes_on_when_the_slices_name_is_typed(rig) -> None:
    told = rig.ask("teardown", "--deadline", "10m", input="demo\n").stdout
    assert "empties all 3 machines of urn:publicid:IDN+example.net+slice+demo" in told
    assert f"everything is given back by {ME}" in told
    assert rig.manager.memory.hold.wish.deadline == rig.clock.now() + timedelta(minutes=10)


@pytest.mark.parametrize("typed", ["other\n", "Demo\n", "yes\n"])
def test_any_other_word_tears_nothing_down(rig, typed: str) -> None:
    with pytest.raises(AgentError, match="nothing was done"):
        rig.ask("teardown", input=typed)
    assert rig.manager.memory.hold.wish is None


# --- the settings


def test_settings_in_force_are_printed_as_toml_that_reads_back(rig) -> None:
    assert tomllib.loads(rig.ask("config", "show").stdout) == rig.settings
    settings = {"a": {"x": 'q"\\\u001b', "y": [1, 2.5], "t": [{"k": True, "odd key": ""}], "n": None}}
    assert tomllib.loads(toml(settings)) == {
        "a": {"x": 'q"\\\u001b', "y": [1, 2.5], "t": [{"k": True, "odd key": ""}]}
    }


def test_what_differs_between_the_daemon_and_the_file_is_told_with_what_takes_it_up() -> None:
    running = {"demand": {"max_nodes": 3, "min_nodes": 0}, "admin": {"socket": "/a"}}
    file = {"demand": {"max_nodes": 5, "min_nodes": 0}, "admin": {"socket": "/b"}}
    assert differences(running, file, ["demand"]) == [
        {"setting": "[demand] max_nodes", "running": 3, "file": 5, "taken_up_by": "reload"},
        {"setting": "[admin] socket", "running": "/a", "file": "/b", "taken_up_by": "restart"},
    ]


def test_config_diff_ends_with_1_where_the_file_says_something_else(rig, monkeypatch) -> None:
    monkeypatch.setattr("agent.cli.settings._load", lambda _: rig.settings)
    same = rig.ask("config", "diff")
    assert (same.stdout, same.stderr) == ("", "the daemon runs with what /etc/esagent/agent.conf says\n")
    monkeypatch.setattr("agent.cli.settings._load", lambda _: {**rig.settings, "demand": {"max_nodes": 2}})
    told = rig.ask("config", "diff", code=1).stdout
    assert lines(told)[1] == ["[demand]", "max_nodes", "5", "2", "reload"]
    assert json.loads(rig.ask("config", "diff", "--json", code=1).stdout)["kind"] == "config-diff"


# --- how it ends


def run_main(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["esagent", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().err


def test_without_a_daemon_there_is_one_helpful_sentence_and_a_code_of_its_own(
    tmp_path, monkeypatch, capsys
) -> None:
    code, words = run_main(monkeypatch, capsys, "status", "--socket", str(tmp_path / "none.sock"))
    assert code == 3
    assert words == f"esagent: no daemon: there is no socket {tmp_path}/none.sock (is `esagent run` up?)\n"


def test_a_refusal_is_the_agents_own_words_and_code_1(rig, monkeypatch, capsys) -> None:
    code, words = run_main(monkeypatch, capsys, "drain", "pc109", "--socket", str(rig.socket))
    assert code == 1
    assert words.startswith("esagent: pc109 is not one of our machines: they are pc[101-103]; did you mean")


@pytest.mark.parametrize("command", ["run", "state", "config show"])
def test_a_fault_in_agent_conf_has_a_code_of_its_own(tmp_path, monkeypatch, capsys, command: str) -> None:
    conf = tmp_path / "agent.conf"
    conf.write_text("[demand]\nmax_nods = 3\n")
    code, words = run_main(monkeypatch, capsys, *command.split(), "--config", str(conf))
    assert code == os.EX_CONFIG
    assert f"{conf}: [demand] max_nods: no such setting; did you mean 'max_nodes'?" in words


def test_what_cannot_be_had_now_ends_the_daemon_with_a_code_that_has_it_tried_again(
    monkeypatch, capsys
) -> None:
    def in_use(_: object) -> int:
        raise UnavailableError("[callback] cannot listen on 127.0.0.1 port 1: address in use")

    monkeypatch.setattr("agent.daemon.serve", in_use)
    assert run_main(monkeypatch, capsys, "run")[0] == 1


def test_a_mistyped_command_is_wrong_usage_and_told_with_the_nearest(monkeypatch, capsys) -> None:
    code, words = run_main(monkeypatch, capsys, "statsu")
    assert code == 2
    assert "Did you mean 'status'" in words


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("agent.cli.show.call", interrupted)
    code, words = run_main(monkeypatch, capsys, "status")
    assert (code, words) == (130, "")


@pytest.mark.parametrize("command", [["events", "-n", "5000"], ["--help"], ["api"], ["man"]])
def test_a_reader_that_goes_away_costs_no_traceback(rig, command: list[str]) -> None:
    for number in range(500):
        rig.record("drain", f"pc{number}", "x" * 200)
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "ESAGENT_SOCKET": str(rig.socket)}
    done = subprocess.run(
        [ESAGENT, *command], stdout=write, stderr=subprocess.PIPE, env=environment, timeout=60, check=False
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode in {1, 141}


@pytest.mark.parametrize("command", ["status", "--help", "man"])
def test_output_that_cannot_be_written_costs_one_sentence(rig, command: str) -> None:
    environment = {**os.environ, "ESAGENT_SOCKET": str(rig.socket)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [ESAGENT, command], stdout=full, stderr=subprocess.PIPE, env=environment, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"esagent: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-"])
def test_a_stream_that_is_closed_does_not_stop_a_command(rig, closed: str) -> None:
    environment = {**os.environ, "ESAGENT_SOCKET": str(rig.socket)}
    command = f"{shlex.quote(str(ESAGENT))} nodes {closed}"
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


COMPLETION = Path(__file__).parents[3] / "contrib" / "completion" / "esagent"
"""What a shell reads at its start."""


def test_the_completion_that_is_installed_is_what_the_code_says() -> None:
    told = subprocess.run(
        [ESAGENT, "completion", "bash"], capture_output=True, text=True, timeout=60, check=True
    )
    assert COMPLETION.read_text() == told.stdout, (
        "write it anew: .venv/bin/esagent completion bash > contrib/completion/esagent"
    )


def complete(rig, typed: str) -> list[str]:
    """Press the tabulator key at the end of what is typed, in a real bash."""
    words = [*shlex.split(typed), *([""] if typed.endswith(" ") else [])]
    script = (
        'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        "$(complete -p esagent | sed 's/.*-F \\([^ ]*\\).*/\\1/') esagent; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    environment = {**os.environ, "ESAGENT_SOCKET": str(rig.socket)}
    environment["PATH"] = f"{ESAGENT.parent}:{environment['PATH']}"
    command = ["bash", "--norc", "-c", script, COMPLETION, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("esagent dr", ["drains", "drain"]),
        ("esagent config d", ["diff"]),
        ("esagent drain --de", ["--deadline"]),
        ("esagent drain ", ["pc101", "pc102", "pc103"]),
        ("esagent drain pc101 pc102 --reason disk node-3 pc1", ["pc101", "pc102", "pc103"]),
        ("esagent release node-", ["node-1", "node-2", "node-3"]),
        ("esagent release --socket /none node-", []),
        ("esagent completion z", ["zsh"]),
    ],
)
def test_bash_completes_commands_options_and_machines(rig, typed: str, offered: list[str]) -> None:
    assert complete(rig, typed) == offered


def test_completion_without_a_daemon_offers_nothing_and_says_nothing(rig) -> None:
    rig.server.stop()
    assert complete(rig, "esagent drain pc") == []


def test_status_imports_nothing_heavy(rig, tmp_path: Path) -> None:
    conf = tmp_path / "agent.conf"
    conf.write_text(f'[admin]\nsocket = "{rig.socket}"\n')
    script = (
        "import sys\n"
        "from agent.cli import main\n"
        f"sys.argv = ['esagent', 'status', '--config', {str(conf)!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    heavy = "pydantic lxml paramiko cryptography requests cheroot ClusterShell rich structlog"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "machines:" in done.stdout
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded.isdisjoint(heavy.split())
