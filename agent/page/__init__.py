"""The status page: what people see of the agent in a browser, read only."""
