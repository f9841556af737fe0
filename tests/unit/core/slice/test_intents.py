"""What becomes of the intents of a call that did not end well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from agent.core.config import MemoryIntents
from agent.core.errors import (
    AlreadyExistsError,
    BadArgumentsError,
    BusyError,
    CloudlabError,
    LostReplyError,
    MalformedReplyError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from agent.core.model import Intent, IntentKind, Sliver
from agent.core.slice.intents import Intents, carry_out

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CM = "urn:cm"
LATER = "unreachable now"
ANY = (
    AlreadyExistsError,
    BadArgumentsError,
    BusyError,
    CloudlabError,
    LostReplyError,
    MalformedReplyError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)


class Clock:
    def now(self) -> datetime:
        return NOON

    steady = now

    def monotonic(self) -> float:
        return 0.0


def fail(kind: type[CloudlabError], *, begun: bool | None = None, code: int | None = None) -> CloudlabError:
    error = kind("no", code=code)
    error.begun = begun
    return error


def outcome(
    error: CloudlabError | None, look: Callable[[], Sliver | None], kind: IntentKind = IntentKind.ADD
) -> tuple[int, list[bool], bool]:
    """Make a call that ends so.

    Returns:
        How many intents stay, whether one was open at each look, and whether the call counts as done.
    """
    intents = Intents(MemoryIntents(), Clock(), 900)
    asked = intents.declare(kind, CM, ["es1"])
    learnt: list[bool] = []

    def call() -> Sliver | None:
        if error is not None:
            raise error
        return None

    def learn(_: Sliver | None) -> None:
        learnt.append(bool(intents.in_flight()))

    raised = None
    try:
        carry_out(intents, asked, call, look, done=learn, learn=learn)
    except CloudlabError as caught:
        raised = caught
    assert raised in {None, error}
    return len(intents.in_flight()), learnt, raised is None


def nothing() -> Sliver | None:
    return None


def silent() -> Sliver | None:
    raise UnreachableError(LATER)


@pytest.mark.parametrize("look", [nothing, silent])
@pytest.mark.parametrize("kind", ANY)
def test_a_fault_before_the_request_leaves_no_intent_whatever_it_was(
    kind: type[CloudlabError], look: Callable[[], Sliver | None]
) -> None:
    assert outcome(fail(kind, begun=False), look) == (0, [], False)


@pytest.mark.parametrize("kind", ANY)
def test_a_fault_after_the_request_strikes_nothing_whatever_it_was(kind: type[CloudlabError]) -> None:
    assert outcome(fail(kind, begun=True, code=14), silent) == (1, [], False)
    assert outcome(fail(kind, begun=True, code=14), nothing) == (1, [True], False)


def test_a_cm_that_was_not_reached_was_not_asked() -> None:
    assert outcome(fail(UnreachableError), silent) == (0, [], False)


@pytest.mark.parametrize("kind", [LostReplyError, MalformedReplyError, CloudlabError])
def test_a_reply_that_was_lost_is_doubt_until_a_manifest_settles_it(kind: type[CloudlabError]) -> None:
    assert outcome(fail(kind), silent) == (1, [], False)
    assert outcome(fail(kind), nothing) == (1, [True], False)


@pytest.mark.parametrize("kind", [AlreadyExistsError, BadArgumentsError])
def test_a_refusal_is_struck_before_a_manifest_is_learnt_from_and_told_even_if_none_is_to_be_had(
    kind: type[CloudlabError],
) -> None:
    assert outcome(fail(kind, code=1), nothing) == (0, [False], False)
    assert outcome(fail(kind, code=1), silent) == (0, [], False)


def test_another_answer_is_struck_once_the_manifest_does_not_have_it() -> None:
    assert outcome(fail(BusyError, code=14), nothing) == (0, [True], False)
    assert outcome(fail(BusyError, code=14), silent) == (1, [], False)


@pytest.mark.parametrize("kind", [LostReplyError, NotFoundError])
def test_a_delete_counts_as_done_once_a_manifest_lacks_the_machine_and_stays_written_down(
    kind: type[CloudlabError],
) -> None:
    assert outcome(fail(kind), nothing, IntentKind.DELETE) == (1, [True], True)
    assert outcome(fail(LostReplyError), silent, IntentKind.DELETE) == (1, [], False)


def test_what_went_well_is_learnt() -> None:
    assert outcome(None, silent) == (1, [True], True)


def test_the_intent_is_the_one_that_was_declared() -> None:
    intents = Intents(MemoryIntents(), Clock(), 900)
    assert intents.declare(IntentKind.ADD, CM, ["es1"]) == (Intent(IntentKind.ADD, CM, "es1", NOON),)
