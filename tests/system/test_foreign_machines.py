"""A slice that is not only ours: what the agent does beside the machines of somebody else's experiment."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import release
from testbed.cloudlab import Site
from testbed.cloudlab.journal import Call
from testbed.experiment import BUSY, IDLE, SLICE, Experiment
from testbed.portal import PROJECT, Portal
from testbed.up import TestBed
from testbed.waiting import wait_for

SITES = (
    Site(
        domain="cluster.example.net",
        machines=tuple(f"pc{number}" for number in range(100, 120)),
        hardware_type="m510",
    ),
)
OURS = re.compile(r"es-\d+")
BORROWED = "cloudlab"
"""Slurm's feature of the agent's nodes, which the experiment's nodes lack."""
FAST = {
    'idle_timeout = "25s"\nmin_hold = "25s"': 'idle_timeout = "2s"\nmin_hold = "4s"',
    "update_sliver_status = 2": "update_sliver_status = 1",
    "add_nodes = 2": "add_nodes = 1",
    "delete_nodes = 2": "delete_nodes = 1",
}


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[TestBed]:
    """A test bed of the test's own: all that happened on it is the test's. Its permanent node is busy."""
    with TestBed(tmp_path / "bed", speed=300, sites=SITES, slurm=release.wanted()) as bed:
        # Slurm takes a job only where it knows a node with its feature.
        bed.slurm.run("scontrol", "update", "NodeName=n1", f"AvailableFeatures={BORROWED}")
        bed.slurm.submit("sleep 3600", "--cpus-per-task=2", "--nodelist=n1")
        yield bed


@pytest.fixture
def agent(agent):
    """An agent that borrows two machines at most and calls them by its own names; it is not started yet."""
    agent.change('node_prefix = "node"\n', "")
    agent.change("max_nodes = 3", "max_nodes = 2")
    agent.change("node_cpus = 2", f'node_cpus = 2\nfeatures = ["{BORROWED}"]')
    for old, new in FAST.items():
        agent.change(old, new)
    return agent


@pytest.fixture
def experiment(agent) -> Experiment:
    """An experiment in whose slice the agent will be; nothing of it is in Slurm yet."""
    agent.change('slice = "elastic"', f'slice = "{SLICE}"\nproject = "{PROJECT}"')
    return Experiment(agent.bed)


def join(agent, experiment: Experiment, mode: str, node_name: str) -> None:
    """Have machines become nodes so, and the experiment's compute nodes at work under names of that kind."""
    slurm = agent.bed.slurm
    theirs = {experiment.machines[client_id] for client_id in (*BUSY, IDLE)}
    text = f'[join]\nmode = "{mode}"\nnode_name = "{node_name}"\n'
    if mode == "cloud":
        free = [machine for site in SITES for machine in site.machines if machine not in theirs]
        declared = "es-[1-9]" if node_name == "client_id" else ",".join(free)
        with slurm.conf.open("a") as conf:
            conf.write(f"NodeName={declared} NodeAddr=127.0.0.1 CPUs=2 State=CLOUD Feature={BORROWED}\n")
        slurm.restart_slurmctld()
        # A site cannot know which of Cloudlab's machines will be its colleagues'.
        every = declared if node_name == "client_id" else "pc[100-119]"
        text += f'predeclared = "{every}"\n'
        dynamic = f'slurmd -Z -N {{node_name}} --conf \\"CPUs=2 Feature={BORROWED}\\"'
        agent.change(dynamic, "slurmd -b -N {node_name}")
    agent.change("[join]\n", text)
    names = {c: c if node_name == "client_id" else experiment.machines[c] for c in (*BUSY, IDLE)}
    experiment.join(names)


def ours(bed: TestBed) -> dict[str, str]:
    """Return client_id -> node_id of the slice's machines that have our names."""
    held = {m.client_id: m.node_id for m in bed.cloudlab.machines() if m.slice_urn}
    return {client_id: node_id for client_id, node_id in held.items() if OURS.fullmatch(client_id)}


def work(bed: TestBed) -> int:
    """Submit a job that only a borrowed machine can take; return its id."""
    return bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30", f"--constraint={BORROWED}")


def look_on(bed: TestBed) -> None:
    """Wait until the agent has read its manifest a few times: it had every chance to act."""
    calls = bed.cloudlab.journal.calls
    before = len(calls("Resolve"))
    wait_for("a few looks", lambda: len(calls("Resolve")) >= before + 4)


def events(agent, kind: str) -> list[dict[str, Any]]:
    """Return the events of a kind, newest first."""
    return [e for e in agent.look("/v1/events?subject=&newest=500")["events"] if e["kind"] == kind]


