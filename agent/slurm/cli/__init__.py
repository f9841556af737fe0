"""The way in through Slurm's commands."""
