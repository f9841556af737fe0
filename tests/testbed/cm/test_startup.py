"""Start-up commands as machines of either generation run them (protogeni-2021.md §3.5, 2025 §3.5)."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from testbed.cloudlab.answer import RefusalError
from testbed.cloudlab.documents.rspec import V3, parse_xml
from testbed.cloudlab.documents.startup import read_startup
from testbed.cloudlab.sites import DEFAULT_SITES

OLD, NEW = DEFAULT_SITES
HALTING = replace(NEW, startup_halts=True)
ENCODED = "echo ZWNobyAiJEhPTUUiPmhvbWU=|base64 -d|sh"
"""``echo "$HOME">home``."""


def script(site, *commands):
    """Write the script of a node; a command may be a pair with its shell."""
    pairs = [command if isinstance(command, tuple) else (command, "/bin/sh") for command in commands]
    root = parse_xml(f'<services xmlns="{V3}"/>')
    for command, shell in pairs:
        root.append(parse_xml(f'<execute xmlns="{V3}" shell="{shell}"/>'))
        root[-1].set("command", command)
    return read_startup(list(root), generation=site.generation, halts=site.startup_halts)


def run(text, directory):
    """Run it as a machine does; return its exit status, and what is then in the directory."""
    text = text.replace("/var/tmp", str(directory))
    done = subprocess.run(
        ["sh", "-c", text], cwd=directory, env={"PATH": "/usr/bin:/bin", "HOME": "/h"}, check=False
    )
    return done.returncode, {path.name: path.read_text().strip() for path in directory.iterdir()}


def test_the_older_server_has_a_command_run_as_it_is():
    assert script(OLD, 'echo "$HOME"') == 'echo "$HOME"'
    assert script(OLD, "a", "b") == "a\nb"
    assert script(OLD) == script(NEW) == ""


def test_the_newer_server_reads_a_command_twice(tmp_path):
    """Quotes end where they should not, and what a dollar stands for is put in by the outer shell."""
    command = 'a=1; echo "x  y" $a > said'
    _, files = run(script(NEW, command), tmp_path)
    assert (files["startup-0.txt"], "said" in files) == ("x", False)
    assert run(script(NEW, "a=1; echo $HOME $a > said"), tmp_path)[1]["said"] == "/h"
    assert run(script(OLD, command), tmp_path)[1]["said"] == "x  y 1"


def test_an_encoded_command_means_the_same_to_both(tmp_path):
    for number, site in enumerate((OLD, NEW, HALTING)):
        directory = tmp_path / str(number)
        directory.mkdir()
        status, files = run(script(site, ENCODED), directory)
        assert (status, files["home"]) == (0, "/h")


def test_the_newer_server_keeps_what_each_command_said_and_tells_the_last_ones_status(tmp_path):
    status, files = run(script(NEW, "echo one; exit 3", ("echo two", "bash"), "exit 5"), tmp_path)
    assert status == 5
    assert files == {
        "startup-0.txt": "one", "startup-0.status": "3",
        "startup-1.txt": "two", "startup-1.status": "0",
        "startup-2.txt": "", "startup-2.status": "5",
    }  # fmt: skip


def test_the_script_of_2025_stops_at_a_command_that_fails_and_ends_with_0(tmp_path):
    status, files = run(script(HALTING, "true", "exit 3", "echo never"), tmp_path)
    assert status == 0
    assert (files["startup-1.status"], "startup-2.status" in files) == ("3", False)
    assert run(script(HALTING, "true", "true"), tmp_path)[0] == 0


@pytest.mark.parametrize("shell", ["zsh", "/usr/bin/bash", "python3"])
def test_the_newer_server_refuses_a_shell_that_it_does_not_know(shell):
    with pytest.raises(RefusalError) as refused:
        script(NEW, ("true", shell))
    assert (refused.value.code, refused.value.output) == (1, "Invalid shell in execute")
    assert script(OLD, ("true", shell)) == "true", "of a single command the older one ignores it"


@pytest.mark.parametrize("shell", ["sh", "csh", "tcsh", "bash"])
def test_the_newer_server_knows_these_with_and_without_bin(shell):
    for name in (shell, f"/bin/{shell}"):
        assert script(NEW, ("true", name)).startswith(f'{name} -c "true" >/var/tmp/startup-0.txt')


def test_only_the_older_server_limits_a_command():
    long = "x" * 257
    with pytest.raises(RefusalError) as refused:
        script(OLD, long)
    assert refused.value.output == "Invalid startup command: Too Long"
    assert f'"{long}"' in script(NEW, long)
