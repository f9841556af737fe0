"""What neither Cloudlab nor Slurm knows, in a SQLite file."""
