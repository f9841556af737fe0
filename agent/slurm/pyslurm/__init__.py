"""The way in through pyslurm, in a child process."""
