"""What an administrator of a site does: reservations, marks, images, limits, from the command line."""

from __future__ import annotations

from datetime import timedelta

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.cloudlab.steering.control import SteeringError, ask

NEW = 1
FAR = "east.example.net"
WORKER = "labproj:worker-os"


def run(cloudlab, *arguments):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(cloudlab.directory)])
    return result.exit_code, result.output


def later(clock, **span):
    return (clock.now() + timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def holding(ada, rspec, cloudlab, clock):
    """A client with two of the newer site's four machines, that ends in two hours."""
    ada.register("held", expiration=later(clock, days=80))
    ada.create(rspec("a", "b", cm=cloudlab.cms[NEW].urn), NEW)
    ada.unlocked("RenewSlice", NEW, valid_until=later(clock, hours=2))
    return ada


def renew(client, clock, **span):
    return client.unlocked("RenewSlice", NEW, valid_until=later(clock, **span))


def test_reservations_are_made_listed_and_cancelled(holding, cloudlab, clock):
    made = run(cloudlab, "reserve", "d430", "3", "--at", FAR, "--in", "5", "--for", "4")
    assert made == (0, f"{FAR}: 3 d430 reserved for other, number 1\n")
    assert "(1 more needed)" in renew(holding, clock, hours=6)["output"]
    code, output = run(cloudlab, "reservations")
    assert (code, output.startswith(f"{FAR} 1: 3 d430 for other from ")) == (0, True)
    assert run(cloudlab, "cancel-reservation", "1", "--at", FAR)[0] == 0
    assert renew(holding, clock, hours=6)["code"] == 0
    assert run(cloudlab, "cancel-reservation", "1", "--at", FAR) == (
        1,
        f"testbed: {FAR} has no reservation 1\n",
    )


def test_what_does_not_fit_is_reserved_by_force_alone(holding, cloudlab):
    arguments = ("reserve", "d430", "3", "--at", FAR, "--for", "4")
    code, output = run(cloudlab, *arguments)
    assert (code, "3 d430 cannot be reserved: 1 machines are missing at " in output) == (1, True)
    assert run(cloudlab, *arguments, "--force")[0] == 0


def test_a_machine_is_marked_for_others_and_taken_out_of_its_slice(holding, cloudlab, clock):
    name = next(m.name for m in cloudlab.machines() if m.slice_urn)
    assert run(cloudlab, "mark", name, "sched-reserved") == (0, f"{name}: sched-reserved\n")
    assert renew(holding, clock, hours=3)["output"] == f"Refused cause {name} is sched-reserved."
    run(cloudlab, "mark", name, "none")
    assert renew(holding, clock, hours=3)["code"] == 0
    assert run(cloudlab, "promise", name, "--in", "5")[0] == 0
    assert renew(holding, clock, hours=4)["code"] == 0
    assert "because of a prereserve" in renew(holding, clock, hours=6)["output"]
    run(cloudlab, "mark", name, "taken")
    answer = holding.unlocked("AddNodes", NEW, nodes={})
    assert (answer["code"], f"Fixed physical node: {name} not available" in answer["output"]) == (28, True)
    assert run(cloudlab, "mark", name, "freed")[0] == 1


def test_a_freed_machine_is_taken_again_by_the_next_change(holding, cloudlab):
    name = next(m.name for m in cloudlab.machines() if m.slice_urn)
    run(cloudlab, "mark", name, "freed")
    cloudlab.journal.wait_for(lambda: any(m.available for m in cloudlab.machines() if m.name == name))
    assert holding.unlocked("AddNodes", NEW, nodes={})["code"] == 0
    assert [m.client_id for m in cloudlab.machines() if m.name == name] == ["a"]


def test_images_limits_and_quota(holding, cloudlab, rspec, foreign):
    assert run(cloudlab, "image", FAR, WORKER, "deprecated", "--words", "take v2")[0] == 0
    image = f"urn:publicid:IDN+example.net+image+{WORKER}"
    answer = holding.unlocked("AddNodes", NEW, nodes={"c": {"diskimage": image}})
    assert (answer["code"], "take v2" in answer["output"]) == (1, True)
    assert run(cloudlab, "image", FAR, WORKER)[0] == 0
    assert run(cloudlab, "limit", FAR, "d430", "2") == (0, f"{FAR}: d430: 2\n")
    answer = holding.unlocked("AddNodes", NEW, nodes={"c": {"hardware_type": "d430"}})
    assert "you are only allowed to use 2" in answer["output"]
    run(cloudlab, "limit", FAR, "d430")
    run(cloudlab, "most-nodes", FAR, "2")
    assert holding.unlocked("AddNodes", NEW, nodes={"c": {}})["code"] == 2
    run(cloudlab, "most-nodes", FAR)
    assert run(cloudlab, "quota", FAR)[0] == 0
    bob = foreign(cloudlab, "bob").register()
    assert bob.call("CreateSliver", NEW, rspec=rspec("x", cm=cloudlab.cms[NEW].urn))["code"] == 23
    run(cloudlab, "quota", FAR, "--kept")
    assert bob.call("CreateSliver", NEW, rspec=rspec("x", cm=cloudlab.cms[NEW].urn))["code"] == 0


def test_leases_are_limited(holding, cloudlab, clock):
    assert run(cloudlab, "lifetime", FAR, "24")[0] == 0
    words = "expiration increment is greater then the maximum number (1440) of minutes"
    assert renew(holding, clock, hours=25)["output"] == words
    run(cloudlab, "renew-limit", "held", "0", "--at", FAR)
    assert "idle for too long" in renew(holding, clock, hours=3)["output"]
    run(cloudlab, "renew-limit", "held", "5", "--at", FAR, "--until")
    assert "expiration is greater then local slice setting: " in renew(holding, clock, hours=6)["output"]
    run(cloudlab, "renew-limit", "held", "--at", FAR)
    assert renew(holding, clock, hours=6)["code"] == 0
    assert run(cloudlab, "cluster", FAR, "forbidden")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reserve", "m510", "1", "--at", FAR, "--for", "1"], "has no type 'm510'; it has d430"),
        (["reserve", "d430", "0", "--at", FAR, "--for", "1"], "count must be from 1"),
        (["reserve", "d430", "1", "--at", FAR, "--for", "nan"], "seconds must be a number from 1"),
        (["reserve", "d430", "1", "--at", "x", "--for", "1"], "there is no CM 'x'"),
        (["mark", "pc200", "tired"], "a machine is marked none, sched-reserved, taken, freed, not 'tired'"),
        (["mark", "pc200", "taken"], "pc200 is not held by any slice"),
        (["mark", "pc999", "none"], "there is no machine 'pc999'"),
        (["promise", "pc200", "--in", "-1"], "after must be a number from 0"),
        (["image", FAR, "no:such", "deprecated"], "there is no image 'no:such'"),
        (["image", FAR, WORKER, "tired"], "an image is deprecated, restricted, "),
        (["limit", FAR, "d430", "-1"], "No such option"),
        (["lifetime", FAR, "nan"], "seconds must be a number from 0"),
        (["renew-limit", "none", "1", "--at", FAR], "has no slice 'none'"),
        (["cluster", FAR, "closed"], "cluster is for users, forbidden, offline, not 'closed'"),
    ],
)
def test_rubbish_is_refused_with_the_choice(shared, arguments, words):
    code, output = run(shared, *arguments)
    assert (code != 0, words in output) == (True, True), output


@pytest.mark.parametrize(
    "name", ["reserve", "cancel-reservation", "mark", "promise", "image", "limit", "quota"]
)
def test_commands_without_their_arguments_are_refused(shared, name):
    with pytest.raises(SteeringError):
        ask(shared.directory, {"do": name})