def start_anew(agent, *, ledger: bool) -> None:
    """Kill the agent and start it, with its ledger or without."""
    agent.stop(signal.SIGKILL)
    for part in () if ledger else agent.ledger.parent.glob("ledger.db*"):
        part.unlink()
    agent.start()


def named(calls: list[Call]) -> set[str]:
    """Return the client_ids that calls of AddNodes or DeleteNodes name."""
    return {name for call in calls for name in call.args["nodes"]}  # type: ignore[attr-defined]


def assert_all_is_left_alone(agent, experiment: Experiment) -> None:
    """Look at it from outside: Cloudlab's calls and leases, sshds, Slurm and its jobs, known host keys."""
    bed = agent.bed
    calls = bed.cloudlab.journal.calls
    assert not [c for method in ("DeleteSlice", "DeleteSliver", "Shutdown") for c in calls(method)]
    assert len(calls("CreateSliver")) == 1, "the experiment's own"
    assert {name for name in named(calls("DeleteNodes")) if not OURS.fullmatch(name)} == set()
    added = named(calls("AddNodes")) - experiment.machines.keys()
    assert {name for name in added if not OURS.fullmatch(name)} == set()
    assert all(first <= now for first, now in bed.cloudlab.expiry_moves().values())
    known = (agent.conf.parent / "known_hosts").read_text()
    for node_id in experiment.machines.values():
        address = re.escape(bed.machines.address(node_id))
        assert re.search(rf"\b({node_id}|{address})\b", known) is None
    assert experiment.what_was_touched() == []


@pytest.mark.parametrize(
    ("mode", "node_name"), [("dynamic", "node_id"), ("cloud", "client_id"), ("cloud", "node_id")]
)
def test_growing_and_a_teardown_touch_no_foreign_machine_whatever_nodes_are_called(
    agent, bed: TestBed, experiment: Experiment, mode: str, node_name: str
) -> None:
    join(agent, experiment, mode, node_name)
    # Its node may be one that slurm.conf declares, and no slurmd runs there.
    experiment.add("extra")
    agent.start()
    if mode == "cloud":
        agent.wait_for_log("predeclared nodes have no machine: set down")
    job = work(bed)
    bed.slurm.wait_for_job(job, "RUNNING")
    start_anew(agent, ledger=False)
    assert agent.ask("teardown", "--yes").returncode == 0
    bed.slurm.run("scancel", str(job))
    wait_for("it says so", lambda: agent.told("the teardown is complete"))
    assert ours(bed) == {}
    look_on(bed)
    experiment.end_jobs()
    assert_all_is_left_alone(agent, experiment)


def test_no_foreign_machine_is_touched_from_the_first_start_to_the_teardown(
    agent, bed: TestBed, experiment: Experiment
) -> None:
    join(agent, experiment, "dynamic", "client_id")
    agent.start()
    look_on(bed)
    assert len(events(agent, "foreign")) == 1, "once, and not in each cycle"
    assert agent.ask("drain", "cp-1").returncode != 0
    assert "cp-1" in agent.ask("nodes", "--all").stdout

    jobs = [work(bed) for _ in range(3)]
    experiment.add("extra", "node-1")
    for job in jobs[:2]:
        bed.slurm.wait_for_job(job, "RUNNING")
    look_on(bed)
    assert len(ours(bed)) == 2, "six foreign machines do not count"
    assert bed.slurm.job_state(jobs[2]) == "PENDING"

    held = ours(bed)
    start_anew(agent, ledger=False)
    look_on(bed)
    assert ours(bed) == held, "they are known by their names"
    assert [bed.slurm.job_state(job) for job in jobs] == ["RUNNING", "RUNNING", "PENDING"]
    bed.slurm.run("scancel", str(jobs[2]), str(jobs[0]))
    wait_for("one is given back", lambda: len(ours(bed)) == 1)

    start_anew(agent, ledger=True)
    assert agent.ask("teardown", "--yes").returncode == 0
    bed.slurm.run("scancel", str(jobs[1]))
    wait_for("it says so", lambda: agent.told("the teardown is complete"))
    assert ours(bed) == {}
    look_on(bed)
    experiment.end_jobs()
    assert_all_is_left_alone(agent, experiment)


