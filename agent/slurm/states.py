"""The states of a job that mean the same for whoever asks (``job_states`` of slurm.h)."""

REQUEUEABLE_STATES = frozenset({"RUNNING", "SUSPENDED", "CONFIGURING", "STOPPED", "SIGNALING", "RESIZING"})
"""States in which a requeue puts a job back; Slurm would also run a finished one again."""

OVER_STATES = frozenset(
    {
        "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
        "OUT_OF_MEMORY", "LAUNCH_FAILED",
    }
)  # fmt: skip
"""States of a job that has ended (``job_states`` of slurm.h)."""

SIGNALLED_STATES = frozenset({"RUNNING", "STOPPED", "SIGNALING", "RESIZING"})
"""States in which processes of a job get a signal; of one that is suspended, none does."""
