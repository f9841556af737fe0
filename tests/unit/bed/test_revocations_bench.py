"""What the bench of revocations counts as a needless loss."""

import pytest

from bench.revocations.plan import JobPlan, Kind, could_be_saved


@pytest.mark.parametrize(
    ("kind", "length", "needless"),
    [
        (Kind.PLAIN, 500.0, True),
        (Kind.SAVES, 500.0, True),
        (Kind.FIXED, 40.0, True),
        (Kind.FIXED, 41.0, False),
    ],
)
def test_a_loss_is_needless_where_the_job_might_be_requeued_or_had_time_to_end(
    kind: Kind, length: float, needless: bool
) -> None:
    assert could_be_saved(JobPlan(kind, length, 1, None), started=10.0, deadline=50.0) is needless
