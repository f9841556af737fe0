"""Several CMs of which the first cannot give: the others are asked, and the first is looked at again."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog

from agent.cluster.settings.demand import DemandSettings, MachineType
from agent.cluster.settings.join import JoinSettings
from agent.core.errors import (
    BadArgumentsError,
    BusyError,
    CloudlabError,
    ForbiddenError,
    InsufficientNodesError,
    LostReplyError,
    MalformedReplyError,
    RefusedError,
    UnreachableError,
)
from agent.core.model import SliverNode
from agent.core.request.rspec import request_client_ids
from agent.slurm.model import Job, Node
from tests.unit.cluster.conftest import UTAH, WISC, Cloudlab, Slurm, free_machine

THIRD = "urn:publicid:IDN+third.example.net+authority+cm"
DAY = 24 * 60
FAULTS = {
    "short": InsufficientNodesError("not enough nodes of a type", code=26),
    "busy": BusyError("resource is busy", code=14),
    "internal error": CloudlabError("Internal Error", code=2),
    "refused": RefusedError("no new slivers today", code=7),
    "forbidden": ForbiddenError("not for you", code=3),
    "bad arguments": BadArgumentsError("Physical node pc1 is not available", code=1),
    "unreachable": UnreachableError("no route"),
    "lost": LostReplyError("read timed out"),
    "garbage": MalformedReplyError("not XML"),
}


@pytest.fixture(scope="module", autouse=True)
def _quiet_log():
    """A day of simulated cycles would mostly write logs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Sites(Cloudlab):
    """CMs whose every method may fail for as long as a test says; a machine is free at each."""

    def __init__(self, *cms: str, machines: tuple[SliverNode, ...] = (), bare: frozenset[str] = frozenset()):
        free = [free_machine(100 * i + n, cm) for i, cm in enumerate(cms, 1) for n in range(10)]
        super().__init__(*machines, cms=cms, free=free)
        self.lasts = timedelta(days=7)
        self.bare = set(bare)
        """CMs that hold no sliver."""
        self.faults: dict[tuple[str, str], CloudlabError] = {}
        self.calls: Counter[tuple[str, str]] = Counter()

    def fail(self, cm: str, fault: CloudlabError, *methods: str) -> None:
        for method in methods:
            self.faults[cm, method] = fault

    def _call(self, cm: str, method: str) -> None:
        self.calls[cm, method] += 1
        if fault := self.faults.get((cm, method)):
            raise fault

    def asked_of(self, cm: str) -> int:
        """Count the requests for machines at a CM."""
        return self.calls[cm, "add_nodes"] + self.calls[cm, "create_sliver"]

    def find_sliver(self, cm: str) -> Any:
        self._call(cm, "find_sliver")
        return None if cm in self.bare else super().find_sliver(cm)

    def sliver_status(self, cm: str) -> Any:
        self._call(cm, "sliver_status")
        return None if cm in self.bare else super().sliver_status(cm)

    def discover(self, cm: str, *, available: bool) -> Any:
        self._call(cm, "discover")
        return super().discover(cm, available=available)

    def add_nodes(self, cm: str, nodes: Any) -> Any:
        self._call(cm, "add_nodes")
        return super().add_nodes(cm, nodes)

    def create_sliver(self, cm: str, request: str) -> Any:
        self._call(cm, "create_sliver")
        self.bare.discard(cm)
        for client_id in request_client_ids(request, cm):
            self._lend(cm, client_id)
        return super().find_sliver(cm)

    def delete_sliver(self, cm: str) -> None:
        super().delete_sliver(cm)
        self.bare.add(cm)

    def held_at(self, cm: str) -> int:
        return sum(machine.cm == cm for machine in self.machines)


def a_job(cpus: int = 1, number: int = 1) -> Job:
    return Job(str(number), "PENDING", reason="Resources", partitions=("main",), cpus=cpus)


