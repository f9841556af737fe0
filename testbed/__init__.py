"""A Cloudlab and a Slurm cluster on one machine, for the demo, the tests and anyone who wants to try."""
