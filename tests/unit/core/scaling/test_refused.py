"""What follows when a CM refuses machines: by type, by name, and where a person has to act."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.errors import (
    AccountError,
    CloudlabError,
    EndingError,
    ImageError,
    InsufficientNodesError,
    LockedDownError,
    QuotaError,
    Shortage,
    ShutDownError,
)
from agent.core.impasse import Cause
from agent.core.model import AdvertisedNode
from tests.unit.core.scaling.test_adding import CM, Bench

SHORT = InsufficientNodesError("too few m510", code=26, shortages=(Shortage("m510", 3, 2),))
PEOPLES = {
    Cause.ACCOUNT: AccountError("Your account has been frozen!", code=3),
    Cause.QUOTA: QuotaError("Over disk quota, please clean up", code=23),
    Cause.IMAGE: ImageError("Unknown image URN: urn:old", image="urn:old", code=1),
    Cause.ENDING: EndingError("Slice is marked for termination", code=16),
    Cause.SHUT_DOWN: ShutDownError("Slice has been shutdown", code=2),
}


@pytest.fixture
def bench(office: Any) -> Bench:
    bench = Bench(office)
    bench.slivers.strikes = True
    return bench


def ask(bench: Bench, fault: CloudlabError | None = None, wanted: Any = None) -> int:
    """Let machines be added; return how many were asked for."""
    bench.slivers.fault = fault
    if wanted is not None:
        bench.manager.wanted = wanted
    before = len(bench.calls)
    bench.growth.add(CM, 0)
    return sum(len(args) for _, _, args in bench.calls[before:])


def told(bench: Bench, kind: str = "hindered") -> list[str]:
    return [message for each, _, message, *_ in bench.office.told if each == kind]


@pytest.mark.parametrize("cause", PEOPLES)
def test_what_a_person_has_to_mend_is_told_once_and_asked_again_in_long_steps(
    bench: Bench, cause: Cause
) -> None:
    error = PEOPLES[cause]
    tries = 0
    for _ in range(24 * 12):
        tries += ask(bench, error) > 0
        bench.office.advance(300)
    assert 5 <= tries <= 11
    (impasse,) = bench.growth.refused.impasses.known()
    assert str(error) in impasse.words
    assert getattr(error, "mend", "deleted") in impasse.words
    # That a sliver is being deleted is told as an event of its own.
    begun = [] if cause is Cause.ENDING else [impasse.words]
    assert told(bench) == begun
    assert [(h.cm, h.cause) for h in bench.growth.refused.impasses.known()] == [(CM, cause)]
    assert bench.growth.refused.backoffs([CM])[CM, cause.value]
    bench.office.advance(4 * 3600)
    assert ask(bench) == 2
    assert told(bench)[len(begun) :] == [
        f"over: {cause} (urn:old) hinders nothing any more"
        if cause is Cause.IMAGE
        else f"over: {cause} hinders nothing any more"
    ]
    assert not bench.growth.refused.backoffs([CM])[CM, cause.value]


def test_a_person_who_has_mended_it_need_not_wait(bench: Bench) -> None:
    ask(bench, PEOPLES[Cause.QUOTA])
    assert ask(bench) == 0
    bench.growth.refused.forget()
    assert ask(bench) == 2


def test_a_type_that_is_short_leaves_the_others(bench: Bench) -> None:
    wanted = {"a": {"node": "pc1"}, "b": {"node": "pc2"}, "c": {"node": "pc3"}, "d": {"node": "pc4"}}
    bench.manager.types = {"a": "m510", "b": "m510", "c": "m510", "d": "big"}
    assert ask(bench, SHORT, wanted) == 4
    assert ask(bench, None, wanted) == 3
    assert bench.calls[-1][2].keys() == {"a", "b", "d"}
    assert bench.manager.released[-1:] == ["c"]


def test_several_types_of_which_none_is_called_short_are_asked_for_one_by_one(bench: Bench) -> None:
    wanted = {"a": {"node": "pc1"}, "b": {"node": "pc2"}}
    bench.manager.types = {"a": "m510", "b": "big"}
    ask(bench, InsufficientNodesError("no mapping", code=28), wanted)
    ask(bench, InsufficientNodesError("no mapping", code=28), wanted)
    ask(bench, None, wanted)
    assert [list(args) for _, _, args in bench.calls] == [["a", "b"], ["a"], ["b"]]


def test_a_named_machine_that_cannot_be_had_is_no_lack_of_its_type_at_first(bench: Bench) -> None:
    wanted = {"a": {"node": "pc1"}, "b": {"node": "pc2"}}
    gone = InsufficientNodesError("Fixed physical node: pc1 not available", code=28, node_id="pc1")
    for _ in range(4):
        assert ask(bench, gone, wanted) == 2
    assert ask(bench, gone, wanted) == 1, "after several of them it is"
    free = [AdvertisedNode(name, CM, ("m510",), available=True) for name in ("pc1", "pc2")]
    left = bench.growth.refused.without_shunned(CM, free)
    assert [node.node_id for node in left or ()] == ["pc2"]


def test_a_machine_of_the_sliver_that_is_not_ours_any_more_is_no_lack_of_machines(bench: Bench) -> None:
    gone = InsufficientNodesError("Fixed physical node: pc9 not available", code=28, node_id="pc9")
    with pytest.raises(InsufficientNodesError):
        ask(bench, gone)
    assert bench.growth.refused.room(CM) is None


def test_what_can_never_be_is_told_once_with_what_can_be_done(bench: Bench) -> None:
    never = InsufficientNodesError("cannot be instantiated on this cluster", code=26, never=True)
    ask(bench, never, 1)
    bench.office.advance(10**7)
    assert ask(bench, never, 1) == 0
    (words,) = told(bench)
    assert "choose another type" in words
    assert bench.growth.askable.why_not(CM).startswith("until settings change: ")


def test_of_several_types_that_are_short_none_is_left_alone_for_good(bench: Bench) -> None:
    wanted = {"a": {"node": "pc1"}, "b": {"node": "pc2"}, "c": {"node": "pc3"}}
    bench.manager.types = {"a": "m510", "b": "m510", "c": "no-such"}
    short = (Shortage("m510", 2, 1), Shortage("no-such", 1, 0))
    both = InsufficientNodesError("two are short", code=26, shortages=short, never=True)
    assert ask(bench, both, wanted) == 3
    assert told(bench) == []
    bench.office.advance(10**7)
    assert ask(bench, None, {"a": {"node": "pc1"}, "b": {"node": "pc2"}}) == 2
    alone = InsufficientNodesError("one is short", code=26, shortages=short[1:], never=True)
    assert ask(bench, alone, {"c": {"node": "pc3"}}) == 1
    bench.office.advance(10**7)
    assert ask(bench, None, {"c": {"node": "pc3"}}) == 0


def test_a_document_that_can_never_be_is_asked_for_no_more(bench: Bench) -> None:
    bench.manager.is_fixed, bench.slivers.has_sliver = True, False
    bench.slivers.fault = InsufficientNodesError("cannot be instantiated", code=28, never=True)
    bench.create()
    bench.office.advance(10**7)
    bench.create()
    assert len(bench.calls) == 1
    assert len(told(bench)) == 1
    bench.growth.refused.forget()
    bench.create()
    assert len(bench.calls) == 2


def test_a_cm_that_serves_this_user_no_more_is_told_when_it_is_read(bench: Bench) -> None:
    for _ in range(2):
        with pytest.raises(AccountError), bench.growth.refused.watching(CM):
            raise PEOPLES[Cause.ACCOUNT]
    assert len(told(bench)) == 1
    with bench.growth.refused.watching(CM):
        pass
    assert told(bench)[1:] == ["over: account hinders nothing any more"]


def test_an_image_that_hinders_giving_back_is_told_once(bench: Bench) -> None:
    for _ in range(2):
        with pytest.raises(ImageError), bench.growth.refused.giving_back(CM):
            raise PEOPLES[Cause.IMAGE]
    assert len(told(bench)) == 1


def test_a_sliver_that_is_locked_down_is_told_once_until_it_is_gone(bench: Bench) -> None:
    locked = LockedDownError("Slice is locked down", code=7)
    for _ in range(2):
        with pytest.raises(LockedDownError), bench.growth.refused.giving_back(CM):
            raise locked
    (words,) = told(bench)
    assert LockedDownError.mend in words
    bench.growth.refused.gave_back(CM)
    assert len(told(bench)) == 1, "one machine can go all the same"
    bench.growth.refused.gone(CM)
    assert told(bench)[1:] == ["over: locked-down hinders nothing any more"]


def test_what_hindered_giving_back_is_over_once_a_machine_was_given_back(bench: Bench) -> None:
    with pytest.raises(ImageError), bench.growth.refused.giving_back(CM):
        raise PEOPLES[Cause.IMAGE]
    with bench.growth.refused.giving_back(CM):
        pass
    assert len(told(bench)) == 1
    bench.growth.refused.gave_back(CM)
    assert told(bench)[1:] == ["over: image (urn:old) hinders nothing any more"]


@pytest.mark.parametrize("cause", [Cause.ENDING, Cause.SHUT_DOWN])
def test_what_hindered_a_sliver_is_over_once_it_is_gone(bench: Bench, cause: Cause) -> None:
    ask(bench, PEOPLES[cause])
    bench.slivers.has_sliver = False
    bench.growth.ensure(CM, lambda _: False)
    assert told(bench)[-1] == f"over: {cause} hinders nothing any more"
    assert bench.growth.refused.impasses.known() == ()


def test_what_hinders_a_new_sliver_is_not_over_for_want_of_one(bench: Bench) -> None:
    ask(bench, PEOPLES[Cause.QUOTA])
    bench.slivers.has_sliver = False
    bench.growth.ensure(CM, lambda _: False)
    assert len(bench.growth.refused.impasses.known()) == 1
