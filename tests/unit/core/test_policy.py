"""Decisions, by example and by property."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.model import (
    AdvertisedNode,
    Intent,
    IntentKind,
    NodeStatus,
    ResourceValue,
    Revocation,
    SliverNode,
)
from agent.core.policy import (
    Backoff,
    LeaseSettings,
    Share,
    choose_machines,
    judge_boot,
    lengthen,
    plan_growth,
    plan_surplus,
    renewal_target,
    seconds_to_renewal,
    settle_intents,
    withdrawn,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:cm"
ALL_FREE = Share(10, 10)


def later(seconds):
    return NOON + timedelta(seconds=seconds)


# --- growth and surplus


def grow(in_use=0, least=1, most=10, percent=0.5, share=ALL_FREE, count=0):
    return plan_growth(
        in_use=in_use,
        minthreshold=least,
        maxthreshold=most,
        percent_available_minimum=percent,
        share=share,
        count=count,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 5),
        ({"percent": 0.0}, 10),
        ({"percent": 1.0}, 1),
        ({"percent": 1.0, "in_use": 1}, 0),
        ({"in_use": 8}, 2),
        ({"in_use": 10}, 0),
        ({"in_use": 12}, 0),
        ({"share": None}, 1),
        ({"share": None, "in_use": 1}, 0),
        ({"share": Share(2, 10)}, 1),
        ({"share": Share(0, 10), "least": 3}, 0),
        ({"share": Share(2, 10), "least": 3}, 2),
        ({"share": Share(0, 0)}, 0),
        ({"count": 5}, 5),
        ({"count": 3}, 3),
        ({"count": 6}, 0),
    ],
)
def test_growth_by_example(arguments, expected):
    plan = grow(**arguments)
    assert plan.count == expected
    assert plan.reason


COUNTS = st.integers(0, 30)
SHARES = st.none() | st.tuples(COUNTS, COUNTS).map(lambda t: Share(min(t), max(t)))


@given(in_use=COUNTS, least=COUNTS, most=COUNTS, percent=st.floats(0, 1), share=SHARES, count=COUNTS)
def test_growth_keeps_to_every_limit(in_use, least, most, percent, share, count):
    added = grow(in_use, least, most, percent, share, count).count
    assert added >= 0
    assert in_use + added <= max(most, in_use)
    assert added in {0, count} or not count
    if in_use + added > least and added:
        assert share is not None
        left_by_need = max(least - in_use, 0)
        assert (share.free - added) >= percent * share.total - 1e-6 or added <= left_by_need


def node(number):
    return SliverNode(f"node-{number}", f"pc{number}", CM, f"s{number}")


VALUES = {f"pc{n}": ResourceValue(f"pc{n}", v, NOON) for n, v in [(1, 0.2), (2, 0.9), (3, 0.5)]}


def shrink(nodes, in_use=None, least=1, most=10, percent=0.5, share=ALL_FREE):
    return plan_surplus(
        nodes,
        in_use=len(nodes) if in_use is None else in_use,
        minthreshold=least,
        maxthreshold=most,
        percent_available_minimum=percent,
        share=share,
        values=VALUES,
    )


NODES = [node(n) for n in range(1, 5)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ()),
        ({"share": None}, ()),
        ({"most": 3}, ("node-2",)),
        ({"most": 2}, ("node-2", "node-3")),
        ({"share": Share(4, 10)}, ("node-2",)),
        ({"share": Share(0, 10)}, ("node-2", "node-3", "node-1")),
        ({"share": Share(0, 10), "least": 4}, ()),
        ({"share": Share(0, 10), "in_use": 9}, ("node-2", "node-3", "node-1", "node-4")),
    ],
)
def test_surplus_by_example(arguments, expected):
    surplus = shrink(NODES, **arguments)
    assert surplus.client_ids == expected
    assert surplus.reason


@given(held=st.integers(0, 4), least=COUNTS, most=COUNTS, percent=st.floats(0, 1), share=SHARES)
def test_surplus_never_goes_below_the_least(held, least, most, percent, share):
    surplus = shrink(NODES[:held], least=least, most=most, percent=percent, share=share)
    assert held - len(surplus.client_ids) >= min(least, held)
    assert set(surplus.client_ids) <= {n.client_id for n in NODES[:held]}


@given(
    held=st.integers(0, 4),
    least=st.integers(0, 4),
    more=st.integers(0, 4),
    percent=st.floats(0, 1),
    total=st.integers(4, 40),
    free=st.integers(0, 40),
)
def test_giving_back_and_asking_again_do_not_alternate(held, least, more, percent, total, free):
    free = min(free, total - held)
    most = least + more
    gone = len(
        shrink(NODES[:held], least=least, most=most, percent=percent, share=Share(free, total)).client_ids
    )
    if gone:
        assert grow(held - gone, least, most, percent, Share(free + gone, total)).count == 0


# --- machines and types


def advertised(number, *types, available=True):
    return AdvertisedNode(f"pc{number}", CM, ("pc", *types), available)


FREE = [advertised(1, "a"), advertised(2, "a"), advertised(3, "b"), advertised(4, "b", available=False)]


@pytest.mark.parametrize(
    ("nodetype", "avoid", "expected"),
    [
        (None, (), ("pc1", "pc3", "pc2")),
        ("a", (), ("pc1", "pc2")),
        (None, ("a",), ("pc3",)),
        ("a", ("a",), ()),
        ("c", (), ()),
    ],
)
def test_machines_of_a_type_are_chosen_least_wanted_first(nodetype, avoid, expected):
    chosen = choose_machines(FREE, 9, nodetype=nodetype, avoid_types=avoid, values=VALUES)
    assert chosen == expected
    assert choose_machines(FREE, 1, nodetype=nodetype, avoid_types=avoid, values=VALUES) == expected[:1]


def test_a_pause_doubles_up_to_its_limit():
    pause = lengthen(None, NOON, "why", first=60, limit=200)
    assert pause == Backoff(later(60), 60, "why")
    pause = lengthen(pause, NOON, "why", first=60, limit=200)
    assert pause.delay == 120
    assert lengthen(pause, NOON, "why", first=60, limit=200).delay == 200


# --- booting


def status(state="started", status="changing"):
    return NodeStatus("node-1", "pc1", "s1", state, status, error="TBFAILED")


@pytest.mark.parametrize(
    ("entry", "age", "expected"),
    [
        (status(), 10, ""),
        (status(), 601, "failed"),
        (status(status="ready"), 10, "ready"),
        (status(status="ready"), 6000, "ready"),
        (status(state="stopped", status="ready"), 10, ""),
        (status(status="failed"), 10, "failed"),
        (status(status="never heard of"), 10, ""),
        (None, 10, ""),
        (None, 601, "failed"),
    ],
)
def test_a_boot_is_judged_by_status_and_time(entry, age, expected):
    verdict = judge_boot(entry, NOON, later(age), 600)
    assert verdict.status == expected
    assert bool(verdict.reason) == bool(expected)


# --- intents and revocations


@pytest.mark.parametrize(
    ("kind", "present", "age", "expected"),
    [
        (IntentKind.ADD, True, 0, "done"),
        (IntentKind.ADD, False, 0, "open"),
        (IntentKind.ADD, False, 901, "void"),
        (IntentKind.ADD, True, 901, "done"),
        (IntentKind.DELETE, False, 0, "done"),
        (IntentKind.DELETE, True, 0, "open"),
        (IntentKind.DELETE, True, 901, "void"),
    ],
)
def test_intents_are_settled_by_the_manifest_and_patience(kind, present, age, expected):
    intent = Intent(kind, CM, "node-1", NOON)
    settled = settle_intents([intent], {"node-1"} if present else set(), later(age), patience=900)
    assert (settled.done, settled.void) == {
        "done": ((intent,), ()),
        "void": ((), (intent,)),
        "open": ((), ()),
    }[expected]


@pytest.mark.parametrize(
    ("deadline", "noticed", "present", "expected"),
    [
        (100, 0, True, True),
        (100, 0, False, False),
        (300, 0, True, False),
        (100, 300, True, False),
    ],
)
def test_a_revocation_is_over_when_its_time_is_long_past_and_the_machine_still_ours(
    deadline, noticed, present, expected
):
    revocation = Revocation("pc1", "node-1", later(deadline), NOON, later(noticed))
    found = withdrawn([revocation], {"pc1"} if present else {"pc2"}, later(400), 150)
    assert found == ((revocation,) if expected else ())


# --- the lease

LEASE = LeaseSettings(duration="24h", renew_when_left="18h")
HOUR = 3600


@pytest.mark.parametrize(
    ("left", "expected"),
    [(None, 24), (20, None), (18, None), (17, 24), (0, 24), (-1, 24), (30, None)],
)
def test_a_lease_is_renewed_when_it_has_too_little_left(left, expected):
    expires = None if left is None else later(left * HOUR)
    target = renewal_target(expires, NOON, LEASE)
    assert target == (None if expected is None else later(expected * HOUR))


@given(
    duration=st.floats(600, 90 * 86400),
    lead=st.floats(300, 100 * 86400),
    left=st.floats(-HOUR, 100 * 86400),
    micro=st.integers(0, 999_999),
)
def test_a_renewal_never_shortens_and_asks_for_whole_seconds(duration, lead, left, micro):
    lease = LeaseSettings(duration=duration, renew_when_left=lead)
    now = NOON.replace(microsecond=micro)
    expires = later(left).replace(microsecond=0)
    target = renewal_target(expires, now, lease)
    wait = seconds_to_renewal([expires], now, lease)
    if target is None:
        assert wait > 0
        return
    assert target > expires
    assert target.microsecond == 0
    # What was just granted in full is not renewed again at once.
    assert renewal_target(target, now, lease) is None
    assert seconds_to_renewal([target], now, lease) > 0


def test_the_next_renewal_is_that_of_the_first_lease_to_end():
    assert seconds_to_renewal([later(20 * HOUR), later(30 * HOUR)], NOON, LEASE) == 2 * HOUR
    assert seconds_to_renewal([later(8 * HOUR)], NOON, LEASE) == 2 * HOUR, "granted less than asked"
    assert seconds_to_renewal([later(-5)], NOON, LEASE) == 0
    assert seconds_to_renewal([], NOON, LEASE) == math.inf
