"""Cloudlab's resource values, and what Slurm's own parts are told of them."""
