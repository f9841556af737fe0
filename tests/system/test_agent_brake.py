"""What holds growth or a lease up: machines that do not boot, and a machine that is promised to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.up import TestBed
from testbed.waiting import wait_for


def held(bed: TestBed) -> set[str]:
    return {m.node_id for m in bed.cloudlab.machines() if m.slice_urn}


def asked(bed: TestBed) -> int:
    journal = bed.cloudlab.journal
    return len(journal.calls("CreateSliver")) + len(journal.calls("AddNodes"))


def test_boot_failures_in_a_row_stop_growth_which_is_told_everywhere_and_resumed_by_hand(
    agent, bed: TestBed, mail_server: Callable[..., Any]
) -> None:
    inbox = mail_server()
    agent.change('type_backoff = "20s"', 'type_backoff = "1s"\ngrowth_stop_after = 2')
    agent.change("[admin]", f'[mail]\nhost = "127.0.0.1"\nport = {inbox.port}\n\n[admin]')
    bed.cloudlab.fault("*", "boot-fails", times=100)
    agent.start()
    blocker = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--nodelist=n1")
    bed.slurm.wait_for_job(blocker, "RUNNING")
    jobs = [bed.slurm.submit("sleep 600", "--cpus-per-task=2") for _ in range(2)]
    wait_for("growth stops", lambda: agent.status()["growth_stopped"])

    wait_for("what failed is given back", lambda: not held(bed))
    before = asked(bed)
    agent.let_it_look_again()
    assert asked(bed) == before, "no machine is asked for while growth is stopped"
    assert "growth is stopped since" in str(agent.status()["growth_stopped"])
    assert agent.figure("esagent_growth_stopped") == "1.0"
    assert agent.told("growth stops: 2 new machines in a row failed")
    inbox.wait_for(1)
    assert inbox.mails[0]["To"] == "ada@example.net", "the address in the certificate"
    assert "failed" in inbox.mails[0].get_content()

    bed.cloudlab.clear_faults()
    assert "growth is allowed again by" in agent.ask("unpause").stdout
    for job in jobs:
        bed.slurm.wait_for_job(job, "RUNNING")
    assert agent.status()["growth_stopped"] == ""
    assert agent.figure("esagent_growth_stopped") == "0.0"
    # The rest of what happened is told in one mail at the end.
    agent.stop()
    assert any("growth stops" in mail.get_content() for mail in inbox.mails)


@pytest.fixture
def promised(bed: TestBed) -> Iterator[Callable[[str], None]]:
    """Promise machines to another project until the test has ended."""
    promised: list[str] = []

    def promise(node_id: str) -> None:
        promised.append(node_id)
        bed.cloudlab.promise(node_id, "other")

    yield promise
    for node_id in promised:
        bed.cloudlab.promise(node_id, "")


def test_a_machine_that_blocks_the_renewal_is_emptied_and_given_back_and_the_others_are_renewed(
    agent, bed: TestBed, promised: Callable[[str], None]
) -> None:
    agent.change('renew_when_left = "9m"', 'renew_when_left = "595s"\ndrop_blocking = true')
    agent.start()
    blocking, job = agent.borrow()
    other_job = bed.slurm.submit("sleep 600", "--cpus-per-task=2", "--time=30")
    bed.slurm.wait_for_job(other_job, "RUNNING")
    [other] = held(bed) - {blocking}
    promised(blocking)
    journal = bed.cloudlab.journal
    wait_for("the renewal is refused", lambda: journal.calls("RenewSlice", code=7))
    wait_for("it is emptied", lambda: "DRAIN" in bed.slurm.node_state(blocking))
    why = f"the sliver is not renewed, since {blocking} is promised to others; it is emptied"
    wait_for("it says so", lambda: agent.told(why))
    assert bed.slurm.job_state(job) == "RUNNING", "its job may end by itself"
    bed.slurm.run("scancel", str(job))
    wait_for("it is given back", lambda: held(bed) == {other})
    refused = len(journal.entries())

    def renewed() -> bool:
        later = journal.entries()[refused:]
        cms = {cm.urn for cm in bed.bedfile.cms}
        return any(
            getattr(e, "method", "") == "RenewSlice" and e.code == 0 and e.authority in cms for e in later
        )

    wait_for("the sliver is renewed without it", renewed)
    assert bed.slurm.job_state(other_job) == "RUNNING"
    assert "DRAIN" not in bed.slurm.node_state(other)