def managed(make_manager: Any, sites: Sites, clock: Any, *, jobs: int = 1, **demand: Any) -> Any:
    """A manager of a cluster in which jobs wait that fill a machine each."""
    slurm = Slurm(jobs=[a_job(number=n) for n in range(1, jobs + 1)], clock=clock)
    settings = DemandSettings(**{"grow_after": 0, **demand})
    manager = make_manager(sites, slurm, demand=settings, read=False)
    manager.percent_available_minimum = 0.0
    return manager


def run(manager: Any, clock: Any, minutes: float, step: float = 60) -> None:
    """Let time pass; what is lent joins at once, and the oldest job that waits starts there."""
    slurm = manager._backend
    for _ in range(int(minutes * 60 / step)):
        manager.manage_once()
        for name, machine in manager.memory.now().machines.items():
            waiting = [i for i, job in enumerate(slurm.jobs) if job.state == "PENDING"]
            if name not in slurm.nodes and waiting:
                job = replace(slurm.jobs[waiting[0]], state="RUNNING", nodes=frozenset({name}))
                slurm.jobs[waiting[0]] = job
                slurm.nodes[name] = Node(
                    name,
                    "ALLOCATED",
                    cpus=job.cpus,
                    allocated_cpus=job.cpus,
                    address=machine.address,
                    partitions=job.partitions,
                )
        clock.advance(step)


@pytest.mark.parametrize("bare", [False, True], ids=["AddNodes", "CreateSliver"])
@pytest.mark.parametrize("fault", FAULTS)
def test_while_the_first_cm_cannot_give_the_second_is_asked(
    make_manager, clock, fault: str, bare: bool
) -> None:
    sites = Sites(UTAH, WISC, bare=frozenset({UTAH, WISC} if bare else ()))
    sites.fail(UTAH, FAULTS[fault], "add_nodes", "create_sliver")
    manager = managed(make_manager, sites, clock)
    run(manager, clock, 40 if fault in {"lost", "garbage"} else 3)
    assert sites.asked_of(UTAH) >= 1, "the preferred one is asked first"
    assert sites.held_at(WISC) == 1, "and the other soon after"
    run(manager, clock, 60, step=300)
    assert sites.held_at(WISC) == 1, "what is there is enough"


@pytest.mark.parametrize("fault", ["short", "internal error"])
def test_each_of_three_cms_is_asked_in_turn_through_a_day_in_which_the_need_stays(
    make_manager, clock, fault: str
) -> None:
    sites = Sites(UTAH, WISC, THIRD)
    for cm in (UTAH, WISC):
        sites.fail(cm, FAULTS[fault], "add_nodes")
    manager = managed(make_manager, sites, clock, jobs=4)
    run(manager, clock, 4)
    assert sites.held_at(THIRD) == 4
    manager._backend.jobs += [a_job(number=n) for n in range(5, 8)]
    sites.fail(THIRD, FAULTS["short"], "add_nodes")
    run(manager, clock, DAY, step=2400)
    asked = [sites.asked_of(cm) for cm in (UTAH, WISC, THIRD)]
    assert min(asked) >= 6, "none is forgotten"
    assert max(asked) <= 400, "and none is pestered"
    sites.faults.clear()
    run(manager, clock, 5 * 60, step=300)
    assert len(sites.machines) == 7


@pytest.mark.parametrize("method", ["find_sliver", "discover"])
@pytest.mark.parametrize("fault", ["unreachable", "lost", "busy", "internal error"])
def test_what_a_cm_said_once_is_not_believed_for_ever(make_manager, clock, fault: str, method: str) -> None:
    sites = Sites(UTAH, WISC)
    manager = managed(make_manager, sites, clock, jobs=0)
    run(manager, clock, 15)
    sites.fail(UTAH, FAULTS[fault], method, "sliver_status")
    run(manager, clock, 60, step=180)
    manager._backend.jobs.append(a_job())
    run(manager, clock, 3)
    assert (sites.asked_of(UTAH), sites.held_at(WISC)) == (0, 1)
    sites.faults.clear()
    run(manager, clock, 15)
    manager._backend.jobs.append(a_job(number=2))
    run(manager, clock, 3)
    assert sites.held_at(UTAH) == 1, "once it answers it is the preferred one again"


