"""CMs that admit fewer machines than they show as free: those are got, and the rest is sought elsewhere."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import structlog

from agent.cloudlab.envelope import open_envelope
from agent.cluster.settings.demand import MachineType
from agent.core.request.rspec import request_client_ids
from tests.unit.cluster.conftest import UTAH, WISC, Cloudlab, free_machine
from tests.unit.cluster.grow.test_cms_in_turn import DAY, Sites, a_job, managed, run

RESERVED = (
    "*** Resource reservation violation: {wanted} nodes of type {type} requested, but only {bound} available"
    " because of existing resource reservations to other projects."
)
FEW = "*** {wanted} nodes of type {type} requested, but only {bound} available nodes of type {type} found"
POLICY = "*** {wanted} nodes of type {type} requested, but you are only allowed to use {bound}"
NONE = "*** No available physical nodes of type {type} found ({wanted} requested)"
WORDLESS = "Not enough free nodes because of policy restrictions, or existing resource reservations"
NEVER = "Note that your topology cannot be instantiated on this cluster"
MANY = 8


@pytest.fixture(scope="module", autouse=True)
def _quiet_log():
    """A day of simulated cycles would mostly write logs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Admitting(Sites):
    """CMs at which our project may hold so many machines of a type; all are shown as free."""

    def __init__(self, *cms: str, kinds: tuple[str, ...] = ("m510",), **others: Any) -> None:
        super().__init__(*cms, **others)
        self.free = [
            free_machine(100 * i + 20 * k + n, cm, kind)
            for i, cm in enumerate(cms, 1)
            for k, kind in enumerate(kinds)
            for n in range(MANY)
        ]
        self.bounds: dict[tuple[str, str], int] = {}
        self.words = RESERVED
        self.code = 26
        self.refusals: Counter[str] = Counter()

    def _kinds_of(self, cm: str, node_ids: list[str | None]) -> Counter[str]:
        known = {n.node_id: n.hardware_types[0] for n in self.free if n.cm == cm}
        only = next(iter(known.values()))
        return Counter(known.get(node_id or "", only) for node_id in node_ids)

    def _admit(self, cm: str, node_ids: list[str | None]) -> None:
        held = Counter(m.hardware_type for m in self.machines if m.cm == cm)
        for kind, count in self._kinds_of(cm, node_ids).items():
            bound = self.bounds.get((cm, kind))
            if bound is not None and held[kind] + count > bound:
                self.refusals[cm] += 1
                words = self.words.format(wanted=held[kind] + count, type=kind, bound=bound)
                reply = {"code": self.code, "value": "Could not map to resources", "output": words}
                open_envelope(reply, method="AddNodes", authority=cm)

    def add_nodes(self, cm: str, nodes: Any) -> Any:
        if nodes:
            self._admit(cm, [fields.get("node") for fields in nodes.values()])
        return super().add_nodes(cm, nodes)

    def create_sliver(self, cm: str, request: str) -> Any:
        self._admit(cm, [None] * len(request_client_ids(request, cm)))
        return super().create_sliver(cm, request)

    def _lend(self, cm: str, client_id: str, node_id: str | None = None) -> None:
        Cloudlab._lend(self, cm, client_id, node_id)
        lent = self.machines[-1]
        kind = next(iter(self._kinds_of(cm, [lent.node_id])))
        self.machines[-1] = replace(lent, hardware_type=kind)


TYPES = (
    MachineType(hardware_type="m510", cpus=1),
    MachineType(hardware_type="big", cpus=1),
)


@pytest.mark.parametrize("words", [RESERVED, FEW, POLICY])
@pytest.mark.parametrize("typed", [False, True])
def test_what_is_admitted_is_got_and_the_rest_elsewhere(make_manager, clock, words: str, typed: bool) -> None:
    sites = Admitting(UTAH, WISC)
    sites.bounds[UTAH, "m510"], sites.words = 4, words
    manager = managed(make_manager, sites, clock, jobs=5, types=TYPES[:1] if typed else ())
    run(manager, clock, 10)
    assert (sites.held_at(UTAH), sites.held_at(WISC)) == (4, 1)
    assert sites.refusals[UTAH] == 1


@pytest.mark.parametrize("cms", [(UTAH,), (UTAH, WISC)])
def test_where_no_number_is_told_it_is_found_out_by_halves(make_manager, clock, cms: tuple[str, ...]) -> None:
    sites = Admitting(*cms)
    sites.bounds[UTAH, "m510"], sites.words = 4, WORDLESS
    manager = managed(make_manager, sites, clock, jobs=5)
    run(manager, clock, 10)
    assert len(sites.machines) == (4 if cms == (UTAH,) else 5)
    assert sites.refusals[UTAH] <= 3


def test_what_nobody_else_has_is_asked_for_again_now_and_then(make_manager, clock) -> None:
    sites = Admitting(UTAH)
    sites.bounds[UTAH, "m510"] = 4
    manager = managed(make_manager, sites, clock, jobs=5)
    run(manager, clock, 5)
    run(manager, clock, DAY, step=900)
    assert sites.held_at(UTAH) == 4
    assert 3 <= sites.refusals[UTAH] <= 12, "longer each time, up to type_backoff_limit"
    del sites.bounds[UTAH, "m510"]
    run(manager, clock, 4 * 60 + 30, step=900)
    assert sites.held_at(UTAH) == 5


def test_another_type_of_the_same_cm_is_not_held_up(make_manager, clock) -> None:
    sites = Admitting(UTAH, kinds=("m510", "big"))
    sites.bounds[UTAH, "m510"] = 2
    manager = managed(make_manager, sites, clock, jobs=5, types=TYPES)
    run(manager, clock, 10)
    assert Counter(m.hardware_type for m in sites.machines) == {"m510": 2, "big": 3}
    assert sites.refusals[UTAH] == 1


