"""Each run of a step is told with its outcome."""


def test_each_run_of_a_step_is_told_with_its_outcome_and_time(make_bench) -> None:
    told: list[tuple[str, str, float]] = []
    bench = make_bench(config={"observe_step": lambda *run: told.append(run)})
    bench.cycles(1)
    assert {("ensure_slice", "done"), ("update_sliver_status", "done")} <= {run[:2] for run in told}
    assert all(seconds >= 0 for *_, seconds in told)


def test_a_step_that_fails_is_told_apart_from_one_that_found_cloudlab_busy(make_bench) -> None:
    told: list[tuple[str, str, float]] = []
    bench = make_bench(config={"observe_step": lambda *run: told.append(run)})
    bench.cycles(1)
    bench.server.fault("find_slice", "busy")
    bench.server.fault("discover", "unreachable")
    bench.cycles(30)
    assert {run[1] for run in told} == {"done", "busy", "failed"}
