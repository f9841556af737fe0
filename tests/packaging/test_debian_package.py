"""The Debian package on clean machines: it installs, runs in its sandbox, is upgraded, and goes again."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from agent.cli.files import PLACES
from testbed.nspawn import CleanMachine
from testbed.up import TestBed
from testbed.waiting import wait_for

ROOT = Path(__file__).parents[2]
CONF = "/etc/esagent/agent.conf"
MakeMachine = Callable[..., CleanMachine]


def told(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def state_of(machine: CleanMachine) -> str:
    return machine.run("systemctl", "is-active", "esagent", check=False).stdout.strip()


def unit(machine: CleanMachine, *properties: str) -> list[str]:
    return [machine.run("systemctl", "show", "-P", name, "esagent").stdout.strip() for name in properties]


def journal(machine: CleanMachine) -> str:
    return machine.run("journalctl", "--no-pager", "-u", "esagent").stdout


def field_values(machine: CleanMachine, field: str) -> list[str]:
    return machine.run("journalctl", "-u", "esagent", "-F", field).stdout.split()


def use(machine: CleanMachine, bed: TestBed) -> None:
    """Configure a machine for a test bed, as a site without slurmdbd does: the agent runs as SlurmUser."""
    assert bed.bedfile.agent_conf is not None
    (machine.root / CONF.lstrip("/")).write_text(
        bed.bedfile.agent_conf.read_text()
        .replace(str(bed.agent_socket), "/run/esagent/admin.sock")
        .replace(str(bed.agent_socket.parent), "/var/lib/esagent")
    )
    drop_in = machine.root / "etc/systemd/system/esagent.service.d/user.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nUser=root\n")


def test_the_command_works_once_it_is_installed(installed: Path, machine_on: MakeMachine) -> None:
    machine = machine_on(installed)

    assert machine.run("esagent", "--version").stdout.startswith("esagent 0.")
    assert machine.run("esagent", "config", "example").stdout == (ROOT / "agent.conf.example").read_text()
    assert (machine.root / CONF.lstrip("/")).read_text() == (ROOT / "agent.conf.example").read_text()
    looked = machine.run("esagent", "check", "--offline", check=False)
    assert looked.returncode == 1
    assert "[cloudlab] certificate" in looked.stdout


def test_it_bears_the_name_of_its_builder(package: Path, nobody: dict[str, str]) -> None:
    assert told("dpkg-deb", "-f", package, "Maintainer") == told("tools/maintainer", environment=nobody)


def test_lintian_finds_no_error_but_in_the_name_of_its_builder(package: Path) -> None:
    name = "root-in-contact,bogus-mail-host,bogus-mail-host-in-debian-changelog"
    options = ("--allow-root", "--fail-on", "error", "--suppress-tags", name)
    done = subprocess.run(["lintian", *options, package], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def test_all_users_may_read_what_it_brings_whoever_builds_it(package: Path) -> None:
    modes = {line.split()[0] for line in told("dpkg-deb", "-c", package).splitlines()}
    assert modes == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x", "lrwxrwxrwx"}


def test_what_comes_with_it_is_where_the_command_says(installed: Path, machine_on: MakeMachine) -> None:
    machine = machine_on(installed)
    answer = json.loads(machine.run("esagent", "files", "--json").stdout)
    found = {record["what"]: record["path"] for record in answer["files"]}
    assert found.keys() == PLACES.keys()
    assert found["alerts"] == "/usr/share/esagent/prometheus/esagent.rules.yml"
    assert found["esagent(1)"] == "/usr/share/man/man1/esagent.1.gz"
    assert found["agent.conf(5)"] == "/usr/share/man/man5/agent.conf.5.gz"
    assert found["bash-completion"] == "/usr/share/bash-completion/completions/esagent"
    machine.run(f"{found['slurm-plugin']}/install.sh", "--help")


def test_keys_in_etc_are_for_root_and_the_agent_only(installed: Path, machine_on: MakeMachine) -> None:
    machine = machine_on(installed)
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/esagent").stdout.strip() == "root:esagent 750"


def test_it_neither_starts_nor_is_enabled_before_it_is_filled_in(
    installed: Path, machine_on: MakeMachine
) -> None:
    machine = machine_on(installed)
    machine.boot()

    assert state_of(machine) == "inactive"
    assert machine.run("systemctl", "is-enabled", "esagent", check=False).stdout.strip() == "disabled"


def test_faults_of_a_person_are_not_tried_again_and_what_may_pass_is(
    installed: Path, machine_on: MakeMachine, bed: TestBed
) -> None:
    machine = machine_on(installed)
    machine.boot(f"--bind={bed.directory}")

    machine.run("systemctl", "start", "esagent", check=False)

    wait_for("the log says why", lambda: "[cloudlab] certificate" in journal(machine))
    wait_for("it has failed", lambda: state_of(machine) == "failed")
    # What is to be started again is not failed, but activating: see below.
    assert unit(machine, "SubState", "ExecMainStatus", "NRestarts") == ["failed", "78", "0"]
    use(machine, bed)
    drop_in = machine.root / "etc/systemd/system/esagent.service.d/command.conf"
    drop_in.write_text("[Service]\nExecStart=\nExecStart=esagent run --no-such-option\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "esagent", check=False)
    wait_for("it has failed", lambda: state_of(machine) == "failed")
    assert unit(machine, "SubState", "ExecMainStatus", "NRestarts") == ["failed", "2", "0"]
    drop_in.unlink()
    with socket.create_server((bed.instance.address, urlsplit(str(bed.bedfile.callback_url)).port or 0)):
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "start", "esagent", check=False)
        wait_for("it is tried again", lambda: unit(machine, "NRestarts") != ["0"])
        assert "cannot listen on" in journal(machine)
    wait_for("it works, as soon as it can", lambda: state_of(machine) == "active")


def test_it_does_its_work_in_its_sandbox(installed: Path, machine_on: MakeMachine, bed: TestBed) -> None:
    machine = machine_on(installed)
    use(machine, bed)
    machine.boot(f"--bind={bed.directory}")

    machine.run("systemctl", "enable", "--now", "esagent")

    assert state_of(machine) == "active"
    assert "slice" in machine.run("esagent", "status").stdout
    blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    job = bed.slurm.submit("true", "--cpus-per-task=2", "--time=30")
    bed.slurm.wait_for_job(job, "COMPLETED")
    assert "joined" in machine.run("esagent", "nodes").stdout
    wait_for("the journal has fields", lambda: "join" in field_values(machine, "ESAGENT_KIND"))
    machine.run("esagent", "teardown", "--yes")
    wait_for("no machine is held", lambda: not any(m.slice_urn for m in bed.cloudlab.machines()))


def test_an_upgrade_keeps_settings_and_ledger_and_restarts_what_runs(
    package: Path, older_package: Path, machine_on: MakeMachine, bed: TestBed
) -> None:
    machine = machine_on()
    machine.install(older_package)
    use(machine, bed)
    conf = (machine.root / CONF.lstrip("/")).read_text()
    machine.boot(f"--bind={bed.directory}")
    machine.run("systemctl", "enable", "--now", "esagent")
    before = unit(machine, "MainPID")
    machine.run("esagent", "pause")
    (first, *_) = machine.run("esagent", "events").stdout.splitlines()
    # As docs/install.md has it done where the daemon runs as SlurmUser.
    machine.run("chgrp", "daemon", "/etc/esagent")

    machine.install(package)

    wait_for("it runs again", lambda: state_of(machine) == "active")
    assert unit(machine, "MainPID") != before
    assert (machine.root / CONF.lstrip("/")).read_text() == conf
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/esagent").stdout.strip() == "root:daemon 750"
    assert first in machine.run("esagent", "events").stdout.splitlines()
    assert "growth is paused" in machine.run("esagent", "status").stdout
    machine.run("dpkg", "--remove", "esagent")
    assert state_of(machine) != "active"
    with sqlite3.connect(machine.root / "var/lib/esagent/ledger.db") as ledger:
        assert ledger.execute("SELECT count(*) FROM events").fetchone() > (0,)
    ledger.close()


def test_a_purge_leaves_nothing(package: Path, machine_on: MakeMachine, installed: Path) -> None:
    clean = machine_on(installed)
    clean.run("dpkg", "--purge", "esagent")
    before = clean.files()
    clean.install(package)
    clean.run("esagent", "--version")
    state = clean.root / "var/lib/esagent"
    state.mkdir(exist_ok=True)
    (state / "ledger.db").touch()

    clean.run("dpkg", "--purge", "esagent")

    assert clean.files() - before == set()
    assert "esagent" not in (clean.root / "etc/passwd").read_text()


def test_a_purge_spares_keys_that_somebody_put_into_etc(installed: Path, machine_on: MakeMachine) -> None:
    machine = machine_on(installed)
    (machine.root / "etc/esagent/cloudlab.pem").touch()
    machine.run("chown", "esagent", "/etc/esagent/cloudlab.pem")

    machine.run("dpkg", "--purge", "esagent")

    assert machine.run("stat", "-c", "%U", "/etc/esagent/cloudlab.pem").stdout == "esagent\n"
    assert machine.without_owner() == []
