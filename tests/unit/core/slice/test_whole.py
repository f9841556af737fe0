"""Which machines a status shows that a manifest lacks."""

import pytest

from agent.core.model import NodeStatus, Sliver, SliverNode, SliverStatus
from agent.core.slice.whole import shows_no_other

CM = "urn:publicid:IDN+utah.example.net+authority+cm"


def manifest(*names):
    return Sliver(
        CM, "urn:sliver", None, tuple(SliverNode(*names, CM, sliver) for *names, sliver in names), ""
    )


@pytest.mark.parametrize(
    ("sliver_id", "entry", "expected"),
    [
        ("s1", ("es-1", "s1"), True),
        ("s1", ("", "s1"), True),
        ("", ("es-1", "s1"), True),
        ("", ("", "s1"), True),
        ("s1", ("es-2", "s2"), False),
        ("s1", ("", "s2"), False),
        ("s1", ("es-2", "s1"), False),
        ("", ("es-2", ""), False),
        ("", ("es-2", "s2"), False),
    ],
)
def test_an_entry_is_of_another_machine_unless_its_names_may_be_of_one_that_is_there(
    sliver_id, entry, expected
):
    sliver = manifest(("es-1", "pc1", sliver_id))
    client_id, entry_id = entry
    status = SliverStatus(
        CM, "started", "ready", "", (NodeStatus(client_id, "", entry_id, "started", "ready"),)
    )
    assert shows_no_other(status, sliver) is expected