def test_a_cm_in_which_a_call_of_ours_hangs_holds_no_other_up(make_manager, clock) -> None:
    sites = Sites(UTAH, WISC)
    manager = managed(make_manager, sites, clock, jobs=0)
    run(manager, clock, 2)
    seen = []

    def hangs(cm: str, **_: Any) -> tuple[()]:
        seen.append(manager.should_add_nodes(0, WISC))
        clock.advance(90)
        seen.append(manager.should_add_nodes(0, WISC))
        return ()

    manager._backend.jobs.append(a_job())
    manager.get_system_state()
    sites.discover = hangs
    manager.update_available(UTAH)
    assert seen == [None, 1]


def test_a_slow_cm_is_asked_all_the_same(make_manager, clock) -> None:
    sites = Sites(UTAH, WISC)
    manager = managed(make_manager, sites, clock)
    read = sites.find_sliver

    def slowly(cm: str) -> Any:
        clock.advance(90 if cm == UTAH else 0)
        return read(cm)

    sites.find_sliver = slowly
    run(manager, clock, 3)
    assert (sites.held_at(UTAH), sites.held_at(WISC)) == (1, 0)


def test_a_cm_whose_lan_is_not_there_holds_no_other_up(make_manager, clock) -> None:
    sites = Sites(UTAH, WISC)
    manager = managed(make_manager, sites, clock)
    manager.helper.use_lans(["lan0"])
    run(manager, clock, 3)
    closed = manager.facts().closed
    assert set(closed) == {UTAH, WISC}
    assert "lan0" in closed[UTAH]


def test_a_cm_whose_types_all_failed_to_boot_holds_no_other_up(make_manager, clock) -> None:
    sites = Sites(UTAH, WISC)
    manager = managed(make_manager, sites, clock)
    manager._placement.pause(UTAH, "m510", clock.now(), "it did not boot")
    run(manager, clock, 2)
    assert (sites.asked_of(UTAH), sites.held_at(WISC)) == (0, 1)


def test_the_share_that_stays_free_is_reckoned_at_each_cm_by_itself(make_manager, clock) -> None:
    sites = Sites(UTAH, WISC)
    manager = managed(make_manager, sites, clock, jobs=30, max_nodes=30)
    manager.percent_available_minimum = 0.8
    run(manager, clock, 3)
    assert (sites.held_at(UTAH), sites.held_at(WISC)) == (2, 2)


def test_machines_in_doubt_at_a_silent_cm_count_but_nobody_waits_for_them_for_ever(
    make_manager, clock
) -> None:
    sites = Sites(UTAH, WISC)
    manager = managed(make_manager, sites, clock, max_nodes=2)
    run(manager, clock, 0)
    for step in ("ensure_slice", "update_all", "update_available", "ensure_sliver", "update_sliver_status"):
        getattr(manager, step)()
    sites.fail(UTAH, FAULTS["lost"], "find_sliver", "sliver_status", "add_nodes", "discover")
    run(manager, clock, 60)
    assert sites.held_at(WISC) == 1
    assert manager.in_use() <= 2


def test_the_plan_tells_why_a_cm_is_not_asked(make_manager, clock) -> None:
    sites = Sites(UTAH, WISC)
    for cm in (UTAH, WISC):
        sites.fail(cm, FAULTS["short"], "add_nodes")
    manager = managed(make_manager, sites, clock)
    run(manager, clock, 3)
    reasons = manager.plan().growth.reasons
    assert any(UTAH in reason and "not enough nodes" in reason for reason in reasons)


# --- the brake


def braked(manager: Any, clock: Any) -> None:
    for n in range(3):
        manager.brake.failed(f"pc{n}", "it did not boot", UTAH)
    clock.advance(3 * 3600)


def test_a_probe_that_a_cm_refuses_is_asked_of_the_next_one(make_manager, clock) -> None:
    sites = Sites(UTAH, WISC)
    sites.fail(WISC, FAULTS["short"], "add_nodes")
    manager = managed(make_manager, sites, clock, jobs=3)
    braked(manager, clock)
    run(manager, clock, 2)
    assert sites.asked_of(WISC) == 1, "where the last failure was not, first"
    assert (sites.held_at(UTAH), sites.asked_of(UTAH)) == (1, 1), "one machine is the probe"


