"""To whom a signal is sent so that each process of a job gets it once."""

import pytest

from agent.core.errors import SlurmDownError, SlurmRefusedError
from agent.slurm.model import SignalTarget
from agent.slurm.signal_targets import parts_of, send_to_parts

ALL, STEPS, BATCH = SignalTarget.ALL, SignalTarget.STEPS, SignalTarget.BATCH


@pytest.mark.parametrize(
    ("signal", "target", "parts"),
    [
        ("URG", ALL, (ALL, STEPS)),
        ("SIGURG", ALL, (ALL, STEPS)),
        ("23", ALL, (ALL, STEPS)),
        ("USR1", ALL, (ALL,)),
        ("10", ALL, (ALL,)),
        ("URG", BATCH, (BATCH,)),
        ("URG", STEPS, (STEPS,)),
    ],
)
def test_the_steps_get_what_srun_does_not_hand_on_and_nobody_gets_it_twice(signal, target, parts) -> None:
    assert parts_of(signal, target) == parts


def test_a_job_of_which_a_part_got_it_was_not_refused() -> None:
    why = SlurmRefusedError("no")
    said = {ALL: {"1": why, "2": why}, STEPS: {"1": why, "3": why}}
    assert list(send_to_parts(said.__getitem__, "URG", ALL)) == ["1"]
    assert send_to_parts({BATCH: {"1": why}}.__getitem__, "URG", BATCH) == {"1": why}


def test_what_does_not_reach_the_second_part_is_no_reason_to_send_to_the_first_again() -> None:
    no = SlurmRefusedError("no")

    def send(part: SignalTarget) -> dict[str, SlurmRefusedError]:
        if part is SignalTarget.STEPS:
            raise SlurmDownError("connect failure")
        return {"8": no}

    assert send_to_parts(send, "URG", SignalTarget.ALL) == {"8": no}
    with pytest.raises(SlurmDownError):
        send_to_parts(send, "URG", SignalTarget.STEPS)
