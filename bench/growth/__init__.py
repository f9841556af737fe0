"""What planning the growth of a long queue costs, beside the agent's first version."""
