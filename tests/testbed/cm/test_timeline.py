"""When machines are short: what is used until when, against what is reserved (protogeni-2021.md §7, §8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from testbed.cloudlab.cm.timeline import Claim, Conflict, Use, first_conflict, most

NOW = datetime(2031, 5, 4, 18, 0, 0, tzinfo=UTC)


def at(hours):
    return NOW + timedelta(hours=hours)


def test_enough_machines_are_no_conflict():
    assert first_conflict(4, [Use("ours", 4, at(2))], [Claim("other", 8, at(2), at(9))], NOW) is None


def test_the_first_moment_at_which_machines_are_short_is_told_with_how_many():
    uses = [Use("ours", 4, at(5))]
    claims = [Claim("other", 6, at(2), at(9)), Claim("third", 8, at(3), at(4))]
    assert first_conflict(4, uses, claims, NOW) == Conflict(at(2), 2)


def test_what_ends_makes_room_for_what_begins_at_that_moment():
    claims = [Claim("other", 8, at(2), at(3)), Claim("third", 8, at(3), at(4))]
    assert first_conflict(4, [Use("ours", 4, at(2))], claims, NOW) is None


def test_a_party_counts_as_having_the_larger_of_what_it_uses_and_what_it_reserved():
    claims = [Claim("ours", 6, at(1), at(9)), Claim("other", 3, at(1), at(9))]
    assert first_conflict(4, [Use("ours", 4, at(5))], claims, NOW) == Conflict(at(1), 1)
    assert first_conflict(4, [Use("ours", 4, at(5))], claims[:1], NOW) is None


def test_a_reservation_that_is_over_does_not_count_and_one_under_way_counts_from_now():
    over = Claim("other", 9, at(-3), at(-1))
    assert first_conflict(1, [], [over], NOW) is None
    assert first_conflict(1, [], [Claim("other", 2, at(-3), at(1))], NOW) == Conflict(NOW, 1)


def test_machines_that_are_never_given_back_are_missed():
    claims = [Claim("other", 8, at(2), at(3))]
    assert first_conflict(4, [Use("ours", 4, None)], claims, NOW) == Conflict(at(2), 4)


def test_a_shorter_lease_admits_more():
    claims = [Claim("other", 3, at(5), at(9))]
    assert most(4, [], claims, "ours", at(5), NOW) == 4
    assert most(4, [], claims, "ours", at(6), NOW) == 1


def test_what_the_party_reserved_itself_is_not_in_its_way_but_its_other_machines_use_it_up():
    claims = [Claim("ours", 3, at(0), at(9)), Claim("other", 1, at(1), at(9))]
    assert most(4, [], claims, "ours", at(6), NOW) == 3
    assert most(2, [Use("ours", 2, at(9))], claims, "ours", at(6), NOW) == 1


def test_a_type_that_is_short_because_of_others_admits_none():
    claims = [Claim("other", 9, at(5), at(9))]
    assert most(4, [], claims, "ours", at(1), NOW) == 0


def test_the_server_tells_its_local_time_as_c_does_without_a_zone():
    words = Conflict(datetime(2021, 9, 9, 1, 46, 40, tzinfo=UTC), 2).words(-7 * 3600.0)
    assert words == "Insufficient free nodes at Wed Sep  8 18:46:40 2021 (2 more needed)."


counts = st.integers(0, 6)
hours = st.integers(0, 12)
uses = st.builds(lambda p, n, h: Use(p, n, at(h + 1)), st.sampled_from("ab"), counts, hours)
claims = st.builds(
    lambda p, n, h, d: Claim(p, n, at(h), at(h + d + 1)), st.sampled_from("abc"), counts, hours, hours
)


@given(st.integers(0, 9), st.lists(uses, max_size=3), st.lists(claims, max_size=4), hours)
def test_what_is_admitted_fits_and_one_more_does_not(free, used, claimed, length):
    end = at(length + 1)
    bound = most(free, used, claimed, "a", end, NOW)

    def fits(count):
        taken = [*used, Use("a", count, end)]
        return count <= free and first_conflict(free - count, taken, claimed, NOW) is None

    assert bound == 0 or fits(bound)
    assert not fits(bound + 1)
