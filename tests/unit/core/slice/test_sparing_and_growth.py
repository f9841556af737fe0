"""Machines that go so that the lease of the others is renewed: their CM is asked for none in their place."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.core.errors import InsufficientNodesError, RenewalRefusedError, Shortage
from agent.core.manager import SimpleElasticSliceManager
from agent.core.obstacles import RenewalObstacle
from agent.core.settings import LeaseSettings
from tests.unit.core.conftest import UTAH, WISC, FakeClock, FakeServer

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RESERVED = NOON + timedelta(hours=30)


class Reserved(FakeServer):
    """In Utah others have reserved all machines but so many, from some moment on."""

    def __init__(self, clock, left):
        super().__init__(clock, cms=(UTAH, WISC))
        self.left = left

    def renew_sliver(self, cm, expires):
        held = len(self.sites[cm].machines)
        if cm == UTAH and expires > RESERVED and held > self.left:
            raise RenewalRefusedError(
                "Extension refused by reservation system",
                obstacle=RenewalObstacle.RESERVED,
                short_at=f"{RESERVED:%a %b %e %H:%M:%S %Y}",
                short_by=held - self.left,
                code=7,
            )
        return super().renew_sliver(cm, expires)

    def _place(self, cm, nodes):
        there = self.sites[cm]
        ends = there.expires if there.exists else self.slice_expires
        count = len(there.machines) + len(nodes)
        if cm == UTAH and ends > RESERVED and count > self.left:
            short = Shortage("m510", count, self.left, reserved=True)
            raise InsufficientNodesError("Resource reservation violation", code=26, shortages=(short,))
        super()._place(cm, nodes)


class Draining(SimpleElasticSliceManager):
    """One that empties what goes for the others in half an hour, and wants another in its place at once."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.going = {}

    def handle_blocking_node(self, node, deadline=None):
        since, _ = self.going.setdefault(node.key, (self.clock.now(), node))
        self.minthreshold = self.maxthreshold = 3 + len(self.going)
        if self.clock.now() - since >= timedelta(minutes=30):
            super().handle_blocking_node(node, deadline)


@pytest.mark.parametrize("left", [2, 1])
def test_while_machines_go_for_the_others_none_is_asked_for_in_their_place_at_that_cm(make_bench, left):
    clock = FakeClock()
    bench = make_bench(
        server=Reserved(clock, left),
        config={"clock": clock, "lease": LeaseSettings(duration="24h", renew_when_left="18h")},
        manager_class=Draining,
        minthreshold=3,
        maxthreshold=3,
        helper={"num_pcs": 3},
    )
    bench.cycles(6)
    assert len(bench.server.machines(UTAH)) == 3
    while clock.now() < RESERVED + timedelta(hours=1):
        bench.cycles(1, seconds=300)
        for cm, site in bench.server.sites.items():
            assert not site.exists or site.expires > clock.now(), f"all of {cm} went with its lease"
    assert len(bench.server.machines(UTAH)) == left
    assert len(bench.manager.going) == 3 - left
