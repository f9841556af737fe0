"""An oracle: a real slurmctld says what a submission needs, and the planner is held against it."""
