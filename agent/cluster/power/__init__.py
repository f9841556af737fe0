"""Slurm's own power saving."""
