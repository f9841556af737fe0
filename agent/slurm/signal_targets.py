"""How a signal reaches all processes of a job: ``--full`` of scancel(1) does not signal the steps. Pure.

It signals the batch script and its children, of which srun(1) hands some signals on to its step
(``sig_array``). Any other goes to the steps too; one that srun hands on would come twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.core.errors import SlurmError, SlurmRefusedError
from agent.slurm import names
from agent.slurm.model import SignalTarget

_HANDED_ON = frozenset(
    map(names.signal_number, ("INT", "QUIT", "CONT", "TERM", "HUP", "ALRM", "USR1", "USR2", "PIPE"))
)

Refused = Mapping[str, SlurmRefusedError]


def parts_of(signal: str, target: SignalTarget) -> tuple[SignalTarget, ...]:
    """Return to whom a signal has to be sent, one after the other, so that each gets it once."""
    if target is not SignalTarget.ALL or names.signal_number(signal) in _HANDED_ON:
        return (target,)
    return (SignalTarget.ALL, SignalTarget.STEPS)


def send_to_parts(
    send: Callable[[SignalTarget], Refused], signal: str, target: SignalTarget
) -> dict[str, SlurmRefusedError]:
    """Send a signal to each part; return the jobs of which no part got it, and why.

    Raises:
        SlurmError: the first part did not get it. Of a later one that does not, it is not said: the first
            would get it again.
    """
    refused: dict[str, SlurmRefusedError] | None = None
    for part in parts_of(signal, target):
        try:
            said = send(part)
        except SlurmError:
            if refused is None:
                raise
            break
        refused = dict(said) if refused is None else {job: refused[job] for job in said if job in refused}
    return refused or {}
