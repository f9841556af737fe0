"""An agent that is killed at any step of add, renew and delete, and started again with or without its ledger.

Nothing leaks, nothing is doubled, the wanted number is reached, no revocation is forgotten, and in the end
nothing is held: all of it counted in the journal of the simulated Cloudlab.
"""

from __future__ import annotations

import os
import random

import pytest

# urllib3 leaves a socket of the simulator open when the agent at its other end is killed in a handshake.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)

OUR_CALLS = (
    "create_slice",
    "put_holding",
    "add_intents",
    "create_sliver",
    "remove_intents",
    "add_nodes",
    "renew_slice",
    "renew_sliver",
    "put_revocation",
    "remove_revocation",
    "delete_nodes",
    "delete_sliver",
)
"""Every write to Cloudlab and to the ledger, in the order in which ``live_through`` comes to them."""
CLOUDLABS_CALLS = (
    "Register",
    "CreateSliver",
    "AddNodes",
    "RenewSlice",
    "NotifyDeletePending",
    "NotifyDeleteComplete",
    "DeleteNodes",
    "DeleteSlice",
)
FURTHER_LIVES = 3
NOTICE = 20
"""Real seconds from a revocation to the taking by force: far more than an agent needs, killed or not."""
LONG = "ESAGENT_LONG_TESTS" in os.environ
READS = ("find_slice", "find_sliver", "sliver_status")
EACH_STEP = [
    (call, nth, when, keep)
    for call in (*OUR_CALLS, *READS)
    for nth in range(1, 13)  # a life without a kill makes fewer of most calls
    for when in ("before", "after")
    for keep in (True, False)
]

with_and_without_ledger = pytest.mark.parametrize("keep", [True, False], ids=["ledger kept", "ledger lost"])


def live_through(world) -> None:
    """Grow at two CMs, renew, lose a machine to Cloudlab, shrink, and give everything back."""
    world.start()
    live(world)


def live_until_every_kill(world) -> None:
    """Live again where a kill is left: a run without a ledger may begin when that step is done already."""
    kills = len(world.kills)
    live_through(world)
    for _ in range(FURTHER_LIVES):
        if world.kills:
            live(world)
    assert world.deaths == kills


def live(world) -> None:
    world.reach(3)
    renew(world)
    revoke(world)
    world.reach(3)
    world.reach(2)
    world.give_everything_back()
    # A run that was killed before it could strike the revocation leaves it until its deadline.
    world.until("no revocation is remembered", lambda s: not s["revoked"])


def renew(world) -> None:
    world.plan(lease=7200)
    world.until(
        "everything is renewed",
        lambda s: (
            len(s["sliver_expires"]) == 2
            and min(s["slice_expires"], *s["sliver_expires"].values()) > world.began + 7000
        ),
    )
    for where, (_, expires) in world.cloudlab.expiry_moves().items():
        assert expires.timestamp() > world.began + 7000, where


def revoke(world) -> None:
    """Take a machine: it has to be cleaned up and released before it is taken by force."""
    node = world.held()[0]
    before = len(world.given_up(node))
    world.cloudlab.revoke(node, NOTICE)
    world.until("the machine is taken", lambda s: len(world.given_up(node)) > before)
    assert world.given_up(node)[-1] == "released"
    assert node in (world.home / "cleaned").read_text().split()


def test_a_life_without_a_kill(world) -> None:
    live_through(world)
    assert world.deaths == 0


@with_and_without_ledger
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_each_of_our_writes(world, when, keep) -> None:
    world.keep_ledger = keep
    for call in OUR_CALLS:
        world.kill_at(call, when)
    live_until_every_kill(world)


@with_and_without_ledger
def test_a_kill_between_each_piece_of_work_and_its_reply(world, keep) -> None:
    world.keep_ledger = keep
    for call in CLOUDLABS_CALLS:
        world.kill_at(call, "reply")
    live_until_every_kill(world)


@with_and_without_ledger
@pytest.mark.parametrize("seed", range(60 if LONG else 1))
def test_kills_at_random_while_the_cms_are_worked_at_side_by_side(world, seed, keep) -> None:
    chance = random.Random(seed)
    world.threads = True
    world.keep_ledger = keep
    kills = 8
    for _ in range(kills):
        world.kill_at_entry(chance.randint(1, 40))
    world.start()
    while world.kills:
        world.reach(chance.randint(0, 4))
        if chance.random() < 0.3 and world.held():
            world.revoke_now(chance.choice(world.held()), chance.choice([0, 1, 5]))
    assert world.deaths == kills
    world.reach(3)
    world.give_everything_back()


@pytest.mark.parametrize(("call", "nth", "when", "keep"), EACH_STEP if LONG else [])
def test_one_kill_at_each_step(world, call, nth, when, keep) -> None:
    world.keep_ledger = keep
    world.kill_at(call, when, nth)
    live_through(world)
    if world.kills:
        pytest.skip(f"a life has fewer than {nth} calls of {call}")
