"""What Cloudlab said of a machine, and what it says nothing of: the next one at that place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.model import Place, SliverNode
from agent.core.said import ResourceValue, Revocation, Taken
from agent.core.slice.machines import MachineBook
from agent.core.slice.sayings import Sayings

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NODE = SliverNode("es-2", "pc1", UTAH, "s-2")


class Heard:
    """What was said."""

    def __init__(self, *said: Taken | Revocation) -> None:
        self.taken: dict[Place, Taken] = {s.place: s for s in said if isinstance(s, Taken)}
        self.revocations: dict[Place, Revocation] = {s.place: s for s in said if isinstance(s, Revocation)}
        self.resource_values: dict[Place, ResourceValue] = {}

    def follow_clock(self) -> None:
        """The clock stands still."""

    def drop_revocation(self, place: Place) -> Revocation | None:
        return self.revocations.pop(place, None)


def sayings(heard: Heard) -> Sayings:
    return Sayings(heard, MachineBook(), [UTAH], 150.0)


@pytest.mark.parametrize(("client_id", "expected"), [("", True), ("es-2", True), ("es-1", False)])
def test_a_machine_is_taken_by_what_was_said_of_it_and_not_of_one_that_had_its_place(
    client_id: str, expected: bool
) -> None:
    word = Taken("pc1", client_id, NOON, UTAH)
    countdown = Revocation("pc1", client_id, NOON, NOON, NOON, cm=UTAH)
    for said in (word, countdown):
        assert sayings(Heard(said)).is_taken(NODE, NOON) is expected


def test_what_was_said_of_an_earlier_machine_of_a_place_is_over_and_told_of_no_other() -> None:
    heard = Heard(Taken("pc1", "es-1", NOON, UTAH))
    assert sayings(heard).refuted([NODE], NOON, NOON) == ([], ())
    assert heard.taken, "the manifest may be older"
    assert sayings(heard).refuted([NODE], NOON + SECOND, NOON + SECOND) == ([], ())
    assert not heard.taken


def test_a_machine_that_was_said_to_be_taken_and_is_there_is_kept() -> None:
    for cm in ("", UTAH):
        heard = Heard(Taken("pc1", "", NOON, cm))
        assert sayings(heard).refuted([NODE], NOON + SECOND, NOON + SECOND) == ([NODE], ())
        assert not heard.taken


def test_an_empty_machine_that_nobody_was_told_may_be_taken_is_not_taken_before_its_deadline() -> None:
    empty = Revocation("pc1", "es-2", NOON + SECOND, NOON, NOON, releasable=True, cm=UTAH)
    assert not sayings(Heard(empty)).is_taken(NODE, NOON)
    assert sayings(Heard(replace(empty, offered=True))).is_taken(NODE, NOON)
    assert sayings(Heard(empty)).is_taken(NODE, NOON + SECOND)
