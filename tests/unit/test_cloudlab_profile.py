"""contrib/cloudlab-profile: its request, made with the real geni-lib, and the settings of its head node."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from lxml import etree

from agent.config import load
from agent.core.request.rspec import EMULAB, MAX_STARTUP, RSPEC, request_client_ids

FOLDER = Path(__file__).parents[2] / "contrib/cloudlab-profile"
NS = {"r": RSPEC, "e": EMULAB}
CM = "urn:publicid:IDN+utah.cloudlab.us+authority+cm"
URL = "https://git.example.net/esagent.git"


def run(geni_python: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [geni_python, FOLDER / "profile.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def request_rspec(geni_python: str) -> str:
    done = run(geni_python, "--type", "xl170", "--borrowed", "9", "--image", "urn:image", "--share", "50GB")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_request_is_a_head_node_and_a_file_server_on_one_lan(request_rspec: str) -> None:
    root = etree.fromstring(request_rspec.encode())
    assert request_client_ids(request_rspec, CM) == ("ctl", "nfs")
    (lan,) = root.iterfind("r:link", NS)
    assert (lan.get("client_id"), lan.find("r:link_type", NS).get("name")) == ("lan-0", "lan")
    members = [each.get("client_id") for each in lan.iterfind("r:interface_ref", NS)]
    for node, address in zip(root.iterfind("r:node", NS), ("10.10.1.1", "10.10.1.2"), strict=True):
        (interface,) = node.iterfind("r:interface", NS)
        assert interface.get("client_id") in members
        assert dict(interface.find("r:ip", NS).attrib) == {
            "address": address,
            "netmask": "255.255.255.0",
            "type": "ipv4",
        }
        assert node.find("r:hardware_type", NS).get("name") == "xl170"
        assert node.find("r:sliver_type/r:disk_image", NS).get("name") == "urn:image"
    (store,) = root.iterfind("r:node[@client_id='nfs']/e:blockstore", NS)
    assert (store.get("mountpoint"), store.get("size")) == ("/srv/share", "50GB")


def test_each_machine_clones_esagent_and_sets_itself_up_when_it_boots(request_rspec: str) -> None:
    root = etree.fromstring(request_rspec.encode())
    commands = [each.get("command", "") for each in root.iterfind("r:node/r:services/r:execute", NS)]
    for command, role in zip(commands, ("head 10.10.1.1 10.10.1.2 xl170 9", "nfs 10.10.1.0/24"), strict=True):
        first, _, second = command.partition("; ")
        clone = f"sudo git clone -q -b main {URL} /srv/esagent"
        assert first == f"test -d /srv/esagent || {clone}"
        assert second == f"sudo sh /srv/esagent/contrib/cloudlab-profile/setup {role}"
        assert len(command) <= MAX_STARTUP
        assert not re.search(r'["$`\\]', command), "a site may read it twice"


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("esagent", "https://x; reboot"),
        ("esagent", ""),
        ("esagent", "https://x/" + "y" * 200),
        ("branch", "a b"),
        ("type", "$HOME"),
        ("borrowed", "-1"),
        ("share", "much"),
    ],
)
def test_a_parameter_that_would_break_a_command_is_refused_by_its_name(
    geni_python: str, parameter: str, value: str
) -> None:
    done = run(geni_python, f"--{parameter}={value}")
    assert done.returncode != 0
    (error, *_) = json.loads(done.stderr)
    assert parameter in error["params"]


@pytest.mark.parametrize("arguments", ["", "head", "nfs", "nfs 10.10.1.0/24 more", "head a b c", "storage x"])
def test_what_setup_is_not_made_for_is_refused_before_anything_is_done(arguments: str) -> None:
    command = ["sh", FOLDER / "setup", *shlex.split(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "usage: setup nfs NETWORK, or setup head" in done.stderr


def test_the_settings_of_the_head_node_are_accepted_and_leave_the_experiment_alone(tmp_path: Path) -> None:
    text = (FOLDER / "agent.conf.in").read_text()
    values = {
        "CM": CM,
        "SLICE": "mine",
        "CPUS": "16",
        "MEMORY": "60000",
        "BORROWED": "4",
        "KEY": "ssh-ed25519 A",
    }
    for name in set(re.findall("@([A-Z]+)@", text)):
        text = text.replace(f"@{name}@", values.get(name, name.lower()))
    conf = tmp_path / "agent.conf"
    conf.write_text(text)
    settings = load(conf)
    assert settings.cloudlab.slice_is == "shared"
    assert settings.request.node_prefix == "es"
    assert settings.request.lans == ("lan-0",)
    assert settings.join.address == "lan-0"


def test_setup_knows_each_name_that_the_templates_leave_open() -> None:
    setup = (FOLDER / "setup").read_text()
    for template in ("agent.conf.in", "slurm.conf.in"):
        for name in set(re.findall("@([A-Z]+)@", (FOLDER / template).read_text())):
            assert f'"{name}=' in setup, template
