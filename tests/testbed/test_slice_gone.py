"""The slice ends by somebody else's hand: ``ProtoGeniServer`` against the simulated Cloudlab."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.cloudlab.connect import connect
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.settings import CloudlabSettings, CmSettings
from agent.core import errors
from agent.core.ports import CredentialStore, SystemClock
from testbed.cloudlab import SimulatedCloudlab
from testbed.cloudlab.journal import Call
from testbed.cloudlab.sites import DEFAULT_SITES
from tests.testbed.test_client_against_simulator import REQUEST, ready, whole_seconds

MADE = ("CreateSliver", "AddNodes")


class Wall(SystemClock):
    """The machine's clock, set ahead for the client and for Cloudlab."""

    ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Kept:
    """Credentials in memory."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def put_credential(self, slice_urn: str, uuid: str, text: str, expires: datetime, now: datetime) -> None:
        self.texts[uuid] = text

    def credentials(self, slice_urn: str) -> list[str]:
        return list(self.texts.values())


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture(params=[2016, 2021])
def simulator(tmp_path: Path, wall: Wall, request: pytest.FixtureRequest) -> Iterator[SimulatedCloudlab]:
    sites = tuple(replace(site, generation=request.param) for site in DEFAULT_SITES)
    with SimulatedCloudlab(tmp_path / "bed", speed=600, sites=sites, clock=wall) as running:
        yield running


@pytest.fixture
def start(
    simulator: SimulatedCloudlab, wall: Wall
) -> Iterator[Callable[[CredentialStore | None], ProtoGeniServer]]:
    """Start a client, as after a restart of the agent."""
    made: list[ProtoGeniServer] = []

    def make(store: CredentialStore | None = None) -> ProtoGeniServer:
        bed = simulator.bed_file()
        settings = CloudlabSettings(
            certificate=bed.user_pem,
            passphrase_file=bed.passphrase_file,
            ca_bundle=bed.ca_bundle,
            project=bed.project,
            slice="mine",
            cms=tuple(CmSettings(urn=cm.urn, url=cm.url) for cm in bed.cms),
        )
        made.append(connect(settings, clock=wall, store=store))
        made[-1]._delete_poll = 0.05
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def held(start: Callable[..., ProtoGeniServer]) -> ProtoGeniServer:
    """A client that holds a machine at the first CM."""
    server = start()
    server.create_slice(whole_seconds(2))
    server.create_sliver(server.cms[0], REQUEST)
    ready(server, server.cms[0], {"node-1"})
    return server


def end_at_the_sa(simulator: SimulatedCloudlab) -> None:
    """Have another hand end the slice before its time; the CMs are not told."""
    simulator.portal.expiry("mine", "sa", 0)
    simulator.journal.wait_for(lambda: not simulator.sa.slices)


def asked_for(simulator: SimulatedCloudlab) -> list[Call]:
    return [call for method in MADE for call in simulator.journal.calls(method)]


def nothing_is_made(server: ProtoGeniServer, simulator: SimulatedCloudlab) -> None:
    before = asked_for(simulator)
    with pytest.raises(errors.SliceGoneError) as caught:
        server.add_nodes(server.cms[0], {"node-2": {}})
    assert caught.value.begun is False
    with pytest.raises(errors.SliceGoneError) as caught:
        server.create_sliver(server.cms[1], REQUEST)
    assert caught.value.begun is False
    assert asked_for(simulator) == before, "no CM was asked"


def test_nothing_is_made_for_a_slice_that_was_removed_at_the_sa(
    held: ProtoGeniServer, simulator: SimulatedCloudlab
) -> None:
    end_at_the_sa(simulator)
    nothing_is_made(held, simulator)


def test_nothing_is_made_for_a_slice_that_has_expired_at_the_sa(
    held: ProtoGeniServer, simulator: SimulatedCloudlab, wall: Wall
) -> None:
    wall.ahead = timedelta(hours=3)
    simulator.journal.wait_for(lambda: not simulator.sa.slices)
    nothing_is_made(held, simulator)


def test_what_a_cm_holds_for_a_removed_slice_is_read_and_given_back_with_the_credential_that_made_it(
    held: ProtoGeniServer, simulator: SimulatedCloudlab
) -> None:
    utah, wisc = held.cms[:2]
    end_at_the_sa(simulator)
    assert held.find_slice() is None
    sliver = held.find_sliver(utah)
    assert sliver is not None
    assert held.sliver_status(utah) is not None
    assert held.find_sliver(wisc) is None
    orphan = held.orphans()[utah]
    assert held.orphans().keys() == {utah}
    assert orphan.acts_until == sliver.expires
    held.delete_sliver(utah)
    assert held.find_sliver(utah) is None
    assert held.orphans() == {}


def test_a_new_slice_begins_with_a_new_credential_and_the_old_sliver_stays_apart(
    held: ProtoGeniServer, simulator: SimulatedCloudlab
) -> None:
    utah, wisc = held.cms[:2]
    end_at_the_sa(simulator)
    held.create_slice(whole_seconds(4))
    before = asked_for(simulator)
    with pytest.raises(errors.EarlierSliceError):
        held.add_nodes(utah, {"node-2": {}})
    assert asked_for(simulator) == before, "nothing of the old slice is used for the new one, nor the reverse"
    held.create_sliver(wisc, REQUEST)
    assert held.orphans().keys() == {utah}
    ready(held, wisc, {"node-1"})
    ready(held, utah, {"node-1"})
    held.delete_sliver(utah)
    held.create_sliver(utah, REQUEST)
    ready(held, utah, {"node-1"})
    assert held.orphans() == {}


def test_a_restart_knows_the_credential_that_made_a_sliver_where_it_was_stored(
    start: Callable[..., ProtoGeniServer], simulator: SimulatedCloudlab
) -> None:
    store = Kept()
    server = start(store)
    utah = server.cms[0]
    server.create_slice(whole_seconds(2))
    server.create_sliver(utah, REQUEST)
    ready(server, utah, {"node-1"})
    server.close()
    end_at_the_sa(simulator)
    for remade in (False, True):
        again = start(store)
        if remade:
            again.create_slice(whole_seconds(4))
        assert again.find_sliver(utah) is not None
        assert again.sliver_status(utah) is not None
        assert again.orphans()[utah].acts_until is not None
    again.delete_sliver(utah)
    assert again.find_sliver(utah) is None


def test_without_that_credential_the_sliver_is_told_and_left(
    held: ProtoGeniServer, start: Callable[..., ProtoGeniServer], simulator: SimulatedCloudlab
) -> None:
    utah = held.cms[0]
    end_at_the_sa(simulator)
    again = start()
    assert again.find_slice() is None
    with pytest.raises(errors.SliceGoneError):
        again.find_sliver(utah)
    again.create_slice(whole_seconds(4))
    assert again.find_sliver(utah) is not None, "Resolve compares URNs alone"
    with pytest.raises(errors.EarlierSliceError):
        again.sliver_status(utah)
    with pytest.raises(errors.EarlierSliceError):
        again.delete_sliver(utah)
    orphan = again.orphans()[utah]
    assert orphan.acts_until is None


def test_an_sa_that_is_silent_is_no_sa_that_has_lost_the_slice(
    held: ProtoGeniServer, simulator: SimulatedCloudlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.cloudlab.credential_cache.PATIENCE", 0.1)
    simulator.fault("*", "unreachable", 1000, at="sa")
    held.add_nodes(held.cms[0], {"node-2": {}})
    assert held.orphans() == {}
