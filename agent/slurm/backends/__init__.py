"""Ways in to Slurm: one file each, all of them a ``agent.slurm.model.SlurmBackend``."""
