"""The borrowed machines in Slurm: a folder for each verb."""
