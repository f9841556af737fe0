"""Several start-up commands as one."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.request.document import Execute
from agent.core.request.rspec import MAX_STARTUP, STARTUP
from agent.core.request.startup import startup_of


def run(*executes, cwd):
    """Run them as AddNodes has it done, and return what they print."""
    command = startup_of([e if isinstance(e, Execute) else Execute(e) for e in executes])
    done = subprocess.run(["/bin/bash", "-c", command], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


def test_one_command_stays_as_it_is():
    assert startup_of([Execute('echo "$HOME"', "/bin/bash")]) == 'echo "$HOME"'
    assert startup_of([Execute('echo "$HOME"')]) == 'echo "$HOME"'
    assert startup_of([]) == ""


def test_each_runs_in_order_whatever_becomes_of_the_one_before(tmp_path):
    commands = ("echo one; exit 3", "cd /; false", "pwd", "echo 'a  quote'", "X=4; echo last $X # and why")
    assert run(*commands, cwd=tmp_path) == ["one", str(tmp_path), "a", "quote", "last", "4"]


def test_each_runs_in_its_own_shell(tmp_path):
    bash, sh = Execute("echo $BASH_VERSION", "/bin/bash"), Execute("X=1; echo $X$BASH_VERSION", "sh")
    version, plain = run(bash, sh, cwd=tmp_path)
    assert (version.partition(".")[0].isdigit(), plain) == (True, "1")
    assert startup_of([Execute("setenv A b", "/bin/csh")]) == "csh -c 'setenv A b'"


@pytest.mark.parametrize(
    "command", ["echo one\necho two", "echo\tone;echo two", "printf 'one two é' | tr -d é"]
)
def test_what_add_nodes_would_refuse_goes_in_other_characters(command, tmp_path):
    assert STARTUP.fullmatch(startup_of([Execute(command)]))
    assert run(command, cwd=tmp_path) == ["one", "two"]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_whatever_they_are_the_characters_are_those_that_add_nodes_takes(commands):
    assert STARTUP.fullmatch(startup_of([Execute(command) for command in commands]))


def test_three_scripts_of_a_common_length_have_room():
    executes = [
        Execute(f"sudo /bin/bash /local/repository/step-{n}.sh > /tmp/step-{n}.log 2>&1") for n in (1, 2, 3)
    ]
    assert len(startup_of(executes)) <= MAX_STARTUP
