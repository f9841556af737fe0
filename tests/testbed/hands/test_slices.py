"""What somebody else does to a slice (protogeni-2021.md §5, §6, §12.7, protogeni-2025.md §5.2)."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.cloudlab import DEFAULT_SITES, Timing
from testbed.cloudlab.steering.control import SteeringError

DOMAIN = DEFAULT_SITES[0].domain
BOTH = pytest.mark.parametrize("generation", [2016, 2021])


def said(answer):
    return answer["code"], answer["output"]


def name_of(client):
    return client.slice_urn.rpartition("+")[2]


def run(cloudlab, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(cloudlab.directory)])
    return result.exit_code, result.output


@pytest.fixture
def holding(start, foreign, clock):
    """Start a site of a generation; return a client with one machine that is up, and the lock free."""

    def begin_at(generation, *, fault="", **timing):
        site = dataclasses.replace(DEFAULT_SITES[0], generation=generation, timing=Timing(**timing))
        cloudlab = start(sites=(site,), clock=clock)
        if fault:
            cloudlab.fault("*", fault)
        client = foreign(cloudlab).register()
        client.create()
        if not fault:
            client.ready()
        client.unlocked("GetSliver")
        return client

    return begin_at


# --- ended


@BOTH
def test_a_slice_is_ended_at_the_cm_by_another_hand(holding, generation):
    ada = holding(generation)
    cloudlab = ada.cloudlab
    assert run(cloudlab, "end-slice", name_of(ada), "--at", DOMAIN) == (
        0,
        f"{name_of(ada)}: ended at {DOMAIN}\n",
    )
    cloudlab.journal.wait_for(lambda: ada.call("SliverStatus")["code"] == 12)
    assert [entry.cause for entry in cloudlab.journal.held("pc100")] == ["another hand"]
    assert ada.self_credential(), "the SA has its part still"
    assert cloudlab.sa.slices


def test_one_that_boots_is_marked_and_says_so(holding):
    """5: 16 until it is gone."""
    ada = holding(2021, fault="boot-never-ends", patience=600.0, teardown=1e9)
    ada.cloudlab.others.end(ada.slice_urn, DOMAIN)
    assert said(ada.call("AddNodes", nodes={"x": {}})) == (16, "Slice is marked for termination")
    with pytest.raises(SteeringError, match="marked for termination already"):
        ada.cloudlab.others.end(ada.slice_urn, DOMAIN)


@BOTH
def test_a_slice_is_ended_at_the_sa_while_the_cm_keeps_its_machines(holding, generation):
    ada = holding(generation)
    ada.cloudlab.others.end(name_of(ada), "sa")
    answer = ada.sa("RenewSlice", {"credential": ada.credential, "expiration": "2031-05-04T18:00:00Z"})
    assert said(answer) == (12, "Unknown slice for this credential")
    assert ada.ok("SliverStatus")["status"] == "ready"


def test_a_busy_slice_of_2016_is_ended_later(holding):
    ada = holding(2016, teardown=1e9)
    assert ada.unlocked("DeleteSlice")["code"] == 0
    assert run(ada.cloudlab, "end-slice", name_of(ada), "--at", DOMAIN)[0] == 1


# --- locked down


def test_a_slice_that_is_locked_down_is_neither_deleted_nor_does_it_expire(holding, clock):
    """5, 12.7."""
    ada = holding(2021)
    cloudlab = ada.cloudlab
    assert run(cloudlab, "lockdown", name_of(ada), "--at", DOMAIN) == (
        0,
        f"{name_of(ada)}: locked down at {DOMAIN}\n",
    )
    assert said(ada.call("DeleteSlice", cancel=1)) == (7, "Slice is locked down")
    with pytest.raises(SteeringError, match="is locked down"):
        cloudlab.others.end(name_of(ada), DOMAIN)
    clock.offset = timedelta(days=2)
    cloudlab.cm(DEFAULT_SITES[0].urn).expire()
    assert cloudlab.machines()[0].slice_urn == ada.slice_urn
    assert run(cloudlab, "lockdown", name_of(ada), "--at", DOMAIN, "--off")[0] == 0
    cloudlab.cm(DEFAULT_SITES[0].urn).expire()
    assert cloudlab.machines()[0].slice_urn == ""


def test_a_slice_in_panic_mode_is_not_deleted_and_its_status_tells(holding):
    """5, 6."""
    ada = holding(2021)
    assert ada.ok("SliverStatus")["paniced"] == 0
    assert run(ada.cloudlab, "panic", name_of(ada), "--at", DOMAIN)[0] == 0
    answer = ada.call("DeleteSlice")
    assert (answer["code"], answer["output"]) == (7, "Refusing to terminate a paniced experiment")
    assert ada.ok("SliverStatus")["paniced"] == 1
    ada.ok("Shutdown")
    assert ada.ok("SliverStatus")["shutdown"] == 1


# --- modified


def test_after_a_modify_that_failed_only_the_sliver_has_its_manifest(holding):
    """protogeni-2025.md 5.2: the machines run; AddNodes does not clear it."""
    ada = holding(2021)
    sliver_urn = ada.resolved()["sliver_urn"]
    ada.cloudlab.portal.modify(name_of(ada), DOMAIN, ["other"], failure="mapping")
    words = "*** No possible mapping\n"
    assert ada.resolved() == {"urn": ada.slice_urn, "async_code": 28, "async_output": words}
    answer = ada.cm("Resolve", {"credentials": [ada.credential], "urn": sliver_urn})
    assert 'client_id="node-1"' in answer["value"]["manifest"]
    status = ada.ok("SliverStatus")
    assert (status["status"], status["async_code"], len(status["details"])) == ("ready", 28, 1)
    assert ada.unlocked("AddNodes", nodes={"more": {}})["code"] == 0
    assert "manifest" not in ada.resolved()


# --- what makes no sense


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["end-slice", "other", "--at", DOMAIN], "has no slice 'other'"),
        (["end-slice", "other", "--at", "sa"], "the SA has no slice 'other'"),
        (["lockdown", "other", "--at", DOMAIN], "a server of 2016 has no lock-down"),
        (["panic", "other", "--at", "mars"], "there is no CM 'mars'"),
    ],
)
def test_what_makes_no_sense_is_refused(shared, arguments, words):
    code, output = run(shared, *arguments)
    assert (code, words in output) == (1, True), output
