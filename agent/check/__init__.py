"""``esagent check``: what would keep the agent from its work, found before it is needed."""
