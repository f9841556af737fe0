"""The daemon as an init system, a monitoring system and a stranger meet it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import urllib.parse
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.up import TestBed
from testbed.waiting import PATIENCE, wait_for


def test_sigterm_ends_an_idle_daemon_cleanly(agent) -> None:
    agent.start()
    assert agent.stop(signal.SIGTERM) == 0
    assert not agent.socket.exists()


def test_sigterm_ends_a_daemon_whose_slurm_hangs(agent, bed: TestBed) -> None:
    agent.start()
    bed.slurm.hang_slurmctld()
    agent.wait_for_log("get_system_state failed|could not be read")
    assert agent.stop(signal.SIGTERM) == 0


def test_sigterm_ends_a_daemon_while_machines_boot(agent, bed: TestBed) -> None:
    agent.start()
    bed.slurm.submit("sleep 60", "--cpus-per-task=2")
    bed.slurm.submit("sleep 60", "--cpus-per-task=2")
    wait_for("a machine is asked for", lambda: bed.cloudlab.journal.calls(method="CreateSliver"))
    assert agent.stop(signal.SIGTERM) == 0


def test_the_init_system_is_told_when_the_daemon_is_up_well_and_ending(agent, tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(PATIENCE)
        agent.start(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="3000000")
        assert listener.recv(100) == b"READY=1"
        assert listener.recv(100) == b"WATCHDOG=1"
        agent.stop()
        said = {b"WATCHDOG=1"}
        while b"STOPPING=1" not in said:
            said.add(listener.recv(100))


def test_sighup_takes_good_settings_and_keeps_the_old_ones_when_the_new_have_faults(agent) -> None:
    agent.start()
    agent.change("max_nodes = 3", "max_nodes = 0")
    agent.send(signal.SIGHUP)
    agent.wait_for_log(r"settings were read again.*changed=\['demand'\]")
    agent.change("max_nodes = 0", "max_nodes = -1")
    agent.send(signal.SIGHUP)
    agent.wait_for_log(r"the new settings have faults.*max_nodes")
    assert agent.ask("status").returncode == 0


def test_sighup_takes_mail_settings_and_says_each_time_what_needs_a_restart(
    agent, mail_server: Callable[..., Any]
) -> None:
    inbox = mail_server()
    agent.start()
    agent.change("[request]", '[request]\nnodetype = "m510"')
    agent.change("[cycle]", "[cycle]\ngrowth_stop_after = 9")
    agent.change("[admin]", f'[mail]\nhost = "127.0.0.1"\nport = {inbox.port}\n\n[admin]')
    refused = r"need a restart of the daemon.*sections='?\[cycle\], \[request\]"
    agent.send(signal.SIGHUP)
    agent.wait_for_log(r"settings were read again.*changed=\['mail'\]")
    agent.wait_for_log(refused)
    agent.send(signal.SIGHUP)
    agent.wait_for_log(r"settings were read again.*changed=\[\]")
    wait_for("it is said again", lambda: len(re.findall(refused, agent.log.read_text())) == 2)
    agent.change("growth_stop_after = 9\n", "")
    agent.change("[mail]", '[mail]\nuser = "agent"\nstarttls = true\npassword_file = "/no/where"')
    agent.send(signal.SIGHUP)
    agent.wait_for_log(r"the new settings have faults.*\[mail\] password_file: /no/where: cannot be read")


def test_a_lease_that_is_not_renewed_in_time_is_told_once_and_mailed(
    agent, bed: TestBed, mail_server: Callable[..., Any]
) -> None:
    inbox = mail_server()
    agent.change("[admin]", f'[mail]\nhost = "127.0.0.1"\nport = {inbox.port}\n\n[admin]')
    agent.start()
    wait_for("the slice", lambda: agent.status()["slice_expires"])
    bed.cloudlab.fault("RenewSlice", "busy", times=1000, at="sa")
    agent.change('duration = "10m"\nrenew_when_left = "9m"', 'duration = "24h"\nrenew_when_left = "18h"')
    for _ in range(3):
        agent.send(signal.SIGHUP)
        agent.ask("renew")
        wait_for("it is told", lambda: agent.told("the slice ends at"))
    warnings = json.loads(agent.ask("events", "--json", "-n", "500").stdout)
    assert len([e for e in warnings["events"] if e["kind"] == "lease-ends"]) == 1
    inbox.wait_for(1)
    agent.stop()
    told = "".join(mail.get_content() for mail in inbox.mails)
    assert "every machine in it is lost then. Nobody renews it: RenewSlice at " in told


def test_a_lease_that_is_left_to_people_is_warned_of_and_renewed_by_their_word_alone(
    agent, bed: TestBed, mail_server: Callable[..., Any]
) -> None:
    inbox = mail_server()
    agent.change("[admin]", f'[mail]\nhost = "127.0.0.1"\nport = {inbox.port}\n\n[admin]')
    agent.change("[lease]", '[lease]\nrenew = "never"')
    # Longer than what any other test had the slice last.
    agent.change('duration = "10m"', 'duration = "30h"')
    before = len(bed.cloudlab.journal.calls(method="RenewSlice"))
    agent.start()
    wait_for("it is told", lambda: agent.told("the slice ends at"))
    assert agent.status()["lease_warnings"][0].endswith('nobody renews it: [lease] renew is "never"')
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.metrics_port}/metrics", timeout=PATIENCE) as answer:
        assert 'esagent_lease_unrenewed{cm=""} 1.0' in answer.read().decode()
    assert (
        'nobody renews it but people ([lease] renew is "never")'
        in agent.ask("check", "--config", str(agent.conf)).stdout
    )
    assert len(bed.cloudlab.journal.calls(method="RenewSlice")) == before
    assert agent.ask("renew", "--wait", "--timeout", "60").returncode == 0
    assert len(bed.cloudlab.journal.calls(method="RenewSlice")) > before
    inbox.wait_for(1)


def test_settings_with_faults_end_it_at_once_with_each_fault_in_one_line(agent) -> None:
    agent.change("max_nodes = 3", "max_nods = 3")
    done = agent.ask("run", "--config", str(agent.conf))
    assert done.returncode == 78
    assert "[demand] max_nods: no such setting; did you mean 'max_nodes'?" in done.stderr


CONTRIB = Path(__file__).parents[2] / "contrib"


def panels() -> list[str]:
    """Return the dashboard's expressions, with values in place of its variables."""
    found = [
        target["expr"]
        for panel in json.loads((CONTRIB / "grafana/esagent.json").read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    for name, value in {"$instance": ".*", "$__rate_interval": "1m", "$__range": "1m"}.items():
        found = [expression.replace(name, value) for expression in found]
    return found


def test_a_real_prometheus_scrapes_the_figures_and_evaluates_alerts_and_panels(
    agent, bed: TestBed, tmp_path: Path
) -> None:
    agent.start()
    node, _ = agent.borrow()
    target = f"127.0.0.1:{agent.metrics_port}"
    conf = tmp_path / "prometheus.yml"
    conf.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{CONTRIB}/prometheus/esagent.rules.yml']\n"
        f"scrape_configs: [{{job_name: esagent, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "prometheus.log").open("wb") as log:
        prometheus = subprocess.Popen(
            [
                *(shutil.which("prometheus"), f"--config.file={conf}"),
                *(f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{port}"),
            ],
            stdout=log,
            stderr=log,
        )

    def api(route: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{route}", timeout=PATIENCE) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
            return data

    def query_now(query: str) -> Any:
        return api("query?" + urllib.parse.urlencode({"query": query}))["result"]

    def ask(query: str) -> list[dict[str, object]]:
        try:
            found: list[dict[str, object]] = api("query?" + urllib.parse.urlencode({"query": query}))[
                "result"
            ]
        except OSError:
            return []
        return found

    def rules() -> list[dict[str, Any]]:
        return [rule for group in api("rules")["groups"] for rule in group["rules"]]

    try:
        wait_for("a scrape", lambda: ask("esagent_build_info"))
        names = {
            "esagent_nodes",
            "esagent_nodes_wanted",
            "esagent_node_resource_value",
            "esagent_node_weight",
            "esagent_slice_expiry_timestamp_seconds",
            "esagent_sliver_expiry_timestamp_seconds",
            "esagent_certificate_expiry_timestamp_seconds",
            "esagent_credential_expiry_timestamp_seconds",
            "esagent_last_success_timestamp_seconds",
            "esagent_events_total",
            "esagent_callbacks_total",
            "esagent_provider_request_duration_seconds_count",
            "esagent_step_duration_seconds_count",
            "esagent_revocations_total",
        }
        for name in sorted(names):
            wait_for(f"a series of {name}", lambda n=name: ask(n))
        joined = wait_for("a joined node", lambda: ask('esagent_nodes{state="joined"} > 0'))
        assert joined[0]["value"][1] == "1"  # type: ignore[index]
        assert ask(f'esagent_node_weight{{node="{node}"}}')
        assert [up["value"][1] for up in ask("up")] == ["1"]  # type: ignore[index]
        wait_for("the alerts are evaluated", lambda: all(r["health"] == "ok" for r in rules()))
        assert {rule["lastError"] for rule in rules() if "lastError" in rule} == set()
        for expression in panels():
            query_now(expression)  # an error is an HTTP error
        half = len(panels()) / 2
        wait_for("most panels have something", lambda: sum(map(bool, map(ask, panels()))) > half)
    finally:
        prometheus.terminate()
        prometheus.wait(20)


def caller(bed: TestBed, name: str) -> xmlrpc.client.ServerProxy:
    """Speak to the agent's callback server with a certificate of the test bed's CA."""
    pki = bed.directory / "pki"
    context = ssl.create_default_context(cafile=str(bed.bedfile.callback.ca))
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    assert bed.bedfile.callback_url is not None
    return xmlrpc.client.ServerProxy(bed.bedfile.callback_url, context=context)


def pending(*node_ids: str, wait: int = 0) -> dict[str, object]:
    return {"nodelist": [{"node_id": n, "client_id": n, "max_wait_time": wait} for n in node_ids]}


def test_a_strangers_call_is_refused_and_does_nothing(agent, bed: TestBed) -> None:
    agent.start()
    node, job = agent.borrow()
    with caller(bed, "ada") as stranger, pytest.raises(xmlrpc.client.ProtocolError) as refused:
        stranger.NotifyDeletePending(pending(node))
    assert refused.value.errcode == 403
    agent.wait_for_log("refused|not allowed|stranger")
    assert bed.slurm.job_state(job) == "RUNNING"
    assert "DRAIN" not in bed.slurm.node_state(node)


def test_a_call_that_names_a_permanent_node_touches_nothing(agent, bed: TestBed) -> None:
    agent.start()
    node, job = agent.borrow()
    with caller(bed, "cm-cluster.example.net") as cloudlab:
        for method in (cloudlab.NotifyDeletePending, cloudlab.NotifyDeleteComplete):
            reply = method(pending("n1", "no such; node", "pc107"))
            assert reply["code"] == 0

        def say_another() -> bool:
            # The reply comes from memory: what it set off is over when a value that follows is a weight.
            cloudlab.SetResourceValues({"nodelist": [{"node_id": node, "value": 0.7}]})
            return agent.said("resource value 0.70")

        wait_for("the next value is a weight", say_another, interval=0.5)
    assert bed.slurm.node_state("n1") & {"DRAIN", "DOWN"} == set()
    assert bed.slurm.job_state(job) == "RUNNING"
    assert len(bed.slurm.run("squeue", "-h", "-t", "RUNNING").splitlines()) == 2


def test_bad_items_of_a_call_cost_the_good_ones_nothing(agent, bed: TestBed) -> None:
    agent.start()
    node, _ = agent.borrow()
    items = [{"node_id": "x;y", "value": 0.1}, {"node_id": node, "value": 0.9}, {"value": 2}, "rubbish"]
    with caller(bed, "cm-cluster.example.net") as cloudlab:

        def say_it() -> bool:
            # Cloudlab itself pushes another value now and then.
            assert cloudlab.SetResourceValues({"nodelist": items})["code"] == 0
            return agent.said("resource value 0.90")

        wait_for("the good value arrives", say_it, interval=0.5)


def drained_by_revocation(bed: TestBed, node: str) -> Callable[[], bool]:
    return lambda: "revoked by Cloudlab" in bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E")


def test_a_killed_agent_without_its_ledger_goes_on_with_the_deadline_in_slurms_reason(
    agent, bed: TestBed
) -> None:
    agent.start()
    node, job = agent.borrow()
    bed.cloudlab.revoke(node, 45)
    wait_for("the drain", drained_by_revocation(bed, node))
    reason = bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E")
    bed.cloudlab.withdraw(node)  # from now on Cloudlab says nothing more of it
    agent.stop(signal.SIGKILL)
    for part in agent.ledger.parent.glob("ledger.db*"):
        part.unlink()
    agent.start()
    agent.wait_for_log("found as an earlier run left it")
    assert bed.slurm.run("sinfo", "-h", "-n", node, "-o", "%E") == reason
    bed.slurm.wait_for_job(job, "PENDING")  # requeued ahead of that deadline


def test_a_killed_agent_goes_on_with_the_deadline_in_its_ledger(agent, bed: TestBed) -> None:
    agent.start()
    node, job = agent.borrow()
    bed.cloudlab.revoke(node, 45)
    wait_for("the drain", drained_by_revocation(bed, node))
    bed.cloudlab.withdraw(node)
    agent.stop(signal.SIGKILL)
    bed.slurm.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=mine")
    agent.start()
    bed.slurm.wait_for_job(job, "PENDING")


def test_a_revocation_that_is_not_carried_out_gives_the_machine_back_to_slurm(agent, bed: TestBed) -> None:
    agent.change('withdrawn_grace = "30s"', 'withdrawn_grace = "2s"')
    agent.start()
    node, job = agent.borrow("sleep 600", "--cpus-per-task=2", "--time=1")
    bed.cloudlab.revoke(node, 15)
    wait_for("the drain", drained_by_revocation(bed, node))
    bed.cloudlab.withdraw(node)
    bed.slurm.wait_for_job(job, "PENDING")
    agent.wait_for_log("the revocation of .* is over")
    wait_for("it is back", lambda: "DRAIN" not in bed.slurm.node_state(node))
    bed.slurm.wait_for_job(job, "RUNNING")


def test_the_administrator_is_told_what_a_drain_cannot_do(agent, bed: TestBed) -> None:
    agent.start()
    node, _ = agent.borrow()
    assert "n1 is not one of our machines" in agent.ask("drain", "n1").stderr
    assert f"{node} was not drained with `esagent drain`" in agent.ask("resume", node).stderr
    bed.slurm.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=mine")
    wait_for("it is seen", lambda: agent.nodes()[node]["state"] == "draining")
    done = agent.ask("drain", node)
    assert done.returncode == 1
    assert f"{node} is already drained: mine" in done.stderr


def test_an_administrators_drain_survives_a_restart(agent, bed: TestBed) -> None:
    agent.start()
    node, _ = agent.borrow()
    assert agent.ask("drain", node, "--reason", "look at the disk").stdout == f"draining: {node}\n"
    wait_for("the drain", lambda: "DRAIN" in bed.slurm.node_state(node))
    agent.stop(signal.SIGKILL)
    agent.start()
    wait_for("it is known", lambda: agent.nodes().get(node, {}).get("state") == "draining")
    assert agent.ask("resume", node).stdout == f"resumed: {node}\n"
    wait_for("it is back", lambda: "DRAIN" not in bed.slurm.node_state(node))