def test_a_revoked_foreign_machine_is_told_and_left_to_its_countdown_beside_one_of_ours(
    agent, bed: TestBed, experiment: Experiment, mail_server: Callable[..., Any]
) -> None:
    inbox = mail_server()
    agent.change("[admin]", f'[mail]\nhost = "127.0.0.1"\nport = {inbox.port}\n\n[admin]')
    join(agent, experiment, "dynamic", "client_id")
    agent.start()
    job = work(bed)
    bed.slurm.wait_for_job(job, "RUNNING")
    (mine,) = ours(bed).values()
    busy, idle = (experiment.machines[client_id] for client_id in (BUSY[0], IDLE))
    held, callbacks = bed.cloudlab.journal.held, bed.cloudlab.journal.callbacks

    bed.cloudlab.value(busy, 0.9)
    bed.cloudlab.revoke([busy, idle], 120)
    wait_for("it is told", lambda: {e["subject"] for e in events(agent, "foreign-revoke")} == {busy, idle})
    inbox.wait_for(1)
    assert "cp-1" in inbox.mails[0].get_content()
    bed.cloudlab.revoke(mine, 40)
    bed.slurm.wait_for_job(job, "PENDING")
    bed.slurm.run("scancel", str(job))
    wait_for("ours is released", lambda: held(mine)[0].cause)
    assert held(mine)[0].cause == "released"
    look_on(bed)
    experiment.end_jobs()
    assert_all_is_left_alone(agent, experiment)

    said, other = "[drain]\n", "[drain]\nforeign = true\n"
    for drained in (True, False):
        agent.change(said, other)
        agent.send(signal.SIGHUP)
        for node in (BUSY[0], IDLE):
            wait_for("Slurm has it", lambda n=node, d=drained: ("DRAIN" in bed.slurm.node_state(n)) is d)
        look_on(bed)
        said, other = other, said
    assert experiment.logins() == []
    assert {busy, idle}.isdisjoint(n for call in callbacks() for n in call.released)
    bed.cloudlab.revoke([busy, idle], 0)
    wait_for("they are taken", lambda: len(experiment.losses()) == 2)
    assert [loss.partition(": ")[2] for loss in experiment.losses()] == ["revoked", "revoked"]


def test_machines_of_our_names_that_nothing_explains_are_taken_over_and_kept_for_min_hold(
    agent, bed: TestBed, experiment: Experiment
) -> None:
    hold = 15.0
    agent.change('min_hold = "4s"', f'min_hold = "{hold:g}s"')
    agent.change("[request]\n", '[request]\nnever = ["es-3"]\n')
    join(agent, experiment, "dynamic", "client_id")
    late = experiment.lose("es-1", "es-2")
    experiment.add("es-3")
    began = time.time()
    agent.start()
    wait_for("it is told", lambda: {e["subject"] for e in events(agent, "adopted")} == {*late.values()})
    for name in late:
        bed.slurm.wait_for_node(name, "IDLE")
    held = bed.cloudlab.journal.held
    bed.cloudlab.revoke(late["es-1"], 60)
    wait_for("one is emptied in time", lambda: held(late["es-1"])[0].cause)
    assert held(late["es-1"])[0].cause == "released"
    wait_for("the other one is given back", lambda: held(late["es-2"])[0].cause)
    assert held(late["es-2"])[0].cause == "DeleteNodes"
    assert held(late["es-2"])[0].end - began > hold
    look_on(bed)
    experiment.end_jobs()
    assert_all_is_left_alone(agent, experiment)


def test_a_slice_of_others_is_not_deleted_even_with_its_last_machine(
    agent, bed: TestBed, experiment: Experiment
) -> None:
    agent.start()
    job = work(bed)
    bed.slurm.wait_for_job(job, "RUNNING")
    theirs = set(experiment.machines)
    experiment.leave()
    agent.ask("teardown", "--yes")
    bed.slurm.run("scancel", str(job))
    wait_for("it says so", lambda: agent.told("the teardown is complete"))
    look_on(bed)
    calls = bed.cloudlab.journal.calls
    assert calls("DeleteSlice") == []
    assert named(calls("DeleteNodes")) - theirs == {"es-1"}


def test_a_machine_that_a_colleague_adds_to_a_slice_of_ours_keeps_it_until_it_goes(
    agent, bed: TestBed
) -> None:
    agent.start()
    job = work(bed)
    bed.slurm.wait_for_job(job, "RUNNING")
    colleague = Portal(bed.bedfile, "elastic")
    extra = colleague.add(["extra"])["extra"]
    log = bed.machines.machine(extra).log
    before = log.read_text()
    bed.slurm.run("scancel", str(job))
    wait_for("ours is given back", lambda: not ours(bed))
    look_on(bed)
    calls = bed.cloudlab.journal.calls
    assert calls("DeleteSlice") == []
    assert named(calls("DeleteNodes")) == {"es-1"}
    assert "Accepted" not in log.read_text().removeprefix(before)
    colleague.remove(["extra"])
    wait_for("the empty sliver, which is ours, goes", lambda: calls("DeleteSlice", code=0))
