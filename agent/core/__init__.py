"""The elastic-slice framework: knows neither Slurm, nor SSH, nor XML-RPC."""
