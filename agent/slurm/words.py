"""Slurm's words for what it refuses (slurm_strerror), as far as a way in acts on them."""

from __future__ import annotations

UNKNOWN_NODE = "Invalid node name specified"
UNKNOWN_JOB = "Invalid job id specified"
JOB_IS_OVER = (UNKNOWN_JOB, "Job/step already completing or completed")
NEITHER_DOWN_NOR_DRAINED = ("Invalid node state specified", "Invalid node state transition")
"""What it says to RESUME of such a node."""
