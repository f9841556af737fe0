"""A request with fewer machines is what it had been with those alone."""

from __future__ import annotations

import pytest

from agent.core.request.rspec import RequestNode, build_request
from agent.core.request.smaller import without_machines

NODES = [RequestNode(name, "urn:image", "m510") for name in ("node-1", "node-2", "node-3")]


@pytest.mark.parametrize("lans", [(), ("lan0", "lan1")])
@pytest.mark.parametrize("bandwidth", [0, 1000])
def test_machines_go_with_their_places_in_lans(lans: tuple[str, ...], bandwidth: int) -> None:
    whole = build_request(NODES, lans, bandwidth=bandwidth)
    smaller = without_machines(whole, {"node-2", "node-3"})
    wanted = build_request(NODES[:1], lans, bandwidth=bandwidth)
    assert "".join(smaller.split()) == "".join(wanted.split())
