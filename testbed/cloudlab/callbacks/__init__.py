"""What Cloudlab tells the agent: revocations and resource values."""
