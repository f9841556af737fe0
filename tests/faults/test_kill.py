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

WRITES = {
    "create_slice": 1,
    "put_holding": 12,
    "add_intents": 7,
    "create_sliver": 2,
    "remove_intents": 7,
    "add_nodes": 2,
    "renew_slice": 1,
    "renew_sliver": 2,
    "put_revocation": 3,
    "remove_revocation": 1,
    "delete_nodes": 1,
    "delete_sliver": 2,
}
"""Every write to Cloudlab and to the ledger, and how often ``live_through`` makes it without a kill."""
LEDGERS = ("put_holding", "add_intents", "remove_intents", "put_revocation", "remove_revocation")
OTHERS = ("find_slice", "find_sliver", "sliver_status", "intents", "holdings", "revocations", "record")
"""Reads, and the history that nobody reads back."""
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
NOTICE = 3600
"""Real seconds from a revocation to the taking by force, which it never comes to on the slowest machine."""
MOST_REVOCATIONS = 12
LONG = "ESAGENT_LONG_TESTS" in os.environ
LIVES = [pytest.param((*WRITES,), False, id="writes")]
SINGLE_KILLS: list[tuple[str, int, str, bool]] = []
if LONG:
    LIVES += [
        pytest.param((*WRITES, *OTHERS), False, id="all calls"),
        pytest.param((*WRITES, *OTHERS), True, id="all calls, CMs side by side"),
    ]
    SINGLE_KILLS = [
        (call, nth, when, keep)
        for call, most in WRITES.items()
        for nth in range(1, most + 1)
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
@pytest.mark.parametrize(("each_of", "threads"), LIVES)
@pytest.mark.timeout(1800)
def test_a_life_with_a_kill_at_each_step(world, each_of, threads, keep) -> None:
    """Die before and after each kind of write to Cloudlab and to the ledger, stage by stage of one life.

    A run dies at the first step that no run before it died at: a step is a stage of the life, a call, and
    what that is about (its CM, and whether machines are added or deleted). The next run takes up from there,
    and dies one step later. Between two writes a run changes nothing but its own memory, so this stands for
    a kill at any instruction of the cycle; "all calls" dies around each read as well. Where the ledger is
    lost, nothing of a write to it is left, and the writes to Cloudlab alone make the difference.
    """
    world.each_of = [call for call in each_of if keep or call not in LEDGERS]
    world.threads = threads
    world.keep_ledger = keep
    world.start()
    for wanted in (1, 2, 3):
        world.plan(stage=f"grow to {wanted}")
        world.reach(wanted)
    world.plan(stage="renew")
    renew(world)
    for _ in range(MOST_REVOCATIONS):
        world.plan(stage="revoke")
        revoke(world)
        world.plan(stage="grow again")
        world.reach(3)
        # Only the run that saw both the revocation and the taking strikes it.
        if not keep or {"before remove_revocation", "after remove_revocation"} <= died_around(world):
            break
    world.plan(stage="shrink")
    world.reach(2)
    world.plan(stage="give back")
    world.give_everything_back()
    writes = WRITES.keys() & world.each_of
    assert died_around(world) >= {f"{when} {call}" for when in ("before", "after") for call in writes}


def died_around(world) -> set[str]:
    return {" ".join(step.partition(": ")[2].split()[:2]) for step in world.steps_died_at()}


def test_a_revocation_that_nobody_could_strike_is_forgotten_after_its_deadline(world) -> None:
    world.kill_at("remove_revocation", "before")
    world.start()
    world.reach(1)
    world.revoke_now(world.held()[0], 3)
    world.until("the agent died", lambda s: world.deaths == 1)
    world.until("no revocation is remembered", lambda s: s["cms_read"] == 2 and not s["revoked"])
    world.reach(1)
    world.give_everything_back()


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
        if chance.random() < 0.5:
            world.kill_at_entry(chance.randint(1, 40))
        else:
            world.kill_after(chance.uniform(0, 2))
    world.start()
    while world.kills:
        world.reach(chance.randint(0, 4))
        if chance.random() < 0.3 and world.held():
            world.revoke_now(chance.choice(world.held()), chance.choice([0, 1, 5]))
    assert world.deaths == kills
    world.reach(3)
    world.give_everything_back()


@pytest.mark.parametrize(("call", "nth", "when", "keep"), SINGLE_KILLS)
def test_one_kill_and_a_recovery_that_nothing_disturbs(world, call, nth, when, keep) -> None:
    world.keep_ledger = keep
    world.kill_at(call, when, nth)
    live_through(world)
    if world.kills:
        pytest.skip(f"this life had fewer than {nth} calls of {call}")
