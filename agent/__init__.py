"""esagent: makes a Slurm cluster elastic on Cloudlab."""
