"""What begins to go back, and what returns to service, with what Slurm's reservations say."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.cluster.grow.demand import GrowthPlan
from agent.cluster.memory.chosen import GiveBack
from agent.cluster.moment import Picture
from agent.cluster.planner import Grower
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.weights import WeightSettings
from agent.cluster.shrink.returning import Returning
from agent.core.errors import SlurmDownError
from agent.core.model import SliverNode
from agent.slurm.model import Job, Node, Reservation, Snapshot

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TRAINING = Reservation("training", frozenset({"pc1"}), NOW - HOUR, NOW + HOUR)


class Slurm:
    def __init__(self, *reservations: Reservation) -> None:
        self.told = reservations
        self.asked = 0
        self.down = False

    def reservations(self) -> tuple[Reservation, ...]:
        self.asked += 1
        if self.down:
            raise SlurmDownError("no answer")
        return self.told


class Site:
    """Two machines of ours, idle since an hour ago."""

    def __init__(self, *reservations: Reservation, jobs: tuple[Job, ...] = ()) -> None:
        self.slurm = Slurm(*reservations)
        self.giveback = GiveBack()
        self.events: list[tuple[str, str, str]] = []
        names = ("pc1", "pc2")
        nodes = {n: Node(n, "IDLE", booted=NOW - HOUR, last_busy=NOW - HOUR) for n in names}
        machines = {n: SliverNode(n, n, "urn:cm", f"urn:{n}", "small", "", "", "") for n in names}
        self.snapshot = Snapshot(NOW, nodes, jobs)
        self.picture = Picture(self.snapshot, machines)
        settings = ClusterSettings(DemandSettings(), WeightSettings(), DrainSettings(), JoinSettings())
        grower = Grower(lambda: settings)
        grower.observe(self.snapshot, names)
        self.returning = Returning(
            self.slurm,  # type: ignore[arg-type]
            grower,
            self.giveback,
            lambda *event: self.events.append(event),
        )

    def preview(self) -> list[str]:
        return [v.name for v in self.returning.verdicts(self.picture, GrowthPlan(0), {}, NOW) if v.goes]

    def act(self) -> list[str]:
        self.returning.mark(self.picture, GrowthPlan(0), {}, NOW)
        return sorted(self.giveback.chosen)


def test_what_is_foreseen_is_what_is_done_also_where_a_reservation_keeps_a_node() -> None:
    site = Site(TRAINING)
    assert site.preview() == ["pc2"] == site.act()
    assert [event[:2] for event in site.events] == [("surplus", "pc2")]


def test_reservations_are_read_only_when_a_node_is_about_to_go() -> None:
    site = Site(jobs=(Job("1", "PENDING", requested_nodes=frozenset({"pc1", "pc2"})),))
    assert site.preview() == site.act() == []
    assert site.slurm.asked == 0


def test_nothing_goes_and_nothing_is_foreseen_while_reservations_are_unknown() -> None:
    site = Site()
    site.slurm.down = True
    with pytest.raises(SlurmDownError):
        site.preview()
    with pytest.raises(SlurmDownError):
        site.act()
    assert site.giveback.chosen == frozenset()


def test_a_draining_node_that_a_reservation_names_is_foreseen_to_return_and_does() -> None:
    site = Site(TRAINING)
    site.giveback.choose("pc1")
    site.giveback.choose("pc2")
    assert site.returning.to_keep(site.snapshot, GrowthPlan(0)) == {"pc1": "reservation training names it"}
    assert site.giveback.chosen == {"pc1", "pc2"}
    assert site.returning.keep(site.snapshot, GrowthPlan(0))
    assert site.giveback.chosen == {"pc2"}
