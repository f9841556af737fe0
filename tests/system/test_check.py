"""`esagent check` on a site where everything is in place, with the agent at work."""

from __future__ import annotations

import json


def test_a_site_in_order_has_no_fault_and_a_borrowed_machine_sees_the_callback_port(agent) -> None:
    agent.start()
    node, _ = agent.borrow()

    asked = agent.ask("check", "--json", "--config", str(agent.conf))

    found = {f["subject"]: f for f in json.loads(asked.stdout)["findings"]}
    assert asked.returncode == 0, asked.stdout
    assert found["callback port from outside"]["grade"] == "ok"
    assert found["callback port from outside"]["seen"].startswith(f"{node} reaches ")
    assert found["SSH key at Cloudlab"]["grade"] == "ok"
    assert found["rights in Slurm"]["seen"] == "root may change nodes"
