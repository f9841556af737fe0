"""What our lease makes of a simulated site that reserves machines for others (protogeni-2021.md §7)."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from agent.cloudlab.connect import connect
from agent.cloudlab.settings import CloudlabSettings, CmSettings
from agent.core.config import ManagerConfig
from agent.core.desk import Desk
from agent.core.settings import LeaseSettings
from agent.core.slice.lease import Lease
from agent.core.slice.life import SliceLife
from agent.core.slice.slivers import Slivers
from testbed.cloudlab.cm.reservations import Reservation

NEW = 1
"""The site of 2021: four machines, all of one type."""
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Owner:
    """A manager that every machine is of."""

    taken, revocations, resource_values = {}, {}, {}

    def follow_clock(self):
        pass

    def owns(self, client_id):
        return True

    def asks_for(self, client_id):
        return False


class Ours:
    """Our lease of two machines that ends in two hours, at a site where others reserve machines."""

    def __init__(self, ada, rspec, cloudlab, clock, directory):
        self.cloudlab, self.now = cloudlab, clock.now
        self.begin = clock.now().replace(microsecond=0)
        self.urn = cloudlab.cms[NEW].urn
        ada.register("ours", expiration=self._stamp(80 * 24 * HOUR))
        ada.create(rspec("a", "b", cm=self.urn), NEW)
        ada.unlocked("RenewSlice", NEW, valid_until=self._stamp(2 * HOUR))
        bed = cloudlab.bed_file()
        passphrase = directory / "passphrase"
        passphrase.write_text(bed.passphrase)
        passphrase.chmod(0o600)
        self.server = connect(
            CloudlabSettings(
                certificate=bed.user_pem,
                passphrase_file=passphrase,
                ca_bundle=bed.ca_bundle,
                sa_url=cloudlab.sa_url,
                project="labproj",
                slice="ours",
                cms=[CmSettings(urn=self.urn, url=cloudlab.cms[NEW].url)],
            ),
            clock=self,
        )
        self.given = []
        desk = Desk(self, threading.RLock(), lambda *_: None, lambda _: None, lambda *_: None)
        config = ManagerConfig(clock=self)
        slivers = Slivers(self.server, config, [self.urn], desk, Owner())
        settings = LeaseSettings(duration="24h", renew_when_left="18h")
        give = lambda node, due: self.given.append((node.client_id, due - self.begin))  # noqa: E731
        kept = (desk, slivers, SliceLife(self.server, desk, slivers))
        self.lease = Lease(self.server, config, *kept, lambda: settings, give)
        slivers.read(self.urn)
        self.lease.ensure_slice()

    def steady(self):
        return self.now()

    def monotonic(self):
        return self.now().timestamp()

    def _stamp(self, later):
        return (self.begin + later).strftime("%Y-%m-%dT%H:%M:%SZ")

    def reserve(self, count, after):
        """Reserve machines for others; return how to cancel that."""
        kept = self.cloudlab.cm(self.urn).reservations
        begins = self.begin + after
        made = Reservation(
            kept.next_index(), "other", "", "d430", count, begins, begins + 90 * HOUR, self.begin
        )
        kept.keep(made)
        return lambda: kept.cancel(made.index)

    def renew(self):
        """Renew once; return how many calls that took."""
        before = len(self.cloudlab.journal.calls("RenewSlice"))
        self.lease.renew()
        return len(self.cloudlab.journal.calls("RenewSlice")) - before

    @property
    def ends(self):
        return self.server.find_sliver(self.urn).expires - self.begin

    @property
    def obstacles(self):
        return [lapse.obstacle for lapse in self.lease.lapses()]


@pytest.fixture
def ours(ada, rspec, cloudlab, clock, tmp_path):
    made = Ours(ada, rspec, cloudlab, clock, tmp_path)
    yield made
    made.server.close()


def test_the_lease_ends_right_before_the_reservation_and_lasts_once_that_is_cancelled(ours, clock):
    cancel = ours.reserve(3, 7 * HOUR)
    assert ours.renew() <= 10
    assert 7 * HOUR - 3 * MINUTE < ours.ends <= 7 * HOUR
    assert ours.obstacles == ["reserved"]
    assert ours.lease.sparer.plans()[ours.urn].count == 1
    cancel()
    clock.offset += HOUR
    assert ours.renew() == 2
    assert ours.ends >= 24 * HOUR
    assert ours.obstacles == []


def test_the_reservation_system_tells_which_type_is_short(ours):
    ours.reserve(3, 7 * HOUR)
    until = ours.begin + 6 * HOUR, ours.begin + 24 * HOUR
    assert ours.server.find_short_types(ours.urn, {"d430": 2}, *until) == ("d430",)
    assert ours.server.find_short_types(ours.urn, {"d430": 1}, *until) == ()


def test_where_the_end_is_near_a_machine_goes_at_once_and_by_half_of_what_is_left(ours, clock):
    ours.reserve(3, 2 * HOUR)
    clock.offset += HOUR
    ours.renew()
    assert ours.ends == 2 * HOUR
    [(_, due)] = ours.given
    assert HOUR < due < 2 * HOUR