@pytest.mark.parametrize("short", [True, False])
def test_probes_go_round(make_manager, clock, short: bool) -> None:
    """The first CM's machines do not boot, or it refuses: the second is probed, too."""
    sites = Sites(UTAH, WISC)
    if short:
        sites.fail(UTAH, FAULTS["short"], "add_nodes")
    manager = managed(make_manager, sites, clock, jobs=3)
    braked(manager, clock)
    run(manager, clock, 1)
    assert (sites.held_at(UTAH), sites.held_at(WISC)) == (0, 1)


# --- types


def test_a_type_is_taken_from_the_cm_that_can_give_it(make_manager, clock) -> None:
    types = tuple(MachineType(hardware_type=kind, cpus=cpus) for kind, cpus in (("m510", 4), ("big", 16)))
    sites = Sites(UTAH, WISC)
    sites.free += [free_machine(900 + n, cm, "big") for n, cm in enumerate((UTAH, WISC))]
    sites.fail(UTAH, FAULTS["bad arguments"], "add_nodes")
    manager = managed(make_manager, sites, clock, jobs=0, types=types)
    manager._backend.jobs = [a_job(16)]
    run(manager, clock, 3)
    assert [(m.cm, m.node_id) for m in sites.machines] == [(WISC, "pc901")]


def test_types_that_a_reload_took_out_are_asked_for_no_more(make_manager, clock) -> None:
    types = (
        MachineType(hardware_type="m510", cpus=4),
        MachineType(hardware_type="big", cpus=16, features=("huge",)),
    )
    sites = Sites(UTAH, bare=frozenset({UTAH}))
    sites.free += [free_machine(900, UTAH, "big")]
    manager = managed(make_manager, sites, clock, jobs=0, types=types)
    manager._backend.jobs = [replace(a_job(16), features="huge")]
    for step in (
        "ensure_slice",
        "update_all",
        "update_available",
        "update_sliver_status",
        "get_system_state",
    ):
        getattr(manager, step)()

    def reload() -> bool:
        demand = manager.desk.settings.demand.model_copy(update={"types": types[:1]})
        manager.desk.settings = manager.desk.settings.__class__(
            **{**vars(manager.desk.settings), "demand": demand}
        )
        return True

    manager._growth.ensure(UTAH, lambda cm: manager.should_create_sliver(cm) and reload())
    assert sites.asked_of(UTAH) == 0


def test_asking_whether_a_machine_is_wanted_gives_no_name_out(make_manager, clock) -> None:
    types = (MachineType(hardware_type="m510", cpus=4),)
    sites = Sites(UTAH)
    manager = managed(make_manager, sites, clock, types=types)
    sites.fail(UTAH, FAULTS["short"], "add_nodes")
    run(manager, clock, 120)
    assert manager.get_add_args(1).keys() <= {f"node-{n}" for n in range(1, 9)}


def test_two_cms_serve_the_nodes_that_slurm_wakes_each_under_its_own_names(make_manager, clock) -> None:
    types = (
        MachineType(hardware_type="m510", cpus=4, cms=(UTAH,)),
        MachineType(hardware_type="big", cpus=16, cms=(WISC,)),
    )
    sites = Sites(UTAH, WISC)
    sites.free = [free_machine(1, UTAH), *(free_machine(900 + n, WISC, "big") for n in range(3))]
    waking = frozenset({"CLOUD", "POWERING_UP"})
    slurm = Slurm(*(Node(name, "MIXED", waking, cpus=4) for name in "abc"), clock=clock)
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="a,b,c")
    manager = make_manager(sites, slurm, demand=DemandSettings(types=types), join=join, read=False)
    manager.percent_available_minimum = 0.0
    run(manager, clock, 3)
    assert sorted((m.cm, m.client_id) for m in sites.machines) == [(UTAH, "a"), (WISC, "b"), (WISC, "c")]
