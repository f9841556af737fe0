"""The way in through slurmrestd(8); its replies are read by ``agent.slurm.json_shapes``."""
