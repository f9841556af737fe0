"""When: what is due, in which lane, and the loop that runs it."""
