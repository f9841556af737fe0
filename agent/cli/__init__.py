"""The `esagent` command: parse, ask the daemon, print."""

from agent.cli.app import app, main

__all__ = ["app", "main"]
