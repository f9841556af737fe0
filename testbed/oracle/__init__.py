"""An oracle: a real slurmctld says how many machines a submission needs, and the planner is held against it."""
