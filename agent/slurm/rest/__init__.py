"""The way in through slurmrestd(8)."""
