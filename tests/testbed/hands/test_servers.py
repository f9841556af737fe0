"""Reboots of servers, and machines in the recovery system (protogeni-2021.md §1.8, §5, §6)."""

from __future__ import annotations

import dataclasses

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.cloudlab import DEFAULT_SITES, Timing

DOMAIN = DEFAULT_SITES[0].domain


@pytest.fixture
def begin(start, foreign):
    """Start a site of a generation; return a client of it with a slice."""

    def begin_at(generation, **timing):
        site = dataclasses.replace(DEFAULT_SITES[0], generation=generation, timing=Timing(**timing))
        return foreign(start(sites=(site,))).register()

    return begin_at


def run(client, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(client.cloudlab.directory)])
    return result.exit_code, result.output


def test_a_reboot_frees_the_locks_and_leaves_the_first_start_interrupted(begin):
    """1.8, 6: failed by number until the next start, which StartSliver may be."""
    ada = begin(2021, start=1e9)
    ada.create()
    assert ada.call("SliverStatus")["code"] == 14
    assert run(ada, "reboot", DOMAIN) == (0, f"{DOMAIN}: reboots, 0 s\n")
    status = ada.ok("SliverStatus")
    assert (status["state"], status["status"], status["boot_failure"]) == ("interrupted", "failed", 155)
    assert ada.call("StartSliver")["code"] == 0
    ada.ready()


def test_a_reboot_while_more_machines_start_leaves_it_mixed(begin):
    ada = begin(2021, patience=600.0)
    ada.create()
    ada.ready()
    ada.unlocked("GetSliver")
    ada.cloudlab.fault("*", "boot-never-ends")
    assert ada.unlocked("AddNodes", nodes={"more": {}})["code"] == 0
    ada.unlocked("GetSliver")
    ada.cloudlab.servers.reboot(DOMAIN)
    status = ada.ok("SliverStatus")
    assert (status["state"], status["boot_failure"]) == ("mixed", 155)
    assert ada.unlocked("DeleteNodes", nodes=["more"])["code"] == 0
    ada.ready()


def test_a_slice_that_was_being_deleted_stays(begin):
    ada = begin(2021, teardown=1e9)
    ada.create()
    ada.ready()
    assert ada.unlocked("DeleteSlice")["code"] == 0
    ada.cloudlab.servers.reboot(DOMAIN)
    assert ada.ok("SliverStatus")["details"]


def test_the_locks_of_an_older_server_stay(begin):
    """1.8."""
    ada = begin(2016, start=1e9)
    ada.create()
    ada.cloudlab.servers.reboot(DOMAIN)
    assert ada.call("SliverStatus")["code"] == 14
    assert len(ada.cloudlab.unlock()) == 1
    assert ada.ok("SliverStatus")["state"] == "stopped"


@pytest.mark.parametrize(("generation", "code"), [(2016, 14), (2021, 0)])
def test_the_locks_of_the_sa_go_as_those_of_a_cm(start, foreign, generation, code):
    cloudlab = start(sa_generation=generation)
    ada = foreign(cloudlab).register()
    cloudlab.fault("RenewSlice", "server-error-locked", at="sa")
    ask = {"credential": ada.credential, "expiration": "2031-05-04T18:00:00Z"}
    with pytest.raises(Exception, match="Internal Error"):
        ada.sa("RenewSlice", ask)
    cloudlab.servers.reboot("sa")
    answer = ada.sa("Resolve", {"credential": ada.self_credential(), "urn": ada.slice_urn})
    assert answer["code"] == code


def test_nothing_answers_while_a_server_boots(begin):
    ada = begin(2021)
    ada.cloudlab.servers.reboot(DOMAIN, 3600.0)
    with pytest.raises(OSError, match=r"."):
        ada.cm("GetVersion")
    assert ada.sa("GetVersion")["code"] == 0
    ada.cloudlab.servers.reboot(DOMAIN)
    assert ada.cm("GetVersion")["code"] == 0


def test_a_machine_in_the_recovery_system_is_told_and_not_reloaded(begin):
    """5, 6."""
    ada = begin(2021)
    ada.create()
    ada.ready()
    ada.unlocked("GetSliver")
    assert run(ada, "recovery", "pc100") == (0, "pc100: in the recovery system\n")
    (entry,) = ada.ok("SliverStatus")["details"].values()
    assert entry["recovery"] == 1
    answer = ada.call("ReloadSliver")
    assert (answer["code"], answer["output"]) == (7, "Must clear recovery mode before reload")
    run(ada, "recovery", "pc100", "--off")
    assert ada.call("ReloadSliver")["code"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reboot", "mars"], "there is no CM 'mars'"),
        (["reboot", "sa", "--seconds", "-1"], "seconds must be a number from 0 to 3600"),
        (["recovery", "pc100"], "a server of 2016 knows no recovery system"),
        (["recovery", "pc200"], "pc200 is not held by any slice"),
        (["recovery", "pc999"], "there is no machine 'pc999'"),
    ],
)
def test_what_makes_no_sense_is_refused(shared, arguments, words):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(shared.directory)])
    assert (result.exit_code, words in result.output) == (1, True), result.output