def test_a_refusal_that_does_not_tell_the_type_is_found_out_type_by_type(make_manager, clock) -> None:
    sites = Admitting(UTAH, kinds=("m510", "big"))
    sites.free = sites.free[: MANY + 4]
    sites.bounds[UTAH, "big"], sites.words = 2, WORDLESS
    manager = managed(make_manager, sites, clock, jobs=12, max_nodes=12, types=TYPES)
    run(manager, clock, 9)
    assert Counter(m.hardware_type for m in sites.machines) == {"m510": MANY, "big": 2}
    assert sites.refusals[UTAH] <= 4


def test_a_first_request_is_made_smaller(make_manager, clock) -> None:
    sites = Admitting(UTAH, bare=frozenset({UTAH}))
    sites.bounds[UTAH, "m510"] = 2
    manager = managed(make_manager, sites, clock, jobs=3)
    manager.helper.num_pcs = 3
    run(manager, clock, 3)
    assert (sites.held_at(UTAH), sites.refusals[UTAH]) == (2, 1)
    assert [m.client_id for m in sites.machines] == ["node-1", "node-2"]


def test_the_names_of_a_refused_call_are_given_to_the_next(make_manager, clock) -> None:
    sites = Admitting(UTAH)
    sites.bounds[UTAH, "m510"] = 2
    manager = managed(make_manager, sites, clock, jobs=5)
    run(manager, clock, 3 * 60, step=300)
    assert sorted(m.client_id for m in sites.machines) == ["node-1", "node-2"]
    assert manager.get_add_args(1).keys() == {"node-3"}


def test_what_can_never_be_is_not_asked_again_until_settings_change(make_manager, clock) -> None:
    sites = Admitting(UTAH, WISC)
    sites.bounds[UTAH, "m510"], sites.words = 0, f"{NONE} {NEVER}"
    manager = managed(make_manager, sites, clock, jobs=2)
    run(manager, clock, 5)
    run(manager, clock, DAY, step=3600)
    assert (sites.held_at(WISC), sites.refusals[UTAH]) == (2, 1)
    assert [e.kind for e in manager.events.events(UTAH)].count("hindered") == 1
    manager._backend.jobs += [a_job(number=n) for n in range(10, 10 + MANY)]
    run(manager, clock, 3)
    assert any("until settings change" in reason for reason in manager.plan().growth.reasons)
    manager.refused.forget()
    run(manager, clock, 3)
    assert sites.refusals[UTAH] > 1


def test_a_number_that_can_never_be_had_is_made_smaller(make_manager, clock) -> None:
    sites = Admitting(UTAH)
    sites.bounds[UTAH, "m510"], sites.words = 5, f"*** No possible mapping for node-6 {NEVER}"
    manager = managed(make_manager, sites, clock, jobs=7)
    run(manager, clock, 5)
    run(manager, clock, DAY, step=3600)
    assert sites.held_at(UTAH) == 5
    assert sites.refusals[UTAH] <= 4, "no more is asked for until settings change"


def test_a_free_machine_that_cannot_be_had_is_left_for_others(make_manager, clock) -> None:
    sites = Admitting(UTAH)
    manager = managed(make_manager, sites, clock, jobs=2, types=TYPES[:1])
    taken = {n.node_id for n in sites.free[:2]}
    add = Sites.add_nodes

    def add_nodes(cm: str, nodes: Any) -> Any:
        for fields in nodes.values():
            if fields.get("node") in taken:
                sites.refusals[cm] += 1
                words = f"*** Fixed physical node: {fields['node']} not available."
                open_envelope(
                    {"code": 28, "value": "Could not map", "output": words}, method="", authority=cm
                )
        return add(sites, cm, nodes)

    sites.add_nodes = add_nodes
    run(manager, clock, 5)
    assert sites.held_at(UTAH) == 2
    assert sites.refusals[UTAH] == 2


@pytest.mark.parametrize("words", [RESERVED, WORDLESS])
@pytest.mark.parametrize("code", [25, 28, 29])
def test_two_cms_give_together_what_they_admit(make_manager, clock, words: str, code: int) -> None:
    sites = Admitting(UTAH, WISC)
    sites.bounds = {(UTAH, "m510"): 3, (WISC, "m510"): 2}
    sites.words, sites.code = words, code
    manager = managed(make_manager, sites, clock, jobs=7)
    run(manager, clock, 9)
    assert (sites.held_at(UTAH), sites.held_at(WISC)) == (3, 2)
    assert sites.refusals.total() <= 7


def test_all_that_is_wanted_is_in_the_first_request(make_manager, clock) -> None:
    sites = Admitting(UTAH, kinds=("m510", "big"), bare=frozenset({UTAH}))
    manager = managed(make_manager, sites, clock, jobs=MANY + 2, max_nodes=MANY + 2, types=TYPES)
    run(manager, clock, 3)
    assert sites.held_at(UTAH) == MANY + 2
    assert sites.calls[UTAH, "create_sliver"] == 1
    assert sites.calls[UTAH, "add_nodes"] == 0
    assert Counter(manager.type_asked(UTAH, m.client_id) for m in sites.machines) == {"m510": MANY, "big": 2}


def test_a_probe_of_stopped_growth_is_one_machine_also_where_nothing_is_held(make_manager, clock) -> None:
    sites = Admitting(UTAH, bare=frozenset({UTAH}))
    manager = managed(make_manager, sites, clock, jobs=5)
    manager.brake.allowance = lambda: 0 if sites.machines else 1
    run(manager, clock, 3)
    assert [m.client_id for m in sites.machines] == ["node-1"]
    assert manager.get_add_args(1).keys() == {"node-2"}, "the names that were left out are free"
