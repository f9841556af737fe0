"""Days of a mixed queue, replayed on a real slurmctld, for each version of the planner that is compared."""
