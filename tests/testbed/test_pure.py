"""The simulator's pure parts: names, dates, statuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.cloudlab import dates, status, urn
from testbed.cloudlab.sites import Timing


@pytest.mark.parametrize(
    "text",
    [
        "2031-05-04T18:00:00Z",
        "2031-05-04T18:00:00",
        "20310504T18:00:00",
        "2031-05-04 18:00:00",
        "2031-05-04T18:00:00+02:00",
    ],
)
def test_dates_are_utc_and_a_zone_offset_is_ignored(text):
    """§5."""
    assert dates.read_date(text) == datetime(2031, 5, 4, 18, tzinfo=UTC)


@pytest.mark.parametrize("text", ["1935770400", "2031-05-04", "soon", "2031-13-04T18:00:00Z"])
def test_other_forms_of_dates_are_refused(text):
    """§5: Unix timestamps, bare dates."""
    with pytest.raises(dates.DateError):
        dates.read_date(text)


@pytest.mark.parametrize("fraction", [".5", ",25", ".0000001"])
def test_a_fraction_of_a_second_is_read_and_corrupts_what_is_stored(fraction):
    """§5."""
    whole = datetime(2031, 5, 4, 18, tzinfo=UTC)
    when = dates.read_date(f"2031-05-04T18:00:00{fraction}Z")
    assert whole < when < whole + timedelta(seconds=1)
    assert dates.stored(when) < dates.stored(whole) == whole


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_what_is_written_is_read_back(seconds):
    when = datetime.fromtimestamp(seconds, UTC)
    assert dates.read_date(dates.zulu(when)) == dates.read_date(dates.gmt(when)) == when


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ("ISUP", "ready"), ("TBFAILED", "failed"), ("RELOADFAILED", "failed"), ("SHUTDOWN", "notready"),
        ("PXEWAIT", "notready"), ("POWEROFF", "changing"), ("BOOTING", "changing"), ("RELOADING", "changing"),
    ],
)  # fmt: skip
def test_the_status_of_a_node_follows_its_last_event(event, word):
    """§3.5, the table of GeniSliver.pm ComputeStatus."""
    assert status.node_status("started", event) == word
    assert status.node_status("imaging", event) == "changing"


def test_a_boot_is_not_monotonic():
    """§3.5: notready, changing, notready, changing, ready."""
    words = [status.node_status("started", event) for event, _ in Timing().boot]
    changes = [word for word, before in zip(words, ["", *words], strict=False) if word != before]
    assert changes == ["notready", "changing", "notready", "changing"]
    assert [event for event, _ in Timing().reboot] == ["SHUTDOWN", "PXEBOOTING", "BOOTING", "TBSETUP"]


@pytest.mark.parametrize(("one", "other"), product(["ready", "notready", "changing", "failed"], repeat=2))
def test_statuses_join_as_all_or_failed_or_mixed(one, other):
    """§3.5, §7.1.12."""
    joined = status.aggregate_status([one, other], boot_failed=False)
    assert joined == (one if one == other else "failed" if "failed" in (one, other) else "mixed")
    assert status.aggregate_status([one, other], boot_failed=True) == "failed"


def test_an_aggregate_without_nodes_is_stopped_and_ready():
    """§3.5."""
    assert (status.aggregate_state([]), status.aggregate_status([], boot_failed=False)) == (
        "stopped",
        "ready",
    )
    assert status.aggregate_state(["new", "stopped"]) == "stopped"
    assert status.aggregate_state(["new", "started"]) == "mixed"


def test_compound_names_have_two_spellings():
    """§4.5."""
    image = urn.parse("urn:publicid:IDN+example.net+image+labproj//worker-os")
    assert image is not None
    assert urn.normal_id(image.name) == "labproj:worker-os"


@pytest.mark.parametrize(
    "text", ["", "x", "urn:publicid:IDN+a+b", "urn:publicid:idn+a+b+c", "urn:publicid:IDN+a_b+slice+c"]
)
def test_what_is_no_urn_is_none(text):
    """§4.5."""
    assert urn.parse(text) is None
