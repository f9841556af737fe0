"""A person follows docs/install.md on a clean machine, word by word, up to the machine that is borrowed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from testbed.nspawn import CleanMachine
from testbed.up import TestBed
from testbed.waiting import wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "install.md"
CLONE = "/root/esagent"
_USER = re.compile(r"(ch(?:own|grp) |User=)slurm|(runuser -u )esagent")
LEFT_OUT = ("make deb", "sacctmgr")
"""What is done beforehand, and what a test bed has not got: slurmdbd."""


def commands() -> Iterator[str]:
    """Find the commands, as for a test bed: its SlurmUser is root."""
    for block in re.findall(r"(?ms)^```console\n(.*?)^```$", DOCUMENT.read_text()):
        for line in block.splitlines():
            command = line.removeprefix("$ ")
            if not command.startswith(LEFT_OUT):
                yield re.sub(
                    r"(?<=chown |chgrp )slurm|(?<=User=)slurm|(?<=runuser -u )esagent", "root", command
                )


def put_in_place(bed: TestBed, etc: Path) -> None:
    """Bring what the reader has: Cloudlab's files, under the document's names."""
    files = {
        "cloudlab.pem": bed.bedfile.user_pem,
        "passphrase": bed.bedfile.passphrase_file,
        "cloudlab-ca.pem": bed.bedfile.ca_bundle,
        "callers-ca.pem": bed.bedfile.callback.ca,
    }
    for name, source in files.items():
        shutil.copy(source, etc / name)


def settings(bed: TestBed) -> str:
    """Fill agent.conf in: the test bed's values, and the document's files."""
    conf = bed.bedfile.agent_conf
    assert conf is not None
    text = conf.read_text()
    for ours, documents in {
        bed.bedfile.user_pem: "/etc/esagent/cloudlab.pem",
        bed.bedfile.passphrase_file: "/etc/esagent/passphrase",
        bed.bedfile.ca_bundle: "/etc/esagent/cloudlab-ca.pem",
        bed.bedfile.callback.ca: "/etc/esagent/callers-ca.pem",
        bed.bedfile.callback.cert: "/etc/esagent/callback.pem",
        bed.bedfile.callback.key: "/etc/esagent/callback.key",
        bed.bedfile.ssh_key: "/etc/esagent/id_ed25519",
        conf.parent / "admin.sock": "/run/esagent/admin.sock",
        conf.parent: "/var/lib/esagent",
    }.items():
        text = text.replace(str(ours), documents)
    keys = 'ssh_keys = ["/etc/esagent/id_ed25519.pub"]'
    return text.replace('slice = "elastic"', f'slice = "elastic"\n{keys}')


def test_the_words_of_the_document_are_enough(
    package: Path, machine_on: Callable[..., CleanMachine], bed: TestBed
) -> None:
    machine = machine_on()
    machine.prepare_apt()
    build = machine.root / CLONE.lstrip("/") / "build" / "deb"
    build.mkdir(parents=True)
    shutil.copy(package, build)
    machine.boot(f"--bind={bed.directory}")
    etc = machine.root / "etc/esagent"

    for command in commands():
        if command.startswith("ssh-keygen"):
            put_in_place(bed, etc)
        if command.startswith("runuser"):
            (etc / "agent.conf").write_text(settings(bed))
        if command.startswith("esagent teardown"):
            blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
            bed.slurm.wait_for_job(blocker, "RUNNING")
            job = bed.slurm.submit("true", "--cpus-per-task=2", "--time=30")
            bed.slurm.wait_for_job(job, "COMPLETED", timeout=120)
        machine.run("sh", "-c", command, directory=CLONE)
        if command.startswith("esagent teardown"):
            wait_for(
                "all is given back",
                lambda: not any(m.slice_urn for m in bed.cloudlab.machines()),
                timeout=120,
            )
