"""`esagent check` on a site where everything is in place, with the agent at work, and for another user."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.cloudlab.connect import connect
from agent.config import load
from agent.core.ports import SystemClock
from testbed.waiting import PATIENCE, wait_for
from tests.system.conftest import ESAGENT, held

OPENED = """
mount -t tmpfs tmpfs /mnt
number=0
while [ "$1" != -- ]; do
    number=$((number + 1))
    mkdir "/mnt/$number"
    mount --rbind "$1" "/mnt/$number"
    mount -t tmpfs -o mode=755 tmpfs "$1"
    for part in "/mnt/$number"/* "/mnt/$number"/.[!.]*; do
        there="$1/${part##*/}"
        if [ -d "$part" ]; then mkdir "$there"; elif [ -e "$part" ]; then : > "$there"; else continue; fi
        mount --rbind "$part" "$there"
    done
    shift
done
shift
exec "$@"
"""
"""Runs a command that sees some directories open to all, which elsewhere are root's alone.

This Python and the test bed may be below /root or in pytest's directories.
"""


def findings(told: str) -> dict[str, dict[str, str]]:
    return {f["subject"]: f for f in json.loads(told)["findings"]}


def closed(*paths: Path) -> list[str]:
    """List the directories on the way to these that other users may not look into, the outer ones first."""
    parents = {parent for path in paths for parent in (path, *path.parents) if parent.is_dir()}
    return [str(parent) for parent in sorted(parents) if parent.stat().st_mode & 0o5 != 0o5]


def test_a_site_in_order_has_no_fault_and_a_borrowed_machine_sees_the_callback_port(agent) -> None:
    agent.start()
    node, _ = agent.borrow()

    asked = agent.ask("check", "--json", "--config", str(agent.conf))

    found = findings(asked.stdout)
    assert asked.returncode == 0, asked.stdout
    assert found["user"]["seen"] == "root, as whom the daemon runs"
    assert found["callback port from outside"]["grade"] == "ok"
    assert found["callback port from outside"]["seen"].startswith(f"{node} reaches ")
    assert found["SSH key at Cloudlab"]["grade"] == "ok"
    assert found["rights in Slurm"]["seen"] == "root may change nodes"


def test_rights_in_slurm_are_those_of_the_daemons_user_and_not_of_root_who_looks(agent, bed) -> None:
    way = closed(Path(sys.executable).resolve(), Path(sys.prefix), agent.conf, bed.slurm.conf)
    seen = {}
    for user in ("nobody", "root"):
        command = [ESAGENT, "check", "--json", "--as", user, "--config", agent.conf]
        asked = subprocess.run(
            ["unshare", "--mount", "sh", "-ec", OPENED, "sh", *way, "--", *command],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert asked.returncode == (user == "nobody"), asked.stdout + asked.stderr
        found = seen[user] = findings(asked.stdout)
        assert found["user"]["seen"] == f"{user}, as asked for"

    assert seen["nobody"]["rights in Slurm"]["grade"] == "fault"
    assert seen["nobody"]["rights in Slurm"]["seen"].startswith("nobody may not change nodes: ")
    assert seen["nobody"]["[ssh] key"]["mend"].startswith("chown nobody ")
    assert seen["root"]["rights in Slurm"]["grade"] == "ok"


PROFILE = """\
<rspec xmlns="http://www.geni.net/resources/rspec/3" type="request">
  <node client_id="ctl" exclusive="true"><sliver_type name="raw-pc"/></node>
  <node client_id="node-7" exclusive="true"><sliver_type name="raw-pc"/></node>
</rspec>
"""
"""A slice of somebody else's, with a name that the agent gives."""


def test_whose_the_machines_of_a_slice_are_is_told_before_the_agent_does_anything(agent, bed) -> None:
    settings = load(agent.conf)
    colleague = connect(settings.cloudlab, clock=SystemClock())
    cm = colleague.cms[0]
    colleague.create_slice(datetime.now(UTC) + timedelta(hours=2))
    if colleague.find_sliver(cm) is not None:
        colleague.delete_sliver(cm)
    colleague.create_sliver(cm, PROFILE)
    asked = agent.ask("check", "--json", "--config", str(agent.conf))

    told = json.loads(asked.stdout)["findings"]
    machines = [finding for finding in told if finding["subject"] == f"machines at {cm}"]
    assert [finding["grade"] for finding in machines] == ["ok", "warning"]
    assert "1 ours: node-7 (its name is one that we give)" in machines[0]["seen"]
    assert "1 not ours, and left alone: ctl (" in machines[0]["seen"]
    assert "takes over" in machines[1]["seen"]
    assert findings(asked.stdout)["whose slice"]["seen"].startswith("shared, since 1 machine of this slice")
    assert len(held(bed)) == 2
    assert not agent.ledger.exists()

    # What the daemon then holds to, and tells.
    agent.change("[request]\n", '[request]\nnever = ["node-7"]\n')
    agent.start()
    wait_for("it has read the slice", lambda: agent.status().get("foreign"))
    assert agent.status()["foreign"] == "2 machines of this slice are not ours: ctl, node-7"
    agent.let_it_look_again()
    found = findings(agent.ask("check", "--json", "--config", str(agent.conf)).stdout)
    assert found["callback port from outside"]["seen"] == "no machine is held that could look"
    assert len(held(bed)) == 2
    assert agent.nodes() == {}
    assert {n["client_id"] for n in agent.look("/v1/nodes?all=true")["nodes"]} == {"ctl", "node-7"}
