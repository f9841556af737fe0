"""Daemons of the test bed that do not come up: the sentence says why, with the log where they wrote it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testbed import accounting, machines, slurm, slurmconf
from testbed.accounting import Accounting
from testbed.cloudlab import RoomError
from testbed.instance import Claim
from testbed.machines import Machines
from testbed.needs import RIGHTS
from testbed.registry import BedError
from testbed.release import find_release, wanted
from testbed.slurm import SlurmCluster
from testbed.up import TestBed
from testbed.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
IN_A_CHROOT = """
from pathlib import Path
from testbed.up import TestBed
with TestBed(Path("/bed")) as bed:
    bed.slurm.wait_for_job(bed.slurm.submit("test -e /of-the-chroot"), "COMPLETED")
    assert bed.machines.run("n1", "test -e /of-the-chroot", timeout=30) == 0
"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short path."""
    return tmp_path_factory.mktemp("bed")


@pytest.mark.parametrize(
    ("where", "name", "text", "instead", "words"),
    [
        (
            slurmconf,
            "_SLURM_CONF",
            "{directory}/state",
            "/proc/nowhere",
            r"slurmctld ended with status 1; {slurm}/slurmctld.log says: .*/proc/nowhere.*",
        ),
        (
            slurmconf,
            "_SLURM_CONF",
            "ReturnToService=2",
            "Nonsense=2",
            r"slurmctld ended with status 1; {slurm}/slurmctld.(out|log) says: .*(Nonsense|NONSENSE).*",
        ),
        (
            slurmconf,
            "_SLURM_CONF",
            "/var/spool/slurmd",
            "/proc/nowhere",
            r"slurmd on n1 ended(?: with status 1)?; {slurm}/slurmd-n1.log says: .*/proc/nowhere.*",
        ),
        (
            machines,
            "_SSHD_CONFIG",
            "UsePAM no",
            "Nonsense no",
            r"power on n1: machine n1 ended with status \d+; {machines}/n1.log says: .*Nonsense.*",
        ),
        (
            slurm,
            "_MUNGED_OF_A_MACHINE",
            "munge.key",
            "nowhere.key",
            r"power on n1: machine n1 ended with status \d+; {machines}/n1.log says: munged: .*nowhere.key.*",
        ),
    ],
    ids=["state", "slurm.conf", "spool", "sshd", "munged of a machine"],
)
def test_a_daemon_that_ends_is_told_with_the_log_where_it_wrote_why(
    place: Path, monkeypatch, where: object, name: str, text: str, instead: str, words: str
) -> None:
    before = getattr(where, name)
    assert text in before
    monkeypatch.setattr(where, name, before.replace(text, instead))
    with pytest.raises((BedError, RoomError)) as told:
        TestBed(place, slurm=wanted()).start()
    expected = words.format(slurm=place / "slurm", machines=place / "machines")
    assert re.fullmatch(expected, str(told.value)), told.value


def test_a_slurmctld_whose_port_is_taken_says_so(place: Path) -> None:
    with Claim(place) as claim:
        ports = claim.free_ports(2)
        release = find_release(wanted())
        room = Machines(claim.instance, place / "machines", release)
        cluster = SlurmCluster(place / "slurm", claim.instance, room, (ports[0], ports[1]), release)
        with socket.create_server(("", ports[0])), pytest.raises(BedError) as told:
            cluster.start()
        cluster.stop()
    assert f"{place}/slurm/slurmctld.log says: " in str(told.value)
    assert "Address already in use" in str(told.value)


@pytest.mark.skipif(bool(accounting.missing_programs()), reason="slurmdbd or mariadbd is not installed")
def test_a_slurmdbd_that_ends_is_told_with_its_own_log(bed: TestBed, place: Path, monkeypatch) -> None:
    monkeypatch.setattr(accounting, "_SLURMDBD_CONF", accounting._SLURMDBD_CONF.replace("/mysql", "/nowhere"))
    with Claim(place) as claim:
        slurmdbd, database = claim.free_ports(2)
        daemons = Accounting(
            place, claim.instance, (slurmdbd, database), bed.slurm.directory / "munge.socket"
        )
        with pytest.raises(BedError) as told:
            daemons.start({"SLURM_CONF": str(place / "slurm.conf")})
        daemons.stop()
    assert str(told.value).startswith(f"slurmdbd ended with status 1; {place}/slurmdbd.")
    assert "accounting_storage/nowhere" in str(told.value)


def test_a_slurmctld_that_was_killed_is_told_to_whoever_asks_slurm(bed: TestBed) -> None:
    tree = bed.slurm._slurmctld
    assert tree is not None
    tree.send(signal.SIGKILL)
    tree.wait(PATIENCE)
    try:
        with pytest.raises(BedError, match=r"slurmctld was ended by SIGKILL; its logs: .*/slurmctld.log"):
            bed.slurm.run("scontrol", "show", "node", "n1")
    finally:
        bed.slurm.kill_slurmctld()
        bed.slurm.start_slurmctld()
        bed.slurm.wait_until_usable()


def in_a_chroot(tree: Path, *command: str | Path, is_mount_point: bool) -> subprocess.CompletedProcess[str]:
    """Run a command in a plain chroot that shows this machine; its mounts end with it."""
    shown = ("usr", "etc", "var", "root", "proc", "sys", "dev", str(ROOT)[1:], sys.prefix[1:])
    script = [
        "set -e",
        *([f"mount --bind {tree} {tree}"] if is_mount_point else []),
        *(f"mkdir -p {tree}/{name}; mount --rbind /{name} {tree}/{name}" for name in dict.fromkeys(shown)),
        *(f"ln -s usr/{name} {tree}/{name}" for name in ("bin", "sbin", "lib", "lib64")),
        f"mkdir -p {tree}/run {tree}/tmp; touch {tree}/of-the-chroot",
        'exec chroot "$0" "$@"',
    ]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", "\n".join(script), tree, *command],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_chroot_that_is_no_mount_point_is_told_what_to_do(place: Path) -> None:
    ended = in_a_chroot(place, RIGHTS, is_mount_point=False)
    assert ended.returncode == 1
    assert "unshare: cannot change root filesystem propagation" in ended.stderr
    assert ended.stderr.endswith("bind it onto itself first (mount --bind DIR DIR)\n")


def test_in_a_chroot_that_is_a_mount_point_the_test_bed_works(place: Path) -> None:
    ended = in_a_chroot(place, sys.executable, "-c", IN_A_CHROOT, is_mount_point=True)
    assert (ended.returncode, ended.stderr) == (0, "")
