"""Every command as a person uses it: in a pipe, in a narrow terminal, with wrong names, without a daemon."""

from __future__ import annotations

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

ESAGENT = Path(sys.executable).with_name("esagent")
READING = ("status", "nodes", "jobs", "values", "plan", "drains", "events", "top", "config show")


def test_without_a_daemon_a_command_says_so_in_one_sentence(agent) -> None:
    for command in ("status", "top", "events -f", "drain pc100 --wait", "config diff"):
        done = agent.ask(*command.split())
        assert done.returncode == 3, command
        assert done.stdout == ""
        assert (
            done.stderr == f"esagent: no daemon: there is no socket {agent.socket} (is `esagent run` up?)\n"
        )


def test_a_person_grows_looks_around_and_gives_it_back(agent, bed: TestBed) -> None:
    agent.change('idle_timeout = "25s"', 'idle_timeout = "1h"')
    agent.start()
    done = agent.ask("grow", "1", "--wait", "--timeout", "5m")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "machines in service: 0 of 1\n"
    (node,) = agent.nodes()
    for command in READING:
        told = agent.ask(*command.split())
        assert told.returncode == 0, (command, told.stderr)
        assert "\x1b" not in told.stdout
    assert json.loads(agent.ask("top", "--json").stdout)["nodes"][0]["node"] == node
    narrow = on_a_terminal(agent, 40, "nodes")
    assert node in narrow
    assert max(map(len, narrow.splitlines())) <= 40
    misses(agent, node)
    follows(agent)
    renewed = agent.ask("renew", "--wait", "--timeout", "2m")
    assert (renewed.returncode, "2/2 renewed until" in renewed.stderr) == (0, True), renewed.stderr
    done = agent.ask("release", node, "--wait", "--timeout", "5m")
    assert done.returncode == 0, done.stderr
    assert [m for m in bed.cloudlab.machines() if m.slice_urn] == []
    asked = [e for e in agent.look("/v1/events?newest=500")["events"] if e["kind"] == "request"]
    assert {(e["data"]["call"], e["data"]["uid"]) for e in asked if e["data"]["outcome"] == "done"} == {
        (call, os.getuid()) for call in ("grow", "pause", "unpause", "renew", "release")
    }


def test_a_wish_for_machines_outlasts_a_kill_and_is_fulfilled(agent, bed: TestBed) -> None:
    agent.start()
    assert agent.ask("grow", "1").returncode == 0
    wait_for("a machine is lent", lambda: any(m.slice_urn for m in bed.cloudlab.machines()))
    agent.stop(signal.SIGKILL)
    agent.start()
    wait_for("the wish is fulfilled", lambda: agent.told("is fulfilled: 1 of 1 machines are in service"))
    assert agent.status()["growing"] is None
    (node,) = agent.nodes()
    wait_for("an idle machine goes back as all others", lambda: node not in agent.nodes())
    assert [m for m in bed.cloudlab.machines() if m.slice_urn] == []


def test_what_the_file_says_since_the_start_is_told_and_taken_up_on_reload(agent) -> None:
    agent.start()
    same = agent.ask("config", "diff")
    assert (same.returncode, same.stderr) == (0, f"the daemon runs with what {agent.conf} says\n")
    agent.change("max_nodes = 3", "max_nodes = 2")
    told = agent.ask("config", "diff")
    assert told.returncode == 1
    assert told.stdout.splitlines()[1].split() == ["[demand]", "max_nodes", "3", "2", "reload"]
    agent.send(signal.SIGHUP)
    wait_for("it is taken up", lambda: agent.look("/v1/config")["settings"]["demand"]["max_nodes"] == 2)
    assert agent.ask("config", "diff").returncode == 0


def test_a_second_daemon_is_refused_and_the_first_one_goes_on(agent) -> None:
    agent.start()
    second = agent.ask("run", "--config", str(agent.conf))
    assert second.returncode == 1
    assert "another daemon answers on it" in second.stderr
    assert agent.ask("status").returncode == 0


def misses(agent, node: str) -> None:
    """Type what is nearly right."""
    done = agent.ask("drain", f"{node}0")
    assert done.returncode == 1
    assert f"did you mean {node}" in done.stderr
    done = agent.ask("relase", node)
    assert (done.returncode, "'release'" in done.stderr) == (2, True)


def follows(agent) -> None:
    """Follow events into a pipe until Ctrl-C, and read only the head of a list."""
    environment = {**os.environ, "ESAGENT_SOCKET": str(agent.socket)}
    with subprocess.Popen(
        [ESAGENT, "events", "-f"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        agent.ask("pause")
        agent.ask("unpause")
        for line in following.stdout:
            if "allows growth again" in line:
                break
        following.send_signal(signal.SIGINT)
        _, errors = following.communicate(timeout=PATIENCE)
    assert (following.returncode, errors) == (130, "")
    command = f"{shlex.quote(str(ESAGENT))} events -n 1000 | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout.split() == ["TIME", "KIND", "SUBJECT", "MESSAGE"]
    assert done.stderr == ""


def on_a_terminal(agent, columns: int, *arguments: str) -> str:
    """Run a command on a terminal of so many columns; return what it shows."""
    master, slave = pty.openpty()
    environment = {
        **os.environ,
        "ESAGENT_SOCKET": str(agent.socket),
        "COLUMNS": str(columns),
        "TERM": "xterm",
    }
    subprocess.run([ESAGENT, *arguments], env=environment, stdout=slave, timeout=PATIENCE, check=True)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # nobody has the other end any more
        pass
    os.close(master)
    return shown.decode().replace("\r\n", "\n")
