"""CreateSliver by generation (protogeni.md §3.3, protogeni-2021.md §5, protogeni-2025.md §5.2)."""

from __future__ import annotations

import dataclasses
import xmlrpc.client
from datetime import UTC, datetime, timedelta

import pytest

from testbed.cloudlab import DEFAULT_SITES, Timing

FOREVER = 1e9
KEY = {"type": "ssh", "key": "ssh-ed25519 AAAA"}


@pytest.fixture
def begin(start, foreign):
    """Start a site of a generation; return a client with a slice at the SA and nothing at the CM."""

    def begin_at(generation, *, register=None, timing=None, **fields):
        chosen = dataclasses.replace(DEFAULT_SITES[0], generation=generation, **fields)
        chosen = dataclasses.replace(chosen, timing=Timing(**(timing or {})))
        return foreign(start(sites=(chosen,))).register(**(register or {}))

    return begin_at


def said(answer):
    return answer["code"], answer["output"]


def expiry(client):
    record = next(iter(client.cloudlab.cm(DEFAULT_SITES[0].urn).slices.values()))
    return record.expires


# --- asynchronous creation


def test_asyncmode_is_answered_before_the_mapper_and_then_as_any_other(begin, rspec):
    """5: 16, then Resolve without a manifest until it is done, then busy."""
    ada = begin(2021, timing={"mapping": 2000.0, "patience": 600.0})
    answer = ada.call("CreateSliver", rspec=rspec("node-1"), asyncmode=1)
    assert (answer["code"], answer["value"]) == (16, 0)
    assert ada.resolved() == {"urn": ada.slice_urn}
    assert said(ada.call("SliverStatus")) == (14, "resource is busy; try again later")
    ada.ready()
    assert "manifest" in ada.resolved()
    assert "async_code" not in ada.ok("SliverStatus")


def test_an_asynchronous_creation_that_fails_is_told_until_the_next(begin, rspec):
    """5: the record stays."""
    ada = begin(2021)
    many = rspec(*(f"node-{number}" for number in range(9)))
    assert ada.call("CreateSliver", rspec=many, asyncmode=1)["code"] == 16
    ada.cloudlab.journal.wait_for(lambda: "async_code" in ada.resolved())
    found = ada.resolved()
    assert (found.keys(), found["async_code"]) == ({"urn", "async_code", "async_output"}, 26)
    status = ada.ok("SliverStatus")
    assert (status["async_code"], status["async_output"]) == (26, found["async_output"])
    assert (status["status"], status["details"]) == ("failed", {})
    ada.create()
    ada.ready()
    assert "manifest" in ada.resolved()


def test_what_is_refused_at_once_is_refused_at_once_with_asyncmode_too(begin):
    ada = begin(2021)
    answer = ada.call("CreateSliver", rspec="<rspec/>", asyncmode=1)
    assert answer["code"] == 1


def test_a_server_of_2016_ignores_asyncmode(begin, rspec):
    """5."""
    ada = begin(2016)
    assert "<node " in ada.ok("CreateSliver", rspec=rspec("node-1"), asyncmode=1)[1]


# --- deaths


def test_a_death_leaves_nothing_in_2021_and_a_locked_slice_before(begin, rspec):
    """5: code 5; protogeni.md 1.5."""
    ada = begin(2021)
    answer = ada.call("CreateSliver", rspec=rspec("node-1"), keys=[])
    assert (answer["code"], answer["output"].partition(":")[0]) == (5, "Internal Error")
    assert ada.cm("Resolve", {"credentials": [ada.credential], "urn": ada.slice_urn})["code"] == 12
    ada.create()
    bob = begin(2016)
    with pytest.raises(xmlrpc.client.Fault, match="Internal Error executing CreateSliver"):
        bob.call("CreateSliver", rspec=rspec("node-1"), keys=[])
    assert bob.call("CreateSliver", rspec=rspec("node-1"))["code"] == 14


# --- keys


@pytest.mark.parametrize(("generation", "code"), [(2016, 0), (2021, 1)])
def test_an_account_without_a_urn(begin, rspec, generation, code):
    """5: a login alone was enough."""
    ada = begin(generation)
    answer = ada.call("CreateSliver", rspec=rspec("node-1"), keys=[{"login": "ada", "keys": [KEY]}])
    assert answer["code"] == code
    if code:
        assert answer["output"] == "Missing urn in key argument"


# --- the lock


def test_a_slice_that_stays_locked_in_2016(begin, rspec):
    """§1.6: what a call that died left behind."""
    ada = begin(2016)
    ada.cloudlab.fault("CreateSliver", "server-error-locked")
    with pytest.raises(xmlrpc.client.Fault):
        ada.create()
    assert said(ada.call("CreateSliver", rspec=rspec("node-1"))) == (14, "slice is busy; try again later")


def test_a_slice_that_stays_locked_in_2021(begin, rspec):
    """5: waited for."""
    ada = begin(2021, timing={"mapping": FOREVER})
    assert ada.call("CreateSliver", rspec=rspec("node-1"), asyncmode=1)["code"] == 16
    assert said(ada.call("CreateSliver", rspec=rspec("node-1"))) == (2, "Internal Error locking slice")


@pytest.mark.parametrize("generation", [2016, 2021])
def test_a_slice_that_has_a_sliver_gets_no_second_one_whatever_goes_on_there(begin, rspec, generation):
    """GeniCMV2 CreateSliver looks for an aggregate before it takes the lock, or asks anything else."""
    ada = begin(generation, timing={"start": FOREVER})
    ada.create()
    there = (7, "Must delete existing slice first")
    assert said(ada.call("CreateSliver", rspec=rspec("node-1"))) == there
    assert ada.call("Shutdown")["code"] == 14
    assert said(ada.call("CreateSliver", rspec=rspec("node-1"))) == there


# --- the first expiry


@pytest.mark.parametrize(("generation", "lasts"), [(2016, None), (2021, timedelta(days=5))])
def test_the_credentials_end_is_cut_to_the_sites_maximum(begin, generation, lasts):
    """5."""
    ada = begin(generation, max_sliver_lifetime=timedelta(days=5), register={"expiration": in_days(80)})
    ada.create()
    end = datetime.now(UTC) + (lasts or timedelta(days=80))
    assert abs(expiry(ada) - end) < timedelta(hours=1)


@pytest.mark.parametrize(("generation", "code"), [(2016, 7), (2021, 0)])
def test_an_end_in_the_request_beyond_that_is_cut_or_refused(begin, rspec, generation, code):
    """5."""
    ada = begin(generation, max_sliver_lifetime=timedelta(days=5), register={"expiration": in_days(80)})
    text = rspec("node-1", attributes=f'expires="{in_days(40)}"')
    assert ada.call("CreateSliver", rspec=text)["code"] == code


def in_days(days):
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
