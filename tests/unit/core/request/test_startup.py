"""Several start-up commands as one."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.request.document import DocumentNode, Execute
from agent.core.request.rspec import MAX_STARTUP, STARTUP
from agent.core.request.startup import alike, first_startup, startup_of, startup_remarks


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


SPECIAL = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=120)


def run_as(year, command, cwd):
    """Run a command of AddNodes as a CM of that year does (GeniCM.pm GetTicketAuxAux)."""
    script = f'#!/bin/sh\n/bin/bash -c "{command}"\n'
    argv = ["/bin/bash", "-c", command] if year == 2016 else ["/bin/sh", "-c", script]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60)
    return done.stdout, done.returncode


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ('''echo "$(echo a  b)" '$HOME' "\\$x"''', "a b $HOME $x\n"),
        ("echo one two | awk '{print $2}'", "two\n"),
        ("echo `echo x`; false", "x\n"),
        (r"printf 'a\tb\n'", "a\tb\n"),
        ("[[ 1 == 1 ]] && echo $BASH_VERSION | grep -c .", "1\n"),
        ("echo 'plain & simple' < /dev/null", "plain & simple\n"),
    ],
)
def test_a_command_prints_the_same_on_servers_of_both_generations(command, printed, tmp_path):
    sent = alike(command)
    assert not set('"$`\\') & set(sent)
    assert run_as(2016, sent, tmp_path)[0] == run_as(2021, sent, tmp_path)[0] == printed


def test_a_command_that_every_cm_understands_stays_as_it_is():
    assert alike("sudo mkdir -p /root/.ssh; echo 'a' | sudo tee -a x") == (
        "sudo mkdir -p /root/.ssh; echo 'a' | sudo tee -a x"
    )
    assert alike("") == ""


@given(SPECIAL)
def test_what_is_sent_has_nothing_that_a_second_shell_would_read(command):
    sent = alike(command)
    assert STARTUP.fullmatch(sent)
    assert len(sent) <= MAX_STARTUP
    assert not set('"$`\\') & set(sent)


def test_what_would_be_too_long_in_base64_is_refused_with_what_to_do():
    with pytest.raises(
        ValueError, match=r"base64.* takes 288 characters, and at most 255 .* a script in one of"
    ):
        alike("echo $HOME " + "x" * 190)


def test_a_script_does_not_read_itself_as_its_input(tmp_path):
    executes = [Execute("echo one\ncat\necho 'two' # last"), Execute("echo three")]
    assert run(*executes, cwd=tmp_path) == ["one", "two", "three"]


def a_node(*executes, kind="raw-pc"):
    return DocumentNode("n", kind=kind, is_machine=kind == "raw-pc", executes=executes)


def test_the_first_request_has_one_command_where_a_cm_might_run_them_otherwise():
    assert first_startup(a_node(Execute("/local/setup.sh", "bash"))) is None
    assert first_startup(a_node()) is None
    assert first_startup(a_node(Execute("a"), Execute("b", "bash"))) == "sh -c 'a';bash -c 'b'"
    assert first_startup(a_node(Execute("setenv A b", "/bin/csh"))) == "csh -c 'setenv A b'"
    assert first_startup(a_node(Execute("echo $A"))) == "echo ZWNobyAkQQ==|base64 -d|sh"
    assert first_startup(a_node(Execute("echo $A"), kind="emulab-xen")) is None
    assert first_startup(a_node(Execute("x" * 150), Execute("y" * 150))) is None


def test_what_cms_may_run_otherwise_than_it_is_meant_is_told():
    assert [*startup_remarks(a_node(Execute("a"), Execute("echo $A")))] == []
    (escaped,) = startup_remarks(a_node(Execute(r"awk '{print \$1}'")))
    assert "n: a start-up command has a backslash before" in escaped
    (long,) = startup_remarks(a_node(Execute("x" * 150), Execute("y" * 150)))
    assert "n: its start-up commands do not go as one of 255 characters" in long
    assert "a script in one of the tarballs" in long
    assert [*startup_remarks(a_node(Execute("x" * 300)))] == []
