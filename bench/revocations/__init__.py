"""What revocations cost without an agent, with a plain DRAIN, and with esagent."""
