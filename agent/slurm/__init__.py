"""Everything that speaks Slurm."""
