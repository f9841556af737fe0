"""Which credential of a slice is kept."""

from datetime import UTC, datetime, timedelta

from agent.cloudlab.credentials import Credential
from agent.cloudlab.slices import Slices

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SLICE = "urn:publicid:IDN+example.net+slice+demo"


class Store:
    """Remembers what was put into it, by uuid."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def put_credential(self, slice_urn: str, uuid: str, text: str, expires: datetime, now: datetime) -> None:
        assert (slice_urn, expires > now) == (SLICE, True)
        self.kept[uuid] = text

    def credentials(self, slice_urn: str) -> tuple[str, ...]:
        assert slice_urn == SLICE
        return ()


def credential(text: str, hours: float, uuid: str = "old") -> Credential:
    return Credential(text, SLICE, "", NOON + timedelta(hours=hours), uuid)


def test_a_slice_that_somebody_ends_leaves_the_credential_that_its_slivers_need() -> None:
    """The SA gives a credential that has ended too, in the moment before it has the slice no more."""
    store = Store()
    slices = Slices(SLICE, store)
    long = credential("long", 6)
    slices.keep(long, NOON)
    slices.keep(credential("ended", 0), NOON)
    assert slices.newest(credential("ended", 0)) == long
    assert slices.earlier(credential("anew", 24, "new"), NOON) == (long,)
    assert store.kept == {"old": "long"}


def test_one_that_lasts_longer_takes_the_place_of_the_one_before() -> None:
    store = Store()
    slices = Slices(SLICE, store)
    for hours, text in enumerate(("first", "second"), 6):
        slices.keep(credential(text, hours), NOON)
    assert [each.text for each in slices.earlier(None, NOON)] == ["second"]
    assert store.kept == {"old": "second"}
