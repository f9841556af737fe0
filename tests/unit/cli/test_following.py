"""Waiting for events on the local API: woken by one, bounded, and let go when the daemon ends."""

import threading

from agent.admin.server import MOST_WAITING
from agent.cli.feed import Feed
from testbed.waiting import wait_for


class Follower(threading.Thread):
    """Waits for events in a thread of its own."""

    def __init__(self, rig, after, wait=20):
        super().__init__(daemon=True)
        self.rig, self.route = rig, f"/v1/events?after={after}&wait={wait}"
        self.answer = None
        self.start()

    def run(self):
        from agent.cli.client import call

        self.answer = call(self.rig.socket, "GET", self.route, timeout=40)

    def subjects(self):
        self.join(30)
        assert not self.is_alive()
        return [e["subject"] for e in self.answer["events"]]


def test_a_follower_is_woken_by_the_next_event(rig) -> None:
    follower = Follower(rig, rig.ledger.last_event())
    rig.record("drain", "pc1")
    assert follower.subjects() == ["pc1"]


def test_followers_that_wait_keep_nobody_else_from_an_answer(rig) -> None:
    followers = [Follower(rig, rig.ledger.last_event()) for _ in range(3 * MOST_WAITING)]
    # Those that are too many are answered at once.
    wait_for(
        "they are let go", lambda: sum(not f.is_alive() for f in followers) >= 2 * MOST_WAITING, timeout=20
    )
    assert rig.call("GET", "/v1/status")["machines"] == 3
    rig.record("drain", "pc1")
    assert [f.subjects() for f in followers].count(["pc1"]) >= 1


def test_the_end_of_the_daemon_lets_followers_go(rig) -> None:
    follower = Follower(rig, rig.ledger.last_event())
    wait_for("it waits", lambda: rig.server._waiting._value < MOST_WAITING, timeout=20)
    rig.server.stop()
    assert follower.subjects() == []


def test_a_feed_begins_now_and_misses_nothing(rig) -> None:
    rig.record("drain", "before")
    feed = Feed(rig.socket)
    for name in ("a", "b"):
        rig.record("drain", name)
    endless = feed.endless()
    assert [next(endless)["subject"] for _ in range(2)] == ["a", "b"]
    assert feed.wait(0) == []
