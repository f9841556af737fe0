"""Renewals that are refused, and when they are tried again."""

import threading
from datetime import timedelta

from agent.core.errors import BusyError, PromisedError, RefusedError
from agent.core.events import OfCm
from agent.core.settings import LeaseSettings

UTAH = "urn:publicid:IDN+utah.example.net+authority+cm"
WISC = "urn:publicid:IDN+wisc.example.net+authority+cm"


def promise(bench, node_id):
    """Make the CM refuse to renew while we hold this machine."""
    real = bench.server.renew_sliver

    def refuse(cm, expires):
        if any(m.node_id == node_id for m in bench.server.machines(cm)):
            bench.server.calls.append(("refused", cm, expires))
            raise PromisedError(
                f"Refused cause {node_id} is pre-reserved.",
                node_id=node_id,
                code=7,
                method="RenewSlice",
                authority=cm,
            )
        return real(cm, expires)

    bench.server.renew_sliver = refuse


def late(make_bench, **lease):
    bench = make_bench(
        helper={"num_pcs": 3},
        minthreshold=2,
        maxthreshold=2,
        config={"lease": LeaseSettings(duration="24h", renew_when_left="18h", **lease)},
    )
    bench.cycles(5)
    promise(bench, "pc101")
    bench.clock.advance(7 * 3600)
    return bench


def test_a_machine_that_blocks_is_named_once_and_kept(make_bench):
    bench = late(make_bench)
    bench.cycles(60)
    [event] = bench.events.of("blocked")
    assert event.subject == "pc101"
    assert "promised to others; give it back to renew the others" in event.message
    assert event.data == OfCm(UTAH)
    assert bench.server.returned == []
    assert bench.manager.inventory.expires[UTAH] < bench.server.slice_expires


def test_a_machine_that_blocks_is_given_back_when_allowed_and_the_rest_renewed_at_once(make_bench):
    bench = late(make_bench, drop_blocking=True)
    bench.cycles(4)
    assert [m.node_id for m in bench.server.returned] == ["pc101"]
    assert bench.manager.inventory.expires[UTAH] == bench.server.slice_expires
    assert bench.server.count("refused") == 1
    assert bench.manager.slice_expires == bench.server.slice_expires


def test_a_machine_that_is_not_ours_cannot_be_given_back(make_bench):
    bench = late(make_bench, drop_blocking=True)

    def refuse(cm, expires):
        raise PromisedError("Refused cause pc199 is sched-reserved.", node_id="pc199", code=7)

    bench.server.renew_sliver = refuse
    bench.cycles(10)
    assert bench.events.of("blocked")[0].subject == "pc199"
    assert bench.server.returned == []


def test_a_refusal_that_names_no_machine_is_told_as_it_is(make_bench):
    bench = late(make_bench)

    def refuse(cm, expires):
        raise RefusedError("idle for too long", code=7)

    bench.server.renew_sliver = refuse
    bench.cycles(2)
    assert "idle for too long" in bench.events.of("lease")[0].message
    assert bench.events.of("blocked") == []


def test_a_busy_cm_is_renewed_later_without_alarming_anybody(make_bench):
    bench = make_bench(maxthreshold=1)
    bench.cycles(5)
    bench.clock.advance(7 * 3600)
    real = bench.server.renew_sliver
    refusals = iter([BusyError("slice is busy; try again later", code=14)])

    def busy_once(cm, expires):
        if (error := next(refusals, None)) is not None:
            raise error
        return real(cm, expires)

    bench.server.renew_sliver = busy_once
    bench.cycles(3)
    assert bench.events.of("lease") == []
    assert bench.manager.inventory.expires[UTAH] == bench.server.slice_expires


def test_a_renewal_that_fails_is_tried_again_in_time_for_what_is_left(make_bench):
    """The longest back-off is 16 minutes here: more than the sliver has left at the end."""
    bench = late(make_bench)
    ends = bench.server.sites[UTAH].expires
    bench.clock.advance((ends - bench.clock.now()).total_seconds() - 3600)
    tries = []
    while bench.clock.now() < ends:
        before = bench.server.count("refused")
        bench.manager.manage_once()
        if bench.server.count("refused") > before:
            tries.append((ends - bench.clock.now()).total_seconds())
        bench.clock.advance(10)
    assert min(tries) <= 60
    assert bench.manager.slice_expires - bench.clock.now() > timedelta(hours=12)


def test_a_cm_that_hangs_keeps_no_other_from_being_renewed(make_bench):
    bench = make_bench(server={"cms": (UTAH, WISC), "pool": 3}, minthreshold=4, maxthreshold=4)
    bench.cycles(8)
    assert {node.cm for node in bench.server.machines()} == {UTAH, WISC}
    bench.clock.advance(7 * 3600)
    real = bench.server.renew_sliver
    renewed = threading.Event()

    def hang_at_the_first(cm, expires):
        if cm == bench.manager.cmlist[0]:
            assert renewed.wait(20), "the other CM was not asked meanwhile"
        granted = real(cm, expires)
        renewed.set()
        return granted

    bench.server.renew_sliver = hang_at_the_first
    bench.manager.renew()
    assert bench.manager.inventory.expires == dict.fromkeys((UTAH, WISC), bench.server.slice_expires)
    assert sorted(event.subject for event in bench.events.of("renew"))[-2:] == [UTAH, WISC]
