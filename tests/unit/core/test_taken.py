"""Cloudlab's word that it took a machine lasts until manifests that were read since confirm it."""

import pytest

from agent.core.events import EventKind
from tests.unit.core.conftest import UTAH, WISC


def complete(bench, *node_ids):
    bench.manager.NotifyDeleteComplete({"nodelist": [{"node_id": node_id} for node_id in node_ids]})


def test_a_word_that_comes_after_the_manifest_is_not_held_against_the_next_machine(make_bench):
    bench = make_bench(server={"pool": 5}, minthreshold=5)
    bench.cycles(4)
    first = bench.manager.held()[0]
    bench.manager.minthreshold = 0
    bench.server.vanish(UTAH, first.client_id)
    bench.cycles(6)
    complete(bench, first.node_id)
    bench.cycles(2)
    bench.manager.minthreshold = 5
    bench.cycles(4)
    assert bench.manager.taken == {}
    assert first.node_id in {machine.node_id for machine in bench.server.machines()}
    assert not bench.events.of(EventKind.KEPT)


@pytest.mark.parametrize("cms", [(UTAH,), (UTAH, WISC)])
def test_words_about_machines_that_were_never_there_are_forgotten(make_bench, cms):
    bench = make_bench(server={"cms": cms})
    bench.cycles(2)
    complete(bench, *(f"stranger{n}" for n in range(100)))
    assert len(bench.manager.taken) == 100
    bench.cycles(3)
    assert bench.manager.taken == {}


def test_while_a_cm_is_silent_a_word_that_may_be_about_its_machine_stays(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC)})
    bench.cycles(2)
    bench.server.fault("find_sliver", *["unreachable"] * 50, cm=WISC)
    complete(bench, "stranger")
    bench.cycles(3)
    assert len(bench.manager.taken) == 1
