"""The planner against what a real slurmctld answered (``python -m testbed.oracle --record DIR``)."""

from pathlib import Path

import pytest

from testbed.oracle.planning import plan_for
from testbed.oracle.recorded import NEVER, load

FILES = sorted((Path(__file__).parents[3] / "data" / "demand").glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_submission_needs_what_slurm_started_it_on(file: Path) -> None:
    found = load(file)
    wrong = []
    for submission in found.submissions:
        for types, machines in submission.needs.items():
            shapes = {name: found.shapes[name] for name in types.split(",")}
            planned = plan_for(submission.jobs, shapes, found.scheduling, found.taken)
            told = str(planned.machines) if planned.whole else NEVER
            if told != machines:
                wrong.append(f"{submission.line!r} on {types}: Slurm {machines}, we {told}: {planned.why}")
    assert len(found.submissions) > 100
    assert not wrong, "\n".join(wrong)
