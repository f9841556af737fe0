"""Somebody else ends the slice at the SA, under an agent that lives on, or is killed just then."""

from __future__ import annotations

import pytest

from testbed.cloudlab.journal import Held

# urllib3 leaves a socket of the simulator open when the agent at its other end is killed in a handshake.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.parametrize("killed", [False, True], ids=["it lives on", "it is killed just then"])
def test_what_outlived_the_slice_serves_goes_back_and_a_new_slice_begins(world, cloudlab, killed) -> None:
    world.start()
    world.reach(3)
    before = {record.uuid for record in _records(world, cloudlab)}
    cloudlab.portal.expiry(world.slice_name, "sa", 0)
    if killed:
        world.kill_now()
    world.until(
        "the slice is made anew",
        lambda _: {record.uuid for record in _records(world, cloudlab)} - before,
    )
    world.until("all is known again", lambda s: len(s["ready"]) == 3)
    assert len(world.held()) == 3, "they serve, and nothing was asked for beside them"
    world.give_everything_back()
    assert [span for span in world.spans() if not _is_given_back(span)] == []
    world.reach(3)
    world.give_everything_back()


def _records(world, cloudlab):
    return [r for r in list(cloudlab.sa.slices.values()) if r.urn.rpartition("+")[2] == world.slice_name]


def _is_given_back(span: Held) -> bool:
    return span.cause in {"DeleteNodes", "DeleteSlice"}
