"""The machines of contrib/cloudlab-profile set themselves up, and docs/experiment.md leads on from there."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from typing import Any

from testbed.nspawn import CleanMachine
from testbed.up import TestBed
from testbed.waiting import wait_for
from tests.packaging.test_install_document import NOT_CLONED, ROOT, faults, free_ports, put_in_place
from tools.document_commands import BLOCK

CLONE = "/srv/esagent"
FOLDER = f"{CLONE}/contrib/cloudlab-profile"
SETUP = f"sh {FOLDER}/setup head 127.0.0.1 127.0.0.1 m510 4"
CM = "urn:publicid:IDN+utah.example.net+authority+cm"
IMAGE = "urn:publicid:IDN+emulab.net+image+emulab-ops//UBUNTU24-64-STD"
MANIFEST = f"""\
<rspec xmlns="http://www.geni.net/resources/rspec/3" type="manifest"><node client_id="ctl"
 component_manager_id="{CM}"><sliver_type name="raw-pc"><disk_image name="{IMAGE}"/></sliver_type>
 </node></rspec>
""".replace("\n ", " ")
GENI_GET = """\
#!/bin/sh
case $1 in
slice_urn) echo urn:publicid:IDN+emulab.net:myproject+slice+mine ;;
manifest) cat /root/manifest.xml ;;
*) exit 1 ;;
esac
"""
DOCUMENT = (ROOT / "docs" / "experiment.md").read_text()


def prepare(machine: CleanMachine, ports: list[int]) -> None:
    """Make a machine what Cloudlab hands out, but for a file server, which needs a kernel of its own."""
    shutil.copytree(ROOT, machine.root / CLONE.lstrip("/"), ignore=shutil.ignore_patterns(*NOT_CLONED))
    with (machine.root / FOLDER.lstrip("/") / "slurm.conf.in").open("a") as conf:
        conf.write(f"SlurmctldPort={ports[0]}\nSlurmdPort={ports[1]}\n")
    geni_get = machine.root / "usr/local/bin/geni-get"
    geni_get.write_text(GENI_GET)
    geni_get.chmod(0o755)
    (machine.root / "root/manifest.xml").write_text(MANIFEST)
    (machine.root / "share").mkdir()
    machine.run("apt-get", "-qq", "update")
    machine.run("apt-get", "-qq", "install", "ca-certificates")
    machine.trust()
    machine.boot()
    machine.run("mount", "-t", "tmpfs", "share", "/share")


def commands() -> list[str]:
    """List what the document has its reader type."""
    (text,) = (text for _, language, _, text in BLOCK.findall(DOCUMENT) if language == "sh")
    return [line for line in text.splitlines() if line]


def settings_of(machine: CleanMachine) -> dict[str, Any]:
    return tomllib.loads((machine.root / "etc/esagent/agent.conf").read_text())


def test_the_head_node_sets_itself_up_and_a_machine_joins_as_its_settings_say(
    machine_on: Callable[..., CleanMachine], bed: TestBed
) -> None:
    ports = free_ports(2)
    head = machine_on()
    prepare(head, ports)
    said = head.run("sh", "-c", SETUP).stdout
    assert "the head node is ready for /etc/esagent/cloudlab.pem" in said
    wait_for("slurmctld", lambda: " UP" in head.run("scontrol", "ping", check=False).stdout, interval=0.5)

    before = head.files()
    kept = {name: (head.root / "etc/esagent" / name).read_bytes() for name in ("agent.conf", "id_ed25519")}
    head.run("sh", "-c", SETUP)
    assert head.files() == before, "a boot changes nothing"
    assert {name: (head.root / "etc/esagent" / name).read_bytes() for name in kept} == kept

    settings = settings_of(head)
    assert (settings["cloudlab"]["project"], settings["cloudlab"]["slice"]) == ("myproject", "mine")
    assert settings["cloudlab"]["cms"] == [
        {"urn": CM, "url": "https://boss.utah.example.net:12369/protogeni/xmlrpc/cm/2.0"}
    ]
    assert (settings["request"]["nodetype"], settings["request"]["image"]) == ("m510", IMAGE)
    assert settings["demand"]["max_nodes"] == 4

    put_in_place(bed, head.root / "root")
    for command in commands():
        if command == "esagent check":
            # There is no such CM to be asked.
            assert faults(head, "slurm", "--offline") == []
        else:
            head.run("sh", "-c", f"umask 077\n{command}", directory="/root")
    assert head.run("systemctl", "is-active", "esagent").stdout == "active\n"

    borrowed = machine_on()
    prepare(borrowed, ports)
    for file in settings["join"]["files"]:
        target = borrowed.root / file["target"].lstrip("/")
        shutil.copy(head.root / file["source"].lstrip("/"), target)
    for command in settings["join"]["commands"]:
        filled_in = command.format(node_name="pc100", node_id="pc100", address="127.0.0.1")
        here = filled_in.replace("--conf-server 127.0.0.1", f"--conf-server 127.0.0.1:{ports[0]}")
        borrowed.run("sh", "-c", here)
    wait_for(
        "the machine is at work",
        lambda: head.run("sinfo", "-h", "-n", "pc100", "-o", "%T").stdout.strip() == "idle",
        interval=0.5,
    )
    assert head.run("srun", "--nodelist=pc100", "echo", "hello").stdout == "hello\n"


def test_the_file_server_exports_its_share_to_the_lan_once(machine_on: Callable[..., CleanMachine]) -> None:
    storage = machine_on()
    prepare(storage, free_ports(2))
    for _ in range(2):
        # Its kernel is ours, which may serve no files.
        storage.run("sh", f"{FOLDER}/setup", "nfs", "10.10.1.0/24", check=False)
    exports = (storage.root / "etc/exports").read_text()
    assert exports.count("\n/srv/share 10.10.1.0/24(rw,no_subtree_check)\n") == 1
    assert storage.run("stat", "-c", "%a", "/srv/share").stdout == "1777\n"
