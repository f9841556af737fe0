"""Machines of the test bed: namespaces with a host name, an address, an sshd and a life of their own."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator

import pytest

from testbed.cloudlab.room import Boot, RoomError
from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for

NAME = "pc900"


@pytest.fixture
def boot(bed: TestBed) -> Iterator[Boot]:
    """How to boot a machine that Cloudlab does not offer; it is off before and after the test."""
    yield bed.boot(NAME)
    bed.machines.power_off(NAME)


def host_key(bed: TestBed) -> str:
    scan = subprocess.run(
        ["ssh-keyscan", "-t", "ed25519", bed.machines.address(NAME)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert scan.stdout, scan.stderr
    return scan.stdout


def test_a_machine_answers_over_ssh_under_its_own_name_and_address(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, boot)
    seen = bed.ssh(NAME, "hostname; ip -4 -o address show dev eth0; id -un")
    name, address, user = seen.stdout.splitlines()
    assert (name, user) == (NAME, "root")
    assert f" {bed.machines.address(NAME)}/24 " in address


def test_only_the_keys_of_the_boot_open_a_machine(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, dataclasses.replace(boot, authorized_keys=()))
    seen = bed.ssh(NAME, "true")
    assert seen.returncode == 255
    assert "Permission denied (publickey)" in seen.stderr


def test_every_user_of_the_boot_can_log_in_and_is_root(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, dataclasses.replace(boot, users=("ada", "bob")))
    assert [bed.ssh(NAME, "id -u", user=user).stdout for user in ("ada", "bob")] == ["0\n", "0\n"]


def test_a_reloaded_machine_has_a_new_host_key_and_disk_and_a_rebooted_one_keeps_both(
    bed: TestBed, boot: Boot
) -> None:
    bed.machines.power_on(NAME, boot)
    first = host_key(bed)
    assert bed.ssh(NAME, "echo mine > ~/note").returncode == 0
    bed.machines.power_on(NAME, dataclasses.replace(boot, fresh=False))
    assert host_key(bed) == first
    assert bed.ssh(NAME, "cat ~/note").stdout == "mine\n"
    bed.machines.power_on(NAME, boot)
    assert host_key(bed) != first
    assert bed.ssh(NAME, "cat ~/note").returncode == 1


def test_the_last_words_of_a_machine_can_be_read_while_it_is_off(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, boot)
    assert bed.machines.last_words(NAME) == ""
    bed.ssh(NAME, "echo left > /var/spool/slurmd/farewell")
    bed.machines.power_off(NAME)
    assert bed.machines.last_words(NAME) == "left\n"


def test_a_machine_reaches_the_host_and_the_other_machines_and_nothing_else(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, boot)
    assert bed.ssh(NAME, "ip -4 route show").stdout.split()[:3] == [bed.instance.subnet, "dev", "eth0"]
    assert bed.ssh(NAME, "ip -4 route show default").stdout == ""
    neighbour = "exec 3<>/dev/tcp/n1/22 && head -c 4 <&3"
    assert bed.ssh(NAME, f"timeout 10 bash -c '{neighbour}'").stdout == "SSH-"
    assert bed.ssh(NAME, "timeout 10 bash -c '>/dev/tcp/192.0.2.1/22'").returncode == 1


def test_daemons_outlive_the_login_and_end_with_the_machine(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, boot)
    mark = "4321.25"
    bed.ssh(NAME, f"setsid -f sleep {mark} >/dev/null 2>&1 </dev/null")
    assert bed.ssh(NAME, f"pgrep -f 'sleep {mark}'").returncode == 0
    bed.machines.power_off(NAME)
    assert subprocess.run(["pgrep", "-f", f"sleep {mark}"], timeout=PATIENCE).returncode == 1
    assert bed.ssh(NAME, "true").returncode == 255


def test_what_daemons_leave_is_reaped(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, boot)
    bed.ssh(NAME, "setsid -f true")
    wait_for(
        "no zombies",
        lambda: "Z" not in bed.ssh(NAME, "ps -e -o state=").stdout.split(),
        timeout=PATIENCE,
        interval=0.2,
    )


def test_a_startup_command_runs_inside_and_its_status_comes_back(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, boot)
    assert bed.machines.run(NAME, "hostname > ~/who; exit 7", timeout=PATIENCE) == 7
    assert bed.ssh(NAME, "cat ~/who").stdout == f"{NAME}\n"


def test_a_startup_command_that_hangs_is_ended(bed: TestBed, boot: Boot) -> None:
    bed.machines.power_on(NAME, boot)
    assert bed.machines.run(NAME, "sleep 600", timeout=0.3) == 124
    assert bed.ssh(NAME, "pgrep -x sleep").returncode == 1


def test_a_machine_that_is_off_runs_nothing(bed: TestBed, boot: Boot) -> None:
    with pytest.raises(RoomError, match=f"{NAME} is off"):
        bed.machines.run(NAME, "true", timeout=PATIENCE)


def test_a_machine_that_cannot_boot_says_why(bed: TestBed, boot: Boot) -> None:
    broken = dataclasses.replace(boot, fresh=False)
    bed.machines.power_on(NAME, boot)
    key = bed.directory / "machines" / NAME / "ssh_host_ed25519_key"
    key.write_text("no key")
    with pytest.raises(RoomError, match="no hostkeys available"):
        bed.machines.power_on(NAME, broken)
    bed.machines.power_on(NAME, boot)
    assert bed.ssh(NAME, "true").returncode == 0
